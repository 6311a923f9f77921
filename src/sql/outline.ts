/** What a statement's text alone says, before names are looked up: plain data that crosses from the parser's worker thread. */
import type { StatementKind } from './kind.ts';

/** As written. A database name before the schema is left out: it can only be the session's own. */
export type ObjectName = { readonly schema?: string; readonly name: string };

export type RelationUse = ObjectName & {
  /** ONLY: without its children. */
  readonly isOnly?: true;
};

/** `define`: its definition, privileges or storage. MERGE is one change for each of its actions. */
export type ChangeAction = 'insert' | 'update' | 'delete' | 'truncate' | 'define';

/** What one statement does to one relation. A name of "*" stands for all relations of the schema. */
export type Change = RelationUse & {
  readonly action: ChangeAction;
  /** The statement makes it, so no catalog can know it. */
  readonly isNew?: true;
  /** CASCADE was written. */
  readonly isCascade?: true;
  /** Assigned by UPDATE; absent for others, and where the text does not list them. */
  readonly columns?: readonly string[];
  /** What the text proves about the rows that it changes; absent: nothing. */
  readonly rows?: RowsOutline;
};

/**
 * `most`: rows offered to INSERT or MERGE, as long as none of the `calls` returns a set. `where`: terms that rows must meet. `isCurrent`: WHERE
 * CURRENT OF.
 */
export type RowsOutline =
  | { readonly most: number; readonly calls?: readonly string[] }
  | { readonly where: Condition }
  | { readonly isCurrent: true }
  | { readonly most: number; readonly calls?: readonly string[]; readonly join: Condition };

/**
 * The part of a WHERE that can bound rows. `equal`: each of the columns has one of at most `values` constants, or all of
 * them together one of `values` tuples; `types` are those of the constants: unknown (a plain string, NULL), int, numeric,
 * bool, bit, "$1" ("$1+" where other uses of it may decide its type), or a type's name: "pg_catalog.int4", ".uuid". An `or` of nothing is false.
 */
export type Condition =
  | { readonly op: 'equal'; readonly columns: readonly string[]; readonly values: number; readonly types: readonly string[] }
  | { readonly op: 'and' | 'or'; readonly terms: readonly Condition[] };

/**
 * `call`: f(…). `field`: (x).f or x.f where x is no relation, which calls f(x) if there is such a function.
 * `column`: t.f where t is a relation or alias: a function of a whole row.
 */
export type FunctionUse = ObjectName & { readonly as: 'call' | 'field' | 'column' };

/** A setting that the text changes for the session. `name` is "all" for RESET ALL, and "?" when the text does not tell it. */
export type SettingChange = {
  readonly name: string;
  /** As the server would show it. Absent when the text does not tell it, and for a reset. */
  readonly value?: string;
  readonly isReset: boolean;
  readonly isLocal: boolean;
};

/** Rows of a relation that are locked; without `rows`, any number of them. */
export type RowLock = RelationUse & { readonly rows?: RowsOutline };

/** One top-level statement, all that is nested in it included. */
export type StatementOutline = {
  readonly command: string;
  readonly commands: readonly string[];
  readonly kinds: readonly StatementKind[];
  readonly reads: readonly RelationUse[];
  readonly changes: readonly Change[];
  /** FOR UPDATE and FOR SHARE. */
  readonly locks: readonly RowLock[];
  /** OIDs of the types that Parse declared for its parameters, where another statement executes it. */
  readonly parameterTypes?: readonly number[];
  readonly functions: readonly FunctionUse[];
  readonly operators: readonly ObjectName[];
  /** Targets of casts. */
  readonly types: readonly ObjectName[];
  /** It may change rows in ways that neither the text nor a catalog tells: DO, CALL, COMMIT PREPARED, COPY FROM. */
  readonly isUnbounded: boolean;
  readonly isLocking: boolean;
  readonly transaction?: string;
  readonly settings: readonly string[];
  readonly settingChanges: readonly SettingChange[];
  readonly changesRole: boolean;
  readonly runsCode: boolean;
  /** Cursors that FETCH and MOVE read. */
  readonly fetches: readonly string[];
  /** SQL-level prepared statements that it executes. */
  readonly executes: readonly string[];
};
