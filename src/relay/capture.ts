/** What the client gets for one statement: a digest of its rows always, the first of the rows themselves where policy asks for them. */
import { createHash, hash, type Hash } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import type { EventOf, Parameter } from '../audit/entry.ts';
import { decodeRowDescription, type ResultColumn } from '../mask/guard.ts';

/** Of one statement, whose text may hold many: what is past any of them is counted and hashed, and not kept. */
export type CaptureLimits = { readonly rowsMax: number; readonly bytesMax: number; readonly setsMax: number };

export const captureLimits: CaptureLimits = { rowsMax: 1000, bytesMax: 1024 * 1024, setsMax: 100 };

const dataRow = 0x44;
const headerBytes = 5;
/** Keeping more than this costs more than a hash of several pieces. */
const firstBytesMax = 4096;

type ResultSet = { columns: readonly ResultColumn[]; readonly pieces: Buffer[]; bytes: number; isCut: boolean };

export type CapturedResult = Pick<EventOf<'result'>, 'columns' | 'rows' | 'isCut'>;

export class Capture {
  readonly #limits: CaptureLimits | undefined;
  #hash: Hash | undefined;
  /** All that has come so far, where that is little: what comes in one piece is hashed in one call. */
  #first: Buffer | undefined;
  readonly #sets: ResultSet[] = [];
  #bytes = 0;
  /** What comes now belongs to a set that is not kept. */
  #isFull = false;

  /** Without limits no row is kept. */
  constructor(limits?: CaptureLimits) {
    this.#limits = limits;
  }

  get keepsRows(): boolean {
    return this.#limits !== undefined;
  }

  /** A RowDescription, as the client gets it: the rows behind it are of these columns. */
  describe(message: Buffer): void {
    if (this.#limits === undefined || this.#isFull) return;
    const columns = decodeRowDescription(message);
    const last = this.#sets.at(-1);
    if (last !== undefined && last.bytes === 0) last.columns = columns;
    else if (last !== undefined && this.#sets.length >= this.#limits.setsMax) this.#isFull = last.isCut = true;
    else this.#sets.push({ columns, pieces: [], bytes: 0, isCut: false });
  }

  /** The next bytes of DataRow and CopyData messages, cut anywhere. */
  add(bytes: Buffer): void {
    this.#digestMore(bytes);
    if (this.#limits === undefined || this.#isFull) return;
    if (this.#sets.length === 0) this.#sets.push({ columns: [], pieces: [], bytes: 0, isCut: false });
    const set = this.#sets.at(-1) as ResultSet;
    set.bytes += bytes.length;
    const room = this.#limits.bytesMax - this.#bytes;
    if (room < bytes.length) set.isCut = true;
    if (room <= 0) return;
    // The chunk may be used again by whoever has read it.
    set.pieces.push(Buffer.from(bytes.subarray(0, room)));
    this.#bytes += Math.min(room, bytes.length);
  }

  #digestMore(bytes: Buffer): void {
    if (this.#hash === undefined && this.#first === undefined && bytes.length <= firstBytesMax) {
      // The chunk may be used again by whoever has read it.
      this.#first = Buffer.from(bytes);
      return;
    }
    this.#hash ??= createHash('sha256');
    if (this.#first !== undefined) this.#hash.update(this.#first);
    this.#first = undefined;
    this.#hash.update(bytes);
  }

  /** SHA-256 in hex; undefined where no row came. */
  get digest(): string | undefined {
    return this.#first === undefined ? this.#hash?.copy().digest('hex') : hash('sha256', this.#first, 'hex');
  }

  results(): CapturedResult[] {
    let room = this.#limits?.rowsMax ?? 0;
    return this.#sets.map(({ columns, pieces, isCut }) => {
      const { rows, hasMore } = readRows(Buffer.concat(pieces), columns, room);
      room -= rows.length;
      return {
        columns: columns.map(({ name, type }) => ({ name, type })),
        rows,
        ...((isCut || hasMore) && { isCut: true as const }),
      };
    });
  }
}

/** Whole messages only: what a limit has cut off is left out. */
function readRows(bytes: Buffer, columns: readonly ResultColumn[], rowsMax: number): { rows: Parameter[][]; hasMore: boolean } {
  const rows: Parameter[][] = [];
  let at = 0;
  while (at + headerBytes <= bytes.length && rows.length < rowsMax) {
    const end = at + 1 + bytes.readUInt32BE(at + 1);
    if (end > bytes.length) break;
    const body = bytes.subarray(at + headerBytes, end);
    rows.push(bytes[at] === dataRow ? readRow(body, columns) : [valueOf(body, 0)]);
    at = end;
  }
  return { rows, hasMore: at < bytes.length };
}

/** Section 54.7, DataRow. A server that lies about lengths gets a shorter row, and no more. */
function readRow(body: Buffer, columns: readonly ResultColumn[]): Parameter[] {
  const row: Parameter[] = [];
  if (body.length < 2) return row;
  const count = body.readUInt16BE(0);
  let at = 2;
  for (let index = 0; index < count && at + 4 <= body.length; index++) {
    const length = body.readInt32BE(at);
    at += 4;
    if (length < 0) row.push(null);
    else row.push(valueOf(body.subarray(at, at + length), columns[index]?.format ?? 0));
    at += Math.max(0, length);
  }
  return row;
}

function valueOf(bytes: Buffer, format: number): Parameter {
  return format === 0 && isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') };
}
