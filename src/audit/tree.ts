/** The Merkle tree over all entries of a relay: hashes, roots and proofs of RFC 6962 section 2.1 (RFC 9162 section 2.1). Pure. */
import { createHash, hash as hashAtOnce } from 'node:crypto';
import { hashBytes } from './tiles.ts';

/** SHA-256, 32 bytes. */
export type Hash = Buffer;

/** Of an entry's bytes. */
export function leafHash(entry: Buffer): Hash {
  if (entry.length >= leafInput.length) return hashAtOnce('sha256', Buffer.concat([leafPrefix, entry]), 'buffer');
  entry.copy(leafInput, 1);
  return hashAtOnce('sha256', leafInput.subarray(0, 1 + entry.length), 'buffer');
}

export function nodeHash(left: Hash, right: Hash): Hash {
  left.copy(nodeInput, 1);
  right.copy(nodeInput, 1 + hashBytes);
  return hashAtOnce('sha256', nodeInput, 'buffer');
}

const leafPrefix = Buffer.from([0]);
/** What is hashed, behind its prefix. Used again for each: hashes are made for every entry, and keep nothing of it. */
const leafInput = Buffer.alloc(4096, leafPrefix);
const nodeInput = Buffer.alloc(1 + 2 * hashBytes, 1);
/** The root of a tree without leaves. */
export const emptyRoot: Hash = createHash('sha256').digest();

/** Answers the hash of the complete subtree of 2^level leaves that begins at leaf `index` * 2^level. */
export type SubtreeHashes = (level: number, index: number) => Hash;

/**
 * The right-hand edge of a growing tree: one hash for each 1 in the binary form of its size. `onSubtree` is told of each
 * complete subtree once, lower ones first.
 */
export class TreeEdge {
  readonly #edge: { readonly level: number; readonly hash: Hash }[];
  #size: number;

  constructor(size = 0, subtree?: SubtreeHashes) {
    this.#size = size;
    this.#edge = subtree === undefined ? [] : rangesOf(0, size).map(({ level, index }) => ({ level, hash: subtree(level, index) }));
  }

  get size(): number {
    return this.#size;
  }

  append(leaf: Hash, onSubtree: (level: number, index: number, hash: Hash) => void = () => undefined): void {
    let node = { level: 0, hash: leaf };
    onSubtree(0, this.#size, leaf);
    this.#size++;
    for (let last = this.#edge.at(-1); last?.level === node.level; last = this.#edge.at(-1)) {
      this.#edge.pop();
      node = { level: node.level + 1, hash: nodeHash(last.hash, node.hash) };
      onSubtree(node.level, this.#size / 2 ** node.level - 1, node.hash);
    }
    this.#edge.push(node);
  }

  get root(): Hash {
    return fold(this.#edge.map(({ hash }) => hash));
  }
}

/** The root of the first `size` leaves. */
export function rootOf(size: number, subtree: SubtreeHashes): Hash {
  return hashOfRange(0, size, subtree);
}

/** The path from leaf `index` to the root of the first `size` leaves, from below (RFC 9162 section 2.1.3.1). */
export function inclusionProof(index: number, size: number, subtree: SubtreeHashes): Hash[] {
  const proof: Hash[] = [];
  let [start, end] = [0, size];
  while (end - start > 1) {
    const middle = start + splitOf(end - start);
    if (index < middle) {
      proof.push(hashOfRange(middle, end, subtree));
      end = middle;
    } else {
      proof.push(hashOfRange(start, middle, subtree));
      start = middle;
    }
  }
  return proof.toReversed();
}

/** Shows that the tree of `size` leaves begins with that of `from` leaves (RFC 9162 section 2.1.4.1). */
export function consistencyProof(from: number, size: number, subtree: SubtreeHashes): Hash[] {
  if (from === 0 || from === size) return [];
  const proof: Hash[] = [];
  let [start, end] = [0, size];
  let isWhole = true;
  while (from !== end) {
    const middle = start + splitOf(end - start);
    if (from <= middle) {
      proof.push(hashOfRange(middle, end, subtree));
      end = middle;
    } else {
      proof.push(hashOfRange(start, middle, subtree));
      start = middle;
      isWhole = false;
    }
  }
  if (!isWhole) proof.push(hashOfRange(start, end, subtree));
  return proof.toReversed();
}

/** The root that an inclusion proof leads to; undefined for a proof of another length than such a tree has. */
export function rootFromInclusion(leaf: Hash, index: number, size: number, proof: readonly Hash[]): Hash | undefined {
  if (index >= size) return undefined;
  let [position, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return undefined;
    if (position % 2 === 1 || position === last) {
      hash = nodeHash(sibling, hash);
      // Where the right-hand edge has no sibling, the node is its own parent.
      while (position % 2 === 0 && position !== 0) [position, last] = [position / 2, Math.floor(last / 2)];
    } else hash = nodeHash(hash, sibling);
    [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
  }
  return last === 0 ? hash : undefined;
}

/** Whether the tree with `root` over `size` leaves begins with the one with `fromRoot` over `from` leaves (RFC 9162 section 2.1.4.2). */
export function isConsistent(from: number, fromRoot: Hash, size: number, root: Hash, proof: readonly Hash[]): boolean {
  if (from > size) return false;
  if (from === size) return proof.length === 0 && fromRoot.equals(root);
  if (from === 0) return proof.length === 0 && fromRoot.equals(emptyRoot);
  let [position, last] = [from - 1, size - 1];
  while (position % 2 === 1) [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
  const [first, ...rest] = position === 0 ? [fromRoot, ...proof] : proof;
  if (first === undefined) return false;
  let [before, after] = [first, first];
  for (const sibling of rest) {
    if (last === 0) return false;
    if (position % 2 === 1 || position === last) {
      before = nodeHash(sibling, before);
      after = nodeHash(sibling, after);
      while (position % 2 === 0 && position !== 0) [position, last] = [position / 2, Math.floor(last / 2)];
    } else after = nodeHash(after, sibling);
    [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
  }
  return last === 0 && before.equals(fromRoot) && after.equals(root);
}

/** The root over hashes that are themselves roots of subtrees of one size. */
export function foldSubtrees(hashes: readonly Hash[]): Hash {
  const edge = new TreeEdge();
  for (const hash of hashes) edge.append(hash);
  return edge.root;
}

/** The largest power of two below `size`, which is at least 2. */
function splitOf(size: number): number {
  return 2 ** (32 - Math.clz32(size - 1) - 1);
}

/** Complete subtrees that make up the leaves from `start` up to `end`, left to right, where the range begins as a subtree does. */
function rangesOf(start: number, end: number): { level: number; index: number }[] {
  const ranges: { level: number; index: number }[] = [];
  for (let at = start; at < end; ) {
    const level = 31 - Math.clz32(end - at);
    ranges.push({ level, index: at / 2 ** level });
    at += 2 ** level;
  }
  return ranges;
}

function hashOfRange(start: number, end: number, subtree: SubtreeHashes): Hash {
  return fold(rangesOf(start, end).map(({ level, index }) => subtree(level, index)));
}

/** From the right, as the smaller subtrees are nested in the larger ones. */
function fold(hashes: readonly Hash[]): Hash {
  return hashes.length === 0 ? emptyRoot : hashes.reduceRight((right, left) => nodeHash(left, right));
}
