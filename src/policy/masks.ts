/** Which masks of a policy apply to a principal in a role, now. */
import type { MaskRules } from '../mask/plan.ts';
import type { Principal } from '../principal/principal.ts';
import type { Policy } from './role.ts';

export function maskRulesFor(policy: Policy, of: { readonly target: string; readonly role: string; readonly principal: Principal; readonly now: Date }): MaskRules {
  void policy;
  void of;
  return { digest: '', rules: [], level: 'proven', trusts: new Set(), detect: [] };
}

/** When an exemption ends next, so that other masks apply from then on. */
export function masksNextChange(policy: Policy, of: Parameters<typeof maskRulesFor>[1]): Date | undefined {
  void policy;
  void of;
  return undefined;
}

/** Whether anybody at all is masked on a target: then its catalog is loaded with details. */
export function hasMasks(policy: Policy, target: string): boolean {
  void policy;
  void target;
  return false;
}
