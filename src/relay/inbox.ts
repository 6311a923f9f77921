/** What the client has sent and the relay has not taken yet: whole messages, and the raw runs of COPY data between them. */
import { FrameScanner } from '../pgwire/frame.ts';
import { beginFrontend } from './frontend-limits.ts';

/** Past this many waiting bytes the client is not read any further. */
const queueBytesMax = 1024 * 1024;

export type Item = { readonly type: number; readonly bytes: Buffer } | { readonly type: undefined; readonly bytes: Buffer };

export class Inbox {
  readonly #scanner: FrameScanner;
  #queue: Item[] = [];
  /** Items of the queue that were taken; shifting each off a long queue would cost as much as the queue is long. */
  #taken = 0;
  #queuedBytes = 0;

  constructor() {
    this.#scanner = new FrameScanner({
      begin: beginFrontend,
      raw: (bytes) => this.#add({ type: undefined, bytes }),
      message: (type, bytes) => this.#add({ type, bytes }),
    });
  }

  /** Fails with `protocol-violation` or `too-large`. */
  push(chunk: Buffer): void {
    this.#scanner.push(chunk);
  }

  take(): Item | undefined {
    const item = this.#queue[this.#taken];
    if (item === undefined) return undefined;
    this.#taken++;
    this.#queuedBytes -= item.bytes.length;
    if (this.#taken === this.#queue.length) this.clear();
    return item;
  }

  clear(): void {
    this.#queue = [];
    this.#taken = 0;
    this.#queuedBytes = 0;
  }

  get isFull(): boolean {
    return this.#queuedBytes > queueBytesMax;
  }

  get hasRoom(): boolean {
    return this.#queuedBytes <= queueBytesMax / 2;
  }

  #add(item: Item): void {
    this.#queue.push(item);
    this.#queuedBytes += item.bytes.length;
  }
}
