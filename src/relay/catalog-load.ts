/** Reads a whole catalog snapshot through one connection, in one transaction, row by row. */
import {
  Catalog,
  rowEvents,
  type CatalogData,
  type CatalogFunction,
  type CatalogKeyColumn,
  type CatalogOperator,
  type CatalogReference,
  type CatalogRelation,
  type CatalogType,
  type QualifiedName,
  type RelationKind,
} from '../sql/catalog.ts';
import { runsText } from '../sql/functions.ts';
import type { SideConnection, Row } from './side-connection.ts';
import { loadDetails, triggerEvents } from './catalog-details.ts';
import * as queries from './catalog-queries.ts';

const kinds: Readonly<Record<string, RelationKind>> = {
  r: 'table', p: 'partitioned', v: 'view', m: 'materialized', f: 'foreign', S: 'sequence', i: 'index', I: 'index',
};
/** pg_rewrite.ev_type to bits. */
const ruleBits: Readonly<Record<string, number>> = { 2: rowEvents.update, 3: rowEvents.insert, 4: rowEvents.delete };

/** A relation while it is put together. */
type Draft = Omit<CatalogRelation, 'keys' | 'ruleEvents'> & {
  keys?: CatalogKeyColumn[][];
  ruleEvents?: number;
  parents?: number[];
  uses?: number[];
  ruleUses?: number[];
  readFunctions?: QualifiedName[];
  writeFunctions?: QualifiedName[];
  triggers?: { events: number; runs: QualifiedName }[];
  references?: CatalogReference[];
};

/** All or nothing: what cannot be read fails the load. The connection stands outside a transaction before and after. */
export async function loadCatalog(connection: SideConnection, hasDetails = false): Promise<Catalog> {
  await connection.rows('begin isolation level repeatable read read only');
  try {
    const data = await new Loader(connection).load();
    return new Catalog(hasDetails ? { ...data, details: await loadDetails(connection) } : data);
  } finally {
    if (!connection.isBroken) await connection.rows('rollback');
  }
}

class Loader {
  readonly #connection: SideConnection;
  readonly #relations = new Map<number, Draft>();
  /** Names that many relations share are one object. */
  readonly #names = new Map<string, QualifiedName>();

  constructor(connection: SideConnection) {
    this.#connection = connection;
  }

  async load(): Promise<CatalogData> {
    const schemas = (await this.#connection.rows(queries.schemas)).map(([name]) => String(name));
    await this.#connection.each(queries.relations, ([id, schema, name, kind]) => {
      this.#relations.set(Number(id), { id: Number(id), schema: this.#shared(schema), name: String(name), kind: kinds[String(kind)] ?? 'table' });
    });
    await this.#loadKeys();
    await this.#loadTies();
    await this.#loadCode();
    return {
      relations: [...this.#relations.values()],
      schemas,
      functions: await this.#functions(),
      operators: await this.#operators(),
      ...(await this.#types()),
    };
  }

  async #loadKeys(): Promise<void> {
    let index: string | null | undefined;
    let columns: CatalogKeyColumn[] = [];
    let unusable: string | null | undefined;
    await this.#connection.each(queries.keys, ([id, relation, name, type, isUsable]) => {
      if (id !== index) {
        columns = [];
        index = id;
        this.#add(relation, (draft) => (draft.keys ??= []).push(columns));
      }
      columns.push({ name: String(name), type: this.#shared(type ?? 'other') });
      if (isUsable === 't' || unusable === id) return;
      unusable = id;
      const own = columns;
      this.#add(relation, (draft) => (draft.keys = draft.keys?.filter((key) => key !== own) ?? []));
    });
  }

  /** Inheritance, views, rules, foreign keys. */
  async #loadTies(): Promise<void> {
    await this.#connection.each(queries.inheritance, ([child, parent]) => this.#add(child, (draft) => (draft.parents ??= []).push(Number(parent))));
    await this.#connection.each(queries.indexes, ([index, table]) => this.#add(index, (draft) => (draft.uses ??= []).push(Number(table))));
    await this.#connection.each(queries.rules, ([relation, event]) => {
      this.#add(relation, (draft) => (draft.ruleEvents = (draft.ruleEvents ?? 0) | (ruleBits[String(event)] ?? 0)));
    });
    await this.#connection.each(queries.storedQueries, ([relation, event, used, schema, name]) => {
      this.#add(relation, (draft) => {
        if (used !== null) (event === '1' ? (draft.uses ??= []) : (draft.ruleUses ??= [])).push(Number(used));
        else (event === '1' ? (draft.readFunctions ??= []) : (draft.writeFunctions ??= [])).push(this.#name(schema, name));
      });
    });
    await this.#connection.each(queries.foreignKeys, ([referenced, from, onDelete, onUpdate, columns, fromColumns]) => {
      const reference: CatalogReference = {
        from: Number(from),
        columns: JSON.parse(columns ?? '[]') as string[],
        fromColumns: JSON.parse(fromColumns ?? '[]') as string[],
        onDelete: onDelete === 'c' ? 'delete' : onDelete === 'n' || onDelete === 'd' ? 'update' : 'none',
        onUpdate: onUpdate === 'c' || onUpdate === 'n' || onUpdate === 'd' ? 'update' : 'none',
      };
      this.#add(referenced, (draft) => (draft.references ??= []).push(reference));
    });
  }

  /** What runs when a relation is read or written. */
  async #loadCode(): Promise<void> {
    await this.#connection.each(queries.storedCalls, ([relation, event, schema, name]) => {
      const runs = this.#name(schema, name);
      this.#add(relation, (draft) => {
        if (event?.includes('r')) (draft.readFunctions ??= []).push(runs);
        if (event?.includes('w')) (draft.writeFunctions ??= []).push(runs);
      });
    });
    await this.#connection.each(queries.triggers, ([relation, type, schema, name]) => {
      this.#add(relation, (draft) => (draft.triggers ??= []).push({ events: triggerEvents(type), runs: this.#name(schema, name) }));
    });
  }

  async #functions(): Promise<CatalogFunction[]> {
    const functions: CatalogFunction[] = [];
    await this.#connection.each(queries.functions, ([schema, name, isUnary, takesRow, isTrusted, returnsSet]) => {
      functions.push({
        schema: this.#shared(schema),
        name: String(name),
        ...(isUnary === 't' && { isUnary: true as const }),
        ...(takesRow === 't' && { takesRow: true as const }),
        ...(isTrusted === 't' && !runsText(String(name)) && { isTrusted: true as const }),
        ...(returnsSet === 't' && { returnsSet: true as const }),
      });
    });
    return functions;
  }

  async #operators(): Promise<CatalogOperator[]> {
    const rows = await this.#connection.rows(queries.operators);
    return rows.map(([schema, name, functionSchema, functionName, isTrusted]) => ({
      schema: this.#shared(schema),
      name: String(name),
      runs: this.#name(functionSchema, functionName),
      ...(isTrusted === 't' && { isTrusted: true as const }),
    }));
  }

  async #types(): Promise<Pick<CatalogData, 'types' | 'implicitCasts'>> {
    const types = new Map<string, CatalogType & { runs?: QualifiedName[] }>();
    const implicitCasts = new Set<QualifiedName>();
    await this.#connection.each(queries.types, (row: Row) => {
      const [schema, name, functionSchema, functionName, context] = row;
      const key = `${schema}\0${name}`;
      const type = types.get(key) ?? { schema: this.#shared(schema), name: String(name) };
      types.set(key, type);
      if (functionName === null || functionName === undefined) return;
      const runs = this.#name(functionSchema, functionName);
      (type.runs ??= []).push(runs);
      if (context === 'i') implicitCasts.add(runs);
    });
    return { types: [...types.values()], implicitCasts: [...implicitCasts] };
  }

  #add(id: string | null | undefined, change: (draft: Draft) => void): void {
    const draft = this.#relations.get(Number(id));
    if (draft !== undefined) change(draft);
  }

  #name(schema: string | null | undefined, name: string | null | undefined): QualifiedName {
    const key = `${schema}\0${name}`;
    let known = this.#names.get(key);
    if (known === undefined) this.#names.set(key, (known = { schema: this.#shared(schema), name: String(name) }));
    return known;
  }

  readonly #texts = new Map<string, string>();

  /** One string for all that are equal: there are few schemas and many relations. */
  #shared(text: string | null | undefined): string {
    const value = String(text);
    const known = this.#texts.get(value);
    if (known !== undefined) return known;
    this.#texts.set(value, value);
    return value;
  }
}
