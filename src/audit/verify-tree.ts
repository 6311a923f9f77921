/** Reads the tiles and bundles of a tree, and finds out which of them lead to the root that was signed. Pure. */
import type { Checkpoint } from './checkpoint.ts';
import { entryBytesMax, hashBytes, tileHeight, tilePath, tileWidth, type TileId } from './tiles.ts';
import { leafHash, TreeEdge } from './tree.ts';
import type { Findings } from './verify-report.ts';
import type { Source } from './verify-source.ts';

const tileBytesMax = tileWidth * hashBytes;
const bundleBytesMax = tileWidth * (2 + entryBytesMax);

/** Leaf hashes one behind the other, in tiles of `tileWidth`; an undefined tile is not there. */
export type LeafTiles = (Buffer | undefined)[];

/** What is there under `tile/`, by path. */
export type TileListing = ReadonlyMap<string, TileId>;

export async function listTiles(source: Source, findings: Findings): Promise<TileListing> {
  const found = new Map<string, TileId>();
  const visit = async (path: string, depth: number): Promise<void> => {
    for (const { name, isDirectory } of await source.list(path)) {
      const child = `${path}/${name}`;
      if (isDirectory && depth < 7) await visit(child, depth + 1);
      else {
        const id = parseTilePath(child);
        if (id === undefined || isDirectory) findings.tampered('tile-unexpected', `${child} is no tile of a log`, { file: child });
        else found.set(child, id);
      }
    }
  };
  await visit('tile', 0);
  return found;
}

export function parseTilePath(path: string): TileId | undefined {
  const [, level = '', groups = '', width] = /^tile\/(entries|[0-5])\/((?:x\d{3}\/){0,4}\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path) ?? [];
  if (level === '') return undefined;
  const id: TileId = {
    level: level === 'entries' ? level : Number(level),
    index: Number(groups.replaceAll(/[x/]/g, '')),
    width: width === undefined ? tileWidth : Number(width),
  };
  const isWidth = id.width > 0 && (width === undefined || id.width < tileWidth);
  return isWidth && tilePath(id) === path ? id : undefined;
}

/** What a tile should hold `width` items of. A relay that writes may just have replaced a partial one by a wider one. */
async function readTile(source: Source, listing: TileListing, id: TileId, bytesMax: number): Promise<{ path: string; bytes: Buffer } | 'absent' | 'failed'> {
  for (const path of widerTiles(listing, id)) {
    const bytes = await source.read(path, bytesMax);
    if (bytes === 'failed') return bytes;
    if (bytes !== 'absent') return { path, bytes };
  }
  return 'absent';
}

function* widerTiles(listing: TileListing, id: TileId): Generator<string> {
  yield tilePath(id);
  for (let width = id.width + 1; width <= tileWidth; width++) {
    const path = tilePath({ ...id, width });
    if (listing.has(path)) yield path;
  }
}

/** Tells of a run of missing files once. */
class MissingRuns {
  #run: { readonly first: string; last: string; count: number } | undefined;
  constructor(readonly findings: Findings) {}

  add(path: string): void {
    if (this.#run === undefined) this.#run = { first: path, last: path, count: 1 };
    else Object.assign(this.#run, { last: path, count: this.#run.count + 1 });
  }

  /** `more`: files behind the last one that are missing as well. */
  end(more = 0): void {
    if (this.#run === undefined) return;
    const { first, last, count } = this.#run;
    const what = count + more === 1 ? `${first} is missing` : `${count + more} files are missing, from ${first}${more > 0 ? ' on' : ` to ${last}`}`;
    this.findings.tampered('tile-missing', `${what}: the checkpoint covers them`, { file: first });
    this.#run = undefined;
  }
}

/** Goes through what a tree of this size has of one level; a cut that claims to be endless ends with the files there are. */
async function eachTile(
  { source, findings, listing }: { source: Source; findings: Findings; listing: TileListing },
  { level, nodes, bytesMax }: { level: TileId['level']; nodes: number; bytesMax: number },
  take: (tile: { index: number; width: number; path: string; bytes: Buffer }) => void,
): Promise<void> {
  const runs = new MissingRuns(findings);
  let known = 0;
  for (const id of listing.values()) if (id.level === level) known = Math.max(known, id.index + 1);
  const total = Math.ceil(nodes / tileWidth);
  for (let index = 0; index < Math.min(total, known + 1); index++) {
    const width = Math.min(tileWidth, nodes - index * tileWidth);
    const read = await readTile(source, listing, { level, index, width }, bytesMax);
    if (read === 'absent') runs.add(tilePath({ level, index, width }));
    else if (read !== 'failed') {
      runs.end();
      take({ index, width, ...read });
    }
  }
  runs.end(Math.max(0, total - known - 1));
}

type Reading = { readonly source: Source; readonly findings: Findings; readonly listing: TileListing };

export async function readHashTiles(reading: Reading, level: number, nodes: number): Promise<LeafTiles> {
  const tiles: LeafTiles = [];
  await eachTile(reading, { level, nodes, bytesMax: tileBytesMax }, ({ index, width, path, bytes }) => {
    if (bytes.length !== width * hashBytes && (bytes.length < width * hashBytes || path === tilePath({ level, index, width }))) {
      reading.findings.tampered('tile-length', `${path} has ${bytes.length} bytes, and ${width} hashes take ${width * hashBytes}`, { file: path });
    }
    tiles[index] = Buffer.from(bytes.subarray(0, Math.min(width, Math.floor(bytes.length / hashBytes)) * hashBytes));
  });
  return tiles;
}

/** Hands over each entry in order; answers their leaf hashes. */
export async function readBundles(reading: Reading, nodes: number, onEntry: (index: number, body: Buffer, leaf: Buffer) => void): Promise<LeafTiles> {
  const tiles: LeafTiles = [];
  await eachTile(reading, { level: 'entries', nodes, bytesMax: bundleBytesMax }, ({ index, width, path, bytes }) => {
    const { entries, rest } = splitBundle(bytes, path === tilePath({ level: 'entries', index, width }) ? Infinity : width);
    if (rest > 0) reading.findings.tampered('bundle-broken', `${path} ends inside its entry ${index * tileWidth + entries.length}`, { file: path, index: index * tileWidth + entries.length });
    if (entries.length !== width) reading.findings.tampered('bundle-length', `${path} holds ${entries.length} entries in place of ${width}`, { file: path });
    const leaves = entries.map((entry, place) => {
      const leaf = leafHash(entry);
      onEntry(index * tileWidth + place, entry, leaf);
      return leaf;
    });
    tiles[index] = Buffer.concat(leaves);
  });
  return tiles;
}

/** As far as the lengths go; `rest`: bytes that are no whole entry. */
export function splitBundle(bytes: Buffer, entriesMax: number): { entries: Buffer[]; rest: number } {
  const entries: Buffer[] = [];
  let at = 0;
  while (at < bytes.length && entries.length < entriesMax) {
    const end = at + 2 > bytes.length ? Infinity : at + 2 + bytes.readUInt16BE(at);
    if (end > bytes.length) return { entries, rest: bytes.length - at };
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return { entries, rest: 0 };
}

/** The leaf hashes that lead to the root; undefined where no combination of what was read does. */
export function findTruth(checkpoint: Checkpoint, candidates: readonly LeafTiles[], parents: LeafTiles): LeafTiles | undefined {
  for (const tiles of candidates) if (leadsToRoot(checkpoint, tiles)) return tiles;
  const count = Math.ceil(checkpoint.size / tileWidth);
  // Nobody has the end of the tree: there is nothing to try, however long the checkpoint says that it is.
  if (candidates.every((tiles) => tiles.length < count)) return undefined;
  // Each full tile by the hash of it one level up; the last one has none.
  const mixed: LeafTiles = Array.from({ length: count }, (_, index) => {
    const parent = parents[Math.floor(index / tileWidth)]?.subarray((index % tileWidth) * hashBytes, ((index % tileWidth) + 1) * hashBytes);
    return candidates.map((tiles) => tiles[index]).find((tile) => tile?.length === tileBytesMax && parent !== undefined && edgeOf(tile).root.equals(parent)) ?? candidates[0]?.[index];
  });
  for (const tiles of candidates) {
    const attempt = [...mixed.slice(0, -1), tiles[count - 1]];
    if (leadsToRoot(checkpoint, attempt)) return attempt;
  }
  return undefined;
}

function leadsToRoot({ size, root }: Checkpoint, tiles: LeafTiles): boolean {
  const edge = new TreeEdge();
  for (let index = 0; index * tileWidth < size; index++) {
    const tile = tiles[index];
    if (tile?.length !== Math.min(tileWidth, size - index * tileWidth) * hashBytes) return false;
    appendAll(edge, tile);
  }
  return edge.size === size && edge.root.equals(root);
}

function appendAll(edge: TreeEdge, tile: Buffer, each: () => void = () => undefined): void {
  for (let at = 0; at < tile.length; at += hashBytes) {
    edge.append(tile.subarray(at, at + hashBytes));
    each();
  }
}

function edgeOf(tile: Buffer): TreeEdge {
  const edge = new TreeEdge();
  appendAll(edge, tile);
  return edge;
}

/** The roots of the trees of these sizes, as far as there are leaves. */
export function rootsAt(truth: LeafTiles, sizes: ReadonlySet<number>): Map<number, Buffer> {
  const roots = new Map<number, Buffer>();
  const edge = new TreeEdge();
  if (sizes.has(0)) roots.set(0, edge.root);
  for (const tile of truth) {
    if (tile === undefined) break;
    appendAll(edge, tile, () => {
      if (sizes.has(edge.size)) roots.set(edge.size, edge.root);
    });
  }
  return roots;
}

/** The levels of tiles above the leaves, made from them. */
export function levelsAbove(truth: LeafTiles): LeafTiles[] {
  const hashes: Buffer[][] = [];
  const edge = new TreeEdge();
  for (const tile of truth) {
    if (tile === undefined) break;
    for (let at = 0; at < tile.length; at += hashBytes) {
      edge.append(tile.subarray(at, at + hashBytes), (level, _index, hash) => {
        if (level > 0 && level % tileHeight === 0) (hashes[level / tileHeight - 1] ??= []).push(hash);
      });
    }
  }
  return hashes.map((level) => Array.from({ length: Math.ceil(level.length / tileWidth) }, (_, index) => Buffer.concat(level.slice(index * tileWidth, (index + 1) * tileWidth))));
}
