/** What runs when a row is written: triggers, rules, defaults, checks, index expressions, cascades. Each must be proven. */
import { rowEvents, type Catalog } from '../sql/catalog.ts';
import type { RelationDetails, StoredExpression, TypeDetails } from '../sql/catalog-details.ts';
import type { StoredCode } from './analyse.ts';
import { isMasked, isRaw, nameOf, type Draft } from './draft.ts';
import type { RowWrite } from './plan.ts';

type Known = {
  readonly catalog: Catalog;
  readonly drafts: ReadonlyMap<number, Draft>;
  readonly check: (sql: string, relation: RelationDetails | undefined) => StoredCode;
  readonly trusts: ReadonlySet<string>;
  /** Relation → the one of which a masked column is what a foreign key of it refers to. */
  readonly refersTo: ReadonlyMap<number, Draft>;
  /** As in MaskPlan. */
  readonly typeProblem: (id: number) => string | undefined;
  /** By "schema.name"; of an array, that of its elements. */
  readonly typeNamed: (name: string) => TypeDetails | undefined;
};

/** A sentence about the first thing that is not proven. */
export function writeProblem(known: Known, asked: RowWrite, seen: ReadonlySet<number> = new Set()): string | undefined {
  const draft = known.drafts.get(asked.id);
  if (draft === undefined) return 'it is not known';
  if (seen.has(asked.id)) return undefined;
  const { relation } = draft;
  if (relation.kind !== 'table' && relation.kind !== 'partitioned') return `it is a ${relation.kind === 'materialized' ? 'materialized view' : relation.kind}`;
  if (((relation.ruleEvents ?? 0) & rowEvents[asked.event]) !== 0) return 'a rule answers for it';
  const now = new Set([...seen, asked.id]);
  return (
    triggerProblem(known, draft, asked) ??
    codeProblem(known, draft, asked) ??
    uniqueProblem(known, draft, asked) ??
    referenceProblem(known, draft, asked) ??
    relatedProblem(known, draft, asked, now)
  );
}

function triggerProblem({ catalog, trusts }: Known, { details }: Draft, { event, columns }: RowWrite): string | undefined {
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

function codeProblem(known: Known, draft: Draft, { event, columns, defaults = [] }: RowWrite): string | undefined {
  if (event === 'delete') return undefined;
  const { check } = known;
  const { details } = draft;
  for (const column of details.columns) {
    const type = column.baseType.includes('.') ? known.typeNamed(column.baseType) : undefined;
    const problem = type === undefined ? (column.baseType.includes('.') ? 'it is not known' : undefined) : known.typeProblem(type.id);
    if (problem !== undefined) return `the type of its column ${column.name}: ${problem}`;
    const takesDefault = defaults.includes(column.name) || (event === 'insert' && !columns.includes(column.name));
    if (!takesDefault || column.default === undefined || nextValue.test(column.default)) continue;
    const code = check(column.default, details);
    if (!code.ok) return `the default of ${column.name} is not proven: ${code.reason}`;
  }
  const domain = domainProblem(known, details);
  if (domain !== undefined) return domain;
  const generated = details.columns.flatMap(({ name, generated: sql }) => (sql === undefined ? [] : [{ name, sql }]));
  const expressions: readonly (StoredExpression & { readonly what: string; readonly isUnheld?: true })[] = [
    ...(details.checks ?? []).map((one) => ({ ...one, what: 'check' })),
    ...(details.indexExpressions ?? []).map((one) => ({ ...one, what: 'index' })),
    ...generated.map((one) => ({ ...one, what: 'generated column' })),
    ...(details.policies ?? []).filter(({ writes }) => writes).map((one) => ({ ...one, what: 'row security policy' })),
  ];
  for (const { name, sql, what, isUnheld = false } of expressions) {
    const code = check(sql, details);
    if (!code.ok) return `its ${what} ${name} is not proven: ${code.reason}`;
    const usesRaw = code.columns.some((column) => isRaw(draft, column)) || (code.isWholeRow && isMasked(draft));
    // Of an inserted row the masked columns are empty; of an updated one they could be found out by changing the others.
    const usesAssigned = event === 'update' && (code.isWholeRow || code.columns.some((column) => columns.includes(column)));
    if (usesRaw && event === 'update' && isUnheld) return `its ${what} ${name} is NOT VALID, so an error would tell about a masked column`;
    if (usesRaw && usesAssigned) return `its ${what} ${name} computes with what you write and with a masked column`;
  }
  return undefined;
}

/** A key that holds a masked column tells by its error whether the value is there. */
function uniqueProblem({ check }: Known, draft: Draft, { event, columns, defaults = [] }: RowWrite): string | undefined {
  if (event === 'delete') return undefined;
  const { details } = draft;
  const isRawHere = (name: string) => isRaw(draft, name);
  const hasDefault = (name: string) => details.columns.some((one) => one.name === name && one.default !== undefined);
  for (const { name, columns: plain, isNullEqual, isUnheld = false } of details.uniques ?? []) {
    const codes = (details.indexExpressions ?? []).filter((one) => one.name === name).map(({ sql }) => check(sql, details));
    const computed = codes.flatMap((code) => (code.ok && !code.isWholeRow ? code.columns : details.columns.map((column) => column.name)));
    const all = [...plain, ...computed];
    if (!all.some(isRawHere)) continue;
    const isChanged = all.some((column) => columns.includes(column) || defaults.includes(column));
    // A masked column of a new row is NULL, which is equal to nothing in a plain key.
    const isFilled = isNullEqual === true || computed.some(isRawHere) || plain.some((column) => isRawHere(column) && hasDefault(column));
    if (event === 'update' ? isChanged || isUnheld : isFilled) return `its key ${name} holds a masked column, whose values the error of a duplicate would tell`;
  }
  return undefined;
}

/** A foreign key to a masked column tells whether the value is there: by its error, or by what becomes of the rows that refer to it. */
function referenceProblem({ drafts, refersTo }: Known, draft: Draft, { event, columns: written }: RowWrite): string | undefined {
  const isTold = (of: Draft, columns: readonly string[]) => columns.some((name) => isRaw(of, name));
  if (event !== 'insert') {
    for (const { from, columns, fromColumns = [] } of draft.relation.references ?? []) {
      if (event === 'update' && !columns.some((name) => written.includes(name))) continue;
      const other = drafts.get(from);
      if (isTold(draft, columns)) return `${other === undefined ? 'another table' : nameOf(other)} refers to a masked column of it`;
      if (other !== undefined && isTold(other, fromColumns)) return `a masked column of ${nameOf(other)} refers to it`;
    }
  }
  if (event === 'delete') return undefined;
  const other = refersTo.get(draft.relation.id);
  return other && `it refers to a masked column of ${nameOf(other)}`;
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
function relatedProblem(known: Known, draft: Draft, asked: RowWrite, seen: ReadonlySet<number>): string | undefined {
  for (const child of known.catalog.childrenOf(draft.relation)) {
    if (child.kind === 'index') continue;
    // A row that is moved to another partition is deleted in one and inserted into the other.
    const moves = asked.event === 'update' && draft.relation.kind === 'partitioned' ? (['delete', 'insert'] as const) : [];
    const whole = { id: child.id, columns: columnNames(known.drafts.get(child.id)) };
    for (const part of [{ ...asked, id: child.id }, ...moves.map((event) => ({ ...whole, event }))]) {
      const problem = writeProblem(known, part, seen);
      if (problem !== undefined) return `its part ${child.schema}.${child.name}: ${problem}`;
    }
  }
  for (const { from, columns, onDelete, onUpdate } of draft.relation.references ?? []) {
    const isKeyKept = asked.event === 'update' && !columns.some((name) => asked.columns.includes(name));
    const follows = asked.event === 'delete' ? onDelete : asked.event === 'update' && !isKeyKept ? onUpdate : 'none';
    const other = known.drafts.get(from);
    if (follows === 'none' || other === undefined) continue;
    // SET DEFAULT is one of the ways to follow.
    const problem = writeProblem(known, { id: from, event: follows, columns: columnNames(other), defaults: columnNames(other) }, seen);
    if (problem !== undefined) return `rows of ${nameOf(other)} follow it: ${problem}`;
  }
  return undefined;
}

function columnNames(draft: Draft | undefined): string[] {
  return draft?.details.columns.map(({ name }) => name) ?? [];
}
