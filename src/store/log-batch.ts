/** Entries that share one write and one sync, and the promise of all their callers. */
import type { FramedLine } from '../audit/line.ts';
import type { GateError } from '../errors/errors.ts';
import type { SessionState, Tip } from './log-index.ts';

/** An entry, and what it has sealed, as lines. */
export type Framed = { readonly entry: FramedLine; readonly sealed?: FramedLine };

/** `leaf`: of the last entry, counted within the batch. */
type Touch = { tip: Tip; readonly from: number; to: number; leaf: number };

export class Batch {
  readonly chunks: Buffer[] = [];
  /** The JSON of the entries, in order. */
  readonly leaves: Buffer[] = [];
  readonly touched = new Map<SessionState, Touch>();
  bytes = 0;
  hash = '';
  readonly done: Promise<void>;
  resolve!: () => void;
  reject!: (error: GateError) => void;

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  add(state: SessionState, { entry, sealed }: Framed, tip: Tip): void {
    const lines = sealed === undefined ? [entry.bytes] : [sealed.bytes, entry.bytes];
    const to = lines.reduce((sum, { length }) => sum + length, this.bytes);
    const touch = this.touched.get(state);
    const leaf = this.leaves.length;
    if (touch === undefined) this.touched.set(state, { tip, from: this.bytes, to, leaf });
    else Object.assign(touch, { tip, to, leaf });
    this.chunks.push(...lines);
    this.leaves.push(entry.json);
    this.bytes = to;
    this.hash = entry.hash;
  }
}
