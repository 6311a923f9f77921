/** One WebSocket as a byte stream: backpressure both ways, keep-alive, and a reason at the end (RFC 6455). */
import type { RawData, WebSocket } from 'ws';

/** Largest WebSocket message that is sent or accepted. Message borders mean nothing: this is a byte stream. */
export const messageBytesMax = 1024 * 1024;
const sliceBytesMax = 256 * 1024;
/** `write` answers false while more than this many bytes wait to be sent. */
export const writeBufferBytes = 1024 * 1024;
const pingIntervalMs = 20_000;
/** A paused end does not see that its peer is gone, unless what it sends comes back refused. */
const probeIntervalMs = 1000;
/** One tick more than the other end needs, since the two clocks do not tick together. */
const silentTicksMax = 2;
/** A close frame's reason may take 123 bytes (RFC 6455, 5.5). */
const closeReasonBytesMax = 123;

/** Options for both ends of the `ws` library. Compression would cost memory and CPU, and leak lengths of secrets. */
export const socketOptions = {
  perMessageDeflate: false,
  maxPayload: messageBytesMax,
  skipUTF8Validation: true,
} as const;

export type TunnelHandlers = {
  /** The buffer is the receiver's to keep. */
  readonly onData: (bytes: Buffer) => void;
  /** A line that the peer put beside the bytes with `tell`. An end without this takes none. */
  readonly onNews?: (text: string) => void;
  /** After `write` answered false: it may go on. */
  readonly onDrain: () => void;
  /** Exactly once, however the tunnel ended. 1006 means that it broke without a close frame. */
  readonly onClose: (code: number, reason: string) => void;
};

export class Tunnel {
  readonly #socket: WebSocket;
  #unsentBytes = 0;
  #isFull = false;
  /** Ticks since anything was heard of the peer. */
  #silentTicks = 0;
  readonly #keepAlive: NodeJS.Timeout;
  #probe: NodeJS.Timeout | undefined;

  /** Takes over an open WebSocket. A peer of which nothing is heard for two intervals is cut off at the third. */
  constructor(socket: WebSocket, handlers: TunnelHandlers, options: { readonly pingIntervalMs?: number } = {}) {
    this.#socket = socket;
    socket.on('message', (data: RawData, isBinary) => {
      this.#silentTicks = 0;
      // What comes behind a refused frame, or after this end has closed, is not wanted any more.
      if (!this.isOpen) return;
      if (isBinary) handlers.onData(data as Buffer);
      else if (handlers.onNews !== undefined) handlers.onNews((data as Buffer).toString('utf8'));
      else this.close(1003, 'the tunnel carries binary messages only');
    });
    socket.on('pong', () => (this.#silentTicks = 0));
    // The close event follows and carries what is worth knowing.
    socket.on('error', () => undefined);
    socket.on('close', (code, reason) => {
      clearInterval(this.#keepAlive);
      clearInterval(this.#probe);
      handlers.onClose(code, reason.toString('utf8'));
    });
    this.#onDrain = handlers.onDrain;
    this.#keepAlive = setInterval(() => this.#ping(), options.pingIntervalMs ?? pingIntervalMs).unref();
  }

  readonly #onDrain: () => void;

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** Bytes that were written and have not left yet. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** False asks the caller to stop until `onDrain`. Bytes written to a closed tunnel are dropped. */
  write(bytes: Buffer): boolean {
    for (let at = 0; at < bytes.length; at += sliceBytesMax) this.#send(bytes.subarray(at, at + sliceBytesMax));
    if (this.#unsentBytes > writeBufferBytes) this.#isFull = true;
    return !this.#isFull;
  }

  /** Sends a text message beside the byte stream, in order with it. Dropped where the tunnel is closed. */
  tell(text: string): void {
    if (this.isOpen) this.#socket.send(text, { binary: false });
  }

  #send(slice: Buffer): void {
    if (!this.isOpen) return;
    this.#unsentBytes += slice.length;
    this.#socket.send(slice, () => {
      this.#unsentBytes -= slice.length;
      if (this.#isFull && this.#unsentBytes <= writeBufferBytes / 2) {
        this.#isFull = false;
        this.#onDrain();
      }
    });
  }

  pause(): void {
    // A paused socket would never see the end of one that is closing.
    if (!this.isOpen) return;
    this.#probe ??= setInterval(() => this.#socket.pong(), probeIntervalMs).unref();
    this.#socket.pause();
  }

  resume(): void {
    // The answer to the last ping may wait unread in the socket.
    this.#silentTicks = 0;
    clearInterval(this.#probe);
    this.#probe = undefined;
    this.#socket.resume();
  }

  /** Sends what was written, then the close frame. A peer that does not answer it in time is cut off by `ws`. */
  close(code: number, reason: string): void {
    this.resume();
    this.#socket.close(code, truncateUtf8(reason, closeReasonBytesMax));
  }

  terminate(): void {
    this.#socket.terminate();
  }

  /**
   * An end that has paused cannot see pings and so cannot answer them, for as long as somebody leaves a result on the
   * screen. It says by itself that it lives, with pongs that nobody asked for (RFC 6455, 5.5.3), and expects none.
   */
  #ping(): void {
    if (this.#socket.isPaused) {
      this.#silentTicks = 0;
      this.#socket.pong();
      return;
    }
    if (this.#silentTicks >= silentTicksMax) return this.#socket.terminate();
    this.#silentTicks++;
    this.#socket.ping();
  }
}

function truncateUtf8(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= bytesMax) return text;
  let end = bytesMax - 3;
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return `${bytes.subarray(0, end).toString('utf8')}…`;
}
