/** Proofs about the published tree, from the hashes in its tiles. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { decodeTile, tileHeight, tilePath, tileWidth } from '../audit/tiles.ts';
import { consistencyProof, emptyRoot, foldSubtrees, inclusionProof, type Hash, type SubtreeHashes } from '../audit/tree.ts';
import { GateError } from '../errors/errors.ts';

/** That the published tree of `size` leaves begins with that of `from` leaves. */
export function proveConsistency(directory: string, from: number, size: number): Promise<Hash[]> {
  return withTiles(directory, size, (subtree) => consistencyProof(from, size, subtree));
}

/** That a leaf stands in the published tree of `size` leaves. */
export function proveInclusion(directory: string, index: number, size: number): Promise<Hash[]> {
  return withTiles(directory, size, (subtree) => inclusionProof(index, size, subtree));
}

/** Asks twice: first for which subtrees it takes, then with their hashes. */
async function withTiles<Result>(directory: string, size: number, ask: (subtree: SubtreeHashes) => Result): Promise<Result> {
  const wanted = new Map<string, { level: number; index: number }>();
  ask((level, index) => {
    wanted.set(`${level}/${index}`, { level, index });
    return emptyRoot;
  });
  const found = new Map<string, Hash>();
  for (const [key, { level, index }] of wanted) found.set(key, await readSubtree({ directory, size }, level, index));
  return ask((level, index) => found.get(`${level}/${index}`) ?? emptyRoot);
}

type Tree = { readonly directory: string; readonly size: number };

async function readSubtree({ directory, size }: Tree, level: number, index: number): Promise<Hash> {
  const tileLevel = Math.floor(level / tileHeight);
  const span = 2 ** (level % tileHeight);
  const first = index * span;
  const tile = Math.floor(first / tileWidth);
  const width = Math.min(tileWidth, Math.floor(size / tileWidth ** tileLevel) - tile * tileWidth);
  const from = first - tile * tileWidth;
  const hashes = (await readHashes(directory, { level: tileLevel, index: tile, width })).slice(from, from + span);
  return foldSubtrees(hashes);
}

/** The tree may have grown since: then a wider tile stands in the place of this one, and begins with it. */
async function readHashes(directory: string, id: { level: number; index: number; width: number }): Promise<Hash[]> {
  const candidates = [tilePath(id), tilePath({ ...id, width: tileWidth })];
  for (let attempt = 0; attempt < 3; attempt++) {
    for (const path of candidates) {
      const bytes = await readFile(join(directory, path)).catch(() => undefined);
      if (bytes !== undefined) return decodeTile(bytes);
    }
    const folder = dirname(tilePath({ ...id, width: 1 }));
    const names = await readdir(join(directory, folder)).catch(() => []);
    for (const name of names) if (Number(name) >= id.width) candidates.push(`${folder}/${name}`);
  }
  throw new GateError('record-damaged', `the tree of the record lacks ${tilePath(id)}`);
}
