/** How many rows a statement can change, as far as its text proves it: rows that it offers, and constants that rows must equal. */
import type { Condition, RowsOutline } from './outline.ts';

type Node = { readonly [field: string]: unknown };

/** Conditions that nest deeper prove nothing; people and ORMs do not write them. */
const depthMax = 40;

/** Where a name in an expression may point to. */
type Scope = {
  /** The alias of the target, or its name. */
  readonly target: string;
  readonly schema?: string | undefined;
  /** Of MERGE: the alias of its source, and the types of the constants in each of its columns. */
  readonly source?: { readonly alias: string; readonly columns: ReadonlyMap<string, readonly string[]> };
  readonly parameters: Parameters;
};

/** `types`: of $1 and so on, as PREPARE declares them. `isRepeated`: whether one stands in the statement more than once. */
export type Parameters = { readonly types: readonly string[]; readonly isRepeated: (number: number) => boolean };

/** INSERT: rows of VALUES, of a SELECT that computes one, or up to a LIMIT. */
export function rowsOfInsert(insert: Node): RowsOutline | undefined {
  const select = (insert['selectStmt'] as Node | undefined)?.['SelectStmt'] as Node | undefined;
  const calls = new Set<string>();
  const most = insert['selectStmt'] === undefined ? 1 : select && rowsOfSelect(select, calls);
  return most === undefined ? undefined : { most, ...(calls.size > 0 && { calls: [...calls] }) };
}

/** UPDATE and DELETE, and a SELECT that locks the rows of one relation. */
export function rowsOfWhere(statement: Node, parameters: Parameters): RowsOutline | undefined {
  const where = statement['whereClause'] as Node | undefined;
  if (where?.['CurrentOfExpr'] !== undefined) return { isCurrent: true };
  const condition = conditionOf(where, { ...targetOf(statement), parameters });
  return condition === undefined ? undefined : { where: condition };
}

/** MERGE from constants: each offered row meets at most the rows that the condition lets it meet. */
export function rowsOfMerge(merge: Node, parameters: Parameters): RowsOutline | undefined {
  const clauses = ((merge['mergeWhenClauses'] ?? []) as Node[]).map((clause) => clause['MergeWhenClause'] as Node);
  if (clauses.some((clause) => clause['matchKind'] === 'MERGE_WHEN_NOT_MATCHED_BY_SOURCE')) return undefined;
  const source = (merge['sourceRelation'] as Node | undefined)?.['RangeSubselect'] as Node | undefined;
  const select = (source?.['subquery'] as Node | undefined)?.['SelectStmt'] as Node | undefined;
  const calls = new Set<string>();
  const most = select && rowsOfSelect(select, calls);
  if (source === undefined || select === undefined || most === undefined) return undefined;
  const offered = { most, ...(calls.size > 0 && { calls: [...calls] }) };
  if (clauses.every((clause) => clause['commandType'] === 'CMD_INSERT' || clause['commandType'] === 'CMD_NOTHING')) return offered;
  const scope = { ...targetOf(merge), parameters };
  const alias = source['alias'] as Node | undefined;
  const columns = alias && columnsOf(select, alias, scope);
  const join = conditionOf(merge['joinCondition'] as Node | undefined, {
    ...scope,
    ...(columns && { source: { alias: String(alias['aliasname']), columns } }),
  });
  return join === undefined ? undefined : { ...offered, join };
}

function targetOf(statement: Node): { target: string; schema?: string } {
  const { relname, schemaname, alias } = statement['relation'] as { relname: string; schemaname?: string; alias?: { aliasname: string } };
  if (alias !== undefined) return { target: alias.aliasname };
  return { target: relname, ...(schemaname !== undefined && { schema: schemaname }) };
}

/** Most rows of a query, unless one of the `calls` returns a set; undefined where the text does not tell. */
function rowsOfSelect(select: Node, calls: Set<string>, depth = 0): number | undefined {
  if (depth > depthMax) return undefined;
  const own = new Set<string>();
  const rows = rowsBeforeLimit(select, own, depth);
  const limit = ((select['limitCount'] as Node | undefined)?.['A_Const'] as Node | undefined)?.['ival'] as { ival?: number } | undefined;
  if (limit === undefined || select['limitOption'] === 'LIMIT_OPTION_WITH_TIES') {
    for (const call of own) calls.add(call);
    return rows;
  }
  // The server refuses a negative one only when it gets there.
  const most = Math.max(0, limit.ival ?? 0);
  return rows === undefined || own.size > 0 ? most : Math.min(rows, most);
}

function rowsBeforeLimit(select: Node, calls: Set<string>, depth: number): number | undefined {
  // The one row of INSERT … VALUES is a SELECT to the server, and what rows are sorted by may multiply them as well.
  noteCalls([select['targetList'], select['valuesLists'], select['sortClause'], select['distinctClause'], select['windowClause']], calls);
  if (Array.isArray(select['valuesLists'])) return select['valuesLists'].length;
  if (select['op'] !== undefined && select['op'] !== 'SETOP_NONE') {
    const left = rowsOfSelect(select['larg'] as Node, calls, depth + 1);
    const right = rowsOfSelect(select['rarg'] as Node, calls, depth + 1);
    return left === undefined || right === undefined ? undefined : left + right;
  }
  // Without FROM there is one row, unless grouping sets multiply it.
  return select['fromClause'] === undefined && select['groupClause'] === undefined ? 1 : undefined;
}

/** Names of all that is called there, also as (x).f. */
function noteCalls(root: unknown, calls: Set<string>): void {
  const stack: unknown[] = [root];
  while (stack.length > 0) {
    const value = stack.pop();
    if (typeof value !== 'object' || value === null) continue;
    const { FuncCall, A_Indirection } = value as { FuncCall?: Node; A_Indirection?: Node };
    for (const names of [FuncCall?.['funcname'], A_Indirection?.['indirection']]) {
      const name = nameOf(((names ?? []) as Node[]).at(-1) ?? {});
      if (name !== undefined) calls.add(name);
    }
    for (const child of Object.values(value)) stack.push(child);
  }
}

/** Types of the constants in each column of VALUES or of a one-row SELECT; a column that holds more than constants is left out. */
function columnsOf(select: Node, alias: Node, scope: Scope): ReadonlyMap<string, readonly string[]> | undefined {
  const lists = select['valuesLists'] as Node[] | undefined;
  const targets = ((select['targetList'] ?? []) as Node[]).map((target) => target['ResTarget'] as Node);
  if (lists === undefined && select['op'] !== 'SETOP_NONE') return undefined;
  const rows = lists?.map((list) => itemsOf(list) ?? []) ?? [targets.map((target) => target['val'] as Node)];
  const aliases = ((alias['colnames'] ?? []) as Node[]).map((name) => nameOf(name) ?? '');
  const columns = new Map<string, readonly string[]>();
  rows[0]?.forEach((_, index) => {
    const name = aliases[index] ?? (lists === undefined ? targets[index]?.['name'] : `column${index + 1}`);
    const types = rows.map((row) => typeOf(row[index], scope));
    if (typeof name !== 'string' || types.includes(undefined)) return;
    columns.set(name, columns.has(name) ? [] : [...new Set(types as string[])]);
  });
  return columns;
}

/** What a condition proves about columns of the target; undefined: nothing. */
function conditionOf(node: Node | undefined, scope: Scope, depth = 0): Condition | undefined {
  if (node === undefined || depth > depthMax) return undefined;
  const expression = node['BoolExpr'] as Node | undefined;
  if (expression !== undefined) {
    if (expression['boolop'] === 'NOT_EXPR') return undefined;
    const terms = (expression['args'] as Node[]).map((arg) => conditionOf(arg, scope, depth + 1));
    return expression['boolop'] === 'OR_EXPR' ? anyOf(terms) : allOf(terms);
  }
  if (((node['A_Const'] as Node | undefined)?.['boolval'] as Node | undefined) !== undefined) {
    return ((node['A_Const'] as Node)['boolval'] as Node)['boolval'] === true ? undefined : { op: 'or', terms: [] };
  }
  const comparison = node['A_Expr'] as Node | undefined;
  if (comparison === undefined || !isOperator(comparison['name'], '=')) return undefined;
  const [left, right] = [comparison['lexpr'] as Node, comparison['rexpr'] as Node];
  switch (comparison['kind']) {
    case 'AEXPR_OP':
      return equality(left, right, scope);
    case 'AEXPR_IN':
      return membership(left, itemsOf(right) ?? [], scope);
    case 'AEXPR_OP_ANY':
      return membership(left, elementsOf(right) ?? [], scope);
    default:
      return undefined;
  }
}

function allOf(terms: readonly (Condition | undefined)[]): Condition | undefined {
  const known = terms.filter((term) => term !== undefined);
  if (known.length === 0) return undefined;
  return { op: 'and', terms: known.flatMap((term) => (term.op === 'and' ? term.terms : [term])) };
}

/** Alternatives of one column are a list of its values. */
function anyOf(terms: readonly (Condition | undefined)[]): Condition | undefined {
  const known = terms.filter((term) => term !== undefined);
  if (known.length < terms.length) return undefined;
  const [first] = known;
  const equals = known.filter((term) => term.op === 'equal');
  if (first?.op !== 'equal' || first.columns.length > 1 || equals.some((term) => term.columns.join() !== first.columns.join())) {
    return { op: 'or', terms: known };
  }
  if (equals.length < known.length) return { op: 'or', terms: known };
  const types = [...new Set(equals.flatMap((term) => term.types))];
  return { op: 'equal', columns: first.columns, values: equals.reduce((sum, term) => sum + term.values, 0), types };
}

function equality(left: Node, right: Node, scope: Scope): Condition | undefined {
  const [lefts, rights] = [rowOf(left), rowOf(right)];
  if (lefts === undefined && rights === undefined) return equalPair(left, right, scope);
  // A star stands for several columns, so that those behind it are not where they seem to be.
  if (lefts?.length !== rights?.length || [left, right].some((side) => rowOf(side)?.some(isStar))) return undefined;
  return allOf((lefts as Node[]).map((item, index) => equalPair(item, (rights as Node[])[index] as Node, scope)));
}

function equalPair(left: Node, right: Node, scope: Scope): Condition | undefined {
  const [column, other] = columnOf(left, scope) === undefined ? [columnOf(right, scope), left] : [columnOf(left, scope), right];
  if (column === undefined) return undefined;
  const type = typeOf(other, scope);
  if (type !== undefined) return { op: 'equal', columns: [column], values: 1, types: [type] };
  const types = sourceTypesOf(other, scope);
  return types === undefined ? undefined : { op: 'equal', columns: [column], values: 1, types };
}

/** `column IN (…)` and `(a, b) IN ((…), (…))`. */
function membership(left: Node, items: readonly (Node | undefined)[], scope: Scope): Condition | undefined {
  const columns = (rowOf(left) ?? [left]).map((item) => columnOf(item, scope));
  if (items.length === 0 || columns.includes(undefined)) return undefined;
  const types = new Set<string>();
  for (const item of items) {
    const parts = rowOf(left) === undefined ? [item] : (rowOf(item) ?? []);
    if (parts.length !== columns.length) return undefined;
    for (const part of parts) {
      const type = typeOf(part, scope);
      if (type === undefined) return undefined;
      types.add(type);
    }
  }
  return { op: 'equal', columns: columns as string[], values: items.length, types: [...types] };
}

/** Elements of ARRAY[…] or of '{…}', each as a constant of its own. */
function elementsOf(node: Node): readonly (Node | undefined)[] | undefined {
  const cast = node['TypeCast'] as Node | undefined;
  if (cast !== undefined) {
    const type = cast['typeName'] as Node;
    const elements = type['arrayBounds'] === undefined ? undefined : elementsOf(cast['arg'] as Node);
    const single = { ...type, arrayBounds: undefined };
    return elements?.map((arg) => ({ TypeCast: { arg, typeName: single } }));
  }
  const array = node['A_ArrayExpr'] as Node | undefined;
  if (array !== undefined) return (array['elements'] ?? []) as Node[];
  const text = ((node['A_Const'] as Node | undefined)?.['sval'] as { sval?: string } | undefined)?.sval;
  // Commas inside quotes make the count too high, which is on the safe side.
  return text === undefined ? undefined : text.split(',').map((sval) => ({ A_Const: { sval: { sval } } }));
}

/** The name of a column of the target. In WHERE an unqualified name that the target has can be nobody else's. */
function columnOf(node: Node | undefined, scope: Scope): string | undefined {
  const fields = ((node?.['ColumnRef'] as Node | undefined)?.['fields'] as Node[] | undefined)?.map(nameOf);
  const column = fields?.at(-1);
  if (fields === undefined || column === undefined) return undefined;
  const [first, second] = fields;
  if (fields.length === 1) return scope.source === undefined ? column : undefined;
  if (fields.length === 2) return first === scope.target ? column : undefined;
  return fields.length === 3 && first === scope.schema && second === scope.target ? column : undefined;
}

function sourceTypesOf(node: Node, { source, target }: Scope): readonly string[] | undefined {
  const fields = ((node['ColumnRef'] as Node | undefined)?.['fields'] as Node[] | undefined)?.map(nameOf);
  if (source === undefined || source.alias === target || fields?.length !== 2 || fields[0] !== source.alias) return undefined;
  const types = source.columns.get(fields[1] ?? '');
  return types === undefined || types.length === 0 ? undefined : types;
}

/** The type of a constant or parameter, as Condition writes it; undefined for anything that is computed. */
function typeOf(node: Node | undefined, scope: Scope): string | undefined {
  const constant = node?.['A_Const'] as Node | undefined;
  if (constant !== undefined) {
    if (constant['ival'] !== undefined) return 'int';
    if (constant['fval'] !== undefined) return 'numeric';
    if (constant['boolval'] !== undefined) return 'bool';
    // Under transform_null_equals it means IS NULL, which any number of rows may meet.
    if (constant['isnull'] === true) return undefined;
    return constant['bsval'] === undefined ? 'unknown' : 'bit';
  }
  const parameter = node?.['ParamRef'] as { number?: number } | undefined;
  if (parameter !== undefined) {
    const { number = 0 } = parameter;
    const { types, isRepeated } = scope.parameters;
    return types[number - 1] ?? `$${number}${isRepeated(number) ? '+' : ''}`;
  }
  const sign = node?.['A_Expr'] as Node | undefined;
  // -1::bigint is the negative of a cast; a sign before anything else may make another type of it.
  if (sign?.['lexpr'] === undefined && isOperator(sign?.['name'], '-')) return typeOfCast(sign?.['rexpr'] as Node);
  return typeOfCast(node);
}

function typeOfCast(node: Node | undefined): string | undefined {
  const cast = node?.['TypeCast'] as Node | undefined;
  if (cast === undefined) return undefined;
  let inner = cast['arg'] as Node;
  // A chain of casts may be longer than JavaScript's stack.
  while (inner['TypeCast'] !== undefined) inner = (inner['TypeCast'] as Node)['arg'] as Node;
  return inner['A_Const'] === undefined && inner['ParamRef'] === undefined ? undefined : typeText(cast['typeName'] as Node);
}

/** "pg_catalog.int4", and ".uuid" without a schema; undefined for arrays and SETOF. */
export function typeText(type: Node): string | undefined {
  if (type['arrayBounds'] !== undefined || type['setof'] === true) return undefined;
  const names = ((type['names'] ?? []) as Node[]).map((name) => nameOf(name) ?? '');
  return names.length === 1 ? `.${names[0]}` : names.join('.');
}

function isOperator(name: unknown, operator: string): boolean {
  const names = ((name ?? []) as Node[]).map(nameOf);
  return names.at(-1) === operator && (names.length === 1 || (names.length === 2 && names[0] === 'pg_catalog'));
}

function rowOf(node: Node | undefined): Node[] | undefined {
  return (node?.['RowExpr'] as Node | undefined)?.['args'] as Node[] | undefined;
}

function isStar(node: Node): boolean {
  const fields = ((node['ColumnRef'] ?? node['A_Indirection']) as { fields?: Node[]; indirection?: Node[] } | undefined) ?? {};
  return (fields.fields ?? fields.indirection ?? []).some((field) => field['A_Star'] !== undefined);
}

function itemsOf(node: Node | undefined): Node[] | undefined {
  return (node?.['List'] as Node | undefined)?.['items'] as Node[] | undefined;
}

function nameOf(node: Node): string | undefined {
  return (node['String'] as { sval?: string } | undefined)?.sval;
}
