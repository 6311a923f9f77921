/** The log of all that sessions do: append only, one writer, grouped commits, acknowledged when durable. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { decisionsChain, type AuditEntry, type Event } from '../audit/entry.ts';
import { ChainChecker, formatLine, parseLine, type FramedLine, type LogLine } from '../audit/line.ts';
import type { Recorder } from '../audit/recorder.ts';
import { formatSegmentHeader, segmentName, type SegmentEnd } from '../audit/segment.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import type { SessionCounts } from '../grant/grant.ts';
import { realLogFiles, writeWhole, type LogFiles } from './log-files.ts';
import {
  advanceTip,
  describeIndex,
  saveIndex,
  sessionState,
  type SessionState,
  type Span,
  type Tip,
  type LastNumbers,
} from './log-index.ts';
import { damaged, readLines } from './log-reader.ts';
import { findUnfinished, loadLog, type LoadedLog } from './log-recovery.ts';

/** A segment that would grow past this ends; a single group of entries may be larger than that. */
export const segmentBytesMax = 64 * 1024 * 1024;
/** Bytes that may wait for the disk. Past it entries are refused, and with them the statements that they are about. */
export const pendingBytesMax = 64 * 1024 * 1024;
/** How long after a failure an entry makes the log try again at the earliest. */
export const retryMs = 250;
/** How often the log tries by itself after a failure, so that it comes back also where nobody dares to use it. */
export const probeMs = 2000;

export type LogOptions = {
  readonly segmentBytesMax?: number;
  readonly pendingBytesMax?: number;
  readonly retryMs?: number;
  readonly probeMs?: number;
  readonly files?: LogFiles;
  /** The clock that entries are stamped with. */
  readonly now?: () => Date;
};

/**
 * What `record` rejected is marked as not counting by the header of the next segment. A process that dies before it
 * can write that header may leave some of it to be found: then it stands there as sent, with its outcome unknown.
 */
export interface Log extends Recorder {
  /** The durable entries of a session in order, as of the call; none for an unknown one. Throws `record-damaged`. */
  entries(session: string): AsyncIterable<AuditEntry>;
  /** Of what is durable; `statements` includes the refused ones. All zero for an unknown session. */
  counts(session: string): SessionCounts;
  /** Where numbering goes on after a restart. All zero for an unknown session. */
  lastNumbers(session: string): LastNumbers;
  /** The sessions without a `session.close`, oldest first. */
  openSessions(): string[];
  /** Writes what waits, then lets go of the files. Later calls of `record` are rejected. */
  close(): Promise<void>;
}

/**
 * Opens the log in a directory, which is made when absent, and finishes what a crash left open. The caller holds the
 * lock on the state directory: there is one writer. Throws `record-damaged` when the log does not hold what was
 * written to it, `record-unavailable` when it cannot be written.
 */
export async function openLog(directory: string, options: LogOptions = {}): Promise<Log> {
  try {
    const made = await mkdir(directory, { recursive: true, mode: 0o700 });
    if (made !== undefined) await (options.files ?? realLogFiles).fsyncDirectory(dirname(made));
  } catch (error) {
    throw unavailable(error);
  }
  const log = new FileLog(directory, await loadLog(directory), options);
  try {
    await log.start();
    for (const session of log.openSessions()) {
      const unfinished = await findUnfinished(log.entries(session));
      if (unfinished.length > 0) await log.record(session, unfinished);
    }
  } catch (error) {
    await log.close();
    throw error;
  }
  return log;
}

type OpenSegment = { readonly number: number; readonly descriptor: number; bytes: number; hash: string };

type Touch = { tip: Tip; readonly from: number; to: number };

/** The entries that share one write and one sync, and the promise of all their callers. */
class Batch {
  readonly chunks: Buffer[] = [];
  readonly touched = new Map<SessionState, Touch>();
  bytes = 0;
  hash = '';
  readonly done: Promise<void>;
  resolve!: () => void;
  reject!: (error: GateError) => void;

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  add(state: SessionState, line: FramedLine, tip: Tip): void {
    const to = this.bytes + line.bytes.length;
    const touch = this.touched.get(state);
    if (touch === undefined) this.touched.set(state, { tip, from: this.bytes, to });
    else Object.assign(touch, { tip, to });
    this.chunks.push(line.bytes);
    this.bytes = to;
    this.hash = line.hash;
  }
}

class FileLog implements Log {
  readonly #directory: string;
  readonly #sessions: LoadedLog['sessions'];
  readonly #files: LogFiles;
  readonly #limits: Readonly<Record<'segmentBytesMax' | 'pendingBytesMax' | 'retryMs' | 'probeMs', number>>;
  readonly #now: () => Date;
  /** Undefined between the end of one segment and the start of the next, which `#end` is about. */
  #current: OpenSegment | undefined;
  #end: SegmentEnd | undefined;
  #nextNumber: number;
  #waiting: Batch | undefined;
  #inFlightBytes = 0;
  #draining: Promise<void> | undefined;
  #indexing: Promise<void> = Promise.resolve();
  #failure: GateError | undefined;
  #retryAt = 0;
  #probe: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(directory: string, loaded: LoadedLog, options: LogOptions) {
    this.#directory = directory;
    this.#sessions = loaded.sessions;
    this.#end = loaded.end;
    this.#nextNumber = loaded.nextNumber;
    this.#files = options.files ?? realLogFiles;
    this.#limits = {
      segmentBytesMax: options.segmentBytesMax ?? segmentBytesMax,
      pendingBytesMax: options.pendingBytesMax ?? pendingBytesMax,
      retryMs: options.retryMs ?? retryMs,
      probeMs: options.probeMs ?? probeMs,
    };
    this.#now = options.now ?? (() => new Date());
  }

  get isAvailable(): boolean {
    return this.#failure === undefined && !this.#isClosed;
  }

  async start(): Promise<void> {
    try {
      this.#current = await this.#openSegment();
    } catch (error) {
      throw unavailable(error);
    }
  }

  record(session: string, events: readonly Event[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(unavailable('the log is closed'));
    if (this.#failure !== undefined && performance.now() < this.#retryAt) return Promise.reject(this.#failure);
    if (events.length === 0) return Promise.resolve();
    const state = sessionState(this.#sessions, session);
    const time = this.#now().toISOString();
    const lines: { line: FramedLine; tip: Tip }[] = [];
    try {
      let tip = state.tip;
      let bytes = this.#inFlightBytes + (this.#waiting?.bytes ?? 0);
      for (const event of events) {
        const line = formatLine({ v: 1, session, seq: tip.seq + 1, prev: tip.hash, time, event });
        tip = advanceTip(tip, event, line.hash);
        lines.push({ line, tip });
        bytes += line.bytes.length;
      }
      if (bytes > this.#limits.pendingBytesMax) throw unavailable('the disk does not keep up');
    } catch (error) {
      this.#rollBack([state]);
      return Promise.reject(error);
    }
    this.#waiting ??= new Batch();
    for (const { line, tip } of lines) this.#waiting.add(state, line, tip);
    state.tip = lines.at(-1)?.tip ?? state.tip;
    this.#draining ??= this.#drain();
    return this.#waiting.done;
  }

  counts(session: string): SessionCounts {
    const { connections = 0, statements = 0, refused = 0 } = this.#sessions.get(session)?.durable ?? {};
    return { connections, statements, refused };
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

  entries(session: string): AsyncIterable<AuditEntry> {
    const state = this.#sessions.get(session);
    return this.#read(session, state?.spans ?? [], state?.durable.hash ?? '');
  }

  async *#read(session: string, spans: readonly Span[], lastHash: string): AsyncGenerator<AuditEntry> {
    const chain = new ChainChecker();
    const needle = Buffer.from(JSON.stringify(session));
    let place = { path: this.#directory, byte: 0 };
    let hash = '';
    for (const span of spans) {
      const path = join(this.#directory, segmentName(span.segment));
      place = { path, byte: span.to };
      for await (const raw of readLines(path, span)) {
        // Most lines between are other sessions'; what is not this session's need not be decoded to know that.
        if (!raw.bytes.includes(needle)) continue;
        const line = parseAt(path, raw);
        if (line.entry.session !== session) continue;
        const found = chain.add(line);
        if (found !== undefined) throw damaged(path, { byte: raw.from }, found.problem);
        hash = line.hash;
        yield line.entry;
      }
    }
    if (hash !== lastHash) throw damaged(place.path, place, `the last entries of session ${session} are missing`);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#probe);
    while (this.#draining !== undefined) await this.#draining;
    // What was rejected must not come back: only the header of another segment says that it does not count.
    if (this.#failure !== undefined) await this.start().catch(() => {});
    if (this.#current !== undefined) this.#endSegment(this.#current, 'restart');
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
    if (this.#current !== undefined && this.#current.bytes + batch.bytes > this.#limits.segmentBytesMax) {
      this.#endSegment(this.#current, 'full');
    }
    this.#current ??= await this.#openSegment();
    const segment = this.#current;
    try {
      writeWhole(this.#files, segment.descriptor, Buffer.concat(batch.chunks));
      await this.#files.fdatasync(segment.descriptor);
    } catch (error) {
      this.#endSegment(segment, 'failed');
      throw error;
    }
    for (const [state, { tip, from, to }] of batch.touched) {
      state.commit(tip, { segment: segment.number, from: segment.bytes + from, to: segment.bytes + to });
    }
    segment.bytes += batch.bytes;
    segment.hash = batch.hash;
  }

  /** Opens the next segment when nobody has anything to record: the header of it is proof enough of a working disk. */
  async #tryAgain(): Promise<void> {
    try {
      this.#current ??= await this.#openSegment();
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

  async #openSegment(): Promise<OpenSegment> {
    const number = this.#nextNumber;
    const path = join(this.#directory, segmentName(number));
    const { bytes, hash } = formatSegmentHeader({
      v: 1,
      kind: 'segment',
      number,
      time: this.#now().toISOString(),
      ...(this.#end !== undefined && { previous: this.#end }),
    });
    // A number is spent by the attempt: a create that is reported as failed may have left its file.
    this.#nextNumber = number + 1;
    const descriptor = this.#files.create(path);
    try {
      writeWhole(this.#files, descriptor, bytes);
      await this.#files.fdatasync(descriptor);
      await this.#files.fsyncDirectory(this.#directory);
    } catch (error) {
      this.#abandon(number, path, descriptor);
      throw error;
    }
    return { number, descriptor, bytes: bytes.length, hash };
  }

  /** A file that holds no entry may go, and its number with it; where it stays, no header will ever name it. */
  #abandon(number: number, path: string, descriptor: number): void {
    this.#closeQuietly(descriptor);
    try {
      this.#files.remove(path);
      this.#nextNumber = number;
    } catch {
      // The next attempt takes the next number.
    }
  }

  #endSegment(segment: OpenSegment, reason: SegmentEnd['reason']): void {
    const { number, bytes, hash } = segment;
    this.#end = { number, bytes, hash, reason };
    this.#current = undefined;
    this.#closeQuietly(segment.descriptor);
    const index = describeIndex(this.#sessions, this.#end);
    this.#indexing = this.#indexing.then(() => saveIndex(this.#directory, number, index));
  }

  /** All that counts has been synced before, so there is nothing left for a close to lose. */
  #closeQuietly(descriptor: number): void {
    try {
      this.#files.close(descriptor);
    } catch {
      // The descriptor is gone either way.
    }
  }
}

function parseAt(path: string, raw: { bytes: Buffer; from: number }): LogLine {
  try {
    return parseLine(raw.bytes);
  } catch (error) {
    throw damaged(path, { byte: raw.from }, error);
  }
}

function unavailable(error: unknown): GateError {
  if (error instanceof GateError) return error;
  const reason = messageOf(error).replace(/^[A-Z0-9]+: /, '').replace(/, [a-z]+( '.*)?$/s, '');
  return new GateError('record-unavailable', `the record cannot be written: ${reason}`, {
    hint: 'Nothing runs unrecorded. Once the relay can write to its state directory again, it goes on by itself.',
    cause: error,
  });
}
