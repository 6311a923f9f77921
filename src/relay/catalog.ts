/** Keeps a snapshot of each target's catalog while somebody uses the target: names can then be looked up at once. */
import { messageOf } from '../errors/errors.ts';
import type { Catalog } from '../sql/catalog.ts';
import { parseSearchPath } from '../sql/search-path.ts';
import { SideConnection } from './side-connection.ts';
import { loadCatalog } from './catalog-load.ts';
import { epoch, session } from './catalog-queries.ts';
import { detailsEpoch } from './details-queries.ts';
import type { Target } from './config.ts';

/** How often the database is asked whether its catalog has changed; at least, for large catalogs less often. */
export const pollMs = 3000;
/** Asking takes no more than this part of the time. */
const pollShare = 1 / 30;
/** After a failure. */
const retryMs = 5000;
/** The connection is kept so long after its last user has gone. */
const lingerMs = 30_000;

/** One target. Its connection is open only while somebody uses it; a failure leaves the facts without a catalog. */
export class CatalogWatch {
  readonly #target: Target;
  readonly #onError: (error: unknown) => void;
  readonly #onRefresh: () => void;
  #connection: SideConnection | undefined;
  #current: Catalog | undefined;
  #epoch: { readonly lasting?: string | undefined; readonly temporary?: string | undefined } = {};
  #serverMajor: number | undefined;
  #defaultSearchPath: readonly string[] | undefined;
  #error: string | undefined;
  #users = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #isClosed = false;
  #wantsDetails = false;
  #refreshing: Promise<void> = Promise.resolve();

  constructor(target: Target, onError: (error: unknown) => void = () => undefined, onRefresh: () => void = () => undefined) {
    this.#target = target;
    this.#onError = onError;
    this.#onRefresh = onRefresh;
  }

  /** Undefined before the first load and while the catalog cannot be read: what was read before may be wrong by then. */
  get current(): Catalog | undefined {
    return this.#current;
  }

  /** Why there is no catalog. */
  get error(): string | undefined {
    return this.#error;
  }

  /** Of the last connection. */
  get serverMajor(): number | undefined {
    return this.#serverMajor;
  }

  /** The search_path that a login of the relay's role begins with, "$user" replaced. */
  get defaultSearchPath(): readonly string[] | undefined {
    return this.#defaultSearchPath;
  }

  /** Keeps the snapshot fresh until the returned function is called. `ready` resolves when the first load has ended, well or not. */
  use(): { readonly ready: Promise<void>; release(): void } {
    this.#users++;
    const isComplete = !this.#wantsDetails || this.#current?.data.details !== undefined;
    const isFresh = this.#users > 1 && this.#current !== undefined && isComplete;
    const ready = isFresh ? Promise.resolve() : this.#queue(() => this.#update(false));
    if (this.#users === 1) this.#schedule(pollMs);
    let isReleased = false;
    return {
      ready,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        this.#users--;
      },
    };
  }

  /** From now on snapshots have details: of columns, and of stored code. */
  wantDetails(): void {
    if (this.#wantsDetails) return;
    this.#wantsDetails = true;
    this.#epoch = {};
  }

  /** After a change of definitions: resolves when what was committed before the call is in `current`, or cannot be read. */
  refresh(): Promise<void> {
    this.#onRefresh();
    return this.#refresh();
  }

  /** The same, where the change went through another process. */
  noteChange(): void {
    if (this.#users > 0) void this.#refresh();
  }

  #refresh(): Promise<void> {
    const refreshing = this.#queue(() => this.#update(true));
    this.#refreshing = refreshing;
    return refreshing;
  }

  /** Resolves when what the last `refresh` has asked for is known: at once where it is. */
  refreshed(): Promise<void> {
    return this.#refreshing;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#connection?.close();
    await this.#running;
  }

  /** One after another; a failure has been noted by then. */
  #queue(work: () => Promise<void>): Promise<void> {
    this.#running = this.#running.then(work);
    return this.#running;
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      if (this.#users === 0) return this.#rest();
      const start = performance.now();
      void this.#queue(() => this.#update(false)).then(() => {
        const spentMs = performance.now() - start;
        this.#schedule(this.#error === undefined ? Math.max(pollMs, spentMs / pollShare) : retryMs);
      });
    }, delayMs);
    this.#timer.unref();
  }

  /** Nobody is there: the connection goes, and with it what would no longer be fresh. */
  #rest(): void {
    this.#timer = setTimeout(() => {
      if (this.#users > 0) return this.#schedule(0);
      void this.#queue(async () => {
        this.#connection?.close();
        this.#connection = undefined;
        this.#current = undefined;
      });
    }, lingerMs);
    this.#timer.unref();
  }

  async #update(isAfterChange: boolean): Promise<void> {
    if (this.#isClosed) return;
    try {
      const connection = await this.#connect();
      const [row] = await connection.rows(epoch);
      const [names, temporary] = row?.map(String) ?? [];
      const hasDetails = this.#wantsDetails;
      const lasting = hasDetails ? `${names} ${(await connection.rows(detailsEpoch))[0]?.[0]}` : names;
      // Other sessions' temporary relations come and go; those of the relay's sessions are announced by `refresh`.
      const isSame = lasting === this.#epoch.lasting && (!isAfterChange || temporary === this.#epoch.temporary);
      if (this.#current === undefined || !isSame) {
        this.#current = await loadCatalog(connection, hasDetails);
        this.#epoch = { lasting, temporary };
      }
      this.#error = undefined;
    } catch (error) {
      this.#connection?.close();
      this.#connection = undefined;
      this.#current = undefined;
      this.#error = messageOf(error);
      if (!this.#isClosed) this.#onError(error);
    }
  }

  async #connect(): Promise<SideConnection> {
    if (this.#connection?.isBroken === false) return this.#connection;
    const connection = await SideConnection.open(this.#target);
    this.#connection = connection;
    this.#serverMajor = connection.serverMajor;
    const [row] = await connection.rows(session);
    this.#defaultSearchPath = parseSearchPath(row?.[0] ?? '', row?.[1] ?? '');
    // Nothing that users have made may stand in the way of the questions.
    await connection.rows('set search_path = pg_catalog, pg_temp');
    return connection;
  }
}
