/** A snapshot of a database's catalog: what names stand for, and what reading or writing a relation leads to. Pure. */

export type RelationKind = 'table' | 'partitioned' | 'view' | 'materialized' | 'foreign' | 'sequence' | 'index' | 'composite';

/** What happens to rows, as bits: tgtype's order does not matter here. */
export const rowEvents = { insert: 1, update: 2, delete: 4, truncate: 8 } as const;

export type CatalogRelation = {
  readonly id: number;
  readonly schema: string;
  readonly name: string;
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
  /** Events (bits) for which a trigger may run code of users. */
  readonly triggerEvents?: number;
  /** "schema.name", or bare for pg_catalog's: functions that run when it is read (views, policies). */
  readonly readFunctions?: readonly string[];
  /** Functions of users that run when it is written: triggers, defaults, checks, index expressions. */
  readonly writeFunctions?: readonly string[];
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
  readonly onDelete: 'none' | 'delete' | 'update';
  readonly onUpdate: 'none' | 'update';
};

export type CatalogFunction = {
  readonly schema: string;
  readonly name: string;
  /** Callable with one argument; with one that is a row of a table. */
  readonly isUnary?: true;
  readonly takesRow?: true;
  /** Belongs to an extension whose code is known to run no SQL of others. */
  readonly isTrusted?: true;
};

/** `runs`: the function behind it, as in `readFunctions`. */
export type CatalogOperator = { readonly schema: string; readonly name: string; readonly runs: string; readonly isTrusted?: true };
/** A type whose values run code of users: domains with checks, targets of casts. */
export type CatalogType = { readonly schema: string; readonly name: string; readonly runs?: string };

/** Plain JSON, as loaded; may stand in a file for explanations without a server. */
export type CatalogData = {
  readonly relations: readonly CatalogRelation[];
  /** Schemas that the relay's role may look into. */
  readonly schemas: readonly string[];
  readonly functions: readonly CatalogFunction[];
  readonly operators: readonly CatalogOperator[];
  /** Outside pg_catalog; row types of relations are left out. */
  readonly types: readonly CatalogType[];
  /** Functions of users behind implicit casts: any expression may call them. */
  readonly implicitCasts: readonly string[];
};

export class Catalog {
  readonly data: CatalogData;
  constructor(data: CatalogData) {
    this.data = data;
  }
}
