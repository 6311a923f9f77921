/** Entries that share one write and one sync, and the promises of all their callers. */
import type { FramedLine } from '../audit/line.ts';
import type { GateError } from '../errors/errors.ts';
import type { SessionState, Tip } from './log-index.ts';

/** An entry, and what it has sealed, as lines. */
export type Framed = { readonly entry: FramedLine; readonly sealed?: Buffer };

/** `leaf`: of the last entry, counted within the batch. */
type Touch = { tip: Tip; from: number; to: number; leaf: number };

export class Batch {
  readonly chunks: Buffer[] = [];
  /** The JSON of the entries, in order. */
  readonly leaves: Buffer[] = [];
  readonly touched = new Map<SessionState, Touch>();
  bytes = 0;
  hash = '';
  /** What it was appended for cannot be taken back once it is written: it is written again where that must be. */
  readonly isKept: boolean;
  /** Somebody waits for the disk. */
  isUrgent: boolean;
  readonly written = new Settled();
  readonly durable = new Settled();

  constructor(isKept: boolean) {
    this.isKept = isKept;
    this.isUrgent = !isKept;
  }

  /** Nobody waits for it any more. */
  reject(error: GateError): void {
    this.written.reject(error);
    this.durable.reject(error);
  }

  add(state: SessionState, { entry, sealed }: Framed, tip: Tip): void {
    const to = this.bytes + (sealed?.length ?? 0) + entry.bytes.length;
    const touch = this.touched.get(state);
    const leaf = this.leaves.length;
    if (touch === undefined) this.touched.set(state, { tip, from: this.bytes, to, leaf });
    else {
      touch.tip = tip;
      touch.to = to;
      touch.leaf = leaf;
    }
    if (sealed !== undefined) this.chunks.push(sealed);
    this.chunks.push(entry.bytes);
    this.leaves.push(entry.json);
    this.bytes = to;
    this.hash = entry.hash;
  }

  /** Takes over what another holds, which was written right behind this one. */
  append(other: Batch): void {
    for (const [state, { tip, from, to, leaf }] of other.touched) {
      const touch = { tip, from: this.bytes + from, to: this.bytes + to, leaf: this.leaves.length + leaf };
      const own = this.touched.get(state);
      if (own === undefined) this.touched.set(state, touch);
      else Object.assign(own, { ...touch, from: own.from });
    }
    for (const chunk of other.chunks) this.chunks.push(chunk);
    for (const leaf of other.leaves) this.leaves.push(leaf);
    this.bytes += other.bytes;
    this.hash = other.hash;
  }
}

/** What others settle, and nobody need wait for: a promise where somebody asks. */
class Settled {
  #state: 'open' | 'done' | GateError = 'open';
  #promise: Promise<void> | undefined;
  #resolve: () => void = () => undefined;
  #reject: (error: GateError) => void = () => undefined;

  get isDone(): boolean {
    return this.#state === 'done';
  }

  get promise(): Promise<void> {
    if (this.#promise !== undefined) return this.#promise;
    this.#promise = new Promise((resolve, reject) => {
      if (this.#state === 'done') resolve();
      else if (this.#state !== 'open') reject(this.#state);
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#promise.catch(() => undefined);
    return this.#promise;
  }

  resolve(): void {
    if (this.#state !== 'open') return;
    this.#state = 'done';
    this.#resolve();
  }

  reject(error: GateError): void {
    if (this.#state !== 'open') return;
    this.#state = error;
    this.#reject(error);
  }
}
