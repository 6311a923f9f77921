/** Entries that share one write and one sync, and the promises of all their callers. */
import type { FramedLine } from '../audit/line.ts';
import type { GateError } from '../errors/errors.ts';
import type { SessionState, Tip } from './log-index.ts';

/** An entry, and what it has sealed, as lines. */
export type Framed = { readonly entry: FramedLine; readonly sealed?: Buffer };

/** `leaf`: of the last entry, counted within the batch. */
type Touch = { tip: Tip; readonly from: number; to: number; leaf: number };

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
    else Object.assign(touch, { tip, to, leaf });
    if (sealed !== undefined) this.chunks.push(sealed);
    this.chunks.push(entry.bytes);
    this.leaves.push(entry.json);
    this.bytes = to;
    this.hash = entry.hash;
  }
}

/** A promise that others settle, and that nobody need wait for. */
class Settled {
  readonly promise: Promise<void>;
  resolve!: () => void;
  reject!: (error: GateError) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => undefined);
  }
}
