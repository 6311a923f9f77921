/** What a session knows that gives names their meaning: catalog, search path, prepared statements. */
import type { Catalog } from './catalog.ts';
import type { StatementOutline } from './outline.ts';

/** What names mean in the session at this moment. */
export type SessionNames = {
  /** Undefined: not loaded; then every relation and function is unknown. */
  readonly catalog: Catalog | undefined;
  /** The session's search_path, "$user" replaced. Undefined: not known; then a name stands for all that have it. */
  readonly path: readonly string[] | undefined;
  /** The session has changed definitions in a transaction that is still open: nothing that the catalog says is certain. */
  readonly isUncertain?: boolean;
  /** What SQL-level prepared statements may stand for. Without an entry, EXECUTE is unknown code. */
  readonly prepared?: ReadonlyMap<string, readonly StatementOutline[]>;
  /** Type OIDs of parameters as Parse declared them; 0 for those left to the server. */
  readonly parameterTypes?: readonly number[];
};
