/** The facts of one statement: what policy decides on, what approvers see, and what the record keeps. Plain JSON. */
import type { StatementKind } from './kind.ts';

/** What one top-level statement of a text does, all that is nested in it included. */
export type StatementFacts = {
  /** As in its command tag: SELECT, DELETE, TRUNCATE, CREATE TABLE, ALTER ROLE, COPY, DO. */
  readonly command: string;
  /** Of this and every nested statement, without repetition: CTEs, EXPLAIN ANALYZE, PREPARE, EXECUTE, DECLARE, COPY (…). */
  readonly commands: readonly string[];
  readonly kinds: readonly StatementKind[];
  /** "schema.table", with what views, partitions and children lead to; "?.name" where the catalog does not know it. */
  readonly reads: readonly string[];
  /** Relations whose rows or definition it changes, resolved in the same way. */
  readonly writes: readonly string[];
  /** The bare name for functions of pg_catalog, "schema.name" for others, "?.name" for unknown ones. */
  readonly functions: readonly string[];
  /** Most rows that it can change or lock, proven from the text and the unique keys; absent where nothing is proven, 0 for none. */
  readonly rowsMax?: number;
  /** FOR UPDATE and FOR SHARE, LOCK TABLE, advisory locks. */
  readonly locking: boolean;
  /** begin, begin read only, begin read write, commit, rollback, savepoint, or two-phase. */
  readonly transaction?: string;
  /** Names of the settings that it writes (SET, RESET, set_config, ALTER … SET), in lower case. */
  readonly settings: readonly string[];
  /** SET ROLE, SET SESSION AUTHORIZATION, and everything that makes or changes a role. */
  readonly changesRole: boolean;
  /** Code that the text does not show: DO, CALL, and functions that are not pg_catalog's. */
  readonly runsCode: boolean;
};
