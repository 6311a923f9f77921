/** SELECT set_config(name, …) FROM pg_settings WHERE name = '…': how pg_dump sets what an older server may not have. */

type Node = { readonly [field: string]: unknown };

/** Such a statement with the constant in place of the column; any other one as it is. */
export function nameSetting(statement: Node): Node {
  const select = statement['SelectStmt'] as Node | undefined;
  if (select === undefined || !Object.keys(select).every((key) => parts.has(key)) || !isOfSettings(select['fromClause'])) return statement;
  const [target, ...others] = (select['targetList'] ?? []) as Node[];
  const result = target?.['ResTarget'] as Node | undefined;
  const call = (result?.['val'] as Node | undefined)?.['FuncCall'] as Node | undefined;
  const [name, ...values] = (call?.['args'] ?? []) as Node[];
  const constant = constantName(select['whereClause']);
  if (others.length > 0 || lastName(call?.['funcname']) !== 'set_config' || !isNameColumn(name) || constant === undefined) return statement;
  const named = { ResTarget: { ...result, val: { FuncCall: { ...call, args: [constant, ...values] } } } };
  return { SelectStmt: { ...select, targetList: [named] } };
}

const parts = new Set(['targetList', 'fromClause', 'whereClause', 'limitOption', 'op']);

function isOfSettings(from: unknown): boolean {
  const [item, ...others] = (from ?? []) as Node[];
  const { relname, schemaname = 'pg_catalog', alias } = { ...(item?.['RangeVar'] as Node | undefined) };
  return others.length === 0 && relname === 'pg_settings' && schemaname === 'pg_catalog' && alias === undefined;
}

function constantName(where: unknown): Node | undefined {
  const { kind, name, lexpr, rexpr } = { ...((where as Node | undefined)?.['A_Expr'] as Node | undefined) };
  const constant = (rexpr as Node | undefined)?.['A_Const'] as Node | undefined;
  return kind === 'AEXPR_OP' && lastName(name) === '=' && isNameColumn(lexpr as Node | undefined) && constant?.['sval'] !== undefined ? (rexpr as Node) : undefined;
}

function isNameColumn(node: Node | undefined): boolean {
  const fields = (node?.['ColumnRef'] as Node | undefined)?.['fields'];
  return Array.isArray(fields) && fields.length === 1 && lastName(fields) === 'name';
}

function lastName(names: unknown): unknown {
  return (((names ?? []) as Node[]).at(-1)?.['String'] as Node | undefined)?.['sval'];
}
