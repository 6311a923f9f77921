/** Which masks of a policy apply to a principal in a role, now. Pure. */
import { createHash } from 'node:crypto';
import type { MaskRule, MaskRules } from '../mask/plan.ts';
import type { Principal } from '../principal/principal.ts';
import type { MaskExemption, Policy } from './role.ts';

export type MaskedBy = { readonly target: string; readonly role: string; readonly principal: Principal; readonly now: Date };

/** No rules where nothing is masked for the principal: a column that an exemption shows is clear, not unclassified. */
export function maskRulesFor(policy: Policy, by: MaskedBy): MaskRules {
  const masks = policy.masks.get(by.target);
  if (masks === undefined) return unmasked;
  const rules = masks.rules.map(({ exempt, source, ...rule }) => {
    const isExempt = rule.mask.kind !== 'clear' && exempt.some((one) => isMet(one, by));
    return { source, rule: isExempt ? { ...rule, mask: { kind: 'clear' } as const } : rule, isExempt };
  });
  if (rules.every(({ rule }) => rule.mask.kind === 'clear')) return unmasked;
  const { level, detect, trusts } = masks;
  const hash = createHash('sha256').update(JSON.stringify([rules.map(({ source, rule, isExempt }) => [rule.path, source, isExempt]), level, detect, [...trusts]]));
  return { digest: hash.digest('hex'), rules: rules.map(({ rule }): MaskRule => rule), level, trusts, detect };
}

const unmasked: MaskRules = { digest: '', rules: [], level: 'proven', trusts: new Set(), detect: [] };

function isMet({ groups, roles, until }: MaskExemption, { principal, role, now }: MaskedBy): boolean {
  if (now > until) return false;
  return (groups === undefined || groups.some((group) => principal.groups.includes(group))) && (roles === undefined || roles.includes(role));
}

/** When an exemption of the target ends next, so that other masks may apply from then on. */
export function masksNextChange(policy: Policy, { target, now }: Pick<MaskedBy, 'target' | 'now'>): Date | undefined {
  const ends = policy.masks.get(target)?.rules.flatMap(({ exempt }) => exempt.map(({ until }) => until.getTime() + 1)) ?? [];
  const next = Math.min(...ends.filter((end) => end > now.getTime()));
  return Number.isFinite(next) ? new Date(next) : undefined;
}

/** Whether anybody at all is masked on a target: then its catalog is loaded with details. */
export function hasMasks(policy: Policy, target: string): boolean {
  return policy.masks.get(target)?.rules.some(({ mask }) => mask.kind !== 'clear') === true;
}
