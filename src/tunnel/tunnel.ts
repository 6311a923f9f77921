/** One WebSocket as a byte stream: backpressure both ways, keep-alive, and a reason at the end (RFC 6455). */
import type { Socket } from 'node:net';
import { FrameProblem, FrameReader, noStatus } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import type { Upgraded } from './handshake.ts';
import { opcodes } from './opcodes.ts';

/** `write` answers false while more than this many bytes wait to be sent. */
export const writeBufferBytes = 1024 * 1024;
const pingIntervalMs = 20_000;
/** A paused end does not see that its peer is gone, unless what it sends comes back refused. */
const probeIntervalMs = 1000;
/** One tick more than the other end needs, since the two clocks do not tick together. */
const silentTicksMax = 2;
/** How long the peer may take to answer a close frame, and to close its half of the socket. */
const closeTimeoutMs = 30_000;
/** A close frame's reason may take 123 bytes (RFC 6455, 5.5). */
const closeReasonBytesMax = 123;
const broken = 1006;
const nothing = Buffer.alloc(0);

export type TunnelHandlers = {
  /** True: nobody refers to the bytes any more, and they may be overwritten. Otherwise they are the receiver's to keep. */
  readonly onData: (bytes: Buffer) => boolean | void;
  /** A line that the peer put beside the bytes with `tell`. An end without this takes none. */
  readonly onNews?: (text: string) => void;
  /** After `write` answered false: it may go on. */
  readonly onDrain: () => void;
  /** Exactly once, however the tunnel ended. 1006 means that it broke without a close frame. */
  readonly onClose: (code: number, reason: string) => void;
};

export type TunnelOptions = { readonly pingIntervalMs?: number; readonly closeTimeoutMs?: number };

export class Tunnel {
  readonly #socket: Socket;
  readonly #handlers: TunnelHandlers;
  readonly #reader: FrameReader;
  readonly #writer: FrameWriter;
  readonly #closeTimeoutMs: number;
  #hasSentClose = false;
  /** What the peer's close frame said; undefined before it. */
  #ending: { readonly code: number; readonly reason: string } | undefined;
  /** The peer broke the rules: nothing of it is read any more. */
  #isDeaf = false;
  /** Something of the chunk that is read now stays with its receiver. */
  #isKept = false;
  #isPaused = false;
  #isFull = false;
  /** The newest ping that is not answered yet, while an answer waits to be sent. */
  #unanswered: Buffer | undefined;
  #isAnswering = false;
  /** Ticks since anything was heard of the peer. */
  #silentTicks = 0;
  readonly #keepAlive: NodeJS.Timeout;
  #probe: NodeJS.Timeout | undefined;
  #closeTimer: NodeJS.Timeout | undefined;

  /** Takes over a socket after its handshake. A peer of which nothing is heard for two intervals is cut off at the third. */
  constructor({ socket, head, isClient, reads }: Upgraded, handlers: TunnelHandlers, options: TunnelOptions = {}) {
    this.#socket = socket;
    this.#handlers = handlers;
    this.#closeTimeoutMs = options.closeTimeoutMs ?? closeTimeoutMs;
    this.#writer = new FrameWriter(socket, isClient);
    this.#reader = new FrameReader({ isMasked: !isClient, takesText: handlers.onNews !== undefined }, {
      data: (piece) => {
        // What comes after this end has closed is not wanted any more.
        if (this.isOpen && handlers.onData(piece) !== true) this.#isKept = true;
      },
      text: (message) => {
        if (this.isOpen) handlers.onNews?.(message);
      },
      ping: (payload) => this.#answer(payload),
      close: (code, reason) => this.#peerCloses(code, reason),
    });
    const take = (chunk: Buffer) => this.#take(chunk);
    if (reads === undefined) socket.on('data', take);
    else reads.receive(socket, take);
    socket.on('drain', () => this.#drained());
    // An end without a close frame; the socket's own end of the half that is still open follows.
    socket.on('end', () => socket.end());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#closed());
    this.#keepAlive = setInterval(() => this.#ping(), options.pingIntervalMs ?? pingIntervalMs).unref();
    if (head.length > 0) socket.unshift(head);
  }

  get isOpen(): boolean {
    return !this.#hasSentClose && this.#ending === undefined && !this.#isDeaf && this.#socket.writable;
  }

  /** Bytes that were written and have not left yet, with their frame headers. */
  get unsentBytes(): number {
    return this.#socket.destroyed ? 0 : this.#socket.writableLength;
  }

  /** False asks the caller to stop until `onDrain`. Bytes written to a closed tunnel are dropped. */
  write(bytes: Buffer): boolean {
    if (!this.isOpen) return true;
    this.#writer.binary(bytes);
    if (this.#socket.writableLength > writeBufferBytes) this.#isFull = true;
    return !this.#isFull;
  }

  /** Sends a text message beside the byte stream, in order with it. Dropped where the tunnel is closed. */
  tell(text: string): void {
    if (this.isOpen) this.#writer.frame(opcodes.text, Buffer.from(text, 'utf8'));
  }

  pause(): void {
    // A paused socket would never see the end of one that is closing.
    if (!this.isOpen) return;
    this.#probe ??= setInterval(() => this.#writer.frame(opcodes.pong, nothing), probeIntervalMs).unref();
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    // The answer to the last ping may wait unread in the socket.
    this.#silentTicks = 0;
    clearInterval(this.#probe);
    this.#probe = undefined;
    this.#isPaused = false;
    this.#socket.resume();
  }

  /** Sends what was written, then the close frame. A peer that does not answer it in time is cut off. */
  close(code: number, reason: string): void {
    this.resume();
    this.#sendClose(code, reason);
  }

  terminate(): void {
    this.#socket.destroy();
  }

  /** Whether nothing of the chunk is needed any more. */
  #take(chunk: Buffer): boolean {
    this.#silentTicks = 0;
    if (this.#isDeaf) return true;
    this.#isKept = false;
    try {
      this.#reader.push(chunk);
    } catch (error) {
      if (!(error instanceof FrameProblem)) throw error;
      this.#sendClose(error.code, error.message);
      this.#isDeaf = true;
      this.#leave();
    }
    return !this.#isKept;
  }

  #drained(): void {
    if (!this.#isFull) return;
    this.#isFull = false;
    this.#handlers.onDrain();
  }

  #closed(): void {
    // The last frames may lie unread in a socket that was paused.
    const rest = this.#socket.read() as Buffer | null;
    if (rest !== null) this.#take(rest);
    clearInterval(this.#keepAlive);
    clearInterval(this.#probe);
    clearTimeout(this.#closeTimer);
    const { code, reason } = this.#ending ?? { code: broken, reason: '' };
    this.#handlers.onClose(code, reason);
  }

  #sendClose(code: number, reason: string): void {
    if (this.#hasSentClose || !this.#socket.writable) return;
    this.#hasSentClose = true;
    const text = Buffer.from(truncateUtf8(reason, closeReasonBytesMax), 'utf8');
    // Where no code was received, none is sent back (7.1.5).
    const payload = Buffer.alloc(code === noStatus ? 0 : 2 + text.length);
    if (payload.length > 0) {
      payload.writeUInt16BE(code, 0);
      text.copy(payload, 2);
    }
    this.#writer.frame(opcodes.close, payload);
    this.#closeTimer = setTimeout(() => this.#socket.destroy(), this.#closeTimeoutMs).unref();
  }

  #peerCloses(code: number, reason: string): void {
    this.#ending = { code, reason };
    this.#sendClose(code, reason);
    this.#leave();
  }

  /** Nothing more is said; what the peer still sends is read and dropped, so that it may close its half. */
  #leave(): void {
    this.resume();
    this.#socket.end();
  }

  /** An answer that the peer does not read keeps the next ones waiting, and of those the newest is enough (5.5.3). */
  #answer(payload: Buffer): void {
    this.#unanswered = payload;
    if (!this.#isAnswering) this.#answerNewest();
  }

  #answerNewest(): void {
    const payload = this.#unanswered;
    this.#unanswered = undefined;
    if (payload === undefined || !this.isOpen) return;
    this.#writer.frame(opcodes.pong, payload);
    if (this.#socket.writableLength === 0) return;
    this.#isAnswering = true;
    this.#socket.write(nothing, () => {
      this.#isAnswering = false;
      this.#answerNewest();
    });
  }

  /**
   * An end that has paused cannot see pings and so cannot answer them, for as long as somebody leaves a result on the
   * screen. It says by itself that it lives, with pongs that nobody asked for (RFC 6455, 5.5.3), and expects none.
   */
  #ping(): void {
    if (!this.isOpen) return;
    if (this.#isPaused) {
      this.#silentTicks = 0;
      this.#writer.frame(opcodes.pong, nothing);
      return;
    }
    if (this.#silentTicks >= silentTicksMax) return this.terminate();
    this.#silentTicks++;
    this.#writer.frame(opcodes.ping, nothing);
  }
}

function truncateUtf8(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= bytesMax) return text;
  let end = bytesMax - 3;
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return `${bytes.subarray(0, end).toString('utf8')}…`;
}
