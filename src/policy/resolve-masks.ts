/** From the `masks` of a target in a policy file to rules: patterns and tags put together, kinds checked, mistakes told. */
import type { Mask } from '../mask/plan.ts';
import { adviseName } from '../yaml/nearest.ts';
import type { Report } from '../yaml/yaml-file.ts';
import type { MaskRuleFile, MasksFile } from './policy-file.ts';
import type { MaskExemption, TargetMasks } from './role.ts';

type Known = { readonly tags: Readonly<Record<string, readonly string[]>>; readonly roles: readonly string[] };

export function resolveMasks(target: string, file: MasksFile, known: Known, report: Report): TargetMasks {
  const path = ['targets', target, 'masks'];
  const names = new Set<string>();
  const rules = file.rules.map((rule, index) => {
    const at = [...path, 'rules', index];
    if (names.has(rule.name)) report([...at, 'name'], `another mask of this target has the name "${rule.name}"`);
    names.add(rule.name);
    return resolveRule(target, rule, { known, report, at });
  });
  for (const [index, name] of (file.trust ?? []).entries()) {
    if (!/^[^.*]+\.[^.*]+$/.test(name)) report([...path, 'trust', index], 'write schema.name: each function is trusted by its own name');
  }
  return { level: file.level ?? 'proven', detect: file.detect ?? [], trusts: new Set(file.trust), rules };
}

function resolveRule(target: string, rule: MaskRuleFile, { known, report, at }: { known: Known; report: Report; at: readonly PropertyKey[] }): TargetMasks['rules'][number] {
  const { name, columns = [], tags = [] } = rule;
  if (rule.columns === undefined && rule.tags === undefined) report(at, 'it names no columns: write columns or tags');
  for (const [index, tag] of tags.entries()) if (!Object.hasOwn(known.tags, tag)) unknown('tag', tag, Object.keys(known.tags), report, [...at, 'tags', index]);
  const exempt = (rule.exempt ?? []).map((one, index): MaskExemption => {
    const place = [...at, 'exempt', index];
    if (one.groups === undefined && one.roles === undefined) report(place, 'it exempts nobody: write groups or roles');
    for (const [each, role] of (one.roles ?? []).entries()) if (!known.roles.includes(role)) unknown('role', role, known.roles, report, [...place, 'roles', each]);
    const until = new Date(one.until.length === 10 ? `${one.until}T23:59:59.999Z` : one.until);
    if (Number.isNaN(until.getTime())) report([...place, 'until'], 'there is no such day');
    return { reason: one.reason, until, ...(one.groups && { groups: one.groups }), ...(one.roles && { roles: one.roles }) };
  });
  const patterns = [...columns, ...tags.flatMap((tag) => known.tags[tag] ?? [])].map((pattern) => pattern.split('.') as [string, string, string]);
  const isSame = (pattern: string, one: string) => pattern === '*' || pattern === one;
  return {
    path: `${target}/masks/${name}`,
    mask: maskOf(rule, report, at),
    exempt,
    source: JSON.stringify([patterns, rule.mask]),
    covers: (schema, relation, column) => patterns.some((pattern) => isSame(pattern[0], schema) && isSame(pattern[1], relation) && isSame(pattern[2], column)),
    namesRelation: (schema, relation, column) => patterns.some((pattern) => pattern[0] === schema && pattern[1] === relation && isSame(pattern[2], column)),
    namesColumn: (schema, relation, column) => patterns.some((pattern) => pattern[0] === schema && pattern[1] === relation && pattern[2] === column),
  };
}

function maskOf({ mask }: MaskRuleFile, report: Report, at: readonly PropertyKey[]): Mask {
  if (mask === null) return { kind: 'null' };
  if (typeof mask === 'string') return { kind: mask };
  if ('constant' in mask) return { kind: 'constant', value: mask.constant };
  if ('sql' in mask) return { kind: 'sql', sql: mask.sql };
  if ('partial' in mask) {
    const { last, first } = mask.partial;
    if ((last === undefined) === (first === undefined)) report([...at, 'mask', 'partial'], 'write either last or first');
    return { kind: 'partial', ...(last === undefined ? { first: first ?? 1 } : { last }) };
  }
  const { size, unit } = mask.bucket;
  if ((size === undefined) === (unit === undefined)) report([...at, 'mask', 'bucket'], 'write either size, for numbers, or unit, for dates');
  return { kind: 'bucket', ...(size !== undefined && { size }), ...(unit !== undefined && { unit }) };
}

function unknown(what: string, name: string, known: readonly string[], report: Report, path: readonly PropertyKey[]): void {
  report(path, `there is no ${what} "${name}": ${adviseName(name, known)}`);
}
