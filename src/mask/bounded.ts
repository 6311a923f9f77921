/** Whether a WHERE says which rows are meant: by constants for a unique column. Pure. */
import type { CatalogKey } from '../sql/catalog.ts';
import { constantOf, listOf, nodeOf, stringOf } from './tree.ts';

/** An AND-term fixes a unique column to constants. `alias`: of the table; where others stand beside it, its columns must be named with it. */
export function isBounded(where: unknown, keys: readonly CatalogKey[], alias: { readonly name: string; readonly isAlone: boolean }): boolean {
  const fixed = new Set(andTerms(where).flatMap((term) => fixedColumn(term, alias) ?? []));
  return keys.some((key) => key.length > 0 && key.every(({ name }) => fixed.has(name)));
}

export function andTerms(wrapped: unknown): readonly unknown[] {
  const and = nodeOf(wrapped, 'BoolExpr');
  return and?.['boolop'] === 'AND_EXPR' ? listOf(and['args']).flatMap(andTerms) : [wrapped];
}

/** The column that a term compares with constants; with `alias` given, one of that table. */
export function fixedColumn(term: unknown, alias?: { readonly name: string; readonly isAlone: boolean }): string | undefined {
  const expression = nodeOf(term, 'A_Expr');
  const names = listOf(expression?.['name']).map(stringOf);
  if (expression === undefined || names.join('.') !== '=') return undefined;
  const [left, right] = [expression['lexpr'], expression['rexpr']];
  const column = nodeOf(left, 'ColumnRef') ?? (expression['kind'] === 'AEXPR_OP' ? nodeOf(right, 'ColumnRef') : undefined);
  const other = nodeOf(left, 'ColumnRef') === undefined ? left : right;
  const isFixed = expression['kind'] === 'AEXPR_IN' ? listOf(nodeOf(other, 'List')?.['items']).every(isConstant) : expression['kind'] === 'AEXPR_OP' && isConstant(other);
  const fields = listOf(column?.['fields']).map(stringOf);
  const isOwn = alias === undefined || (fields.length === 1 ? alias.isAlone : fields.at(-2) === alias.name);
  return isFixed && isOwn ? fields.at(-1) : undefined;
}

function isConstant(wrapped: unknown): boolean {
  const cast = nodeOf(wrapped, 'TypeCast');
  if (cast !== undefined) return isConstant(cast['arg']);
  return nodeOf(wrapped, 'ParamRef') !== undefined || constantOf(wrapped) !== undefined;
}
