/** Reads of a socket into buffers that are used again, with room in front of what was read for the header of a frame. */
import { Socket, type OnReadOpts } from 'node:net';
import type { Duplex } from 'node:stream';

/** For the longest header, and so that what was read begins on a border of words. */
export const headRoom = 16;
/** What a connection holds while little comes. */
export const smallBytes = 2048;
export const largeBytes = 64 * 1024;
/** Sockets that hold a large buffer: the last read of a large result may leave them one for as long as they idle. */
export const largeHoldersMax = 64;
/** What the others get, where much comes to more sockets than that. */
export const middleBytes = 8 * 1024;

/** Takes what was read. True: nobody refers to the bytes any more, and they may be overwritten. Otherwise they are the receiver's to keep. */
export type Receive = (bytes: Buffer) => boolean;

/** Memory of read buffers, by which a writer knows that there is head room, and whose. */
const buffers = new WeakSet<ArrayBufferLike>();
/** Large ones that nobody uses now. */
const freeLarge: Buffer[] = [];
const freeMax = 16;
let largeHolders = 0;

/** Whether the bytes are what one read has brought, from its first byte on: a frame's header may be written in front of them, in place. */
export function hasHeadRoom(bytes: Buffer): boolean {
  return bytes.byteOffset === headRoom && buffers.has(bytes.buffer);
}

/** Whether a stream that was given bytes is through with them. Only of a socket is that known. */
export function hasSentAll(stream: Duplex): boolean {
  return stream instanceof Socket && stream.writableLength === 0;
}

/** The reads of one socket, to which `onread` is given as it is made. Until somebody receives them they are an ordinary stream's. */
export class ReusedReads {
  /** Where the next read goes: what lies behind the head room of its buffer. */
  #view = viewOf(smallBytes);
  #receive: Receive | undefined;
  #isBegun = false;
  #isClosed = false;
  readonly onread: OnReadOpts;

  constructor() {
    const take = (socket: Socket, length: number) => this.#take(socket, length);
    this.onread = {
      buffer: () => this.#view,
      callback(this: Socket, length: number) {
        return take(this, length);
      },
    };
  }

  /**
   * From now on. What is read while the socket is paused, or while something that was read before it waits, comes as a `data`
   * event and is the receiver's to keep.
   */
  receive(socket: Socket, receive: Receive): void {
    this.#receive = receive;
    socket.on('data', receive);
  }

  /** Gives a large buffer back when the socket is gone. */
  #begin(socket: Socket): void {
    this.#isBegun = true;
    socket.once('close', () => {
      this.#isClosed = true;
      this.#fit(0, true);
    });
  }

  /** False asks to stop reading. */
  #take(socket: Socket, length: number): boolean {
    if (!this.#isBegun) this.#begin(socket);
    const bytes = this.#view.subarray(0, length);
    const receive = this.#receive;
    if (receive === undefined || socket.readableLength > 0 || socket.isPaused()) {
      const goesOn = socket.push(Buffer.from(bytes));
      this.#fit(length, true);
      return goesOn;
    }
    this.#fit(length, receive(bytes));
    return true;
  }

  /** Chooses the buffer of the next read by how much this one has brought. */
  #fit(length: number, isFree: boolean): void {
    const used = this.#view;
    let size = used.length;
    if (length <= smallBytes / 2 || this.#isClosed) size = smallBytes;
    else if (length === size && size !== largeBytes) size = largeHolders < largeHoldersMax ? largeBytes : middleBytes;
    if (isFree && size === used.length) return;
    if (used.length === largeBytes) {
      largeHolders--;
      if (isFree && freeLarge.length < freeMax) freeLarge.push(used);
    }
    this.#view = viewOf(size);
  }
}

function viewOf(size: number): Buffer {
  if (size === largeBytes) {
    largeHolders++;
    const used = freeLarge.pop();
    if (used !== undefined) return used;
  }
  const buffer = Buffer.allocUnsafeSlow(headRoom + size);
  buffers.add(buffer.buffer);
  return buffer.subarray(headRoom);
}
