/** Follows sessions as they go on: each entry as soon as it is durable, at the pace of whoever reads. */
import { setTimeout as sleep } from 'node:timers/promises';
import { decisionsChain, type AuditEntry } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import type { Policy } from '../policy/policy.ts';
import type { Principal } from '../principal/principal.ts';
import type { Log } from '../store/log.ts';
import type { Followed, LogPlace } from '../store/log-tail.ts';
import { accessOf } from './reading.ts';

/** How long a reader hears nothing at most. */
export const heartbeatMs = 10_000;
/** What becomes durable within this time is read at once, so that a busy log costs few reads. */
const gatherMs = 50;
/** Readers at a time: each of them reads the whole log as it grows. */
export const tailsMax = 100;
export const tailsPerReaderMax = 20;

type Owner = Pick<Principal, 'issuer' | 'subject'>;

export type TailOptions = {
  readonly recorder: Log;
  readonly policy: () => Policy;
  /** Undefined for a session that is not stored. */
  readonly ownerOf: (session: string) => Promise<Owner | undefined>;
  /** Aborted, with the error for the reader, when the relay stops. */
  readonly stopping: AbortSignal;
  readonly heartbeatMs?: number;
};

/** An entry, or undefined where there has been nothing to tell for a while. */
export type Beat = AuditEntry | undefined;

export class SessionTails {
  readonly #options: TailOptions;
  readonly #open = new Map<string, number>();

  constructor(options: TailOptions) {
    this.#options = options;
  }

  /** Fails with `too-many`. */
  checkRoom(reader: Principal): void {
    const all = [...this.#open.values()].reduce((sum, count) => sum + count, 0);
    if (all < tailsMax && (this.#open.get(keyOf(reader)) ?? 0) < tailsPerReaderMax) return;
    throw new GateError('too-many', 'too many are following sessions already', { hint: 'End one gate sessions tail, or try again later.' });
  }

  /** A session from its first entry to its last; `hasEnded`: nothing more will come. */
  async *one(reader: Principal, session: { readonly id: string; readonly owner: Owner; readonly hasEnded: boolean }, gone: AbortSignal): AsyncGenerator<Beat> {
    const { recorder, policy } = this.#options;
    const { id, owner, hasEnded } = session;
    const isOpened = () => {
      const access = accessOf(policy(), reader, owner);
      if (access === 'none') throw new GateError('not-found', `you may not see session ${id} any more`);
      return access === 'opened';
    };
    const release = this.#take(reader);
    try {
      const place = recorder.end;
      for await (const entry of recorder.entries(id, { isOpened: isOpened() })) {
        yield entry;
        if (isEnd(entry)) return;
      }
      if (hasEnded) return;
      for await (const found of this.#follow(place, gone)) {
        if (found !== undefined && found.stored.session !== id) continue;
        const entry = await found?.open(isOpened());
        yield entry;
        if (entry !== undefined && isEnd(entry)) return;
      }
    } finally {
      release();
    }
  }

  /** What happens from now on in all sessions that the reader may see. */
  async *all(reader: Principal, gone: AbortSignal): AsyncGenerator<Beat> {
    const { recorder, policy, ownerOf } = this.#options;
    const release = this.#take(reader);
    const owners = new Map<string, Owner>();
    try {
      const now = recorder.end;
      // From here on nothing is missed, and the reader may know.
      yield undefined;
      for await (const found of this.#follow(now, gone)) {
        const id = found?.stored.session;
        if (found === undefined || id === undefined) yield undefined;
        if (found === undefined || id === undefined || id === decisionsChain) continue;
        const owner = owners.get(id) ?? (await ownerIn(found)) ?? (await ownerOf(id));
        if (owner === undefined) continue;
        owners.set(id, owner);
        if (found.stored.event['kind'] === 'session.close') owners.delete(id);
        const access = accessOf(policy(), reader, owner);
        if (access !== 'none') yield await found.open(access === 'opened');
      }
    } finally {
      release();
    }
  }

  /** Never ends by itself. Nothing waits in memory: what a slow reader has not come to is still in the log. */
  async *#follow(from: LogPlace, gone: AbortSignal): AsyncGenerator<Followed | undefined> {
    const { recorder, stopping } = this.#options;
    const beatMs = this.#options.heartbeatMs ?? heartbeatMs;
    const bell = new Bell(recorder, [gone, stopping]);
    try {
      let place = from;
      let toldAt = performance.now();
      for (;;) {
        const end = recorder.end;
        for await (const found of recorder.between(place, end)) {
          yield found;
          // Also among entries: those that the reader may not see are no sign of life to him.
          if (performance.now() - toldAt < beatMs) continue;
          toldAt = performance.now();
          yield undefined;
        }
        place = end;
        if (place !== recorder.end) continue;
        if (stopping.aborted) throw stopping.reason;
        if (gone.aborted) return;
        const isRung = await bell.wait(beatMs);
        if (isRung) await sleep(gatherMs);
        if (performance.now() - toldAt < beatMs) continue;
        toldAt = performance.now();
        yield undefined;
      }
    } finally {
      bell.close();
    }
  }

  /** Others may have come since there was room. */
  #take(reader: Principal): () => void {
    this.checkRoom(reader);
    const key = keyOf(reader);
    this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
    return () => {
      const left = (this.#open.get(key) ?? 1) - 1;
      if (left > 0) this.#open.set(key, left);
      else this.#open.delete(key);
    };
  }
}

/** Rings when something has become durable, or a signal aborts. */
class Bell {
  readonly #closers: (() => void)[];
  #ring: (() => void) | undefined;

  constructor(recorder: Pick<Log, 'onCommitted'>, signals: readonly AbortSignal[]) {
    const ring = () => this.#ring?.();
    this.#closers = [recorder.onCommitted(ring)];
    for (const signal of signals) {
      signal.addEventListener('abort', ring);
      this.#closers.push(() => signal.removeEventListener('abort', ring));
    }
  }

  /** False when it has not rung for so long. */
  wait(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      this.#ring = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  close(): void {
    for (const close of this.#closers) close();
  }
}

/** A session opens in the record before it is stored. */
async function ownerIn(found: Followed): Promise<Owner | undefined> {
  if (found.stored.event['kind'] !== 'session.open') return undefined;
  const { event } = await found.open(false);
  return event.kind === 'session.open' ? event.who : undefined;
}

function isEnd({ event }: AuditEntry): boolean {
  return event.kind === 'session.close';
}

function keyOf({ issuer, subject }: Principal): string {
  return JSON.stringify([issuer, subject]);
}
