/** INSERT, UPDATE and DELETE of a principal with masks: what they may touch, and what comes back from them. */
import { quoteName } from '../sql/names.ts';
import type { Change } from './edits.ts';
import { isBounded } from './bounded.ts';
import { isStar } from './columns.ts';
import type { StoredValue } from './masked.ts';
import type { PlannedColumn } from './plan.ts';
import { askForRole, Refusal } from './refusal.ts';
import { findRelation, type Found } from './relations.ts';
import { storedValue } from './stored-value.ts';
import { kindOf, listOf, locationOf, nodeOf, stringOf, type Node } from './tree.ts';
import type { Walk } from './walk.ts';

const events = { InsertStmt: 'insert', UpdateStmt: 'update', DeleteStmt: 'delete' } as const;
const fieldsOf: Readonly<Record<string, ReadonlySet<string>>> = {
  InsertStmt: new Set(['relation', 'cols', 'selectStmt', 'onConflictClause', 'returningList', 'returningClause', 'withClause', 'override']),
  UpdateStmt: new Set(['relation', 'targetList', 'whereClause', 'fromClause', 'returningList', 'returningClause', 'withClause']),
  DeleteStmt: new Set(['relation', 'usingClause', 'whereClause', 'returningList', 'returningClause', 'withClause']),
};

/** Answers what it stores. Fails for a write that is not proven to be safe. */
export function walkWrite(kind: string, node: Node, walk: Walk): StoredValue[] {
  const event = events[kind as keyof typeof events];
  for (const field of Object.keys(node)) if (fieldsOf[kind]?.has(field) !== true) throw refuse(`${kind}.${field} is not known`);
  const relation = node['relation'] as Node;
  const at = locationOf(relation);
  const found = findRelation(relation, walk.options);
  const shown = `${found.schema}.${found.name}`;
  if (found.id === undefined) throw refuse(`${shown} belongs to the server`, at);
  if (found.planned?.access === 'view') throw refuse(`${shown} is a view over masked columns`, at);
  const targets = [...listOf(node['cols']), ...listOf(node['targetList'])];
  const conflict = node['onConflictClause'] as Node | undefined;
  const onConflict = listOf(conflict?.['targetList']);
  checkAssigned(found, namesOfTargets([...targets, ...onConflict]));
  const { plan } = walk.options;
  const problem =
    plan.writeProblem({ id: found.id, event, columns: namesOfTargets(targets), defaults: [...defaultsOf(targets), ...defaultsOfValues(node)] }) ??
    (conflict?.['action'] === 'ONCONFLICT_UPDATE'
      ? plan.writeProblem({ id: found.id, event: 'update', columns: namesOfTargets(onConflict), defaults: defaultsOf(onConflict) })
      : undefined);
  if (problem !== undefined) throw refuse(`${shown} cannot be written with masks: ${problem}`, at);
  walk.sources.addRelation(found, relation);
  if (found.planned?.access === 'masked') walkMasked(kind, node, found, walk);
  else walkClean(kind, node, found, walk);
  return storedValues(node);
}

/** What may be seen of a table with masks. */
function visibleOf({ planned }: Found): readonly PlannedColumn[] {
  return planned?.access === 'masked' ? planned.columns : [];
}

/** Whether it is this row of the table, or these few, that the WHERE means. */
function saysWhichRow(node: Node, found: Found, walk: Walk): boolean {
  const { relation, fromClause, usingClause } = node;
  const { alias, relname } = relation as Node;
  const name = String((alias as Node | undefined)?.['aliasname'] ?? relname);
  const keys = walk.options.names.catalog?.relation(found.id ?? 0)?.keys ?? [];
  return isBounded(node['whereClause'], keys, { name, isAlone: fromClause === undefined && usingClause === undefined });
}

function checkAssigned(found: Found, assigned: readonly string[]): void {
  const visible = visibleOf(found);
  const masked = assigned.find((name) => visible.find((column) => column.name === name)?.sql !== undefined || found.hidden?.includes(name) === true);
  if (masked !== undefined) throw refuse(`${found.schema}.${found.name}.${masked} has a mask, so you cannot know what you replace`, undefined, 'Leave the column out.');
}

/** Nothing here has masks, so its rows are the client's to see; nor may anything masked get into it. */
function walkClean(kind: string, node: Node, found: Found, walk: Walk): void {
  if (kind !== 'InsertStmt' && !walk.options.isHeld && !saysWhichRow(node, found, walk)) {
    throw refuse(`the WHERE does not say which row of ${found.schema}.${found.name} is meant`, undefined, 'Compare a unique column with constants: WHERE id = 1 AND …, or have the policy hold such statements for approval.');
  }
  const clauses: Node = { ...node, relation: undefined };
  walk.write(clauses);
  if (walk.masked.size > 0) {
    throw new Refusal('write', 'the statement reads columns with masks, and would store what the masks show', 'Write values of your own, or read tables without masks.');
  }
}

function walkMasked(kind: string, node: Node, found: Found, walk: Walk): void {
  const shown = `${found.schema}.${found.name}`;
  const visible = visibleOf(found);
  for (const clause of ['withClause', 'fromClause', 'usingClause'] as const) {
    if (node[clause] !== undefined) throw refuse(`writes of ${shown} can take no ${clauseNames[clause]}`, undefined, 'Write the values themselves.');
  }
  const values = nodeOf(node['selectStmt'], 'SelectStmt');
  if (kind === 'InsertStmt') {
    if (node['selectStmt'] !== undefined && (values?.['valuesLists'] === undefined || listOf(node['cols']).length === 0)) {
      throw refuse(`rows of ${shown} must be written as VALUES, with their columns named`, undefined, 'Write INSERT INTO t (columns) VALUES (…).');
    }
    const other = Object.keys(values ?? {}).find((field) => !valuesFields.has(field));
    if (other !== undefined) throw refuse(`VALUES for ${shown} can have no ${other}`, undefined, 'Write INSERT INTO t (columns) VALUES (…) and nothing behind it.');
  } else if (!saysWhichRow(node, found, walk)) {
    throw refuse(`the WHERE does not say which row of ${shown} is meant`, undefined, 'Compare a unique column without a mask with constants: WHERE id = 1 AND …');
  }
  checkConflict(node['onConflictClause'] as Node | undefined, found, visible);
  const computed = returningOf(node).filter((item) => nodeOf(nodeOf(item, 'ResTarget')?.['val'], 'ColumnRef') === undefined);
  const { cols, targetList, whereClause, onConflictClause } = node;
  const clauses: Node = { cols, targetList, whereClause, onConflictClause, values: values?.['valuesLists'], computed };
  walk.write(clauses);
  if (walk.sources.relations.length > 1 || holdsSubSelect(clauses)) throw refuse(`writes of ${shown} can hold no sub-select`, undefined, 'Write the values themselves.');
  checkUntouched(walk, found, visible);
  walk.edits.push(...maskReturning(node, found, visible, walk));
}

/** What the grammar tells of VALUES with nothing before or behind it. */
const valuesFields: ReadonlySet<string> = new Set(['valuesLists', 'op', 'limitOption']);
const clauseNames = { withClause: 'WITH', fromClause: 'FROM', usingClause: 'USING' } as const;

/** Masked columns of a new row are NULL, which meets no other row; what is inferred must be a key of columns without masks. */
function checkConflict(clause: Node | undefined, found: Found, visible: readonly PlannedColumn[]): void {
  const infer = clause?.['infer'] as Node | undefined;
  if (infer === undefined) return;
  const shown = `${found.schema}.${found.name}`;
  if (infer['conname'] !== undefined) throw refuse(`the columns of a constraint of ${shown} are not written out`, undefined, 'Write ON CONFLICT (columns).');
  for (const item of listOf(infer['indexElems'])) {
    const name = nodeOf(item, 'IndexElem')?.['name'];
    if (name === undefined || visible.some((column) => column.name === name && column.sql === undefined)) continue;
    throw refuse(`${shown}.${String(name)} has a mask, so ON CONFLICT cannot be about it`, undefined, 'Use a key of columns without masks.');
  }
}

function holdsSubSelect(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(holdsSubSelect);
  if (typeof value !== 'object' || value === null) return false;
  return 'SubLink' in value || Object.values(value).some(holdsSubSelect);
}

function returningOf(node: Node): readonly unknown[] {
  return listOf(node['returningList'] ?? (node['returningClause'] as Node | undefined)?.['exprs']);
}

/** No raw value may decide what happens, or be stored elsewhere. */
function checkUntouched(walk: Walk, found: Found, visible: readonly PlannedColumn[]): void {
  const shown = `${found.schema}.${found.name}`;
  const alias = walk.sources.relations[0]?.alias;
  for (const { names, at } of walk.sources.references) {
    const name = names.at(-1);
    const column = visible.find((one) => one.name === name);
    if (column !== undefined && column.sql === undefined && names.length <= 3) continue;
    if (name !== undefined && column === undefined && name !== alias && name !== found.name && found.hidden?.includes(name) !== true) {
      throw new Refusal('column', `${shown} has no column ${name} that a write could use`, 'Use columns without masks.', at);
    }
    throw new Refusal('column', `${shown}.${name ?? '*'} has a mask, so a write cannot depend on it`, 'Use columns without masks.', at);
  }
}

/** RETURNING shows masked columns as a SELECT does. */
function maskReturning(node: Node, found: Found, visible: readonly PlannedColumn[], walk: Walk): Change[] {
  if (listOf((node['returningClause'] as Node | undefined)?.['options']).length > 0) throw refuse('RETURNING WITH names old and new rows as a whole', undefined, 'Name columns.');
  const edits: Change[] = [];
  for (const item of returningOf(node)) {
    const target = nodeOf(item, 'ResTarget') ?? {};
    const reference = nodeOf(target['val'], 'ColumnRef');
    // An expression was walked like the other clauses: it holds no masked column.
    if (reference === undefined) continue;
    const names = listOf(reference['fields']).map(stringOf);
    if (names.length > 2) throw refuse('RETURNING names a column with too many parts', locationOf(target), 'Name columns, or write *.');
    edits.push(...returningEdit(target, reference, names, { found, visible, walk }));
  }
  return edits;
}

function returningEdit(
  target: Node,
  reference: Node,
  names: readonly (string | undefined)[],
  { found, visible, walk }: { found: Found; visible: readonly PlannedColumn[]; walk: Walk },
): Change[] {
  const { tokens } = walk.options;
  const alias = walk.sources.relations[0]?.alias ?? found.name;
  const qualifier = names.length === 2 ? names[0] : undefined;
  if (qualifier !== undefined && qualifier !== alias) throw refuse('RETURNING can name columns of the table only', locationOf(reference), 'Name them without a table.');
  const first = tokens.indexAt(locationOf(reference) ?? -1);
  const end = tokens.end(tokens.endOfName(first, names.length));
  const column = visible.find(({ name }) => name === names.at(-1));
  if (isStar(listOf(reference['fields']).at(-1))) {
    for (const one of found.masked ?? []) walk.masked.set(one.column, one);
    const columns = visible.map(({ name, sql }) => (sql === undefined ? quoteName(name) : `${sql} AS ${quoteName(name)}`));
    return [{ start: tokens.start(first), end, text: columns.join(', ') }];
  }
  if (column === undefined) throw new Refusal('column', `${found.schema}.${found.name} has no column ${String(names.at(-1))} that can be returned`, 'Name columns that the policy has classified.', locationOf(reference));
  if (column.sql === undefined) return [];
  for (const one of found.masked ?? []) if (one.column.endsWith(`.${column.name}`)) walk.masked.set(one.column, one);
  const name = target['name'] === undefined ? ` AS ${quoteName(column.name)}` : '';
  return [{ start: tokens.start(first), end, text: `${column.sql}${name}` }];
}

function namesOfTargets(targets: readonly unknown[]): string[] {
  return targets.map((item) => String(nodeOf(item, 'ResTarget')?.['name'] ?? ''));
}

/** What a target of SET is assigned: all of the row where several are assigned at once. */
function valuesOf(target: unknown): readonly unknown[] {
  const value = nodeOf(target, 'ResTarget')?.['val'];
  const source = nodeOf(value, 'MultiAssignRef')?.['source'];
  if (source === undefined) return [value];
  const row = kindOf(source)?.[1]['args'];
  return row === undefined ? [source] : listOf(row);
}

/** Of INSERT … VALUES. */
function rowsOf(node: Node): readonly (readonly unknown[])[] {
  return listOf(nodeOf(node['selectStmt'], 'SelectStmt')?.['valuesLists']).map((list) => listOf(nodeOf(list, 'List')?.['items']));
}

function isDefault(value: unknown): boolean {
  return nodeOf(value, 'SetToDefault') !== undefined;
}

/** Columns of SET that could take their default. */
function defaultsOf(targets: readonly unknown[]): string[] {
  const takesDefault = (item: unknown) => valuesOf(item).some(isDefault);
  return namesOfTargets(targets.filter(takesDefault));
}

/** Columns of INSERT that a row of VALUES leaves to their default. Without a list of columns all are taken to be left to it. */
function defaultsOfValues(node: Node): string[] {
  return namesOfTargets(listOf(node['cols'])).filter((_, index) => rowsOf(node).some((row) => isDefault(row[index])));
}

function storedValues(node: Node): StoredValue[] {
  const targets = [...listOf(node['targetList']), ...listOf((node['onConflictClause'] as Node | undefined)?.['targetList'])];
  return [...rowsOf(node).flat(), ...targets.flatMap(valuesOf)].flatMap((value) => storedValue(value) ?? []);
}

function refuse(reason: string, at?: number, hint = askForRole): Refusal {
  return new Refusal('write', reason, hint, at);
}
