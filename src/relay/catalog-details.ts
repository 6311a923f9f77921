/** Reads what a catalog snapshot holds beyond names: columns, types, and the code that is stored with them. */
import { rowEvents } from '../sql/catalog.ts';
import type { CatalogDetails, ColumnDetails, RelationDetails, StoredExpression, TriggerDetails, TypeDetails } from '../sql/catalog-details.ts';
import * as queries from './details-queries.ts';
import type { Row, SideConnection } from './side-connection.ts';

/** Bits of pg_trigger.tgtype to ours. */
const triggerBits = [[4, rowEvents.insert], [8, rowEvents.delete], [16, rowEvents.update], [32, rowEvents.truncate]] as const;

/** Of pg_trigger.tgtype. */
export function triggerEvents(type: string | null | undefined): number {
  return triggerBits.reduce((bits, [bit, event]) => ((Number(type) & bit) === 0 ? bits : bits | event), 0);
}

type Draft<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] | undefined ? E[] | Extract<T[K], undefined> : T[K] };

/** In the transaction that is open. Fails as the connection does. */
export async function loadDetails(connection: SideConnection): Promise<CatalogDetails> {
  const relations = await loadRelations(connection);
  await loadCode(connection, relations);
  const [role] = await connection.rows(queries.role);
  return {
    relations: [...relations.values()],
    types: await loadTypes(connection),
    pureFunctions: await firstColumn(connection, queries.pureFunctions),
    unnamedCode: await firstColumn(connection, queries.unnamedCode),
    serverMajor: Math.floor(Number(role?.[3]) / 10_000),
    role: { name: String(role?.[0]), isSuperuser: role?.[1] === 't', readsAllData: role?.[2] === 't' },
  };
}

type Relations = Map<string, Draft<RelationDetails>>;

async function loadRelations(connection: SideConnection): Promise<Relations> {
  const relations: Relations = new Map();
  await connection.each(queries.relations, ([id, definition, isBarrier, key, isOwned, partitionKey]) => {
    relations.set(String(id), {
      id: Number(id),
      columns: [],
      ...(text(definition) !== undefined && { definition: String(definition) }),
      ...(isBarrier === 't' && { isBarrier: true as const }),
      ...(text(key) !== undefined && { primaryKey: JSON.parse(String(key)) as string[] }),
      ...(text(partitionKey) !== undefined && { partitionKey: JSON.parse(String(partitionKey)) as string[] }),
      ...(isOwned === 't' && { isOwned: true as const }),
    });
  });
  await connection.each(queries.columns, (row) => relations.get(String(row[0]))?.columns.push(columnOf(row)));
  return relations;
}

function columnOf([, name, number, type, baseType, typeKind, category, isDomain, isNotNull, generated, expression, isReadable]: Row): ColumnDetails {
  return {
    name: String(name),
    number: Number(number),
    type: String(type),
    baseType: String(baseType),
    typeKind: String(typeKind),
    category: String(category),
    ...(isDomain === 't' && { isDomain: true as const }),
    ...(isNotNull === 't' && { isNotNull: true as const }),
    ...(text(expression) !== undefined && (text(generated) ? { generated: String(expression) } : { default: String(expression) })),
    ...(isReadable !== 't' && { isUnreadable: true as const }),
  };
}

async function loadCode(connection: SideConnection, relations: Relations): Promise<void> {
  const add = (id: string | null | undefined, change: (draft: Draft<RelationDetails>) => void) => {
    const draft = relations.get(String(id));
    if (draft !== undefined) change(draft);
  };
  await connection.each(queries.checks, ([id, name, sql, isValid]) =>
    add(id, (draft) => (draft.checks ??= []).push({ name: String(name), sql: String(sql), ...(isValid !== 't' && { isUnheld: true as const }) })));
  await connection.each(queries.indexExpressions, ([id, name, ...texts]) => {
    for (const sql of texts) if (text(sql) !== undefined) add(id, (draft) => (draft.indexExpressions ??= []).push({ name: String(name), sql: String(sql) }));
  });
  await connection.each(queries.uniques, ([id, name, isNullEqual, isValid, columns]) =>
    add(id, (draft) => (draft.uniques ??= []).push({ name: String(name), columns: JSON.parse(String(columns)) as string[], ...(isNullEqual === 't' && { isNullEqual: true as const }), ...(isValid !== 't' && { isUnheld: true as const }) })));
  await connection.each(queries.policies, ([id, name, command, using, check]) => {
    const reads = command === 'r' || command === '*' || command === 'w' || command === 'd';
    for (const [sql, isRead] of [[using, reads], [check, false]] as const) {
      if (text(sql) !== undefined) add(id, (draft) => (draft.policies ??= []).push({ name: String(name), sql: String(sql), reads: isRead, writes: command !== 'r' }));
    }
  });
  await connection.each(queries.triggers, ([id, name, type, schema, run, when, columns]) => {
    const trigger: TriggerDetails = {
      name: String(name),
      events: triggerEvents(type),
      runs: { schema: String(schema), name: String(run) },
      ...(text(columns) !== undefined && { columns: JSON.parse(String(columns)) as string[] }),
      ...(text(when) !== undefined && { when: String(when) }),
    };
    add(id, (draft) => (draft.triggers ??= []).push(trigger));
  });
}

async function loadTypes(connection: SideConnection): Promise<TypeDetails[]> {
  const types = new Map<string, Draft<TypeDetails>>();
  await connection.each(queries.types, ([id, arrayId, schema, name, kind, isTrusted, base]) => {
    types.set(String(id), {
      id: Number(id),
      arrayId: Number(arrayId),
      schema: String(schema),
      name: String(name),
      kind: String(kind),
      ...(isTrusted === 't' && { isTrusted: true as const }),
      ...(text(base) !== undefined && { base: String(base) }),
    });
  });
  const checks = new Map<string, StoredExpression[]>();
  await connection.each(queries.domainChecks, ([id, name, sql]) => {
    checks.set(String(id), [...(checks.get(String(id)) ?? []), { name: String(name), sql: String(sql) }]);
  });
  const below = new Map((await connection.rows(queries.domainBases)).map(([id, base]) => [String(id), String(base)]));
  for (const id of below.keys()) {
    const all: StoredExpression[] = [];
    for (let at: string | undefined = id; at !== undefined; at = below.get(at)) all.push(...(checks.get(at) ?? []));
    const type = types.get(id);
    if (type !== undefined && all.length > 0) type.checks = all;
  }
  await connection.each(queries.fields, ([, id, name, baseType]) => {
    const type = types.get(String(id));
    if (type !== undefined) (type.fields ??= []).push({ name: String(name), baseType: String(baseType) });
  });
  return [...types.values()];
}

async function firstColumn(connection: SideConnection, sql: string): Promise<string[]> {
  return (await connection.rows(sql)).map(([value]) => String(value));
}

function text(value: string | null | undefined): string | undefined {
  return value === null || value === undefined || value === '' ? undefined : value;
}
