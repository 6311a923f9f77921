/** What a snapshot holds beyond names, for targets with masks: columns, and the code that is stored with relations and types. Pure data. */

/** A type as expressions must write it: schema-qualified and quoted, with its modifier, as in `pg_catalog."varchar"(20)`. */
export type TypeText = string;

export type ColumnDetails = {
  readonly name: string;
  /** pg_attribute.attnum. */
  readonly number: number;
  /** To cast to; of a domain, its base type, so that no check of the domain runs. */
  readonly type: TypeText;
  /** The base type's own name: bare for pg_catalog, "schema.name" for others. Arrays as in `_text`. */
  readonly baseType: string;
  /** pg_type.typtype of the base type: b base, c composite, e enum, r range, m multirange, p pseudo. */
  readonly typeKind: string;
  /** pg_type.typcategory of the base type, as in N numeric, S string, A array. */
  readonly category: string;
  readonly isDomain?: true;
  readonly isNotNull?: true;
  /** The text of its generation expression, all names qualified. */
  readonly generated?: string;
  /** The text of its default, all names qualified. Identity columns have none. */
  readonly default?: string;
  /** The relay's database role may not SELECT it. */
  readonly isUnreadable?: true;
};

/** An expression over a relation's own columns, as pg_get_expr prints it with an empty search_path. */
export type StoredExpression = { readonly name: string; readonly sql: string };

export type TriggerDetails = {
  readonly name: string;
  /** Bits of `rowEvents`. */
  readonly events: number;
  /** UPDATE OF these columns only. */
  readonly columns?: readonly string[];
  readonly runs: { readonly schema: string; readonly name: string };
  /** WHEN (…), as SQL over OLD and NEW. */
  readonly when?: string;
};

export type RelationDetails = {
  /** pg_class.oid. */
  readonly id: number;
  readonly columns: readonly ColumnDetails[];
  /** Of a view or materialized view: pg_get_viewdef, all names qualified. */
  readonly definition?: string;
  /** A view WITH (security_barrier). */
  readonly isBarrier?: true;
  /** Columns of the primary key where it is not deferrable. */
  readonly primaryKey?: readonly string[];
  /** Of a partitioned table: columns of its key; "*" where an expression is part of it. */
  readonly partitionKey?: readonly string[];
  /** `isUnheld`: NOT VALID, so that rows may be there which it would not let in. */
  readonly checks?: readonly (StoredExpression & { readonly isUnheld?: true })[];
  /** Unique indexes and exclusion constraints: their plain columns. `isNullEqual`: NULLS NOT DISTINCT; `isUnheld`: it was never finished. */
  readonly uniques?: readonly { readonly name: string; readonly columns: readonly string[]; readonly isNullEqual?: true; readonly isUnheld?: true }[];
  /** Of indexes: their expressions and predicates. */
  readonly indexExpressions?: readonly StoredExpression[];
  /** Row security policies, USING and WITH CHECK apart; each says which commands it is for. */
  readonly policies?: readonly (StoredExpression & { readonly reads: boolean; readonly writes: boolean })[];
  readonly triggers?: readonly TriggerDetails[];
  /** The relay's database role owns it, by membership too. */
  readonly isOwned?: true;
};

/** Types outside pg_catalog. */
export type TypeDetails = {
  /** pg_type.oid, and that of its array. */
  readonly id: number;
  readonly arrayId: number;
  readonly schema: string;
  readonly name: string;
  /** pg_type.typtype. */
  readonly kind: string;
  /** Of an extension whose code is known to compute and nothing else. */
  readonly isTrusted?: true;
  /** Of a domain: its base type, and its checks with VALUE as it stands. */
  readonly base?: TypeText;
  readonly checks?: readonly StoredExpression[];
  /** Of a composite that is no relation's row: types of its fields, each by `baseType` as in ColumnDetails. */
  readonly fields?: readonly { readonly name: string; readonly baseType: string }[];
};

/** Plain JSON. */
export type CatalogDetails = {
  /** Relations outside pg_catalog, information_schema and pg_toast, indexes and sequences left out. */
  readonly relations: readonly RelationDetails[];
  readonly types: readonly TypeDetails[];
  /** Functions of extensions that compute and nothing else, "schema.name": all of the name are. */
  readonly pureFunctions: readonly string[];
  /** What runs functions of users without being named: casts, and operator families of the server's own types. Trusted extensions are left out. */
  readonly unnamedCode: readonly string[];
  /** server_version_num / 10000. */
  readonly serverMajor: number;
  /** What the relay's database role is: a masked session behind a superuser is proven at best. */
  readonly role: { readonly name: string; readonly isSuperuser: boolean; readonly readsAllData: boolean };
};
