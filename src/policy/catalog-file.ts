/** What a database holds, as a policy test writes it down: tables with their keys, views, functions. Pure. */
import * as z from 'zod/mini';
import { Catalog, type CatalogRelation } from '../sql/catalog.ts';
import type { SessionNames } from '../sql/resolve.ts';

const QualifiedName = z.string().check(z.regex(/^[^.]+\.[^.]+$/, 'write schema.name, as in public.orders'));
const Key = z.record(z.string(), z.string());

export const CatalogFile = z.strictObject({
  /** The search_path of sessions. */
  path: z._default(z.array(z.string()), ['public']),
  /** Keys: the columns of each unique key with their types, as in `keys: [{ id: bigint }]`. */
  tables: z._default(z.record(QualifiedName, z.nullable(z.strictObject({ keys: z._default(z.array(Key), []) }))), {}),
  /** View → what it reads. */
  views: z._default(z.record(QualifiedName, z.array(QualifiedName)), {}),
  functions: z._default(z.array(QualifiedName), []),
});
export type CatalogFile = z.infer<typeof CatalogFile>;

/** Types as PostgreSQL's catalog names them. */
const typeNames: Readonly<Record<string, string>> = {
  smallint: 'int2', int: 'int4', integer: 'int4', bigint: 'int8', real: 'float4', 'double precision': 'float8',
  boolean: 'bool', decimal: 'numeric', varchar: 'varchar', 'character varying': 'varchar', timestamptz: 'timestamptz',
};

/** Without a file nothing is known: every relation is "?.name". */
export function sessionNames(file: CatalogFile | undefined): SessionNames {
  if (file === undefined) return { catalog: undefined, path: undefined };
  const ids = new Map([...Object.keys(file.tables), ...Object.keys(file.views)].map((name, index) => [name, index + 1]));
  const tables = Object.entries(file.tables).map(([name, table]) => ({
    ...identify(name, ids),
    kind: 'table' as const,
    keys: (table?.keys ?? []).map((key) => Object.entries(key).map(([column, type]) => ({ name: column, type: typeNames[type] ?? type }))),
  }));
  const views = Object.entries(file.views).map(([name, reads]): CatalogRelation => ({
    ...identify(name, ids),
    kind: 'view',
    uses: reads.flatMap((one) => ids.get(one) ?? []),
  }));
  const functions = file.functions.map((name) => split(name));
  const schemas = new Set(['pg_catalog', ...file.path, ...[...ids.keys()].map((name) => split(name).schema), ...functions.map(({ schema }) => schema)]);
  const data = { relations: [...tables, ...views], schemas: [...schemas], functions, operators: [], types: [], implicitCasts: [] };
  return { catalog: new Catalog(data), path: file.path };
}

function identify(name: string, ids: ReadonlyMap<string, number>): { id: number; schema: string; name: string } {
  return { id: ids.get(name) ?? 0, ...split(name) };
}

function split(name: string): { schema: string; name: string } {
  const dot = name.indexOf('.');
  return { schema: name.slice(0, dot), name: name.slice(dot + 1) };
}
