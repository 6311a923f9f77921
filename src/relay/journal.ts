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
    return this.#withBacklog(events, (all) => this.#recorder.record(this.session, all));
  }

  /**
   * Resolves when what these events are about may be forwarded, by the durability of the session; rejects as `record`
   * does. Where the result has to wait for the disk, `durable` is what it waits for.
   */
  async recordToForward(events: readonly Event[]): Promise<{ readonly durable?: Promise<void> }> {
    if (this.#durability === 'before-forward') return this.record(events).then(() => ({}));
    const isUrgent = this.#durability === 'before-result';
    let durable: Promise<void> | undefined;
    await this.#withBacklog(events, (all) => {
      const recording = this.#recorder.write(this.session, all, isUrgent);
      durable = recording.durable;
      return recording.written;
    });
    return isUrgent && durable !== undefined ? { durable } : {};
  }

  async #withBacklog(events: readonly Event[], record: (all: readonly Event[]) => Promise<void>): Promise<void> {
    const backlog = this.#backlog;
    this.#backlog = [];
    const all = backlog.length === 0 ? events : [...backlog, ...events];
    try {
      await record(all);
      this.usage.add(all);
    } catch (error) {
      this.#backlog.unshift(...backlog.slice(0, backlogMax - this.#backlog.length));
      throw error;
    }
  }

  /** For what has happened already and can no longer be refused: written as soon as the log can be written. */
  note(event: Event): Promise<void> {
    return this.#keep(event, this.record([event]));
  }

  /** The same, for what nobody waits for: it shares the sync of what comes next. */
  #noteSoon(event: Event): void {
    const written = this.#withBacklog([event], (all) => this.#recorder.write(this.session, all, false).written);
    void this.#keep(event, written);
  }

  #keep(event: Event, recording: Promise<void>): Promise<void> {
    return recording.catch(() => {
      if (this.#backlog.length < backlogMax) this.#backlog.push(event);
      this.#retryLater();
    });
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
    for (const result of capture.results()) this.#noteSoon({ kind: 'result', connection, statement, ...result });
    const { digest } = capture;
    const durationMs = Math.round((performance.now() - run.startedAtMs) * 1000) / 1000;
    this.#noteSoon({
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
