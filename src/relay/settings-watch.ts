/** What a connection has done to the settings that decide what its statements mean, and how long they may run. */
import { GateError } from '../errors/errors.ts';
import type { Catalog } from '../sql/catalog.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { TransactionStatus } from '../pgwire/backend.ts';
import type { SettingChange } from '../sql/outline.ts';
import type { SessionNames } from '../sql/resolve.ts';

/** A target's catalog, as it was last looked at. */
export type CatalogView = {
  readonly current: Catalog | undefined;
  /** Of a session that has not changed it; undefined while it is not known. */
  readonly defaultSearchPath: readonly string[] | undefined;
  readonly serverMajor: number | undefined;
  /** From now on `current` has details: of columns, and of stored code. */
  wantDetails(): void;
  /** Keeps it fresh until released. `ready` resolves when it has been looked at, whatever came of that. */
  use(): { readonly ready: Promise<void>; release(): void };
  /** Resolves when it has been looked at again, whatever came of that. */
  refresh(): Promise<void>;
  /** Resolves when the last refresh, by whatever session, has ended. */
  refreshed(): Promise<void>;
};

export type SettingsWatchOptions = {
  readonly watch: CatalogView;
  /** Names are about to be looked up. A policy that has changed may be the first to ask for them. */
  readonly onLookUp: () => void;
  /** The search_path of the start-up packet, if the client sent one. */
  readonly startupSearchPath: string | undefined;
  /** The search_path that nothing in the session can change. */
  readonly pinnedPath?: readonly string[];
  /** Unlike that of any other connection. */
  readonly connection: string;
};

export class SettingsWatch {
  readonly #options: SettingsWatchOptions;
  /** Nobody can tell any more where bare names are looked up, so they stand for everything of that name. */
  #isPathUnknown: boolean;
  #roleChanges = 0;
  /** Definitions were changed here, and the catalog was not looked at since. */
  #isUncertain = false;
  #refreshing: Promise<void> | undefined;
  /** As they were last asked for: the same object as long as nothing has changed. */
  #names: SessionNames | undefined;

  constructor(options: SettingsWatchOptions) {
    this.#options = options;
    this.#isPathUnknown = options.startupSearchPath !== undefined;
  }

  /** How names are to be looked up now, with the transaction in this state. */
  namesIn(status: TransactionStatus): SessionNames {
    const { watch, onLookUp, pinnedPath } = this.#options;
    onLookUp();
    this.noteSettled(status);
    const catalog = watch.current;
    const path = pinnedPath ?? (this.#isPathUnknown ? undefined : watch.defaultSearchPath);
    const last = this.#names;
    if (last !== undefined && last.catalog === catalog && last.path === path && (last.isUncertain === true) === this.#isUncertain) return last;
    return (this.#names = { catalog, path, ...(this.#isUncertain && { isUncertain: true }) });
  }

  /** The transaction has come to this state: what it has changed in definitions is looked at once it is over, for all sessions. */
  noteSettled(status: TransactionStatus): void {
    if (!this.#isUncertain || status !== 'I' || this.#refreshing !== undefined) return;
    this.#refreshing = this.#options.watch.refresh().finally(() => {
      this.#isUncertain = false;
      this.#refreshing = undefined;
    });
  }

  /** Whether definitions were changed here that the catalog does not show yet. */
  get isUncertain(): boolean {
    return this.#isUncertain;
  }

  /** Resolves when changes of definitions that went through the relay are in the catalog. */
  refreshed(): Promise<void> {
    return this.#options.watch.refreshed();
  }

  /** Resolves when the catalog has been looked at again. */
  refresh(): Promise<void> {
    return this.#options.watch.refresh();
  }

  /** Tells apart approvals for the login role from those for a role that was taken since. */
  get actingAs(): string {
    return this.#roleChanges === 0 ? '' : `${this.#options.connection}/${this.#roleChanges}`;
  }

  /** These statements are about to run, successfully or not. What code they run may have set is not seen. */
  note(changes: readonly SettingChange[], facts: readonly StatementFacts[]): void {
    const setsPath = changes.some(({ name }) => name === 'search_path' || name === unknownSetting);
    // Another role has another "$user", and may look into other schemas.
    if (setsPath || facts.some(({ runsCode, changesRole }) => runsCode || changesRole)) this.#isPathUnknown = true;
    if (facts.some(({ kinds }) => kinds.some((kind) => kind !== 'read' && kind !== 'write'))) this.#isUncertain = true;
    if (!facts.some(({ changesRole }) => changesRole)) return;
    this.#roleChanges++;
    // "$user" is somebody else now, and so may be what stands in sight.
    this.#isPathUnknown = true;
  }

  /** A refusal when a statement sets more than policy does. With 0, as pg_dump sends it, the relay's own clock alone holds the cap. */
  checkTimeout(changes: readonly SettingChange[], capMs: number | undefined): GateError | undefined {
    if (capMs === undefined) return undefined;
    const lifts = changes.find(({ name, value, isReset }) => {
      if ((name !== 'statement_timeout' && name !== unknownSetting) || isReset) return false;
      const ms = value === undefined ? undefined : parseTimeout(value);
      return ms === undefined || ms > capMs;
    });
    if (lifts === undefined) return undefined;
    return new GateError('denied', `statement_timeout may be at most ${capMs} ms here`, {
      rule: 'statement-timeout',
      hint: `Set it to a number of milliseconds up to ${capMs}.`,
    });
  }
}

/** A setting whose name the text does not tell. */
const unknownSetting = '?';
const msPer: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds as the server reads them (GUC_UNIT_MS); undefined for what it would not take. */
export function parseTimeout(text: string): number | undefined {
  const [, number, unit = 'ms'] = /^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?\s*$/.exec(text) ?? [];
  return number === undefined ? undefined : Math.round(Number(number) * (msPer[unit] as number));
}
