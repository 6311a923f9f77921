/** GROUP BY the key of a table: the server knows that the other columns follow from it, but not of a sub-select. They are written out. */
import { quoteName } from '../sql/names.ts';
import type { Change, Tokens } from './edits.ts';
import { isStar, type Source } from './columns.ts';
import { incomparableTypes } from './lists.ts';
import { listOf, locationOf, nodeOf, stringOf, type Node } from './tree.ts';

export function groupByKeys(select: Node, sources: readonly Source[], { tokens }: { readonly tokens: Tokens }): readonly Change[] {
  const groups = listOf(select['groupClause']).map((item) => nodeOf(item, 'ColumnRef'));
  const columns = groups.map((node) => (node === undefined ? undefined : listOf(node['fields']).map(stringOf)));
  // Sets of groups have no one key.
  if (groups.length === 0 || listOf(select['groupClause']).some((item) => nodeOf(item, 'GroupingSet') !== undefined)) return [];
  const first = groups.find((node) => node !== undefined);
  const added = sources.flatMap((source) => columnsFor(source, columns, select));
  if (added.length === 0 || first === undefined) return [];
  const start = tokens.start(tokens.indexAt(locationOf(first) ?? -1));
  return [{ start, end: start, text: added.map((column) => `${column}, `).join('') }];
}

function columnsFor({ alias, found }: Source, groups: readonly (readonly (string | undefined)[] | undefined)[], select: Node): readonly string[] {
  const key = found.planned?.access === 'masked' ? found.details?.primaryKey : undefined;
  const isGrouped = (column: string) =>
    groups.some((names) => names !== undefined && names.at(-1) === column && (names.length === 1 || names.at(-2) === alias));
  if (key === undefined || key.length === 0 || !key.every(isGrouped)) return [];
  const used = usedColumns(select, alias);
  return (found.columns ?? [])
    .filter((column) => used.has('*') || used.has(column))
    .filter((column) => !isGrouped(column) && !incomparableTypes.has(found.details?.columns.find(({ name }) => name === column)?.baseType ?? ''))
    .map((column) => `${quoteName(alias)}.${quoteName(column)}`);
}

/** Names that the select speaks of, bare or of this alias, sub-selects included; "*" for all. What it groups by already counts as well. */
function usedColumns(select: Node, alias: string): ReadonlySet<string> {
  const used = new Set<string>();
  const stack: unknown[] = ['targetList', 'havingClause', 'sortClause', 'windowClause', 'distinctClause'].map((field) => select[field]);
  while (stack.length > 0) {
    const value = stack.pop();
    if (Array.isArray(value)) stack.push(...(value as unknown[]));
    else if (typeof value === 'object' && value !== null) {
      const fields = listOf(nodeOf(value, 'ColumnRef')?.['fields']);
      const isOfAlias = fields.length === 1 || stringOf(fields.at(-2)) === alias;
      if (fields.length > 0 && isOfAlias) {
        const name = isStar(fields.at(-1)) ? '*' : stringOf(fields.at(-1));
        // The name of the relation alone is its whole row.
        used.add(fields.length === 1 && name === alias ? '*' : (name ?? '*'));
      }
      stack.push(...Object.values(value));
    }
  }
  return used;
}
