/** The log of all that sessions do: append only, one writer, grouped commits, acknowledged when durable. */
import { statfs } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { formatVerifierKey } from '../audit/checkpoint.ts';
import { decisionsChain, type AuditEntry, type Event } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { GateError } from '../errors/errors.ts';
import type { SessionCounts } from '../grant/grant.ts';
import { frameEvent, needsKey, unavailable } from './frame-event.ts';
import { Batch, type Framed } from './log-batch.ts';
import { readEntries, readLeaves, readSealed, sealingSession, type Leaf } from './log-entries.ts';
import { makeDurableDirectory, realLogFiles, type LogFiles } from './log-files.ts';
import { advanceTip, describeIndex, saveIndex, sessionState, type LastNumbers, type Returned, type SessionState, type Tip } from './log-index.ts';
import { readBetween, type Followed, type LogPlace } from './log-tail.ts';
import { findUnfinished, loadLog, type LoadedLog } from './log-recovery.ts';
import { Publisher } from './publisher.ts';
import { SegmentWriter } from './segment-writer.ts';
import type { SessionKeys } from './session-keys.ts';
import { loadLogSecrets, type LogSecrets } from './log-secrets.ts';
import { TreeFiles } from './tree-files.ts';

/** A segment that would grow past this ends; a single group of entries may be larger than that. */
export const segmentBytesMax = 64 * 1024 * 1024;
/** Bytes that may wait for the disk. Past it entries are refused, and with them the statements that they are about. */
export const pendingBytesMax = 64 * 1024 * 1024;
/** How long after a failure an entry makes the log try again at the earliest. */
export const retryMs = 250;
/** How often the log tries by itself after a failure, so that it comes back also where nobody dares to use it. */
export const probeMs = 2000;
/** How soon a checkpoint covers an entry. */
export const publishMs = 1000;

export type LogOptions = {
  /** Default: in files beside the directory of the log. */
  readonly secrets?: Pick<LogSecrets, 'key' | 'keys'>;
  /** How soon after an entry a checkpoint covers it, where nobody asks for one. */
  readonly publishMs?: number;
  readonly segmentBytesMax?: number;
  readonly pendingBytesMax?: number;
  readonly retryMs?: number;
  readonly probeMs?: number;
  /** Free space below which `checkSpace` fails. */
  readonly reserveBytes?: number;
  readonly files?: LogFiles;
  /** The clock that entries are stamped with. */
  readonly now?: () => Date;
};

export type EntriesOptions = { readonly isOpened?: boolean; readonly signal?: AbortSignal };

/**
 * What `record` rejected is marked as not counting by the header of the next segment. A process that dies before it
 * can write that header may leave some of it to be found: then it stands there as sent, with its outcome unknown.
 */
export interface Log extends Recorder {
  /**
   * The durable entries of a session in order, as of the call; none for an unknown one. Throws `record-damaged`. A signal
   * ends them early, without an error.
   */
  entries(session: string, options?: EntriesOptions): AsyncIterable<AuditEntry>;
  /** What the entries of a session have sealed, in order, as it stands in the record. */
  sealed(session: string): AsyncIterable<Buffer>;
  /** The leaves of the tree in order, from a place on, as of the call. */
  leaves(from: number, to?: number): AsyncIterable<Leaf>;
  /** Behind all that is durable; another object whenever that is more. */
  readonly end: LogPlace;
  /** The entries of all sessions between two places, in order. Throws `record-damaged`. */
  between(from: LogPlace, to: LogPlace): AsyncIterable<Followed>;
  /** Tells of each group that has become durable. Answers how to stop that. */
  onCommitted(listener: () => void): () => void;
  /** Signs a checkpoint over all that is durable by now, and answers it as a signed note. */
  publish(): Promise<string>;
  readonly publisher: Publisher;
  /** Of the key that signs checkpoints. Its name is that of the log. */
  readonly verifierKey: string;
  readonly keys: SessionKeys;
  /** The last durable entry of a session: its leaf, and the SHA-256 of its JSON in hex. Undefined for an unknown session. */
  lastEntry(session: string): { readonly leaf: number; readonly hash: string } | undefined;
  /** Of what is durable; `statements` includes the refused ones. All zero for an unknown session. */
  counts(session: string): SessionCounts;
  /** Of what is durable. Undefined for an unknown session. */
  returned(session: string): Returned | undefined;
  /** Where numbering goes on after a restart. All zero for an unknown session. */
  lastNumbers(session: string): LastNumbers;
  /** The sessions without a `session.close`, oldest first. */
  openSessions(): string[];
  /** For what begins something new: fails with `record-unavailable` when the disk has less than its reserve left. */
  checkSpace(): Promise<void>;
  /** How the relay before this one ended. */
  readonly after: 'nothing' | 'stop' | 'crash';
  /** Writes what waits, then lets go of the files. Later calls of `record` are rejected. */
  close(): Promise<void>;
}

/**
 * Opens the log in a directory, which is made when absent, and finishes what a crash left open. The caller holds the
 * lock on the state directory: there is one writer. Throws `record-damaged` when the log does not hold what was
 * written to it, `record-unavailable` when it cannot be written.
 */
export async function openLog(directory: string, options: LogOptions = {}): Promise<Log> {
  const files = options.files ?? realLogFiles;
  let secrets: Pick<LogSecrets, 'key' | 'keys'>;
  let tree: TreeFiles | undefined;
  try {
    await makeDurableDirectory(files, directory);
    secrets = options.secrets ?? (await loadLogSecrets(directory, files));
    tree = await TreeFiles.load({ directory, key: secrets.key, files });
  } catch (error) {
    throw unavailable(error);
  }
  const loaded = await loadLog(directory);
  if (tree === undefined && loaded.nextNumber > 1) throw lostTree();
  try {
    tree ??= await TreeFiles.create({ directory, key: secrets.key, files });
  } catch (error) {
    throw unavailable(error);
  }
  const log = new FileLog(directory, { ...loaded, tree, keys: secrets.keys, verifierKey: formatVerifierKey(secrets.key) }, options);
  try {
    await log.start();
    for (const session of log.openSessions()) {
      const unfinished = await findUnfinished(log.entries(session, { isOpened: false }));
      if (unfinished.length > 0) await log.record(session, unfinished);
    }
    await log.publish();
  } catch (error) {
    await log.close();
    throw error;
  }
  return log;
}

class FileLog implements Log {
  readonly keys: SessionKeys;
  readonly publisher: Publisher;
  readonly verifierKey: string;
  end: LogPlace;
  readonly after: Log['after'];
  readonly #directory: string;
  readonly #reserveBytes: number;
  readonly #sessions: LoadedLog['sessions'];
  readonly #tree: TreeFiles;
  readonly #writer: SegmentWriter;
  readonly #limits: Readonly<Record<'pendingBytesMax' | 'retryMs' | 'probeMs', number>>;
  readonly #now: () => Date;
  readonly #listeners = new Set<() => void>();
  #waiting: Batch | undefined;
  #inFlightBytes = 0;
  #draining: Promise<void> | undefined;
  #indexing: Promise<void> = Promise.resolve();
  #failure: GateError | undefined;
  #retryAt = 0;
  #probe: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(directory: string, loaded: LoadedLog & { tree: TreeFiles; keys: SessionKeys; verifierKey: string }, options: LogOptions) {
    this.#directory = directory;
    this.#reserveBytes = options.reserveBytes ?? 0;
    const beside = loaded.sessions.get(decisionsChain)?.durable;
    this.after = beside === undefined ? 'nothing' : beside.isClosed ? 'stop' : 'crash';
    this.#sessions = loaded.sessions;
    const last = loaded.segments.at(-1);
    this.end = { segment: last?.number ?? 0, byte: last?.bytes ?? 0 };
    this.#tree = loaded.tree;
    this.keys = loaded.keys;
    this.verifierKey = loaded.verifierKey;
    this.publisher = new Publisher(loaded.tree, options.publishMs ?? publishMs);
    this.#limits = {
      pendingBytesMax: options.pendingBytesMax ?? pendingBytesMax,
      retryMs: options.retryMs ?? retryMs,
      probeMs: options.probeMs ?? probeMs,
    };
    this.#now = options.now ?? (() => new Date());
    this.#writer = new SegmentWriter({
      ...loaded,
      directory,
      files: options.files ?? realLogFiles,
      segmentBytesMax: options.segmentBytesMax ?? segmentBytesMax,
      now: this.#now,
      onEnd: (end) => {
        const index = describeIndex(this.#sessions, end);
        this.#indexing = this.#indexing.then(() => saveIndex(directory, end.number, index));
      },
    });
  }

  get isAvailable(): boolean {
    return this.#failure === undefined && !this.#isClosed && this.publisher.isKeepingUp;
  }

  /** Takes up the entries that no checkpoint covers yet. */
  async start(): Promise<void> {
    if (this.#tree.size > this.#writer.leaves) {
      throw new GateError('record-damaged', `the record is damaged: a checkpoint covers ${this.#tree.size} entries, and there are ${this.#writer.leaves}`, {
        hint: 'Keep the directory as it is: it is evidence. gate audit verify says which entries are missing.',
      });
    }
    for await (const { body } of this.leaves(this.#tree.size)) this.#tree.append(body);
    try {
      await this.#writer.start();
    } catch (error) {
      throw unavailable(error);
    }
  }

  record(session: string, events: readonly Event[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(unavailable('the log is closed'));
    if (this.#failure !== undefined && performance.now() < this.#retryAt) return Promise.reject(this.#failure);
    if (!this.publisher.isKeepingUp) return Promise.reject(unavailable('its checkpoints cannot be written'));
    if (events.length === 0) return Promise.resolve();
    const keyless = this.#findKeyless(session, events);
    if (keyless !== undefined) return this.keys.ensure(keyless).then(() => this.record(session, events));
    const state = sessionState(this.#sessions, session);
    const lines: { framed: Framed; tip: Tip }[] = [];
    try {
      const time = this.#now().toISOString();
      let tip = state.tip;
      let bytes = this.#inFlightBytes + (this.#waiting?.bytes ?? 0);
      for (const event of events) {
        const framed = frameEvent(this.keys, { v: 1, session, seq: tip.seq + 1, prev: tip.hash, time }, event);
        tip = advanceTip(tip, event, framed.entry.hash);
        lines.push({ framed, tip });
        bytes += framed.entry.bytes.length + (framed.sealed?.bytes.length ?? 0);
      }
      if (bytes > this.#limits.pendingBytesMax) throw unavailable('the disk does not keep up');
    } catch (error) {
      this.#rollBack([state]);
      return Promise.reject(error);
    }
    this.#waiting ??= new Batch();
    for (const { framed, tip } of lines) this.#waiting.add(state, framed, tip);
    state.tip = lines.at(-1)?.tip ?? state.tip;
    this.#draining ??= this.#drain();
    return this.#waiting.done;
  }

  /** Whose keys have to be at hand first. */
  #findKeyless(session: string, events: readonly Event[]): string | undefined {
    for (const event of events) {
      if (!needsKey(event)) continue;
      const owner = sealingSession({ session, event });
      if (owner !== decisionsChain && !this.keys.isLive(owner)) return owner;
    }
    return undefined;
  }

  counts(session: string): SessionCounts {
    const { connections = 0, statements = 0, refused = 0 } = this.#sessions.get(session)?.durable ?? {};
    return { connections, statements, refused };
  }

  returned(session: string): Returned | undefined {
    const durable = this.#sessions.get(session)?.durable;
    return durable && { rows: durable.rows, bytesOut: durable.bytesOut };
  }

  lastNumbers(session: string): LastNumbers {
    const { lastConnection = 0, lastStatement = 0 } = this.#sessions.get(session)?.durable ?? {};
    return { lastConnection, lastStatement };
  }

  openSessions(): string[] {
    const open = [...this.#sessions.values()].filter(({ durable }) => durable.seq > 0 && !durable.isClosed);
    // What is decided beside the sessions is never over.
    return open.map(({ id }) => id).filter((id) => id !== decisionsChain);
  }

  entries(session: string, { isOpened = true, signal }: EntriesOptions = {}): AsyncIterable<AuditEntry> {
    const state = this.#sessions.get(session);
    const keys = isOpened ? this.keys : undefined;
    return readEntries({ directory: this.#directory, session, spans: state?.spans ?? [], lastHash: state?.durable.hash ?? '', keys, signal });
  }

  sealed(session: string): AsyncIterable<Buffer> {
    return readSealed(this.#directory, session, this.#sessions.get(session)?.spans ?? []);
  }

  lastEntry(session: string): { leaf: number; hash: string } | undefined {
    const { seq = 0, lastLeaf = 0, hash = '' } = this.#sessions.get(session)?.durable ?? {};
    return seq === 0 ? undefined : { leaf: lastLeaf, hash };
  }

  leaves(from: number, to = this.#writer.leaves): AsyncIterable<Leaf> {
    return readLeaves(this.#directory, this.#writer.segments, from, Math.min(to, this.#writer.leaves));
  }

  between(from: LogPlace, to: LogPlace): AsyncIterable<Followed> {
    return readBetween({ directory: this.#directory, segments: this.#writer.segments, from, to, keys: this.keys });
  }

  onCommitted(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async checkSpace(): Promise<void> {
    if (this.#reserveBytes === 0) return;
    const { bavail, bsize } = await statfs(this.#directory);
    const free = bavail * bsize;
    if (free >= this.#reserveBytes) return;
    throw new GateError('record-unavailable', `the disk of the record has ${Math.floor(free / 2 ** 20)} MiB left, and its reserve is ${Math.floor(this.#reserveBytes / 2 ** 20)} MiB`, {
      hint: 'Sessions that are open go on. Whoever runs the relay has to make room.',
    });
  }

  publish(): Promise<string> {
    return this.publisher.publish();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#probe);
    while (this.#draining !== undefined) await this.#draining;
    // What was rejected must not come back: only the header of another segment says that it does not count.
    if (this.#failure !== undefined) await this.#writer.start().catch(() => {});
    this.#writer.end('restart');
    await this.publisher.close();
    await this.#indexing;
  }

  async #drain(): Promise<void> {
    do {
      // One turn of the event loop, so that all who have something to record now share the write.
      await nextTurn();
      const batch = this.#waiting;
      if (batch === undefined) break;
      this.#waiting = undefined;
      this.#inFlightBytes = batch.bytes;
      try {
        await this.#commit(batch);
        this.#failure = undefined;
        batch.resolve();
      } catch (error) {
        this.#fail(unavailable(error), batch);
      }
      this.#inFlightBytes = 0;
    } while (this.#waiting !== undefined);
    this.#draining = undefined;
  }

  async #commit(batch: Batch): Promise<void> {
    const { chunks, bytes, hash, leaves } = batch;
    const firstLeaf = this.#writer.leaves;
    const { segment, from } = await this.#writer.append({ chunks, bytes, hash, leaves: leaves.length });
    for (const [state, touch] of batch.touched) {
      state.commit({ ...touch.tip, lastLeaf: firstLeaf + touch.leaf }, { segment, from: from + touch.from, to: from + touch.to });
      if (touch.tip.isClosed) this.keys.release(state.id);
    }
    this.end = { segment, byte: from + bytes };
    for (const leaf of leaves) this.#tree.append(leaf);
    this.publisher.note();
    for (const listener of this.#listeners) listener();
  }

  /** Opens the next segment when nobody has anything to record: the header of it is proof enough of a working disk. */
  async #tryAgain(): Promise<void> {
    try {
      await this.#writer.start();
      this.#failure = undefined;
    } catch (error) {
      this.#fail(unavailable(error));
    }
    this.#draining = this.#waiting === undefined ? undefined : this.#drain();
  }

  /** Nothing that is not known to be durable counts: not what was written, nor what waited behind it. */
  #fail(error: GateError, batch?: Batch): void {
    this.#failure = error;
    this.#retryAt = performance.now() + this.#limits.retryMs;
    clearTimeout(this.#probe);
    this.#probe = setTimeout(() => {
      if (this.#failure !== undefined && !this.#isClosed) this.#draining ??= this.#tryAgain();
    }, this.#limits.probeMs).unref();
    for (const lost of [batch, this.#waiting]) {
      if (lost === undefined) continue;
      this.#rollBack(lost.touched.keys(), true);
      lost.reject(error);
    }
    this.#waiting = undefined;
  }

  #rollBack(states: Iterable<SessionState>, isLost = false): void {
    for (const state of states) {
      if (isLost) state.tip = state.durable;
      if (state.tip.seq === 0) this.#sessions.delete(state.id);
    }
  }
}

function lostTree(): GateError {
  return new GateError('record-damaged', 'the record is damaged: it has entries, and no checkpoint', {
    hint: 'Keep the directory as it is: it is evidence. Restore the checkpoint and its tiles from a copy.',
  });
}
