/** The record of one session as its connections write it: numbers, parameters, and outcomes that must not get lost. */
import { createHash, hash } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import type { Event, Parameter } from '../audit/entry.ts';
import type { Durability } from '../audit/durability.ts';
import type { Recorder } from '../audit/recorder.ts';
import type { BoundValue } from '../pgwire/frontend.ts';
import { piecesOf } from './fingerprint.ts';
import type { Run } from './pending.ts';
import { Turns } from './turns.ts';
import { UsageCount } from './usage-count.ts';

/** Parameters of one statement that are recorded as they are; those past it by size and hash. */
export const parameterBytesMax = 1024 * 1024;
/** Outcomes that are kept for a log that cannot be written at the moment. */
const backlogMax = 10_000;
/** How often what could not be written is tried again when nothing else happens in the session. */
const backlogRetryMs = 1000;

/** What the result of a recorded statement waits for. */
export type Recorded = { readonly durable?: Promise<void> };
const nothingToWaitFor: Recorded = {};

export class Journal {
  readonly session: string;
  /** What its statements come to, as far as it has not been taken out yet. */
  readonly usage = new UsageCount();
  readonly #recorder: Recorder;
  readonly #durability: Durability;
  #connections: number;
  #statements: number;
  /** Outcomes that could not be written; they go first when the log can be written again. */
  #backlog: Event[] = [];
  #retry: NodeJS.Timeout | undefined;

  /** `last`: the highest numbers on record, after which numbering goes on. */
  constructor(session: string, recorder: Recorder, last: { lastConnection: number; lastStatement: number }, durability: Durability = 'before-forward') {
    this.session = session;
    this.#durability = durability;
    this.#recorder = recorder;
    this.#connections = last.lastConnection;
    this.#statements = last.lastStatement;
  }

  nextConnection(): number {
    return ++this.#connections;
  }

  nextStatement(): number {
    return ++this.#statements;
  }

  /** Resolves when the events are durable; rejects with `record-unavailable` when they do not count. */
  record(events: readonly Event[]): Promise<void> {
    return this.#recorded(events, (all) => this.#recorder.record(this.session, all));
  }

  /**
   * Answers when what these events are about may be forwarded, by the durability of the session: at once, where no
   * promise comes back; rejects as `record` does. Where the result has to wait for the disk, `durable` is what it waits for.
   */
  recordToForward(events: readonly Event[]): Recorded | Promise<Recorded> {
    if (this.#durability === 'before-forward') return this.record(events).then(() => nothingToWaitFor);
    const all = this.#withBacklog(events);
    const { written, durable } = this.#recorder.write(this.session, all, this.#durability === 'before-result' ? 'disk' : 'system');
    const recorded = durable === undefined ? nothingToWaitFor : { durable };
    if (written === undefined) {
      this.usage.add(all);
      return recorded;
    }
    const count = () => {
      this.usage.add(all);
      return recorded;
    };
    return written.then(count, (error: unknown) => {
      this.#putBack(all, events);
      throw error;
    });
  }

  /** With what could not be written before. */
  #withBacklog(events: readonly Event[]): readonly Event[] {
    if (this.#backlog.length === 0) return events;
    const all = [...this.#backlog, ...events];
    this.#backlog = [];
    return all;
  }

  /** What of it was the backlog is that again; `events` are for the caller to care about. */
  #putBack(all: readonly Event[], events: readonly Event[]): void {
    const backlog = all.slice(0, all.length - events.length);
    this.#backlog.unshift(...backlog.slice(0, backlogMax - this.#backlog.length));
  }

  /** For what has happened already and can no longer be refused: written as soon as the log can be written. */
  note(event: Event): Promise<void> {
    return this.record([event]).catch(() => this.#keep(event));
  }

  /** The same, for what nobody waits for: it shares the write of what comes next. Resolves when it is written, or kept. */
  noteSoon(event: Event): Promise<void> | void {
    const events = [event];
    const all = this.#withBacklog(events);
    const { written } = this.#recorder.write(this.session, all, 'later');
    if (written === undefined) return this.usage.add(all);
    const failed = () => {
      this.#putBack(all, events);
      this.#keep(event);
    };
    return written.then(() => this.usage.add(all), failed);
  }

  /** Resolves when the operating system has the events, which are durable before whatever is recorded after them is; rejects as `record` does. */
  write(events: readonly Event[]): Promise<void> {
    return this.#recorded(events, (all) => this.#recorder.write(this.session, all, 'system').written);
  }

  async #recorded(events: readonly Event[], record: (all: readonly Event[]) => Promise<void> | undefined): Promise<void> {
    const all = this.#withBacklog(events);
    try {
      await record(all);
    } catch (error) {
      this.#putBack(all, events);
      throw error;
    }
    this.usage.add(all);
  }

  #keep(event: Event): void {
    if (this.#backlog.length < backlogMax) this.#backlog.push(event);
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#retry !== undefined) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      if (this.#backlog.length > 0) this.record([]).catch(() => this.#retryLater());
    }, backlogRetryMs).unref();
  }

  noteOutcome(connection: number, run: Run, state: 'ok' | 'error' | 'suspended' | 'skipped' | 'unknown'): void {
    const { statement, tags, rows, bytesOut, bytesIn, sqlstate, capture } = run;
    for (const result of capture.results()) void this.noteSoon({ kind: 'result', connection, statement, ...result });
    const { digest } = capture;
    const durationMs = Math.round((performance.now() - run.startedAtMs) * 1000) / 1000;
    void this.noteSoon({
      kind: 'outcome',
      connection,
      statement,
      state,
      tags: [...tags],
      rows,
      bytesOut,
      bytesIn,
      ...(digest !== undefined && { digest }),
      ...(sqlstate !== undefined && { sqlstate }),
      durationMs,
    });
  }
}

/** Hashes of parameters that are too long to be hashed at once. */
const hashes = new WeakMap<object, string>();
const hashedAtOnceMax = 1024 * 1024;

/** Makes ready what `recordedParameters` needs of long values, a part of it in each turn of the event loop. */
export async function hashLongParameters(values: readonly BoundValue[]): Promise<void> {
  const turns = new Turns();
  for (const value of values) {
    if (value === null || value.bytes.length <= hashedAtOnceMax || hashes.has(value)) continue;
    const sum = createHash('sha256');
    for (const piece of piecesOf(value.bytes)) {
      if (turns.isOver) await turns.next();
      sum.update(piece);
    }
    hashes.set(value, sum.digest('hex'));
  }
}

/** Of a statement that may take a secret only the sizes are kept: a hash of a password can be searched for. */
export function recordedParameters(values: readonly BoundValue[], isSecret: boolean): Parameter[] {
  let room = parameterBytesMax;
  return values.map((value) => {
    if (value === null) return null;
    const { bytes, format } = value;
    if (isSecret) return { bytes: bytes.length };
    room -= bytes.length;
    if (room < 0) return { bytes: bytes.length, sha256: hashes.get(value) ?? hash('sha256', bytes, 'hex') };
    return format === 'text' && isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') };
  });
}
