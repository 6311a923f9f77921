/** Rows on their way to a client: masks of the level `display` by a column's origin, and detectors over everything that is shown. */
import { GateError } from '../errors/errors.ts';
import { Candidates, mayHoldCard } from './candidates.ts';
import { coverValue } from './cover-value.ts';
import { detect, maskSpans } from './detect.ts';
import type { ResultColumn } from './guard.ts';
import type { DetectorKind, Mask } from './plan.ts';
import { RowCopy } from './row-copy.ts';
import { shownValue } from './shown-value.ts';
import { isNumberType } from './type-ids.ts';

export type ResultRowsOptions = {
  readonly kinds: readonly DetectorKind[];
  /** At the level `display`: the mask of what comes from this column; undefined for a clear one. */
  readonly maskOf?: (column: ResultColumn) => Mask | undefined;
  /** Of hashes. */
  readonly key: Buffer;
  /** Something was found, and covered: in a column of a result, or (undefined) in what has none. */
  readonly onFound: (kind: DetectorKind, column: ResultColumn | undefined) => void;
};

/** What is done with the fields of a column. */
type Shown = {
  readonly column: ResultColumn | undefined;
  /** Undefined: it is for detectors, or for nobody. */
  readonly mask: Mask | undefined;
  readonly isWatched: boolean;
  /** Numbers are no text there. */
  readonly isBinaryNumber: boolean;
};

const nothingKnown: Mask = { kind: 'null' };
const dataRow = 0x44;
const headerBytes = 5;
const cardBytesMin = 13;

export class ResultRows {
  readonly #options: ResultRowsOptions;
  readonly #hasCards: boolean;
  readonly #hasOthers: boolean;
  readonly #unknown: Shown;
  #columns: readonly Shown[] | undefined;

  constructor(options: ResultRowsOptions) {
    const { kinds, maskOf } = options;
    this.#options = options;
    this.#hasCards = kinds.includes('card');
    this.#hasOthers = kinds.some((kind) => kind !== 'card');
    this.#unknown = this.#shown(undefined, maskOf && nothingKnown);
  }

  /** The rows that follow are of these columns. */
  describe(columns: readonly ResultColumn[]): void {
    const { maskOf } = this.#options;
    this.#columns = columns.map((column) => this.#shown(column, maskOf?.(column)));
  }

  /** Nothing is known of rows that would follow: with masks they are NULL throughout. */
  forget(): void {
    this.#columns = undefined;
  }

  #shown(column: ResultColumn | undefined, mask: Mask | undefined): Shown {
    const isMasked = mask !== undefined && mask.kind !== 'clear';
    const isNumber = column !== undefined && isNumberType(column.type);
    const isWatched = !isMasked && (isNumber ? this.#hasCards : this.#options.kinds.length > 0);
    return { column, mask: isMasked ? mask : undefined, isWatched, isBinaryNumber: isNumber && column.format !== 0 };
  }

  /** Whole messages, DataRow or CopyData. Where nothing is replaced they are the very same bytes. Fails with `protocol-violation` or `upstream-protocol`. */
  pass(bytes: Buffer): Buffer {
    const candidates = this.#hasOthers ? new Candidates(bytes, this.#options.kinds) : undefined;
    const copy = new RowCopy(bytes);
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + (int32At(bytes, at + 1) >>> 0);
      if (bytes[at] === dataRow) this.#row(bytes, at, end, copy, candidates);
      else this.#copyData(bytes, at + headerBytes, end, copy, candidates);
      at = end;
    }
    return copy.finish();
  }

  #row(bytes: Buffer, message: number, end: number, copy: RowCopy, candidates: Candidates | undefined): void {
    const columns = this.#columns;
    let at = message + headerBytes + 2;
    if (at > end) throw pastEnd();
    const count = bytes.readUInt16BE(at - 2);
    if (columns !== undefined && columns.length !== count) {
      throw new GateError('upstream-protocol', `the server sent a row of ${count} fields where it had announced ${columns.length}`);
    }
    for (let index = 0; index < count; index++) {
      const start = at + 4;
      if (start > end) throw pastEnd();
      const length = int32At(bytes, at);
      if (length < -1) throw new GateError('protocol-violation', `a field claims a length of ${length} bytes`);
      const past = length === -1 ? start : start + length;
      if (past > end) throw pastEnd();
      const shown = columns === undefined ? this.#unknown : (columns[index] as Shown);
      if (length !== -1) {
        if (shown.mask !== undefined) copy.replace(message, at, past, this.#masked(shown.mask, shown.column, bytes, start, past));
        else if (shown.isWatched && this.#isCandidate(shown, bytes, start, past, candidates)) this.#cover(shown, bytes, message, at, past, copy);
      }
      at = past;
    }
    if (at !== end) throw new GateError('protocol-violation', `a message has ${end - at} bytes after its last field`);
  }

  #isCandidate(shown: Shown, bytes: Buffer, start: number, end: number, candidates: Candidates | undefined): boolean {
    if (shown.isBinaryNumber) return true;
    if (this.#hasCards && end - start >= cardBytesMin && mayHoldCard(bytes, start, end)) return true;
    return candidates !== undefined && candidates.isIn(start, end);
  }

  #masked(mask: Mask, column: ResultColumn | undefined, bytes: Buffer, start: number, end: number): Buffer | null {
    return column === undefined ? null : shownValue(mask, { type: column.type, format: column.format, bytes, start, end }, this.#options.key);
  }

  #cover({ column }: Shown, bytes: Buffer, message: number, at: number, end: number, copy: RowCopy): void {
    const { kinds, onFound } = this.#options;
    const field = bytes.subarray(at + 4, end);
    const shown = coverValue(field, column, kinds, (kind) => onFound(kind, column));
    if (shown !== field) copy.replace(message, at, end, shown);
  }

  /** Says nothing of columns: as text, and of the same length, so that a binary copy stays one. */
  #copyData(bytes: Buffer, start: number, end: number, copy: RowCopy, candidates: Candidates | undefined): void {
    const { kinds, onFound } = this.#options;
    if (kinds.length === 0 || !this.#isCandidate(this.#unknown, bytes, start, end, candidates)) return;
    const text = bytes.toString('latin1', start, end);
    const spans = detect(text, kinds);
    if (spans.length === 0) return;
    for (const { kind } of spans) onFound(kind, undefined);
    copy.overwrite(start, Buffer.from(maskSpans(text, spans, 'same-length'), 'latin1'));
  }

  /** A text of a message that carries no rows, such as an error's. */
  text(text: string): string {
    const spans = detect(text, this.#options.kinds);
    for (const { kind } of spans) this.#options.onFound(kind, undefined);
    return spans.length === 0 ? text : maskSpans(text, spans);
  }
}

function pastEnd(): GateError {
  return new GateError('protocol-violation', 'a field reaches past the end of its message');
}

/** Of bytes that are there: for each field of each row, and so without the checks of `readInt32BE`. */
function int32At(bytes: Buffer, at: number): number {
  return ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
}
