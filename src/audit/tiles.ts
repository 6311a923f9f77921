/** The tree as files, in the layout of C2SP tlog-tiles: their paths, and the entries that a bundle holds. Pure. */
import { GateError } from '../errors/errors.ts';

/** Hashes in a full tile, and entries in a full bundle. */
export const tileWidth = 256;
/** Levels of the tree from one level of tiles to the next. */
export const tileHeight = 8;
/** A bundle gives the length of each entry in two bytes. */
export const entryBytesMax = 65_535;
export const hashBytes = 32;

/** The file of the newest checkpoint, beside `tile`. */
export const checkpointFile = 'checkpoint';

/** `level`: of tiles, from 0 at the leaves; `entries` for the bundles. `width` below `tileWidth`: of a partial one. */
export type TileId = { readonly level: number | 'entries'; readonly index: number; readonly width: number };

/** As in `tile/0/x001/x234/067` and `tile/0/000.p/17`. */
export function tilePath({ level, index, width }: TileId): string {
  const groups = [String(index % 1000).padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`);
  }
  return `tile/${level}/${groups.join('/')}${width === tileWidth ? '' : `.p/${width}`}`;
}

/** The tiles and bundles that a tree of `size` leaves has: all full ones, and the partial ones at its right-hand edge. */
export function* tilesOf(size: number): Generator<TileId> {
  yield* tilesOfLevel('entries', size);
  for (let level = 0, nodes = size; nodes > 0; level++, nodes = Math.floor(nodes / tileWidth)) yield* tilesOfLevel(level, nodes);
}

function* tilesOfLevel(level: TileId['level'], nodes: number): Generator<TileId> {
  for (let index = 0; index * tileWidth < nodes; index++) {
    yield { level, index, width: Math.min(tileWidth, nodes - index * tileWidth) };
  }
}

/** Each entry behind its length in two bytes, high byte first. */
export function encodeBundle(entries: readonly Buffer[]): Buffer {
  const bytes = Buffer.allocUnsafeSlow(entries.reduce((sum, { length }) => sum + 2 + length, 0));
  let at = 0;
  for (const entry of entries) {
    at = bytes.writeUInt16BE(entry.length, at);
    at += entry.copy(bytes, at);
  }
  return bytes;
}

/** Throws `record-damaged` when the lengths do not add up. */
export function decodeBundle(bytes: Buffer): Buffer[] {
  const entries: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 > bytes.length ? Infinity : at + 2 + bytes.readUInt16BE(at);
    if (end > bytes.length) throw new GateError('record-damaged', `the bundle ends inside its entry ${entries.length + 1}`);
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return entries;
}

/** The hashes of a tile. Throws `record-damaged` for a length that is no multiple of a hash's. */
export function decodeTile(bytes: Buffer): Buffer[] {
  if (bytes.length % hashBytes !== 0) throw new GateError('record-damaged', `the tile has ${bytes.length} bytes`);
  return Array.from({ length: bytes.length / hashBytes }, (_, index) => bytes.subarray(index * hashBytes, (index + 1) * hashBytes));
}
