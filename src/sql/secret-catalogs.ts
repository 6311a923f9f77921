/** Catalogs that show credentials: which relations they are, and where the text alone tells that only harmless columns are read. */

type Node = { readonly [field: string]: unknown };

/** They show password hashes, connection strings with passwords, and the server's own files. */
export const secretRelations: ReadonlySet<string> = new Set([
  'pg_authid',
  'pg_shadow',
  'pg_user_mapping',
  'pg_user_mappings',
  'pg_hba_file_rules',
  'pg_ident_file_mappings',
  'pg_file_settings',
]);

/** Its connection strings stand in one column, and psql and pg_dump read the others. */
export const subscriptions = 'pg_subscription';

const harmlessColumn = /^(?:oid|tableoid|xmin|sub(?!conninfo)[a-z0-9]+)$/;

/** Whether subconninfo, or a whole row of pg_subscription, could be read: rather too often than too rarely. */
export function readsConnections(statement: Node): boolean {
  const aliases = new Set([subscriptions]);
  const columns: (readonly (string | undefined)[])[] = [];
  const stack: unknown[] = [statement];
  while (stack.length > 0) {
    const value = stack.pop();
    if (typeof value !== 'object' || value === null) continue;
    const { ColumnRef, RangeVar, JoinExpr, CopyStmt, A_Star, String: text } = value as Record<string, Node | undefined>;
    const copied = CopyStmt?.['relation'] as Node | undefined;
    if (A_Star !== undefined || text?.['sval'] === 'subconninfo' || copied?.['relname'] === subscriptions) return true;
    if (JoinExpr?.['isNatural'] === true || JoinExpr?.['alias'] !== undefined) return true;
    if (RangeVar?.['relname'] === subscriptions) {
      const alias = RangeVar['alias'] as { readonly aliasname?: string; readonly colnames?: unknown } | undefined;
      if (alias?.colnames !== undefined) return true;
      if (alias?.aliasname !== undefined) aliases.add(alias.aliasname);
    }
    if (ColumnRef !== undefined) columns.push(((ColumnRef['fields'] ?? []) as { String?: { sval?: string } }[]).map((field) => field.String?.sval));
    for (const child of Object.values(value)) stack.push(child);
  }
  return columns.some((fields) => {
    const [name = '', relation] = fields.toReversed();
    return relation === undefined ? aliases.has(name) : aliases.has(relation) && !harmlessColumn.test(name);
  });
}
