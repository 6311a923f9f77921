/** Roots and proofs of the tree: published values, every pair of sizes, and what must not verify. */
import { expect, test } from 'vitest';
import { consistencyProof, emptyRoot, inclusionProof, isConsistent, leafHash, nodeHash, rootFromInclusion, rootOf, TreeEdge, type Hash } from '../../src/audit/tree.ts';

/** The eight entries and roots that implementations of RFC 6962 share as reference values. */
const entries = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map((hex) => Buffer.from(hex, 'hex'));
const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

/** By definition, without any shortcut: MTH of RFC 6962 section 2.1. */
function plainRoot(leaves: readonly Hash[]): Hash {
  if (leaves.length === 0) return emptyRoot;
  if (leaves.length === 1) return leaves[0] as Hash;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return nodeHash(plainRoot(leaves.slice(0, split)), plainRoot(leaves.slice(split)));
}

const sizeMax = 40;
const leaves = Array.from({ length: sizeMax }, (_, index) => leafHash(Buffer.from(`entry ${index}`)));
const subtree = (level: number, index: number) => plainRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level));

test('the reference roots, grown and at once', () => {
  const edge = new TreeEdge();
  expect(edge.root.toString('hex')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  for (const [index, root] of roots.entries()) {
    edge.append(leafHash(entries[index] as Buffer));
    expect(edge.root.toString('hex')).toBe(root);
  }
});

test('an edge goes on from where another one stopped, and tells of each subtree once', () => {
  const told = new Map<string, string>();
  const whole = new TreeEdge();
  for (const leaf of leaves) whole.append(leaf, (level, index, hash) => told.set(`${level}/${index}`, hash.toString('hex')));
  expect(whole.root).toEqual(plainRoot(leaves));
  expect(told.size).toBe(40 + 20 + 10 + 5 + 2 + 1);
  expect([...told].every(([key, hash]) => subtree(...(key.split('/').map(Number) as [number, number])).toString('hex') === hash)).toBe(true);
  for (let size = 0; size <= sizeMax; size++) {
    const edge = new TreeEdge(size, subtree);
    expect(edge.root).toEqual(plainRoot(leaves.slice(0, size)));
    for (const leaf of leaves.slice(size)) edge.append(leaf);
    expect(edge.root).toEqual(whole.root);
  }
});

test('every leaf of every tree is proven, and nothing else by its proof', () => {
  for (let size = 1; size <= sizeMax; size++) {
    const root = rootOf(size, subtree);
    for (let index = 0; index < size; index++) {
      const proof = inclusionProof(index, size, subtree);
      expect(rootFromInclusion(leaves[index] as Hash, index, size, proof)).toEqual(root);
      const other = rootFromInclusion(leaves[(index + 1) % size] as Hash, index, size, proof);
      if (size > 1) expect(other).not.toEqual(root);
      expect(rootFromInclusion(leaves[index] as Hash, index, size, [...proof, root])).not.toEqual(root);
      if (proof.length > 0) expect(rootFromInclusion(leaves[index] as Hash, index, size, proof.slice(1))).not.toEqual(root);
    }
  }
});

test('every tree is consistent with every larger one, and with no other', () => {
  for (let size = 0; size <= sizeMax; size++) {
    for (let from = 0; from <= size; from++) {
      const [before, after] = [rootOf(from, subtree), rootOf(size, subtree)];
      const proof = consistencyProof(from, size, subtree);
      expect(isConsistent(from, before, size, after, proof)).toBe(true);
      // Every tree begins with the empty one.
      if (from > 0) expect(isConsistent(from, before, size, leafHash(after), proof)).toBe(false);
      expect(isConsistent(from, leafHash(before), size, after, proof)).toBe(false);
      if (from > 1) expect(isConsistent(from - 1, before, size, after, proof)).toBe(false);
      if (proof.length > 0) {
        expect(isConsistent(from, before, size, after, proof.slice(1))).toBe(false);
        expect(isConsistent(from, before, size, after, proof.with(0, leafHash(after)))).toBe(false);
      }
    }
  }
});
