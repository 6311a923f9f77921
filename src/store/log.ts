/** The log of all that sessions do: append only, one writer, grouped commits, acknowledged when durable. */
import { statfs } from 'node:fs/promises';
import { formatVerifierKey } from '../audit/checkpoint.ts';
import { decisionsChain, type AuditEntry, type Event } from '../audit/entry.ts';
import type { Haste, Recorder, Written } from '../audit/recorder.ts';
import { GateError } from '../errors/errors.ts';
import type { SessionCounts } from '../grant/grant.ts';
import { frameEvent, needsKey, unavailable } from './frame-event.ts';
import type { Batch, Framed } from './log-batch.ts';
import { Commits } from './log-commits.ts';
import { readEntries, readLeaves, readSealed, sealingSession, type Leaf } from './log-entries.ts';
import { makeDurableDirectory, realLogFiles, type LogFiles } from './log-files.ts';
import { advanceTip, describeIndex, saveIndex, sessionState, type LastNumbers, type Returned, type Tip } from './log-index.ts';
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
/** How long a reader waits for what is written to become durable. */
const catchUpMs = 1000;
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
  readonly #pendingBytesMax: number;
  readonly #now: () => Date;
  readonly #listeners = new Set<() => void>();
  readonly #commits: Commits;
  #indexing: Promise<void> = Promise.resolve();
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
    this.#pendingBytesMax = options.pendingBytesMax ?? pendingBytesMax;
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
    this.#commits = new Commits({
      writer: this.#writer,
      retryMs: options.retryMs ?? retryMs,
      probeMs: options.probeMs ?? probeMs,
      onCommit: (state, tip, span) => {
        state.commit(tip, span);
        if (tip.isClosed) this.keys.release(state.id);
      },
      onGroup: (leaves, place) => {
        this.end = place;
        for (const leaf of leaves) this.#tree.append(leaf);
        this.publisher.note();
        for (const listener of this.#listeners) listener();
      },
      onEmpty: ({ id }) => this.#sessions.delete(id),
    });
  }

  get isAvailable(): boolean {
    return this.#commits.failure === undefined && !this.#isClosed && this.publisher.isKeepingUp;
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
    const appended = this.#append(session, events, { isKept: false, haste: 'disk' });
    return appended instanceof Promise ? appended.then((batch) => batch?.durable.promise) : (appended?.durable.promise ?? Promise.resolve());
  }

  write(session: string, events: readonly Event[], haste: Haste): Written {
    const appended = this.#append(session, events, { isKept: true, haste });
    if (appended === undefined) return {};
    if (!(appended instanceof Promise)) {
      return {
        ...(!appended.written.isDone && { written: appended.written.promise }),
        ...(haste === 'disk' && { durable: appended.durable.promise }),
      };
    }
    const durable = appended.then((batch) => batch?.durable.promise);
    durable.catch(() => undefined);
    return { written: appended.then((batch) => batch?.written.promise), ...(haste === 'disk' && { durable }) };
  }

  /** Undefined where there is nothing to append; a promise where that fails, or has to wait for keys. */
  #append(session: string, events: readonly Event[], how: { readonly isKept: boolean; readonly haste: Haste }): Batch | undefined | Promise<Batch | undefined> {
    if (this.#isClosed) return Promise.reject(unavailable('the log is closed'));
    const { refusal } = this.#commits;
    if (refusal !== undefined) return Promise.reject(refusal);
    if (!this.publisher.isKeepingUp) return Promise.reject(unavailable('its checkpoints cannot be written'));
    if (events.length === 0) return undefined;
    const keyless = this.#findKeyless(session, events);
    if (keyless !== undefined) return this.keys.ensure(keyless).then(() => this.#append(session, events, how));
    const state = sessionState(this.#sessions, session);
    const lines: { framed: Framed; tip: Tip }[] = [];
    try {
      const time = this.#now().toISOString();
      let tip = state.tip;
      let bytes = this.#commits.pendingBytes;
      for (const event of events) {
        const framed = frameEvent(this.keys, { v: 1, session, seq: tip.seq + 1, prev: tip.hash, time }, event);
        tip = advanceTip(tip, event, framed.entry.hash);
        lines.push({ framed, tip });
        bytes += framed.entry.bytes.length + (framed.sealed?.length ?? 0);
      }
      if (bytes > this.#pendingBytesMax) throw unavailable('the disk does not keep up');
    } catch (error) {
      if (state.tip.seq === 0) this.#sessions.delete(session);
      return Promise.reject(error);
    }
    return this.#commits.add(state, lines, how);
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

  async *entries(session: string, { isOpened = true, signal }: EntriesOptions = {}): AsyncIterable<AuditEntry> {
    await this.#catchUp();
    const state = this.#sessions.get(session);
    const keys = isOpened ? this.keys : undefined;
    yield* readEntries({ directory: this.#directory, session, spans: state?.spans ?? [], lastHash: state?.durable.hash ?? '', keys, signal });
  }

  /** Readers get what was written as well; but a disk that hangs keeps nobody from reading. */
  async #catchUp(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, catchUpMs)));
    await Promise.race([this.#commits.flush(), late]).finally(() => clearTimeout(timer));
  }

  async *sealed(session: string): AsyncIterable<Buffer> {
    await this.#catchUp();
    yield* readSealed(this.#directory, session, this.#sessions.get(session)?.spans ?? []);
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

  async publish(): Promise<string> {
    await this.#commits.flush();
    return this.publisher.publish();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#commits.close();
    await this.publisher.close();
    await this.#indexing;
  }
}

function lostTree(): GateError {
  return new GateError('record-damaged', 'the record is damaged: it has entries, and no checkpoint', {
    hint: 'Keep the directory as it is: it is evidence. Restore the checkpoint and its tiles from a copy.',
  });
}
