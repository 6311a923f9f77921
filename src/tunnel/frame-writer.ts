/** WebSocket frames onto the wire (RFC 6455, section 5): header and payload leave in one write. */
import { randomFillSync } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { applyMask } from './masking-key.ts';
import { opcodes } from './opcodes.ts';
import { hasHeadRoom, headRoom } from './reused-reads.ts';

/** Payload up to this length is copied behind its header. More is not, and leaves beside it, unless it must be masked anyway. */
const copiedBytesMax = 16 * 1024;
/** Largest payload of one frame that is masked. */
const maskedBytesMax = 64 * 1024;
/** Largest payload of one frame that is not. */
const plainBytesMax = 256 * 1024;

const finalBit = 0x80;
const maskBit = 0x80;

/** Frames are put together here. Whoever finds that a write has not taken it all leaves it to that write, and makes a new one. */
let shared = Buffer.alloc(0);

export class FrameWriter {
  readonly #socket: Socket;
  readonly #isMasked: boolean;
  /** A write into TLS is never over when it returns. */
  readonly #usesShared: boolean;

  /** A client masks what it sends, with a key that nobody can foresee: else a page could forge requests to caches on the way (10.3). */
  constructor(socket: Socket, isMasked: boolean) {
    this.#socket = socket;
    this.#isMasked = isMasked;
    this.#usesShared = !(socket instanceof TLSSocket);
  }

  /** One message or several: their borders mean nothing. The bytes must stay as they are until the socket has taken them. */
  binary(bytes: Buffer): void {
    const most = this.#isMasked ? maskedBytesMax : plainBytesMax;
    if (bytes.length <= most) {
      if (bytes.length > 0) this.frame(opcodes.binary, bytes);
      return;
    }
    for (let at = 0; at < bytes.length; at += most) this.frame(opcodes.binary, bytes.subarray(at, at + most));
  }

  frame(opcode: number, payload: Buffer): void {
    const socket = this.#socket;
    const { length } = payload;
    if (!this.#isMasked && hasHeadRoom(payload)) {
      const frame = Buffer.from(payload.buffer as ArrayBuffer, 0, headRoom + length);
      socket.write(frame.subarray(putHeader(frame, opcode, length, undefined)));
      return;
    }
    if (!this.#isMasked && length > copiedBytesMax) {
      const header = Buffer.allocUnsafe(headRoom);
      socket.cork();
      socket.write(header.subarray(putHeader(header, opcode, length, undefined)));
      socket.write(payload);
      socket.uncork();
      return;
    }
    const isShared = this.#usesShared && socket.writableLength === 0;
    if (isShared && shared.length === 0) shared = Buffer.allocUnsafeSlow(headRoom + maskedBytesMax);
    const frame = isShared ? shared : Buffer.allocUnsafe(headRoom + length);
    const key = this.#isMasked ? nextKey() : undefined;
    payload.copy(frame, headRoom);
    const start = putHeader(frame, opcode, length, key);
    if (key !== undefined) applyMask(frame, headRoom, headRoom + length, key);
    socket.write(frame.subarray(start, headRoom + length));
    if (isShared && socket.writableLength > 0) shared = Buffer.alloc(0);
  }
}

/** Writes the header so that it ends where the head room does. Answers where it begins. */
function putHeader(frame: Buffer, opcode: number, length: number, key: number | undefined): number {
  let at = headRoom;
  if (key !== undefined) {
    at -= 4;
    frame.writeInt32LE(key, at);
  }
  const mask = key === undefined ? 0 : maskBit;
  if (length < 126) frame[--at] = mask | length;
  else if (length < 2 ** 16) {
    at -= 3;
    frame[at] = mask | 126;
    frame.writeUInt16BE(length, at + 1);
  } else {
    at -= 9;
    frame[at] = mask | 127;
    frame.writeUInt32BE(0, at + 1);
    frame.writeUInt32BE(length, at + 5);
  }
  frame[--at] = finalBit | opcode;
  return at;
}

const keys = Buffer.alloc(4096);
let keysUsed = keys.length;

function nextKey(): number {
  if (keysUsed === keys.length) {
    randomFillSync(keys);
    keysUsed = 0;
  }
  keysUsed += 4;
  return keys.readInt32LE(keysUsed - 4);
}
