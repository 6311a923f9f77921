/** A bundle: a directory with the whole record of a relay, from its tree on, that can be verified without it. */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSignedBy, parseCheckpoint, parseNote, parseVerifierKey, type Checkpoint } from '../audit/checkpoint.ts';
import { parseStored } from '../audit/line.ts';
import { checkpointFile, decodeBundle, tileHeight, tilePath, tilesOf, tileWidth, type TileId } from '../audit/tiles.ts';
import { leafHash, TreeEdge } from '../audit/tree.ts';
import { GateError } from '../errors/errors.ts';
import { writeSealed, type SealedOnRecord } from './bundle-sealed.ts';
import { systemCodeOf, writePrivateFile } from './private-file.ts';
import type { RelayClient } from './relay-client.ts';

export const keyFile = 'log-key.pub';

export type BundleOptions = {
  /** With the sealed contents of all sessions, as they are. */
  readonly hasSealed: boolean;
};

export type ExportedBundle = {
  readonly origin: string;
  readonly size: number;
  /** Entries that it had before. */
  readonly before: number;
  /** Sealed contents in it, and those that the entries speak of. */
  readonly sealed: { readonly found: number; readonly named: number };
};

/**
 * Makes or completes a bundle. What is there is kept where it fits the tree that the relay has signed; the checkpoint
 * is written last. Fails with `usage` for a directory of something else or of another log, and with `record-damaged`
 * when what is there, or what the relay gives, is not the tree of its checkpoint: then the directory stays as it was.
 */
export async function exportBundle(relay: RelayClient, directory: string, { hasSealed }: BundleOptions): Promise<ExportedBundle> {
  const keys = await relay.logKeys();
  const old = await openDirectory(directory, keys);
  const note = await relay.logCheckpoint();
  const checkpoint = checkNote(note, keys);
  if (old !== undefined && old.size > checkpoint.size) {
    throw refused(`the relay has ${checkpoint.size} entries, and this bundle ${old.size}: entries are gone from the record`);
  }
  const written: string[] = [];
  let sealed: SealedOnRecord;
  try {
    sealed = await fetchTree({ relay, directory, written }, checkpoint, old);
  } catch (error) {
    for (const path of written) await rm(path, { force: true });
    throw error;
  }
  await writePrivateFile(join(directory, keyFile), `${keys.join('\n')}\n`);
  for (const rotation of await relay.rotations()) await writePrivateFile(join(directory, 'rotations', String(rotation.size)), rotation.note);
  const found = hasSealed ? await writeSealed(relay, directory, sealed) : 0;
  await writePrivateFile(join(directory, checkpointFile), note);
  if (old !== undefined) await removeOldTiles(directory, old.size, checkpoint.size);
  const named = [...sealed.values()].reduce((sum, { length }) => sum + length, 0);
  return { origin: checkpoint.origin, size: checkpoint.size, before: old?.size ?? 0, sealed: { found, named } };
}

/** The checkpoint of a bundle that is there; undefined for a new one, or one that was never finished. */
async function openDirectory(directory: string, keys: readonly string[]): Promise<Checkpoint | undefined> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const [known, names] = await Promise.all([readIfThere(join(directory, keyFile)), readdir(directory)]);
  if (known === undefined) {
    if (names.length === 0) await writePrivateFile(join(directory, keyFile), `${keys.join('\n')}\n`);
    else throw new GateError('usage', `${directory} is not empty, and no bundle`, { hint: 'Name a new directory.' });
  } else {
    const knownKeys = known.toString('utf8').trim().split('\n');
    if (!knownKeys.some((key) => keys.includes(key))) {
      throw new GateError('usage', `${directory} is a bundle of another log, ${knownKeys[0]?.split('+')[0]}`, { hint: 'Name another directory.' });
    }
  }
  const note = await readIfThere(join(directory, checkpointFile));
  return note && checkNote(note.toString('utf8'), keys);
}

function checkNote(text: string, keys: readonly string[]): Checkpoint {
  const note = parseNote(text);
  const checkpoint = parseCheckpoint(note.text);
  const isGood = keys.map(parseVerifierKey).some((key) => key.name === checkpoint.origin && isSignedBy(note, key));
  if (!isGood) throw refused('a checkpoint is not signed with a key of the log');
  return checkpoint;
}

type Fetching = { readonly relay: RelayClient; readonly directory: string; readonly written: string[] };

/** Makes the tree anew from the entries, so that all tiles are known to be right. Answers what the entries have sealed. */
async function fetchTree(fetching: Fetching, checkpoint: Checkpoint, old: Checkpoint | undefined): Promise<SealedOnRecord> {
  const { size, root } = checkpoint;
  const sealed: SealedOnRecord = new Map();
  const edge = new TreeEdge();
  const levels: { index: number; hashes: Buffer[] }[] = [];
  const full: { id: TileId; bytes: Buffer }[] = [];
  for (let first = 0; first < size; first += tileWidth) {
    const id: TileId = { level: 'entries', index: first / tileWidth, width: Math.min(tileWidth, size - first) };
    const entries = decodeBundle(await fetchEntries(fetching, id));
    if (entries.length !== id.width) throw refused(`${tilePath(id)} has ${entries.length} entries`);
    for (const entry of entries) {
      noteSealed(sealed, entry);
      edge.append(leafHash(entry), (level, _index, hash) => {
        if (level % tileHeight !== 0) return;
        const filling = (levels[level / tileHeight] ??= { index: 0, hashes: [] });
        if (filling.hashes.push(hash) < tileWidth) return;
        full.push({ id: { level: level / tileHeight, index: filling.index, width: tileWidth }, bytes: Buffer.concat(filling.hashes) });
        levels[level / tileHeight] = { index: filling.index + 1, hashes: [] };
      });
      if (edge.size === old?.size && !edge.root.equals(old.root)) {
        throw refused('the record of the relay does not begin with what is in this bundle: one of them was changed');
      }
    }
    for (const tile of full.splice(0)) await putTile(fetching, tile);
  }
  if (!edge.root.equals(root)) throw refused('the entries do not lead to the root that the checkpoint names');
  for (const [level, { index, hashes }] of levels.entries()) {
    if (hashes.length > 0) await putTile(fetching, { id: { level, index, width: hashes.length }, bytes: Buffer.concat(hashes) });
  }
  return sealed;
}

function noteSealed(sealed: SealedOnRecord, entry: Buffer): void {
  const stored = parseStored(entry);
  if (stored.sealed === undefined) return;
  const list = sealed.get(stored.session);
  if (list === undefined) sealed.set(stored.session, [stored.sealed.sha256]);
  else list.push(stored.sealed.sha256);
}

async function fetchEntries({ relay, directory, written }: Fetching, id: TileId): Promise<Buffer> {
  const path = join(directory, tilePath(id));
  const known = await readIfThere(path);
  if (known !== undefined) return known;
  const bytes = await relay.logTile(id);
  await write(path, bytes, written);
  return bytes;
}

async function putTile({ directory, written }: Fetching, { id, bytes }: { id: TileId; bytes: Buffer }): Promise<void> {
  const path = join(directory, tilePath(id));
  const known = await readIfThere(path);
  if (known === undefined) return write(path, bytes, written);
  if (!known.equals(bytes)) throw refused(`${tilePath(id)} of this bundle does not fit its entries`);
}

async function write(path: string, bytes: Buffer, written: string[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  written.push(path);
  await writePrivateFile(path, bytes);
}

/** The partial tiles of the checkpoint before, where the tree has outgrown them. */
async function removeOldTiles(directory: string, before: number, size: number): Promise<void> {
  const kept = new Set([...tilesOf(size)].map(tilePath));
  for (const id of tilesOf(before)) {
    const path = tilePath(id);
    if (id.width === tileWidth || kept.has(path)) continue;
    await rm(join(directory, path), { force: true });
    // A folder of partial tiles that is empty now says nothing.
    if ((await readdir(join(directory, dirname(path))).catch(() => [''])).length === 0) await rm(join(directory, dirname(path)), { recursive: true, force: true });
  }
}

export async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The open entries of a bundle in order, as they stand in the record. */
export async function* readBundle(directory: string): AsyncGenerator<{ readonly index: number; readonly body: Buffer }> {
  const { size } = parseCheckpoint(parseNote(await readFile(join(directory, checkpointFile), 'utf8')).text);
  for (let first = 0; first < size; first += tileWidth) {
    const id: TileId = { level: 'entries', index: first / tileWidth, width: Math.min(tileWidth, size - first) };
    const entries = decodeBundle(await readFile(join(directory, tilePath(id))));
    for (const [place, body] of entries.entries()) yield { index: first + place, body };
  }
}

function refused(problem: string): GateError {
  return new GateError('record-damaged', problem, { hint: 'Nothing was changed. Keep both the bundle and the record of the relay: they are evidence.' });
}
