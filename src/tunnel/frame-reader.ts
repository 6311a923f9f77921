/** WebSocket frames off the wire (RFC 6455, section 5): payload comes out piece by piece as it arrives, and nothing is put together. */
import { isUtf8 } from 'node:buffer';
import { controlBytesMax, opcodes } from './opcodes.ts';
import { applyMask } from './masking-key.ts';

/** Largest message that is accepted, over all its fragments. It bounds no memory: pieces are passed on as they come. */
export const messageBytesMax = 1024 * 1024;
/** Largest text message: these alone are kept until they are whole. */
export const textBytesMax = 64 * 1024;
/** The longest header: two bytes, the length in eight, the masking key. */
const headerBytesMax = 14;
/** What a close frame without a code stands for (7.1.5). */
export const noStatus = 1005;
const nothing = Buffer.alloc(0);

export type FrameSink = {
  /** The next piece of a binary message: a view into the chunk that was pushed. */
  data(piece: Buffer): void;
  /** A whole text message. */
  text(message: string): void;
  /** The payload is the sink's to keep. */
  ping(payload: Buffer): void;
  /** The peer's last frame: what is pushed behind it is dropped. 1005 where it names no code. */
  close(code: number, reason: string): void;
};

export type FrameReaderOptions = {
  /** Frames of a client are masked, those of a server are not; anything else breaks the protocol. */
  readonly isMasked: boolean;
  /** Without this a text message closes with 1003. */
  readonly takesText: boolean;
};

/** What the peer did is against the rules: the close code that says so, and why. */
export class FrameProblem extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export class FrameReader {
  readonly #options: FrameReaderOptions;
  readonly #sink: FrameSink;
  /** What has arrived of a header that is cut in two; undefined where none is, as almost always. */
  #header: Buffer | undefined;
  #headerFill = 0;
  #opcode = 0;
  #isFinal = true;
  /** Bytes of the current frame's payload that have not arrived. */
  #missing = 0;
  /** The masking key, turned to where the next byte of the payload stands. */
  #key = 0;
  /** The kind of the message that goes on: text, binary, or 0 for none. */
  #message = 0;
  #messageBytes = 0;
  /** What has arrived of a text message, in room for the longest. */
  #text: Buffer | undefined;
  #textFill = 0;
  /** What has arrived of a control frame. */
  #control: Buffer[] = [];
  #isOver = false;

  constructor(options: FrameReaderOptions, sink: FrameSink) {
    this.#options = options;
    this.#sink = sink;
  }

  /** Takes the next bytes, and unmasks them in place. Fails with a FrameProblem; what comes afterwards is dropped. */
  push(chunk: Buffer): void {
    let at = 0;
    try {
      while (at < chunk.length && !this.#isOver) {
        at = this.#missing > 0 ? this.#takePayload(chunk, at) : this.#takeHeader(chunk, at);
      }
    } catch (error) {
      this.#isOver = true;
      throw error;
    }
  }

  #takeHeader(chunk: Buffer, at: number): number {
    if (this.#header === undefined) {
      const length = headerLength(chunk, at, chunk.length);
      if (length > 0 && at + length <= chunk.length) {
        this.#begin(chunk, at, length);
        return at + length;
      }
      this.#header = Buffer.allocUnsafe(headerBytesMax);
      this.#headerFill = 0;
    }
    this.#header[this.#headerFill++] = chunk[at] as number;
    // What is wrong with the first two bytes is wrong whatever follows.
    if (this.#headerFill === 2) this.#check(this.#header, 0);
    const length = headerLength(this.#header, 0, this.#headerFill);
    if (length === this.#headerFill) {
      const header = this.#header;
      this.#header = undefined;
      this.#begin(header, 0, length);
    }
    return at + 1;
  }

  /** What the first two bytes say for themselves. */
  #check(bytes: Buffer, at: number): void {
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    const opcode = first & 0x0f;
    if ((first & 0x70) !== 0) throw new FrameProblem(1002, 'a reserved bit is set');
    if ((second & 0x80) !== 0 !== this.#options.isMasked) throw new FrameProblem(1002, `a frame ${this.#options.isMasked ? 'without' : 'with'} a mask`);
    switch (opcode) {
      case opcodes.continuation:
        if (this.#message === 0) throw new FrameProblem(1002, 'a continuation of nothing');
        return;
      case opcodes.text:
      case opcodes.binary:
        if (this.#message !== 0) throw new FrameProblem(1002, 'a message inside another');
        if (opcode === opcodes.text && !this.#options.takesText) throw new FrameProblem(1003, 'the tunnel carries binary messages only');
        return;
      case opcodes.close:
      case opcodes.ping:
      case opcodes.pong:
        if ((first & 0x80) === 0) throw new FrameProblem(1002, 'a control frame in fragments');
        if ((second & 0x7f) > controlBytesMax) throw new FrameProblem(1002, 'a control frame that is too long');
        return;
      default:
        throw new FrameProblem(1002, `a frame of the unknown kind ${opcode}`);
    }
  }

  #begin(header: Buffer, at: number, length: number): void {
    this.#check(header, at);
    this.#isFinal = ((header[at] as number) & 0x80) !== 0;
    this.#opcode = (header[at] as number) & 0x0f;
    this.#missing = payloadLength(header, at);
    if (this.#options.isMasked) this.#key = header.readInt32LE(at + length - 4);
    if (this.#opcode < opcodes.close) {
      if (this.#opcode !== opcodes.continuation) {
        this.#message = this.#opcode;
        this.#messageBytes = 0;
      }
      this.#messageBytes += this.#missing;
      const most = this.#message === opcodes.text ? textBytesMax : messageBytesMax;
      if (this.#messageBytes > most) throw new FrameProblem(1009, `a message of more than ${most} bytes`);
    }
    if (this.#missing === 0) this.#endFrame();
  }

  #takePayload(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#missing);
    if (this.#options.isMasked) this.#key = applyMask(chunk, at, end, this.#key);
    this.#missing -= end - at;
    const isWhole = at === 0 && end === chunk.length;
    const piece = isWhole ? chunk : chunk.subarray(at, end);
    if (this.#opcode >= opcodes.close) this.#control.push(Buffer.from(piece));
    else if (this.#message === opcodes.binary) this.#sink.data(piece);
    else this.#textFill += piece.copy((this.#text ??= Buffer.allocUnsafe(textBytesMax)), this.#textFill);
    if (this.#missing === 0) this.#endFrame();
    return end;
  }

  #endFrame(): void {
    if (this.#opcode >= opcodes.close) return this.#endControl();
    if (!this.#isFinal) return;
    const kind = this.#message;
    this.#message = 0;
    if (kind !== opcodes.text) return;
    const bytes = this.#text?.subarray(0, this.#textFill) ?? nothing;
    this.#text = undefined;
    this.#textFill = 0;
    if (!isUtf8(bytes)) throw new FrameProblem(1007, 'a text message that is no UTF-8');
    this.#sink.text(bytes.toString('utf8'));
  }

  #endControl(): void {
    const [first] = this.#control;
    const payload = this.#control.length === 1 && first !== undefined ? first : Buffer.concat(this.#control);
    this.#control = [];
    if (this.#opcode === opcodes.ping) this.#sink.ping(payload);
    if (this.#opcode !== opcodes.close) return;
    const { code, reason } = readClose(payload);
    this.#isOver = true;
    this.#sink.close(code, reason);
  }
}

/** Of the header that begins at `at`; 0 where too little of it is there to say. */
function headerLength(bytes: Buffer, at: number, end: number): number {
  if (end - at < 2) return 0;
  const second = bytes[at + 1] as number;
  const short = second & 0x7f;
  return 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + (second >= 0x80 ? 4 : 0);
}

function payloadLength(header: Buffer, at: number): number {
  const short = (header[at + 1] as number) & 0x7f;
  if (short < 126) return short;
  const length = short === 126 ? header.readUInt16BE(at + 2) : header.readUInt32BE(at + 2) * 2 ** 32 + header.readUInt32BE(at + 6);
  // The shortest form must be used, and the highest bit of the longest is none of the length (5.2).
  if (length < (short === 126 ? 126 : 2 ** 16) || length >= 2 ** 63) throw new FrameProblem(1002, 'a length in a form that is not allowed');
  return length;
}

/** Section 7.4: which codes may stand in a frame. */
function readClose(payload: Buffer): { code: number; reason: string } {
  if (payload.length === 0) return { code: noStatus, reason: '' };
  if (payload.length === 1) throw new FrameProblem(1002, 'a close frame with half a code');
  const code = payload.readUInt16BE(0);
  const isKnown = code >= 1000 && code <= 1014 && ![1004, noStatus, 1006].includes(code);
  if (!isKnown && (code < 3000 || code > 4999)) throw new FrameProblem(1002, `the close code ${code}`);
  const reason = payload.subarray(2);
  if (!isUtf8(reason)) throw new FrameProblem(1007, 'a reason that is no UTF-8');
  return { code, reason: reason.toString('utf8') };
}
