/** Looks up the names of an outline in a catalog: the facts that policy decides on. Pure, total, and rather too much than too little. */
import type { Catalog } from './catalog.ts';
import type { StatementFacts } from './facts.ts';
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

export function resolveFacts(outline: StatementOutline, _names: SessionNames): StatementFacts {
  const label = ({ schema, name }: { schema?: string; name: string }) => `${schema ?? '?'}.${name}`;
  return {
    command: outline.command,
    commands: outline.commands,
    kinds: outline.kinds,
    reads: outline.reads.map(label),
    writes: outline.changes.map(label),
    functions: outline.functions.map(label),
    locking: outline.isLocking,
    ...(outline.transaction !== undefined && { transaction: outline.transaction }),
    settings: outline.settings,
    changesRole: outline.changesRole,
    runsCode: outline.runsCode,
  };
}
