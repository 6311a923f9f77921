/** What a database holds, as a policy test writes it down: tables with their keys, views, functions. Pure. */
import * as z from 'zod/mini';
import { Catalog, type CatalogData, type CatalogFunction, type CatalogRelation } from '../sql/catalog.ts';
import type { ColumnDetails } from '../sql/catalog-details.ts';
import { quoteName } from '../sql/names.ts';
import { newestGrammar } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';
import { catalogRelations, functions, informationRelations, rowFunctions, setFunctions, unaryFunctions } from './builtins.ts';

const QualifiedName = z.string().check(z.regex(/^[^.]+\.[^.]+$/, 'write schema.name, as in public.orders'));
const Key = z.record(z.string(), z.string());

const Table = z.strictObject({
  keys: z._default(z.array(Key), []),
  /** All of them, in order, with their types: without them nobody can tell what masks do to it. */
  columns: z.optional(z.record(z.string(), z.string())),
});

export const CatalogFile = z.strictObject({
  /** The search_path of sessions. */
  path: z._default(z.array(z.string()), ['public']),
  /** Keys: the columns of each unique key with their types, as in `keys: [{ id: bigint }]`. */
  tables: z._default(z.record(QualifiedName, z.nullable(Table)), {}),
  /** View → what it reads. */
  views: z._default(z.record(QualifiedName, z.array(QualifiedName)), {}),
  functions: z._default(z.array(QualifiedName), []),
});
export type CatalogFile = z.infer<typeof CatalogFile>;

/** Types as PostgreSQL's catalog names them. */
const typeNames: Readonly<Record<string, string>> = {
  smallint: 'int2', int: 'int4', integer: 'int4', bigint: 'int8', real: 'float4', 'double precision': 'float8',
  boolean: 'bool', decimal: 'numeric', varchar: 'varchar', 'character varying': 'varchar', timestamptz: 'timestamptz',
  'timestamp with time zone': 'timestamptz', 'timestamp without time zone': 'timestamp', char: 'bpchar', character: 'bpchar',
};

/** By pg_type.typcategory; of what is not here no mask shows more than NULL. */
const categories: Readonly<Record<string, string>> = {
  int2: 'N', int4: 'N', int8: 'N', float4: 'N', float8: 'N', numeric: 'N', bool: 'B', text: 'S', varchar: 'S', bpchar: 'S', name: 'S',
  date: 'D', time: 'D', timetz: 'D', timestamp: 'D', timestamptz: 'D', interval: 'T', inet: 'I', cidr: 'I', uuid: 'U', json: 'U', jsonb: 'U', bytea: 'U', xml: 'U',
};

function columnsOf(columns: Readonly<Record<string, string>>): ColumnDetails[] {
  return Object.entries(columns).map(([name, written], index) => {
    const element = written.replace(/(?:\[\])+$/, '').replace(/ ?\(.*\)$/, '');
    const isArray = written.endsWith(']');
    const known = typeNames[element] ?? element;
    const baseType = isArray ? `_${known}` : known;
    return { name, number: index + 1, type: `pg_catalog.${quoteName(baseType)}`, baseType, typeKind: 'b', category: isArray ? 'A' : (categories[known] ?? 'U') };
  });
}

/** Without a file the server's own functions and catalogs are known, and nothing else: other tables are "?.name". */
export function sessionNames(file: CatalogFile = emptyFile): SessionNames {
  const names = [...Object.keys(file.tables), ...Object.keys(file.views)];
  const ids = new Map(names.map((name, index) => [name, index + 1]));
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
  const own = file.functions.map(split);
  const relations = Object.entries(file.tables).flatMap(([name, table]) => (table?.columns === undefined ? [] : [{ id: ids.get(name) ?? 0, columns: columnsOf(table.columns) }]));
  const schemas = new Set(['pg_catalog', 'information_schema', ...file.path, ...names.map((name) => split(name).schema), ...own.map(({ schema }) => schema)]);
  const data: CatalogData = {
    relations: [...tables, ...views, ...builtinRelations(names.length + 1)],
    schemas: [...schemas],
    functions: [...builtinFunctions(), ...own.map((one) => ({ ...one, isUnary: true as const, takesRow: true as const }))],
    operators: [],
    types: [],
    implicitCasts: [],
    ...(relations.length > 0 && { details: { relations, types: [], pureFunctions: [], unnamedCode: [], serverMajor: newestGrammar, role: { name: 'gate', isSuperuser: true, readsAllData: true } } }),
  };
  return { catalog: new Catalog(data), path: ['pg_catalog', ...file.path] };
}

const emptyFile: CatalogFile = { path: ['public'], tables: {}, views: {}, functions: [] };

function builtinFunctions(): CatalogFunction[] {
  const sets = new Set(words(setFunctions));
  const of = (text: string, more: Partial<CatalogFunction>) =>
    words(text).map((name) => ({ schema: 'pg_catalog', name, isTrusted: true as const, ...more, ...(sets.has(name) && { returnsSet: true as const }) }));
  return [...of(functions, {}), ...of(unaryFunctions, { isUnary: true }), ...of(rowFunctions, { isUnary: true, takesRow: true })];
}

function builtinRelations(firstId: number): CatalogRelation[] {
  const of = (schema: string, text: string) => words(text).map((name) => ({ schema, name }));
  const all = [...of('pg_catalog', catalogRelations), ...of('information_schema', informationRelations)];
  return all.map((name, index) => ({ ...name, id: firstId + index, kind: 'view' }));
}

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

function identify(name: string, ids: ReadonlyMap<string, number>): { id: number; schema: string; name: string } {
  return { id: ids.get(name) ?? 0, ...split(name) };
}

function split(name: string): { schema: string; name: string } {
  const dot = name.indexOf('.');
  return { schema: name.slice(0, dot), name: name.slice(dot + 1) };
}
