/** What describe_schema asks the catalog, in a way that masks admit, and what it makes of the rows. */
import type { SqlRow } from '../sql-text.ts';

/** Relations in one answer. */
export const relationsMax = 40;
const columnsMax = 1999;
const commentLengthMax = 300;

/** $1: a schema or NULL, $2: a relation's name or NULL. One row for each column, with what is said of the relation in each. */
export const columnsSql = `
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text, pg_catalog.obj_description(c.oid, 'pg_class'),
       a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull::pg_catalog.text, pg_catalog.col_description(c.oid, a.attnum::pg_catalog.int4)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND ($1::pg_catalog.text IS NULL OR n.nspname = $1::pg_catalog.text) AND ($2::pg_catalog.text IS NULL OR c.relname = $2::pg_catalog.text)
ORDER BY n.nspname, c.relname, a.attnum
LIMIT ${columnsMax + 1}`;

/** With the same parameters: one row for each key. */
export const keysSql = `
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, k.contype::pg_catalog.text, pg_catalog.pg_get_constraintdef(k.oid)
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'u', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND ($1::pg_catalog.text IS NULL OR n.nspname = $1::pg_catalog.text) AND ($2::pg_catalog.text IS NULL OR c.relname = $2::pg_catalog.text)
ORDER BY n.nspname, c.relname, k.contype, k.conname
LIMIT ${columnsMax}`;

export type DescribedColumn = { readonly name: string; readonly type: string; readonly nullable: boolean; readonly comment?: string; mask?: string };
export type DescribedRelation = {
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly comment?: string;
  readonly columns: DescribedColumn[];
  readonly keys: string[];
};
export type Description = { readonly relations: readonly DescribedRelation[]; readonly isCut: boolean };

const kinds: Readonly<Record<string, string>> = { r: 'table', p: 'table', v: 'view', m: 'materialized view', f: 'foreign table' };

export function describeRows(columns: readonly SqlRow[], keys: readonly SqlRow[]): Description {
  const relations = new Map<string, DescribedRelation>();
  let isCut = columns.length > columnsMax;
  for (const [schema, name, kind, comment, column, type, isNotNull, columnComment] of columns) {
    const id = idOf(schema, name);
    let relation = relations.get(id);
    if (relation === undefined) {
      if (relations.size >= relationsMax) {
        isCut = true;
        break;
      }
      relation = { schema: schema ?? '', name: name ?? '', kind: kinds[kind ?? ''] ?? 'table', ...said(comment), columns: [], keys: [] };
      relations.set(id, relation);
    }
    relation.columns.push({ name: column ?? '', type: type ?? '', nullable: isNotNull !== 'true', ...said(columnComment) });
  }
  for (const [schema, name, , definition] of keys) if (definition) relations.get(idOf(schema, name))?.keys.push(definition);
  return { relations: [...relations.values()], isCut };
}

/** `masked`: "schema.relation.column" and the kind of its mask. */
export function markMasks({ relations }: Description, masked: ReadonlyMap<string, string>): void {
  for (const { schema, name, columns } of relations) {
    for (const column of columns) {
      const kind = masked.get(`${schema}.${name}.${column.name}`);
      if (kind !== undefined) column.mask = kind;
    }
  }
}

function idOf(schema: string | null | undefined, name: string | null | undefined): string {
  return JSON.stringify([schema, name]);
}

function said(comment: string | null | undefined): { comment?: string } {
  return comment ? { comment: comment.slice(0, commentLengthMax) } : {};
}

export function formatRelation({ schema, name, kind, comment, columns, keys }: DescribedRelation): string {
  const lines = columns.map((column) => {
    const notes = [!column.nullable && 'not null', column.mask && `masked: ${column.mask}`, column.comment && JSON.stringify(column.comment)].filter(Boolean);
    return `  ${column.name} ${column.type}${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`;
  });
  return [`${kind} ${schema}.${name}${comment === undefined ? '' : ` ${JSON.stringify(comment)}`}`, ...lines, ...keys.map((key) => `  ${key}`)].join('\n');
}
