/** Messages with some of their fields replaced: what stands between is copied as it is, in runs. */

/** For values that become longer, before anything must be moved. */
const gapMin = 256;
/** Fewer bytes are copied faster one by one. */
const loopBytesMax = 64;

export class RowCopy {
  readonly #from: Buffer;
  /** `from` lies at its end, `#gap` bytes in, and is moved down run by run: within one array that costs the least. */
  #out: Buffer | undefined;
  #gap = 0;
  #fill = 0;
  /** How much of `from` has been moved. */
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
    const out = this.#keep(at, end, size + 4);
    if (message !== this.#message) {
      this.#message = message;
      this.#header = this.#fill - (at - message);
      this.#length = this.#from.readUInt32BE(message + 1);
    }
    this.#length += size - (end - at - 4);
    out.writeUInt32BE(this.#length, this.#header + 1);
    out.writeInt32BE(value === null ? -1 : size, this.#fill);
    this.#fill += 4;
    if (value !== null) this.#put(out, value);
  }

  /** Writes over so many bytes from `at` on. */
  overwrite(at: number, bytes: Buffer): void {
    const out = this.#keep(at, at + bytes.length, bytes.length);
    this.#put(out, bytes);
  }

  /** The very same bytes where nothing was replaced. */
  finish(): Buffer {
    if (this.#out === undefined) return this.#from;
    const { length } = this.#from;
    return this.#keep(length, length, 0).subarray(0, this.#fill);
  }

  #put(out: Buffer, value: Buffer): void {
    const at = this.#fill;
    if (value.length > loopBytesMax) value.copy(out, at);
    else for (let index = 0; index < value.length; index++) out[at + index] = value[index] as number;
    this.#fill = at + value.length;
  }

  /** Moves down to `to`, leaves out what is before `past`, and makes room for so many bytes in its place. */
  #keep(to: number, past: number, room: number): Buffer {
    const fill = this.#fill + to - this.#past;
    const out = this.#out !== undefined && fill + room <= this.#gap + past ? this.#out : this.#widen(fill + room - past);
    out.copyWithin(this.#fill, this.#gap + this.#past, this.#gap + to);
    this.#fill = fill;
    this.#past = past;
    return out;
  }

  #widen(gap: number): Buffer {
    const { length } = this.#from;
    this.#gap = Math.max(2 * gap, (length >> 3) + gapMin);
    const out = Buffer.allocUnsafe(this.#gap + length);
    this.#out?.copy(out, 0, 0, this.#fill);
    this.#from.copy(out, this.#gap + this.#past, this.#past);
    this.#out = out;
    return out;
  }
}
