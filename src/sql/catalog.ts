/** A snapshot of a database's catalog: what names stand for, and what reading or writing a relation leads to. Pure. */
import type { CatalogDetails, RelationDetails } from './catalog-details.ts';

/** Objects below this OID came with the server. */
export const firstUserId = 16_384;

export type RelationKind = 'table' | 'partitioned' | 'view' | 'materialized' | 'foreign' | 'sequence' | 'index' | 'composite';

/** What happens to rows, as bits of `ruleEvents` and of triggers' `events`. */
export const rowEvents = { insert: 1, update: 2, delete: 4, truncate: 8 } as const;

export type QualifiedName = { readonly schema: string; readonly name: string };

export type CatalogRelation = QualifiedName & {
  readonly id: number;
  readonly kind: RelationKind;
  /** Unique, immediate, complete, of plain columns: no two rows of this very relation agree in all of them. */
  readonly keys?: readonly CatalogKey[];
  /** Inheritance and partition parents. */
  readonly parents?: readonly number[];
  /** Relations that its definition reads: bodies of views, row security policies. An index "uses" its table. */
  readonly uses?: readonly number[];
  /** Events (bits) that a rule answers, and the relations that these rules read or write. */
  readonly ruleEvents?: number;
  readonly ruleUses?: readonly number[];
  /** Enabled triggers that are not the server's own, with the events (bits) that they answer. */
  readonly triggers?: readonly { readonly events: number; readonly runs: QualifiedName }[];
  /** Functions that run when it is read: of views and policies, those of pg_catalog included. */
  readonly readFunctions?: readonly QualifiedName[];
  /** Functions of users that run on INSERT and UPDATE: of defaults, checks, generated columns, index expressions. */
  readonly writeFunctions?: readonly QualifiedName[];
  /** Foreign keys of others that point here and change rows there. */
  readonly references?: readonly CatalogReference[];
};

export type CatalogKey = readonly CatalogKeyColumn[];
/** `type`: bare for pg_catalog's base types; domains stand as their base type. */
export type CatalogKeyColumn = { readonly name: string; readonly type: string };

export type CatalogReference = {
  /** The relation that has the foreign key. */
  readonly from: number;
  readonly columns: readonly string[];
  /** Of the relation that has it, in no order. */
  readonly fromColumns?: readonly string[];
  readonly onDelete: 'none' | 'delete' | 'update';
  readonly onUpdate: 'none' | 'update';
};

export type CatalogFunction = QualifiedName & {
  /** Callable with one argument; with one that is a row of a table. */
  readonly isUnary?: true;
  readonly takesRow?: true;
  readonly returnsSet?: true;
  /** Belongs to an extension whose code is known to run no SQL of others. */
  readonly isTrusted?: true;
};

/** Outside pg_catalog. `runs`: the function behind it. */
export type CatalogOperator = QualifiedName & { readonly runs: QualifiedName; readonly isTrusted?: true };
/** A type outside pg_catalog, or one to which users have made casts. `runs`: their functions, and those of its checks. */
export type CatalogType = QualifiedName & { readonly runs?: readonly QualifiedName[] };

/** Plain JSON, as loaded; may stand in a file for explanations without a server. */
export type CatalogData = {
  readonly relations: readonly CatalogRelation[];
  /** Schemas that the relay's role may look into. */
  readonly schemas: readonly string[];
  readonly functions: readonly CatalogFunction[];
  readonly operators: readonly CatalogOperator[];
  /** Row types of relations are left out. */
  readonly types: readonly CatalogType[];
  /** Functions of users behind implicit casts: any expression may call them. */
  readonly implicitCasts: readonly QualifiedName[];
  /** Only for targets with masks. */
  readonly details?: CatalogDetails;
};

/** Indexes over a snapshot. Immutable: a change of the database is another Catalog. */
export class Catalog {
  readonly data: CatalogData;
  readonly #relations = new Map<number, CatalogRelation>();
  readonly #relationsByName = new Map<string, CatalogRelation[]>();
  readonly #children = new Map<number, CatalogRelation[]>();
  readonly #functions = new Map<string, CatalogFunction[]>();
  readonly #operators = new Map<string, CatalogOperator[]>();
  readonly #types = new Map<string, CatalogType[]>();
  readonly #details: ReadonlyMap<number, RelationDetails>;
  readonly #schemas: ReadonlySet<string>;
  #users: Map<number, CatalogRelation[]> | undefined;

  constructor(data: CatalogData) {
    this.data = data;
    this.#schemas = new Set(data.schemas);
    this.#details = new Map(data.details?.relations.map((details) => [details.id, details]));
    for (const relation of data.relations) {
      this.#relations.set(relation.id, relation);
      addTo(this.#relationsByName, relation.name, relation);
      for (const parent of relation.parents ?? []) addTo(this.#children, parent, relation);
    }
    for (const one of data.functions) addTo(this.#functions, one.name, one);
    for (const one of data.operators) addTo(this.#operators, one.name, one);
    for (const one of data.types) addTo(this.#types, one.name, one);
  }

  relation(id: number): CatalogRelation | undefined {
    return this.#relations.get(id);
  }

  /** Only in a snapshot that has details. */
  detailsOf(id: number): RelationDetails | undefined {
    return this.#details.get(id);
  }

  /** In any schema. */
  relationsNamed(name: string): readonly CatalogRelation[] {
    return this.#relationsByName.get(name) ?? [];
  }

  functionsNamed(name: string): readonly CatalogFunction[] {
    return this.#functions.get(name) ?? [];
  }

  operatorsNamed(name: string): readonly CatalogOperator[] {
    return this.#operators.get(name) ?? [];
  }

  typesNamed(name: string): readonly CatalogType[] {
    return this.#types.get(name) ?? [];
  }

  hasSchema(name: string): boolean {
    return this.#schemas.has(name);
  }

  childrenOf(relation: CatalogRelation): readonly CatalogRelation[] {
    return this.#children.get(relation.id) ?? [];
  }

  /** Views and indexes over a relation, and what has a foreign key to it: what DROP … CASCADE takes along. */
  dependentsOf(relation: CatalogRelation): readonly CatalogRelation[] {
    if (this.#users === undefined) {
      this.#users = new Map();
      for (const user of this.data.relations) {
        for (const used of [...(user.uses ?? []), ...(user.ruleUses ?? [])]) addTo(this.#users, used, user);
        for (const { from } of user.references ?? []) {
          const referencing = this.#relations.get(from);
          if (referencing !== undefined) addTo(this.#users, user.id, referencing);
        }
      }
    }
    return this.#users.get(relation.id) ?? [];
  }
}

function addTo<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
