/**
 * The framing layer of the PostgreSQL protocol v3: bytes in, whole messages or runs of raw bytes out.
 * https://www.postgresql.org/docs/18/protocol-message-formats.html. No sockets, no clocks, no SQL.
 */
import { GateError } from '../errors/errors.ts';

/** Type byte and length word. */
const headerLength = 5;

/** Where the scanner delivers. Buffers are views into the chunk that was pushed, or copies where a message straddled. */
export type FrameSink = {
  /**
   * Called once per message as soon as its header is complete, before its body is awaited. `bodyLength` is without the
   * length word. Answers whether the message is wanted whole, as raw bytes as they come, or as raw bytes that are cut only
   * between messages (a sink has the one or the other kind); throws to refuse it.
   */
  begin(type: number, bodyLength: number): 'whole' | 'raw' | 'uncut';
  /** Raw bytes of messages begun as `raw` or `uncut`, headers included, in order: several at once, and of `raw` parts as well. */
  raw(bytes: Buffer): void;
  /** One message begun as `whole`: its type byte and all its bytes, header included. */
  message(type: number, bytes: Buffer): void;
};

/** Less than this is not worth growing a buffer for. */
const wholeBytesMin = 1024;
/** Copying more than this keeps the event loop, so that buffers grow by more at once from there on. */
const copiedBytesMax = 16 * 1024 * 1024;

/**
 * Cuts a byte stream into messages. Holds at most one message begun as `whole` or `uncut`, in a buffer at most twice as large as
 * what has arrived of it (four times, past `copiedBytesMax`), in however small pieces it comes.
 */
export class FrameScanner {
  readonly #sink: FrameSink;
  readonly #header = Buffer.alloc(headerLength);
  #headerFill = 0;
  /** Bytes of the current message's body that have not arrived. */
  #missing = 0;
  /** What has arrived of a whole message that straddles chunks, with room to grow; undefined inside a raw message. */
  #whole: Buffer | undefined;
  #wholeFill = 0;
  #wholeLength = 0;
  #isUncut = false;
  /** Where the run of raw bytes in the current chunk begins; -1 when there is none. */
  #runStart = -1;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Whether the bytes so far end with a complete message. */
  get isAtBoundary(): boolean {
    return this.#headerFill === 0 && this.#missing === 0;
  }

  /** Takes the next bytes. What the sink throws passes through; the scanner is of no use afterwards. */
  push(chunk: Buffer): void {
    let at = 0;
    this.#runStart = -1;
    while (at < chunk.length) {
      if (this.#missing > 0) at = this.#takeBody(chunk, at);
      else if (this.#headerFill === 0 && chunk.length - at >= headerLength) at = this.#takeMessage(chunk, at);
      else at = this.#takeHeaderPiece(chunk, at);
    }
    this.#endRun(chunk, chunk.length);
  }

  /** The common case: the header lies in one piece in the chunk. */
  #takeMessage(chunk: Buffer, at: number): number {
    const type = chunk[at] as number;
    const length = chunk.readUInt32BE(at + 1);
    const wanted = this.#begin(type, length);
    const end = at + 1 + length;
    if (wanted === 'raw' || (wanted === 'uncut' && end <= chunk.length)) {
      if (this.#runStart === -1) this.#runStart = at;
      if (wanted === 'uncut') return end;
      this.#missing = length - 4;
      return at + headerLength;
    }
    this.#endRun(chunk, at);
    if (end <= chunk.length) {
      this.#sink.message(type, chunk.subarray(at, end));
      return end;
    }
    this.#startWhole(1 + length, wanted);
    this.#keep(chunk.subarray(at));
    this.#missing = end - chunk.length;
    return chunk.length;
  }

  #takeHeaderPiece(chunk: Buffer, at: number): number {
    this.#endRun(chunk, at);
    const end = Math.min(chunk.length, at + headerLength - this.#headerFill);
    chunk.copy(this.#header, this.#headerFill, at, end);
    this.#headerFill += end - at;
    if (this.#headerFill < headerLength) return end;
    this.#headerFill = 0;
    const type = this.#header[0] as number;
    const length = this.#header.readUInt32BE(1);
    const header = Buffer.from(this.#header);
    this.#missing = length - 4;
    const wanted = this.#begin(type, length);
    if (wanted === 'raw' || (wanted === 'uncut' && this.#missing === 0)) this.#sink.raw(header);
    else if (this.#missing === 0) this.#sink.message(type, header);
    else {
      this.#startWhole(1 + length, wanted);
      this.#keep(header);
    }
    return end;
  }

  #takeBody(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#missing);
    this.#missing -= end - at;
    if (this.#whole === undefined) {
      if (this.#runStart === -1) this.#runStart = at;
      return end;
    }
    this.#keep(chunk.subarray(at, end));
    if (this.#missing === 0) {
      // The room is never larger than the message, so it is full now.
      const bytes = this.#whole;
      this.#whole = undefined;
      if (this.#isUncut) this.#sink.raw(bytes);
      else this.#sink.message(bytes[0] as number, bytes);
    }
    return end;
  }

  #startWhole(length: number, wanted: 'whole' | 'uncut'): void {
    this.#isUncut = wanted === 'uncut';
    this.#whole = Buffer.allocUnsafeSlow(Math.min(length, wholeBytesMin));
    this.#wholeFill = 0;
    this.#wholeLength = length;
  }

  #keep(piece: Buffer): void {
    let whole = this.#whole as Buffer;
    const fill = this.#wholeFill + piece.length;
    if (fill > whole.length) {
      const growth = whole.length < copiedBytesMax ? 2 : 4;
      whole = Buffer.allocUnsafeSlow(Math.min(this.#wholeLength, Math.max(fill, growth * whole.length)));
      (this.#whole as Buffer).copy(whole, 0, 0, this.#wholeFill);
      this.#whole = whole;
    }
    piece.copy(whole, this.#wholeFill);
    this.#wholeFill = fill;
  }

  #begin(type: number, length: number): ReturnType<FrameSink['begin']> {
    if (length < 4) {
      throw new GateError('protocol-violation', `message ${describeType(type)} claims a length of ${length} bytes`);
    }
    return this.#sink.begin(type, length - 4);
  }

  #endRun(chunk: Buffer, end: number): void {
    if (this.#runStart !== -1 && end > this.#runStart) this.#sink.raw(chunk.subarray(this.#runStart, end));
    this.#runStart = -1;
  }
}

/** A message type for error texts: the letter, or the byte in hex where it is no letter. */
export function describeType(type: number): string {
  const letter = String.fromCharCode(type);
  return /[A-Za-z0-9]/.test(letter) ? `'${letter}'` : `0x${type.toString(16).padStart(2, '0')}`;
}
