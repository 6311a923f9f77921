/** The way of entries to the disk: written at once or those of one tick together, synced where somebody waits for it, and committed in order. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Haste } from '../audit/recorder.ts';
import type { GateError } from '../errors/errors.ts';
import { unavailable } from './frame-event.ts';
import { Batch, type Framed } from './log-batch.ts';
import type { SessionState, Span, Tip } from './log-index.ts';
import type { Place, SegmentWriter } from './segment-writer.ts';

/** What nobody waits for is synced after this time at the latest. */
export const syncMs = 200;
/** And what may wait is written after this time at the latest, with what comes before. */
const laterMs = 10;
/** Or when it has come to so much: one sync must not take long. */
const unsyncedBytesMax = 8 * 1024 * 1024;

export type CommitsOptions = {
  readonly writer: SegmentWriter;
  readonly retryMs: number;
  readonly probeMs: number;
  /** A session's entries up to a tip are durable. */
  readonly onCommit: (state: SessionState, tip: Tip, span: Span) => void;
  /** The group with these leaves is durable, and ends here. */
  readonly onGroup: (leaves: readonly Buffer[], end: { readonly segment: number; readonly byte: number }) => void;
  /** Entries were given up; the session has none. */
  readonly onEmpty: (state: SessionState) => void;
};

export class Commits {
  readonly #options: CommitsOptions;
  /** Not written yet. Those that are kept come first: what follows one of them in a session may stand in either. */
  #kept: Batch | undefined;
  #firm: Batch | undefined;
  /** Written and not synced, in order. */
  #unsynced: { readonly batch: Batch; readonly place: Place }[] = [];
  #unsyncedBytes = 0;
  /** Kept ones whose sync failed: to be written again before all else. */
  #lost: Batch[] = [];
  #inFlightBytes = 0;
  #draining: Promise<void> | undefined;
  #isSyncDue = false;
  #syncTimer: NodeJS.Timeout | undefined;
  #laterTimer: NodeJS.Timeout | undefined;
  #isLaterSet = false;
  #probe: NodeJS.Timeout | undefined;
  #failure: GateError | undefined;
  #retryAt = 0;
  #isClosed = false;

  constructor(options: CommitsOptions) {
    this.#options = options;
  }

  get failure(): GateError | undefined {
    return this.#failure;
  }

  /** The failure that lets nothing pass now; undefined when it is worth trying. */
  get refusal(): GateError | undefined {
    return this.#failure !== undefined && performance.now() < this.#retryAt ? this.#failure : undefined;
  }

  /** Bytes that wait for the disk. */
  get pendingBytes(): number {
    const lost = this.#lost.length === 0 ? 0 : this.#lost.reduce((sum, { bytes }) => sum + bytes, 0);
    return (this.#kept?.bytes ?? 0) + (this.#firm?.bytes ?? 0) + lost + this.#unsyncedBytes + this.#inFlightBytes;
  }

  /** Entries of one session in order, each with the end of the session's chain that it makes. `isKept`: they count once they are written. */
  add(state: SessionState, lines: readonly { readonly framed: Framed; readonly tip: Tip }[], how: { readonly isKept: boolean; readonly haste: Haste }): Batch {
    // What follows an entry that may still be given up is given up with it.
    const follows = this.#firm?.touched.has(state) === true;
    const batch = how.isKept && !follows ? (this.#kept ??= new Batch(true)) : (this.#firm ??= new Batch(false));
    for (const { framed, tip } of lines) batch.add(state, framed, tip);
    if (how.haste === 'disk') batch.isUrgent = true;
    state.tip = lines.at(-1)?.tip ?? state.tip;
    if (this.#draining !== undefined) return batch;
    if (batch.isKept && how.haste === 'later') this.#writeLater();
    else this.#writeNow(batch);
    return batch;
  }

  /** What only has to be written needs no turn of its own: the call takes a few microseconds. */
  #writeNow(batch: Batch): void {
    const { writer } = this.#options;
    const isAtOnce = batch.isKept && this.#failure === undefined && this.#lost.length === 0 && writer.hasRoom(batch.bytes);
    if (!isAtOnce) return void (this.#draining ??= this.#drain());
    this.#kept = undefined;
    try {
      const { segment, from } = writer.writeNow(batch.chunks);
      this.#noteWritten(batch, { segment, from });
    } catch (error) {
      return this.#fail(unavailable(error), [batch]);
    }
    if (!batch.isUrgent && this.#unsyncedBytes <= unsyncedBytesMax) return;
    this.#isSyncDue = true;
    this.#draining = this.#drain();
  }

  #writeLater(): void {
    if (this.#isLaterSet || this.#isClosed) return;
    this.#isLaterSet = true;
    this.#laterTimer ??= setTimeout(() => {
      this.#isLaterSet = false;
      if (this.#kept !== undefined && this.#draining === undefined) this.#writeNow(this.#kept);
    }, laterMs).unref();
    this.#laterTimer.refresh();
  }

  /** Writes and syncs what waits; what cannot be is given up. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#probe);
    clearTimeout(this.#syncTimer);
    clearTimeout(this.#laterTimer);
    while (this.#draining !== undefined) await this.#draining;
    await this.flush();
    // What was rejected must not come back: only the header of another segment says that it does not count.
    if (this.#failure !== undefined) await this.#tryAgain();
    this.#options.writer.end('restart');
  }

  /** Resolves when what was written by now is durable, or has failed to become so. */
  async flush(): Promise<void> {
    const isOwed = this.#kept !== undefined || this.#unsynced.some(({ batch }) => batch.isKept);
    if (this.#failure !== undefined || !isOwed) return;
    this.#isSyncDue = true;
    await (this.#draining ??= this.#drain());
  }

  async #drain(): Promise<void> {
    do {
      // One turn of the event loop, so that all who have something to record now share the write.
      await nextTurn();
      const batches = [this.#kept, this.#firm].filter((batch) => batch !== undefined);
      this.#kept = this.#firm = undefined;
      this.#inFlightBytes = batches.reduce((sum, { bytes }) => sum + bytes, 0);
      try {
        await this.#write(batches);
        if (this.#isSyncDue || batches.some(({ isUrgent }) => isUrgent) || this.#unsyncedBytes > unsyncedBytesMax) await this.#sync();
      } catch (error) {
        this.#fail(unavailable(error), batches);
      }
      this.#inFlightBytes = 0;
    } while (this.#kept !== undefined || this.#firm !== undefined || (this.#isSyncDue && this.#failure === undefined));
    this.#draining = undefined;
  }

  async #write(batches: readonly Batch[]): Promise<void> {
    const { writer } = this.#options;
    const all = [...this.#lost, ...batches];
    const bytes = all.reduce((sum, batch) => sum + batch.bytes, 0);
    if (bytes === 0) return;
    if (writer.isFull(bytes)) {
      await this.#sync();
      writer.end('full');
    }
    const { segment, from } = await writer.write(all.flatMap(({ chunks }) => chunks));
    this.#failure = undefined;
    this.#lost = [];
    let at = from;
    for (const batch of all) {
      this.#noteWritten(batch, { segment, from: at });
      at += batch.bytes;
    }
  }

  #noteWritten(batch: Batch, place: Place): void {
    this.#unsyncedBytes += batch.bytes;
    const last = this.#unsynced.at(-1);
    // Nobody waits for the one or the other to be synced, so they are one from here on.
    if (last !== undefined && last.batch.isKept && batch.isKept && !last.batch.isUrgent && !batch.isUrgent && last.place.segment === place.segment) last.batch.append(batch);
    else this.#unsynced.push({ batch, place });
    if (batch.isKept) batch.written.resolve();
    if (this.#syncTimer === undefined && !this.#isClosed) {
      this.#syncTimer = setTimeout(() => {
        this.#syncTimer = undefined;
        void this.flush();
      }, syncMs).unref();
    }
  }

  async #sync(): Promise<void> {
    this.#isSyncDue = false;
    const { writer, onCommit, onGroup } = this.#options;
    const synced = this.#unsynced;
    const batches = synced.map(({ batch }) => batch);
    let firstLeaf = writer.leaves;
    await writer.sync({
      bytes: batches.reduce((sum, { bytes }) => sum + bytes, 0),
      hash: batches.at(-1)?.hash ?? '',
      leaves: batches.reduce((sum, { leaves }) => sum + leaves.length, 0),
    });
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
    this.#failure = undefined;
    for (const { batch, place } of synced) {
      const { segment, from } = place;
      for (const [state, touch] of batch.touched) {
        onCommit(state, { ...touch.tip, lastLeaf: firstLeaf + touch.leaf }, { segment, from: from + touch.from, to: from + touch.to });
      }
      firstLeaf += batch.leaves.length;
      onGroup(batch.leaves, { segment, byte: from + batch.bytes });
      batch.written.resolve();
      batch.durable.resolve();
    }
  }

  /** Opens the next segment when nobody has anything to record: the header of it is proof enough of a working disk. */
  async #tryAgain(): Promise<void> {
    try {
      await this.#options.writer.start();
      await this.#write([]);
      await this.#sync();
      this.#failure = undefined;
    } catch (error) {
      this.#fail(unavailable(error), []);
    }
    this.#draining = this.#kept === undefined && this.#firm === undefined ? undefined : this.#drain();
  }

  /**
   * Nothing that is not known to be durable counts: not what was written, nor what waited behind it. But what somebody
   * has gone on by already must stay: it is written again, into the next segment.
   */
  #fail(error: GateError, batches: readonly Batch[]): void {
    this.#failure = error;
    this.#isSyncDue = false;
    this.#retryAt = performance.now() + this.#options.retryMs;
    clearTimeout(this.#probe);
    this.#probe = setTimeout(() => {
      if (this.#failure !== undefined && !this.#isClosed) this.#draining ??= this.#tryAgain();
    }, this.#options.probeMs).unref();
    const written = this.#unsynced.map(({ batch }) => batch);
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
    this.#lost.push(...written.filter(({ isKept }) => isKept));
    const waiting = [this.#kept, this.#firm].filter((batch) => batch !== undefined);
    this.#kept = this.#firm = undefined;
    // The newest first, so that the end of each session goes back step by step.
    for (const batch of new Set([...waiting, ...batches, ...written])) {
      if (!this.#lost.includes(batch)) this.#giveUp(batch);
      batch.reject(error);
    }
  }

  #giveUp({ touched }: Batch): void {
    for (const state of touched.keys()) {
      state.tip = this.#lost.findLast((batch) => batch.touched.has(state))?.touched.get(state)?.tip ?? state.durable;
      if (state.tip.seq === 0) this.#options.onEmpty(state);
    }
  }
}
