/** Connections of a session to its database: opened for a client, or ahead of the next one with what the last login asked for. */
import { messageOf } from '../errors/errors.ts';
import { terminateMessage } from '../pgwire/frontend.ts';
import type { Target } from './config.ts';
import type { RelayLog } from './relay-log.ts';
import { openUpstream, ServerFull, type Upstream } from './upstream.ts';

/** A spare that nobody has taken for so long is closed, so no spare is older. */
export const spareIdleMs = 30_000;
/** Spares for one target in one process of the relay, of all its sessions together; those on the way count. */
export const sparesPerTargetMax = 32;
/** After one that could not be opened no other is tried for so long. */
export const spareRetryMs = 5000;
/** The client that has just logged in has its first statement served before others are opened. */
const fillDelayMs = 10;
/** How often spares are looked at, whether they may still be there. */
const sweepMs = 1000;
/** A server that does not close its end after Terminate is not waited for longer. */
const closeTimeoutMs = 2000;

type Startup = Readonly<Record<string, string>>;

export type WarmUpstreamsOptions = {
  readonly target: Target;
  /** Changes when anything does that the session's right to its spares came from; undefined once it may have none. */
  readonly right: () => string | undefined;
  readonly log: RelayLog;
  readonly idleMs?: number;
};

/** Authenticated, and used by nobody yet. Whatever its server says ends it. */
type Spare = { readonly upstream: Upstream; readonly asked: string; readonly right: string; readonly untilMs: number; readonly onNews: () => void };

/** Of each target as configured: the sessions that have spares, and how many are open or on the way. */
type Shared = { readonly pools: Set<WarmUpstreams>; count: number };
const sharedOf = new WeakMap<Target, Shared>();

export class WarmUpstreams {
  readonly #options: WarmUpstreamsOptions;
  readonly #shared: Shared;
  readonly #spares = new Set<Spare>();
  #opening = 0;
  #asked = '';
  #retryAtMs = 0;
  #filling: NodeJS.Timeout | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: WarmUpstreamsOptions) {
    this.#options = options;
    const { target } = options;
    this.#shared = sharedOf.get(target) ?? { pools: new Set(), count: 0 };
    sharedOf.set(target, this.#shared);
  }

  /**
   * A spare that was started with exactly these parameters, else one that is opened now. It is the caller's, and never
   * comes back. Fails as `openUpstream` does, but never for the room that spares of the relay's own take up.
   */
  async open(startup: Startup): Promise<Upstream> {
    const spare = this.#take(format(startup));
    if (spare !== undefined) return spare;
    const { target } = this.#options;
    try {
      return await openUpstream(target, startup);
    } catch (error) {
      if (!(error instanceof ServerFull) || this.#shared.count === 0) throw error;
      await Promise.all([...this.#shared.pools].flatMap((pool) => pool.#dropAll()));
      return openUpstream(target, startup);
    }
  }

  /** After a login with these parameters has succeeded: opens ahead, in the background, what the target is configured to have. */
  prepare(startup: Startup): void {
    if ((this.#options.target.warmUpstreams ?? 0) === 0) return;
    this.#asked = format(startup);
    this.#look();
    clearTimeout(this.#filling);
    this.#filling = setTimeout(() => this.#fill(startup), fillDelayMs).unref();
  }

  #fill(startup: Startup): void {
    const { target, right: rightNow } = this.#options;
    const { warmUpstreams = 0 } = target;
    const right = rightNow();
    if (this.#isClosed || right === undefined) return;
    if (performance.now() < this.#retryAtMs) return;
    while (this.#spares.size + this.#opening < warmUpstreams && this.#shared.count < sparesPerTargetMax) {
      void this.#openAhead(startup, this.#asked, right);
    }
  }

  /** For good: what is on its way is closed when it comes. */
  close(): void {
    clearTimeout(this.#filling);
    this.#isClosed = true;
    void Promise.all(this.#dropAll());
  }

  async #openAhead(startup: Startup, asked: string, right: string): Promise<void> {
    const { target, log, idleMs = spareIdleMs } = this.#options;
    this.#opening++;
    this.#shared.count++;
    try {
      const upstream = await openUpstream(target, startup);
      const spare: Spare = { upstream, asked, right, untilMs: performance.now() + idleMs, onNews: () => void this.#drop(spare) };
      upstream.socket.on('data', spare.onNews).on('close', spare.onNews);
      this.#spares.add(spare);
      this.#shared.count++;
      this.#shared.pools.add(this);
      upstream.socket.resume();
      this.#sweep ??= setInterval(() => this.#look(), Math.min(sweepMs, idleMs)).unref();
      this.#look();
    } catch (error) {
      // A server that has no room now is none's concern: the next client's connection is opened when it comes.
      this.#retryAtMs = performance.now() + spareRetryMs;
      log.debug({ target: target.name, reason: messageOf(error) }, 'no connection could be opened ahead');
    } finally {
      this.#opening--;
      this.#shared.count--;
    }
  }

  #take(asked: string): Upstream | undefined {
    const right = this.#options.right();
    for (const spare of this.#spares) {
      if (spare.asked !== asked || spare.right !== right || spare.upstream.socket.destroyed) continue;
      this.#forget(spare);
      spare.upstream.socket.off('data', spare.onNews).off('close', spare.onNews).pause();
      return spare.upstream;
    }
    return undefined;
  }

  /** Closes what may not be there any more, is too old, or is not what the last login asked for. */
  #look(): void {
    const right = this.#isClosed ? undefined : this.#options.right();
    const now = performance.now();
    for (const spare of this.#spares) {
      if (spare.right !== right || spare.asked !== this.#asked || now >= spare.untilMs) void this.#drop(spare);
    }
  }

  #dropAll(): Promise<void>[] {
    return [...this.#spares].map((spare) => this.#drop(spare));
  }

  /** Resolves when the server has closed its end. */
  async #drop(spare: Spare): Promise<void> {
    const { socket } = spare.upstream;
    this.#forget(spare);
    socket.off('data', spare.onNews).off('close', spare.onNews);
    if (socket.destroyed) return;
    const timer = setTimeout(() => socket.destroy(), closeTimeoutMs).unref();
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.resume().end(terminateMessage);
    await closed;
    clearTimeout(timer);
  }

  #forget(spare: Spare): void {
    if (!this.#spares.delete(spare)) return;
    this.#shared.count--;
    if (this.#spares.size > 0) return;
    this.#shared.pools.delete(this);
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }
}

/** Equal for the same parameters in any order. */
function format(startup: Startup): string {
  return JSON.stringify(Object.entries(startup).toSorted(([one], [other]) => (one < other ? -1 : 1)));
}
