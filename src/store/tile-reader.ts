/** Reads the published tree from its files: tiles as they were at any checkpoint, and the entries in them. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { decodeBundle, encodeBundle, hashBytes, tilePath, tileWidth, type TileId } from '../audit/tiles.ts';
import { GateError, messageOf } from '../errors/errors.ts';

/** A path of tlog-tiles below `tile/`: the level, groups of three digits, and the width of a partial one. */
const pattern = /^(entries|[0-9]|[1-5]\d|6[0-3])\/((?:x\d{3}\/){0,4}\d{3})(?:\.p\/([1-9]\d{0,2}))?$/;

/** Undefined for what is no such path, or not the only way to write it. */
export function parseTilePath(path: string): TileId | undefined {
  const [, level = '', groups = '', partial] = pattern.exec(path) ?? [];
  if (level === '') return undefined;
  const id: TileId = {
    level: level === 'entries' ? level : Number(level),
    index: Number(groups.replaceAll(/[x/]/g, '')),
    width: partial === undefined ? tileWidth : Number(partial),
  };
  return id.width <= tileWidth && tilePath(id) === `tile/${path}` ? id : undefined;
}

/**
 * A tile or bundle. A partial one that a later checkpoint has replaced is cut out of what replaced it, so that readers
 * of an older checkpoint get the same bytes. Undefined where there is none.
 */
export async function readTileAt(directory: string, id: TileId): Promise<Buffer | undefined> {
  // A file that is replaced meanwhile is there again at the next look.
  for (let attempt = 0; attempt < 5; attempt++) {
    const exact = await readIfThere(join(directory, tilePath(id)));
    if (exact !== undefined || id.width === tileWidth) return exact;
    const wider = await findWider(directory, id);
    if (wider === undefined) return undefined;
    const bytes = await readIfThere(join(directory, tilePath(wider)));
    if (bytes !== undefined) return cut(bytes, id);
  }
  return undefined;
}

async function findWider(directory: string, id: TileId): Promise<TileId | undefined> {
  const folder = join(directory, dirname(tilePath({ ...id, width: 1 })));
  const names = await readdir(folder).catch(() => []);
  const widths = names.map(Number).filter((width) => width > id.width && width < tileWidth);
  if (widths.length > 0) return { ...id, width: Math.min(...widths) };
  const full = { ...id, width: tileWidth };
  return (await readIfThere(join(directory, tilePath(full)))) === undefined ? undefined : full;
}

function cut(bytes: Buffer, { level, width }: TileId): Buffer {
  return level === 'entries' ? encodeBundle(decodeBundle(bytes).slice(0, width)) : bytes.subarray(0, width * hashBytes);
}

export async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new GateError('record-unavailable', `the tree of the record cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** The JSON of published entries, from `from` on up to `to`, which a checkpoint covers. */
export async function* readPublished(directory: string, from: number, to: number): AsyncGenerator<{ readonly index: number; readonly body: Buffer }> {
  for (let bundle = Math.floor(from / tileWidth); bundle * tileWidth < to; bundle++) {
    const first = bundle * tileWidth;
    const id: TileId = { level: 'entries', index: bundle, width: Math.min(tileWidth, to - first) };
    const entries = decodeBundle(await readTile(directory, id));
    for (const [place, body] of entries.entries()) {
      if (first + place >= from) yield { index: first + place, body };
    }
  }
}

async function readTile(directory: string, id: TileId): Promise<Buffer> {
  const bytes = await readTileAt(directory, id);
  if (bytes !== undefined) return bytes;
  throw new GateError('record-damaged', `the tree of the record is damaged: ${tilePath(id)} is missing`, {
    hint: 'Keep the directory as it is: it is evidence. gate audit verify says more.',
  });
}
