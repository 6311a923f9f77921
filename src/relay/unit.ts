/** What is forwarded together once its events are durable: at most up to the end of one segment. */
import type { Event } from '../audit/entry.ts';
import type { Item } from './inbox.ts';
import type { LimitedEnd, Owed } from './pending.ts';

export type Forwarded = {
  readonly bytes: Buffer;
  readonly owed?: Owed;
  readonly copyBytes?: number;
  readonly endsCopyIn?: true;
  /** Nothing is sent behind it before this resolves. */
  readonly ended?: Promise<LimitedEnd>;
};
export type Unit = {
  readonly forward: Forwarded[];
  readonly events: Event[];
  isSegmentEnd: boolean;
  isSimple: boolean;
  isCancelled: boolean;
};

export const syncMessage = Buffer.from([0x53, 0, 0, 0, 4]);
export const flushMessage = Buffer.from([0x48, 0, 0, 0, 4]);

export function newUnit(): Unit {
  return { forward: [], events: [], isSegmentEnd: false, isSimple: false, isCancelled: false };
}

/** The rest must not wait for an answer that these, still unsent, are to bring about. */
export function isOfCopy({ type }: Item): boolean {
  return type === undefined || type === 0x63 || type === 0x66;
}

/** Copying more than this costs more than another write. */
const joinedBytesMax = 64 * 1024;

/** Fewer buffers with the same bytes: as one where they lie side by side, as they do when they came in one piece, or are short. */
export function joined(buffers: readonly Buffer[]): readonly Buffer[] {
  const [first, ...others] = buffers;
  if (first === undefined || others.length === 0) return buffers;
  let end = first.byteOffset + first.length;
  let total = first.length;
  let isSideBySide = true;
  for (const one of others) {
    isSideBySide &&= one.buffer === first.buffer && one.byteOffset === end;
    end = one.byteOffset + one.length;
    total += one.length;
  }
  if (isSideBySide) return [Buffer.from(first.buffer, first.byteOffset, total)];
  return total <= joinedBytesMax ? [Buffer.concat(buffers, total)] : buffers;
}
