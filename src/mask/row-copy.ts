/** Messages with some of their fields replaced: what stands between is copied as it is, in runs. */

const roomMin = 256;

export class RowCopy {
  readonly #from: Buffer;
  #out: Buffer | undefined;
  #fill = 0;
  /** Of `from`, how much is in `out`. */
  #past = 0;
  #message = -1;
  /** Where in `out` the message begins that is being changed, and its length as it is now. */
  #header = 0;
  #length = 0;

  constructor(from: Buffer) {
    this.#from = from;
  }

  /** In the message at `message`, the field whose length word is at `at` and which ends at `end`. In order; of fields that are not NULL. */
  replace(message: number, at: number, end: number, value: Buffer | null): void {
    const size = value === null ? 0 : value.length;
    const out = this.#keep(at, size + 4);
    if (message !== this.#message) {
      this.#message = message;
      this.#header = this.#fill - (at - message);
      this.#length = this.#from.readUInt32BE(message + 1);
    }
    this.#length += size - (end - at - 4);
    out.writeUInt32BE(this.#length, this.#header + 1);
    out.writeInt32BE(value === null ? -1 : size, this.#fill);
    this.#fill += 4;
    if (value !== null) this.#fill += value.copy(out, this.#fill);
    this.#past = end;
  }

  /** Writes over so many bytes from `at` on. */
  overwrite(at: number, bytes: Buffer): void {
    const out = this.#keep(at, bytes.length);
    this.#fill += bytes.copy(out, this.#fill);
    this.#past = at + bytes.length;
  }

  /** The very same bytes where nothing was replaced. */
  finish(): Buffer {
    if (this.#out === undefined) return this.#from;
    return this.#keep(this.#from.length, 0).subarray(0, this.#fill);
  }

  /** Copies up to `to`, with room for so many bytes behind it. */
  #keep(to: number, room: number): Buffer {
    const fill = this.#fill + to - this.#past + room;
    let out = (this.#out ??= Buffer.allocUnsafe(Math.max(fill, this.#from.length + (this.#from.length >> 3) + roomMin)));
    if (fill > out.length) {
      out = Buffer.allocUnsafe(2 * fill);
      (this.#out as Buffer).copy(out, 0, 0, this.#fill);
      this.#out = out;
    }
    this.#fill += this.#from.copy(out, this.#fill, this.#past, to);
    this.#past = to;
    return out;
  }
}
