/** What masks come to for one principal on one database: for each relation, what may be read of it and as what. Pure data. */

/** How sure masking is: the database itself refuses the raw columns; proven by the relay's analysis; result columns only. */
export const maskLevels = ['display', 'proven', 'airtight'] as const;
export type MaskLevel = (typeof maskLevels)[number];

export const maskKinds = ['null', 'redact', 'partial', 'email', 'hash', 'bucket', 'constant', 'sql', 'clear'] as const;
export type MaskKind = (typeof maskKinds)[number];

/** How values of a column are shown. `clear`: as they are. */
export type Mask =
  | { readonly kind: 'null' | 'redact' | 'email' | 'hash' | 'clear' }
  /** The last or first characters stay; of whole numbers the last or first digits. */
  | { readonly kind: 'partial'; readonly last?: number; readonly first?: number }
  /** Numbers are cut down to a multiple of `size`, dates and times to the beginning of `unit`, in UTC. */
  | { readonly kind: 'bucket'; readonly size?: number; readonly unit?: BucketUnit }
  | { readonly kind: 'constant'; readonly value: string | number | boolean }
  /** An expression over `value`, checked to compute from it alone and never to fail. */
  /** `parts`: what stands before, between and behind each `value`, once the expression has been checked. */
  | { readonly kind: 'sql'; readonly sql: string; readonly parts?: readonly string[] };
export const bucketUnits = ['minute', 'hour', 'day', 'week', 'month', 'quarter', 'year', 'decade'] as const;
export type BucketUnit = (typeof bucketUnits)[number];

export const detectorKinds = ['card', 'iban', 'ssn', 'email', 'phone', 'secret'] as const;
export type DetectorKind = (typeof detectorKinds)[number];

/** One entry of a policy's `masks` as it applies to one principal: those that the principal is exempt from are left out, or `clear`. */
export type MaskRule = {
  /** `<target>/masks/<name>`. */
  readonly path: string;
  readonly mask: Mask;
  /** Whether it names the column; `schema.table.column` with whole-segment wildcards, or by a tag. */
  covers(schema: string, relation: string, column: string): boolean;
  /** It covers the column by a pattern that writes schema and relation out: only that declares a view or a copy. */
  namesRelation(schema: string, relation: string, column: string): boolean;
  /** Without any wildcard: only that says that a generated column over a masked one is clear. */
  namesColumn(schema: string, relation: string, column: string): boolean;
};

/** The policy's half of a plan: what one principal in one role is masked by. No rules: the session is not masked. */
export type MaskRules = {
  /** Changes when any rule that applies does; stands for the masks of a connection. */
  readonly digest: string;
  /** The first that covers a column decides. */
  readonly rules: readonly MaskRule[];
  /** The least level that the policy asks for; `display` is what is used then. */
  readonly level: MaskLevel;
  /** Functions of users that the policy trusts to compute from their arguments only, "schema.name"; triggers' functions among them. */
  readonly trusts: ReadonlySet<string>;
  /** Content detectors that look at results as well. */
  readonly detect: readonly DetectorKind[];
};

/** A column as a statement may see it. */
export type PlannedColumn = {
  readonly name: string;
  readonly number: number;
  /** Absent: as it is. Else SQL over the relation's own columns, quoted; total, of the column's type, names qualified. */
  readonly sql?: string;
  readonly mask?: { readonly rule: string; readonly kind: MaskKind };
  /** The mask itself, for results of the level `display`. */
  readonly shownBy?: Mask;
  /** Values that the mask may give, as text: to recognise them when they come back. Absent where it cannot be told. */
  readonly image?: RegExp;
};

export type PlannedRelation = {
  readonly id: number;
  readonly schema: string;
  readonly name: string;
} & (
  | { readonly access: 'clean' }
  /** Replaced where it is read by a sub-select of these columns; `hidden`: those that nobody has classified. */
  | { readonly access: 'masked'; readonly columns: readonly PlannedColumn[]; readonly hidden: readonly string[] }
  /** A view over masked tables that is read by its definition, which the analyser must take like a client's text. */
  | { readonly access: 'view'; readonly definition: string; readonly isBarrier: boolean }
  | { readonly access: 'refused'; readonly reason: string; readonly hint?: string }
);

/** What is done to rows of a relation, by pg_class.oid. */
export type RowWrite = {
  readonly id: number;
  readonly event: 'insert' | 'update' | 'delete';
  /** Those that get a value. */
  readonly columns: readonly string[];
  /** Those of them that the text leaves to their default. */
  readonly defaults?: readonly string[];
};

/** Who is asked what a relation, a function, an operator or a type is. Total. */
export type MaskPlan = {
  readonly digest: string;
  readonly level: MaskLevel;
  readonly serverMajor: number;
  /** By pg_class.oid; undefined for relations of pg_catalog and information_schema, which have a list of their own. */
  relation(id: number): PlannedRelation | undefined;
  /** Why values of a type outside pg_catalog, by OID, are not safe to make; undefined for those that are. */
  typeProblem(id: number): string | undefined;
  /** Why a row cannot be inserted, updated or deleted by a masked principal, beyond what the statement's text says. */
  writeProblem(write: RowWrite): string | undefined;
  /** Nothing at all can be proven here. */
  readonly problem?: { readonly reason: string; readonly hint: string };
  /** Functions of users that policy trusts, "schema.name". */
  readonly trusts: ReadonlySet<string>;
  /** Of all masks whose values can be recognised. */
  readonly images: readonly RegExp[];
  /** (relation, attnum) pairs that must never come as the origin of a result column. */
  readonly rawColumns: ReadonlySet<string>;
};

/** For `rawColumns`. */
export function rawColumnKey(relation: number, column: number): string {
  return `${relation}.${column}`;
}
