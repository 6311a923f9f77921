/** Entries of the record on their way to others: read in order, put into a format, handed to a sink, and the cursor moved. */
import { setTimeout as sleep } from 'node:timers/promises';
import { entriesLimitMax, type IndexedEntry } from '../api/audit-api.ts';
import { parseCheckpoint, parseNote } from '../audit/checkpoint.ts';
import { openEntry } from '../audit/line.ts';
import { SessionContexts, type SiemRecord } from '../audit/siem/context.ts';
import { formatterOf, type SiemFormat } from '../audit/siem/format.ts';
import { GateError, type ErrorCode } from '../errors/errors.ts';
import { loadCursor, saveCursor } from './export-cursor.ts';
import type { ExportSink } from './export-sinks.ts';
import type { RelayClient } from './relay-client.ts';

/** What one call of a sink gets at most; a longer line goes alone. */
export const batchEntriesMax = 500;
export const batchBytesMax = 1024 * 1024;
const pauseMsMax = 30_000;

export type EntryExport = {
  readonly relay: RelayClient;
  readonly format: SiemFormat;
  /** Where to begin without a cursor. */
  readonly from: number;
  readonly cursorFile?: string;
  readonly isFollowing: boolean;
  /** Opens the sink; `bytes` as the cursor has it. */
  readonly openSink: (bytes: number | undefined) => Promise<ExportSink>;
  readonly signal: AbortSignal;
  readonly warn: (line: string) => void;
};

/**
 * Exports what is on record as of the call, and while following what comes, until the signal aborts. Answers the place
 * of the next entry. An entry may arrive twice after a crash, in a file never. Fails with `usage` for a cursor of
 * another log or format, or beyond the end of the log.
 */
export async function exportEntries(options: EntryExport): Promise<number> {
  const { relay, format, cursorFile, openSink } = options;
  const { origin, size } = parseCheckpoint(parseNote(await relay.logCheckpoint('export')).text);
  const cursor = cursorFile === undefined ? undefined : await loadCursor(cursorFile);
  if (cursor !== undefined && (cursor.origin !== origin || cursor.format !== format)) {
    throw new GateError('usage', `the cursor is one of the log ${cursor.origin} in the format ${cursor.format}`, { hint: 'Name another cursor file.' });
  }
  const start = cursor?.next ?? options.from;
  if (start > size) {
    throw new GateError('usage', `the export would go on at entry ${start}, and the record has ${size}`, {
      hint: 'If the cursor was not changed by hand, entries are gone from the record: compare it with a bundle or a receipt.',
    });
  }
  const save = async (next: number, bytes: number | undefined) => {
    if (cursorFile !== undefined) await saveCursor(cursorFile, { v: 1, origin, format, next, ...(bytes !== undefined && { bytes }) });
  };
  const sink = await openSink(cursor?.bytes);
  try {
    // Before the first byte: else a crash would leave a file that no cursor speaks of.
    if (cursor === undefined) await save(start, sink.bytes);
    const records = new Records(origin, format);
    await records.remember(relay, start);
    const batcher = new Batcher(sink, start, save);
    return await run(options, { records, batcher, end: size });
  } finally {
    await sink.close();
  }
}

type Parts = { readonly records: Records; readonly batcher: Batcher; readonly end: number };

async function run({ relay, isFollowing, signal, warn }: EntryExport, { records, batcher, end }: Parts): Promise<number> {
  let pauseMs = 0;
  while (!signal.aborted) {
    if (!isFollowing && batcher.next >= end) break;
    const limit = isFollowing ? entriesLimitMax : Math.min(entriesLimitMax, end - batcher.next);
    let failure: unknown;
    try {
      for await (const entry of relay.logEntries({ from: batcher.next, limit, isFollowing, signal })) {
        await batcher.add(entry.index, records.format(entry));
        pauseMs = 0;
      }
    } catch (error) {
      failure = error;
    }
    // What has come whole goes on, also where the rest broke off.
    if (!batcher.hasFailed) await batcher.flush().catch((error: unknown) => (failure = error));
    if (failure === undefined || signal.aborted) continue;
    if (batcher.hasFailed || !isFollowing || !isPassing(failure)) throw failure;
    if (pauseMs === 0) warn(`${failure.message}; the export goes on when it is there again`);
    pauseMs = Math.min(Math.max(pauseMs * 2, 500), pauseMsMax);
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
  }
  return batcher.next;
}

/** A follower outlives a restart of the relay. */
function isPassing(error: unknown): error is GateError {
  const codes: readonly ErrorCode[] = ['relay-unreachable', 'relay-stopping', 'record-unavailable'];
  return error instanceof GateError && codes.includes(error.code);
}

/** Gathers lines for the sink, and moves the cursor behind what it has taken. */
class Batcher {
  readonly #sink: ExportSink;
  readonly #save: (next: number, bytes: number | undefined) => Promise<void>;
  #lines: string[] = [];
  #bytes = 0;
  #next: number;
  /** The sink does not have all that was added, and never will. */
  hasFailed = false;

  constructor(sink: ExportSink, next: number, save: (next: number, bytes: number | undefined) => Promise<void>) {
    this.#sink = sink;
    this.#next = next;
    this.#save = save;
  }

  /** Of the entry that has not been added yet. */
  get next(): number {
    return this.#next;
  }

  async add(index: number, line: string): Promise<void> {
    if (index !== this.#next) throw new GateError('record-damaged', `the relay gave entry ${index} in place of ${this.#next}`);
    const bytes = Buffer.byteLength(line) + 1;
    if (this.#lines.length === batchEntriesMax || (this.#lines.length > 0 && this.#bytes + bytes > batchBytesMax)) await this.flush();
    this.#lines.push(line);
    this.#bytes += bytes;
    this.#next++;
  }

  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    try {
      await this.#sink.write(this.#lines);
      await this.#save(this.#next, this.#sink.bytes);
    } catch (error) {
      this.hasFailed = true;
      throw error;
    }
    this.#lines = [];
    this.#bytes = 0;
  }
}

/** Lines of one format; most say of an entry what its session was opened for. */
class Records {
  readonly #contexts = new SessionContexts();
  readonly #origin: string;
  readonly #format: (record: SiemRecord) => string;
  readonly #isPlain: boolean;

  constructor(origin: string, format: SiemFormat) {
    this.#origin = origin;
    this.#format = formatterOf(format);
    this.#isPlain = format === 'ndjson';
  }

  format(entry: IndexedEntry): string {
    return this.#format(this.#take(entry));
  }

  /** Reads what stands before the first entry that is exported, from the beginning of the record. */
  async remember(relay: RelayClient, before: number): Promise<void> {
    if (this.#isPlain) return;
    for (let from = 0; from < before; ) {
      const reached = from;
      for await (const entry of relay.logEntries({ from, limit: Math.min(entriesLimitMax, before - from) })) {
        this.#take(entry);
        from = entry.index + 1;
      }
      if (from === reached) throw new GateError('record-damaged', `the relay gave no entry ${from}`);
    }
  }

  #take({ index, ...stored }: IndexedEntry): SiemRecord {
    return this.#contexts.take({ index, relay: this.#origin, entry: openEntry(stored, 'not-allowed') });
  }
}
