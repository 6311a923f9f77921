/** Reading and writing the field types of the protocol (Int16, Int32, String, Byten) strictly inside one message. */
import { isUtf8 } from 'node:buffer';
import { GateError } from '../errors/errors.ts';

/** A cursor over one message. Every read that would leave the message is a protocol violation. */
export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, start = 5) {
    this.#bytes = bytes;
    this.#at = start;
  }

  /** A count or a format code. The server reads these unsigned: a statement may have up to 65,535 parameters. */
  uint16(): number {
    return this.#bytes.readUInt16BE(this.#advance(2));
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#advance(4));
  }

  byte(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  take(length: number): Buffer {
    if (length < 0) throw new GateError('protocol-violation', `a field claims a length of ${length} bytes`);
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** A zero-terminated string, which must be valid UTF-8: the relay pins client_encoding to it. */
  string(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end === -1) throw new GateError('protocol-violation', 'a string has no terminating zero byte');
    const text = this.#bytes.subarray(this.#at, end);
    if (!isUtf8(text)) throw new GateError('protocol-violation', 'a string is not valid UTF-8');
    this.#at = end + 1;
    return text.toString('utf8');
  }

  rest(): Buffer {
    return this.take(this.#bytes.length - this.#at);
  }

  /** Asserts that everything was read. */
  end(): void {
    const extra = this.#bytes.length - this.#at;
    if (extra !== 0) throw new GateError('protocol-violation', `a message has ${extra} bytes after its last field`);
  }

  #advance(length: number): number {
    const start = this.#at;
    if (start + length > this.#bytes.length) {
      throw new GateError('protocol-violation', 'a field reaches past the end of its message');
    }
    this.#at = start + length;
    return start;
  }
}

/** One message from its parts: numbers in `int32` and `int16` wrappers, strings with their terminating zero. */
export function encodeMessage(type: string, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 4);
  const header = Buffer.alloc(5);
  header.write(type, 0, 'latin1');
  header.writeUInt32BE(length, 1);
  return Buffer.concat([header, ...parts]);
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

/** Zero bytes cannot be carried in a String field; they are dropped. */
export function cstring(text: string): Buffer {
  return Buffer.from(`${text.replaceAll('\0', '')}\0`, 'utf8');
}
