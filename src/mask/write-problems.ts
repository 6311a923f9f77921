/** What runs when a row is written: triggers, rules, defaults, checks, index expressions, cascades. Each must be proven. */
import { rowEvents, type Catalog } from '../sql/catalog.ts';
import type { RelationDetails } from '../sql/catalog-details.ts';
import type { StoredCode } from './analyse.ts';
import { isMasked, isRaw, nameOf, type Draft } from './draft.ts';

type Event = 'insert' | 'update' | 'delete';
type Asked = { readonly id: number; readonly event: Event; readonly columns: readonly string[] };
type Known = {
  readonly catalog: Catalog;
  readonly drafts: ReadonlyMap<number, Draft>;
  readonly check: (sql: string, relation: RelationDetails | undefined) => StoredCode;
  readonly trusts: ReadonlySet<string>;
  /** By OID: why values of a type are not safe to make. */
  readonly types: ReadonlyMap<number, string | undefined>;
};

/** A sentence about the first thing that is not proven. */
export function writeProblem(known: Known, asked: Asked, seen: ReadonlySet<number> = new Set()): string | undefined {
  const draft = known.drafts.get(asked.id);
  if (draft === undefined) return 'it is not known';
  if (seen.has(asked.id)) return undefined;
  const { relation } = draft;
  if (relation.kind !== 'table' && relation.kind !== 'partitioned') return `it is a ${relation.kind === 'materialized' ? 'materialized view' : relation.kind}`;
  if (((relation.ruleEvents ?? 0) & rowEvents[asked.event]) !== 0) return 'a rule answers for it';
  const now = new Set([...seen, asked.id]);
  return triggerProblem(known, draft, asked) ?? codeProblem(known, draft, asked) ?? relatedProblem(known, draft, asked, now);
}

function triggerProblem({ catalog, trusts }: Known, { details }: Draft, { event, columns }: Asked): string | undefined {
  for (const trigger of details.triggers ?? []) {
    if ((trigger.events & rowEvents[event]) === 0) continue;
    // UPDATE OF: only where one of its columns is assigned.
    if (event === 'update' && trigger.columns !== undefined && !trigger.columns.some((name) => columns.includes(name))) continue;
    const { schema, name } = trigger.runs;
    const isTrusted = trusts.has(`${schema}.${name}`) || (trigger.when === undefined && catalog.functionsNamed(name).some((one) => one.schema === schema && one.isTrusted === true));
    if (!isTrusted) return `its trigger ${trigger.name} runs ${schema}.${name}, which is not proven (masks.trust can name it)`;
  }
  return undefined;
}

const nextValue = /^(?:pg_catalog\.)?nextval\('[^']+'::(?:pg_catalog\.)?regclass\)$/;

function codeProblem(known: Known, draft: Draft, { event, columns }: Asked): string | undefined {
  if (event === 'delete') return undefined;
  const { check, catalog, types } = known;
  const { details } = draft;
  const names = new Map((catalog.data.details?.types ?? []).map((type) => [`${type.schema}.${type.name}`, type.id]));
  for (const column of details.columns) {
    const problem = names.has(column.baseType) ? types.get(names.get(column.baseType) ?? 0) : undefined;
    if (problem !== undefined) return `the type of its column ${column.name}: ${problem}`;
    if (event !== 'insert' || column.default === undefined || columns.includes(column.name) || nextValue.test(column.default)) continue;
    const code = check(column.default, details);
    if (!code.ok) return `the default of ${column.name} is not proven: ${code.reason}`;
  }
  const domain = domainProblem(known, details);
  if (domain !== undefined) return domain;
  const generated = details.columns.flatMap(({ name, generated: sql }) => (sql === undefined ? [] : [{ name, sql }]));
  const expressions = [
    ...(details.checks ?? []).map((one) => ({ ...one, what: 'check' })),
    ...(details.indexExpressions ?? []).map((one) => ({ ...one, what: 'index' })),
    ...generated.map((one) => ({ ...one, what: 'generated column' })),
    ...(details.policies ?? []).filter(({ writes }) => writes).map((one) => ({ ...one, what: 'row security policy' })),
  ];
  for (const { name, sql, what } of expressions) {
    const code = check(sql, details);
    if (!code.ok) return `its ${what} ${name} is not proven: ${code.reason}`;
    const usesRaw = code.columns.some((column) => isRaw(draft, column)) || (code.isWholeRow && isMasked(draft));
    // Of an inserted row the masked columns are empty; of an updated one they could be found out by changing the others.
    const usesAssigned = event === 'update' && (code.isWholeRow || code.columns.some((column) => columns.includes(column)));
    if (usesRaw && usesAssigned) return `its ${what} ${name} computes with what you write and with a masked column`;
  }
  return undefined;
}

/** Domains are told by the checks of the columns that have them. */
function domainProblem({ check, catalog }: Known, details: RelationDetails): string | undefined {
  if (!details.columns.some(({ isDomain }) => isDomain === true)) return undefined;
  for (const type of catalog.data.details?.types ?? []) {
    for (const { name, sql } of type.checks ?? []) {
      const code = check(sql, undefined);
      if (!code.ok) return `the check ${name} of the domain ${type.schema}.${type.name} is not proven: ${code.reason}`;
    }
  }
  return undefined;
}

/** Rows of children are written through their parents, and rows that refer to one follow it. */
function relatedProblem(known: Known, draft: Draft, asked: Asked, seen: ReadonlySet<number>): string | undefined {
  for (const child of known.catalog.childrenOf(draft.relation)) {
    if (child.kind === 'index') continue;
    const problem = writeProblem(known, { ...asked, id: child.id }, seen);
    if (problem !== undefined) return `its part ${child.schema}.${child.name}: ${problem}`;
  }
  for (const { from, onDelete, onUpdate } of draft.relation.references ?? []) {
    const follows = asked.event === 'delete' ? onDelete : asked.event === 'update' ? onUpdate : 'none';
    const other = known.drafts.get(from);
    if (follows === 'none' || other === undefined) continue;
    const problem = writeProblem(known, { id: from, event: follows, columns: other.details.columns.map(({ name }) => name) }, seen);
    if (problem !== undefined) return `rows of ${nameOf(other)} follow it: ${problem}`;
  }
  return undefined;
}
