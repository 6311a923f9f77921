/** Rows on their way to a client: masks of the level `display` by a column's origin, and detectors over everything that is shown. */
import { GateError } from '../errors/errors.ts';
import { ByteReader, encodeMessage, int32 } from '../pgwire/bytes.ts';
import { coverValue } from './cover-value.ts';
import { detect, maskSpans } from './detect.ts';
import type { ResultColumn } from './guard.ts';
import type { DetectorKind, Mask } from './plan.ts';
import { shownValue } from './shown-value.ts';

export type ResultRowsOptions = {
  readonly kinds: readonly DetectorKind[];
  /** At the level `display`: the mask of what comes from this column; undefined for a clear one. */
  readonly maskOf?: (column: ResultColumn) => Mask | undefined;
  /** Of hashes. */
  readonly key: Buffer;
  /** Something was found, and covered: in a column of a result, or (undefined) in what has none. */
  readonly onFound: (kind: DetectorKind, column: ResultColumn | undefined) => void;
};

type Shown = { readonly column: ResultColumn; readonly mask: Mask | undefined };

export class ResultRows {
  readonly #options: ResultRowsOptions;
  #columns: readonly Shown[] | undefined;

  constructor(options: ResultRowsOptions) {
    this.#options = options;
  }

  /** The rows that follow are of these columns. */
  describe(columns: readonly ResultColumn[]): void {
    const { maskOf } = this.#options;
    this.#columns = columns.map((column) => ({ column, mask: maskOf?.(column) }));
  }

  /** Nothing is known of rows that would follow: with masks they are NULL throughout. */
  forget(): void {
    this.#columns = undefined;
  }

  /** A DataRow. Where nothing is replaced it is the very same bytes. Fails with `protocol-violation`. */
  row(bytes: Buffer): Buffer {
    const reader = new ByteReader(bytes);
    const count = reader.uint16();
    const columns = this.#columns;
    if (columns !== undefined && columns.length !== count) {
      throw new GateError('upstream-protocol', `the server sent a row of ${count} fields where it had announced ${columns.length}`);
    }
    const fields: (Buffer | null)[] = [];
    let isChanged = false;
    for (let index = 0; index < count; index++) {
      const length = reader.int32();
      const field = length === -1 ? null : reader.take(length);
      const shown = field === null ? null : this.#field(field, columns?.[index]);
      if (shown !== field) isChanged = true;
      fields.push(shown);
    }
    reader.end();
    if (!isChanged) return bytes;
    return encodeMessage('D', bytes.subarray(5, 7), ...fields.flatMap((field) => (field === null ? [int32(-1)] : [int32(field.length), field])));
  }

  #field(bytes: Buffer, shown: Shown | undefined): Buffer | null {
    const { kinds, maskOf, key, onFound } = this.#options;
    if (maskOf !== undefined && shown === undefined) return null;
    const mask = shown?.mask;
    if (mask !== undefined && mask.kind !== 'clear') {
      const { type, format } = (shown as Shown).column;
      return shownValue(mask, { type, format, bytes }, key);
    }
    if (kinds.length === 0) return bytes;
    return coverValue(bytes, shown?.column, kinds, (kind) => onFound(kind, shown?.column));
  }

  /** CopyData, which says nothing of columns: as text, and of the same length, so that a binary copy stays one. */
  copy(bytes: Buffer): Buffer {
    const { kinds, onFound } = this.#options;
    if (kinds.length === 0) return bytes;
    const text = bytes.toString('latin1', 5);
    const spans = detect(text, kinds);
    if (spans.length === 0) return bytes;
    for (const { kind } of spans) onFound(kind, undefined);
    return Buffer.concat([bytes.subarray(0, 5), Buffer.from(maskSpans(text, spans, 'same-length'), 'latin1')]);
  }

  /** A text of a message that carries no rows, such as an error's. */
  text(text: string): string {
    const spans = detect(text, this.#options.kinds);
    for (const { kind } of spans) this.#options.onFound(kind, undefined);
    return spans.length === 0 ? text : maskSpans(text, spans);
  }
}
