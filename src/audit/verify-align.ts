/** Tells what became of each leaf: hashes as they should be against hashes as they are, as changed, missing, added and moved. Pure. */
import { hashBytes } from './tiles.ts';

export type Difference = {
  readonly kind: 'changed' | 'missing' | 'added' | 'moved';
  /** The place in the tree: where the entry is missing or changed, or where it came from. */
  readonly index: number;
  /** The place where it was found, except for what is missing. */
  readonly at: number;
};

/** Both are hashes one behind the other. Added ones that stand nowhere in `expected` have the index that they were found at. */
export function* differences(expected: Buffer, found: Buffer): Generator<Difference> {
  if (expected.equals(found)) return;
  const places = new Map<string, number>();
  for (let index = 0; index < lengthOf(expected); index++) places.set(hashAt(expected, index), index);
  const seen = new Set<number>();
  const strangers: number[] = [];
  let last = -1;
  const all: Difference[] = [];
  for (let at = 0; at < lengthOf(found); at++) {
    const index = places.get(hashAt(found, at));
    if (index === undefined) strangers.push(at);
    else if (seen.has(index)) all.push({ kind: 'added', index, at });
    else {
      seen.add(index);
      if (index < last) all.push({ kind: 'moved', index, at });
      else last = index;
    }
  }
  const gone: number[] = [];
  for (let index = 0; index < lengthOf(expected); index++) if (!seen.has(index)) gone.push(index);
  all.push(...pair(gone, strangers));
  yield* all.toSorted((one, other) => one.at - other.at);
}

/** An unknown entry in place of one that is gone is that one, changed. */
function pair(gone: readonly number[], strangers: readonly number[]): Difference[] {
  const changed = Math.min(gone.length, strangers.length);
  const both = gone.slice(0, changed).map((index, place) => ({ kind: 'changed', index, at: strangers[place] ?? index }) as const);
  const missing = gone.slice(changed).map((index) => ({ kind: 'missing', index, at: index }) as const);
  const added = strangers.slice(changed).map((at) => ({ kind: 'added', index: at, at }) as const);
  return [...both, ...missing, ...added];
}

function lengthOf(hashes: Buffer): number {
  return Math.floor(hashes.length / hashBytes);
}

function hashAt(hashes: Buffer, index: number): string {
  return hashes.toString('latin1', index * hashBytes, (index + 1) * hashBytes);
}
