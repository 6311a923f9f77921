/** The tree over all entries, published as tiles and signed checkpoints beside the log that it is made from. */
import { readdir, readFile, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { formatCheckpoint, isSignedBy, parseCheckpoint, parseNote, signNote, type Checkpoint, type SigningKey } from '../audit/checkpoint.ts';
import { checkpointFile, decodeBundle, decodeTile, encodeBundle, tileHeight, tilePath, tileWidth, type TileId } from '../audit/tiles.ts';
import { foldSubtrees, leafHash, TreeEdge, type Hash } from '../audit/tree.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import { makeDurableDirectory, replaceFile, replaceFiles, type LogFiles } from './log-files.ts';
import { proveInclusion } from './tree-reader.ts';

/** A tile or a bundle that fills up. */
type Filling = { index: number; readonly items: Buffer[] };

export type TreeFilesOptions = {
  readonly directory: string;
  readonly key: SigningKey;
  readonly files: LogFiles;
};

/**
 * What is appended stands in the tree at once, and on disk with the next `publish`. Everything here can be made again
 * from the log, so a publication that fails is tried again and nothing is lost; but a checkpoint that was published once
 * binds for ever.
 */
export class TreeFiles {
  readonly #options: TreeFilesOptions;
  #edge: TreeEdge;
  #entries: Filling;
  readonly #levels: Filling[];
  /** Full ones that are not on disk yet. */
  #full: { readonly id: TileId; readonly bytes: Buffer }[] = [];
  /** Partial ones of the newest checkpoint. */
  #partial: TileId[];
  #published: { readonly checkpoint: Checkpoint; readonly note: string };
  #publishing: Promise<unknown> = Promise.resolve();
  /** A publication that has not begun. */
  #next: Promise<string> | undefined;

  private constructor(options: TreeFilesOptions, loaded: Loaded) {
    this.#options = options;
    this.#published = loaded.published;
    this.#edge = loaded.edge;
    this.#entries = loaded.entries;
    this.#levels = loaded.levels;
    this.#partial = loaded.partial;
  }

  /** A new log begins with a checkpoint of nothing, so that a log without one is known to have lost it. */
  static async create(options: TreeFilesOptions): Promise<TreeFiles> {
    const edge = new TreeEdge();
    const note = await writeCheckpoint(options, { origin: options.key.name, size: 0, root: edge.root });
    return new TreeFiles(options, { published: note, edge, entries: { index: 0, items: [] }, levels: [], partial: [] });
  }

  /** Undefined where there is no checkpoint. Throws `record-damaged` for a tree that is not the one it says, or another log's. */
  static async load(options: TreeFilesOptions): Promise<TreeFiles | undefined> {
    const { directory, key } = options;
    const text = await readFile(join(directory, checkpointFile), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (text === undefined) return undefined;
    const note = parseNote(text);
    const checkpoint = parseCheckpoint(note.text);
    if (checkpoint.origin !== key.name || !isSignedBy(note, key)) {
      throw damaged(`the checkpoint is not signed with the key of this log, ${key.name}`);
    }
    return new TreeFiles(options, await loadEdge(directory, checkpoint, text));
  }

  /** Leaves, published or not. */
  get size(): number {
    return this.#edge.size;
  }

  get published(): { readonly checkpoint: Checkpoint; readonly note: string } {
    return this.#published;
  }

  append(entry: Buffer): void {
    if (this.#entries.items.push(entry) === tileWidth) {
      this.#full.push({ id: { level: 'entries', index: this.#entries.index, width: tileWidth }, bytes: encodeBundle(this.#entries.items) });
      this.#entries = { index: this.#entries.index + 1, items: [] };
    }
    this.#edge.append(leafHash(entry), (level, _index, hash) => {
      if (level % tileHeight === 0) this.#addHash(level / tileHeight, hash);
    });
  }

  #addHash(level: number, hash: Hash): void {
    const filling = (this.#levels[level] ??= { index: 0, items: [] });
    if (filling.items.push(hash) < tileWidth) return;
    this.#full.push({ id: { level, index: filling.index, width: tileWidth }, bytes: Buffer.concat(filling.items) });
    this.#levels[level] = { index: filling.index + 1, items: [] };
  }

  /** Makes all that has been appended by now part of a signed checkpoint on disk, and answers the note. One at a time, for all who wait. */
  publish(): Promise<string> {
    if (this.#next !== undefined) return this.#next;
    const next = this.#publishing.then(() => {
      this.#next = undefined;
      return this.#publish();
    });
    this.#next = next;
    this.#publishing = next.catch(() => undefined);
    return next;
  }

  async #publish(): Promise<string> {
    const { directory, files, key } = this.#options;
    const size = this.#edge.size;
    if (size === this.#published.checkpoint.size) return this.#published.note;
    const checkpoint = { origin: key.name, size, root: this.#edge.root };
    const full = [...this.#full];
    const partial = this.#partialTiles();
    const tiles = [...full, ...partial].map(({ id, bytes }) => ({ path: join(directory, tilePath(id)), bytes }));
    for (const folder of new Set(tiles.map(({ path }) => dirname(path)))) await makeDurableDirectory(files, folder);
    await replaceFiles(files, tiles);
    this.#published = await writeCheckpoint(this.#options, checkpoint);
    this.#full = this.#full.slice(full.length);
    const kept = new Set(partial.map(({ id }) => tilePath(id)));
    for (const id of this.#partial) if (!kept.has(tilePath(id))) removeQuietly(files, join(directory, tilePath(id)));
    this.#partial = partial.map(({ id }) => id);
    return this.#published.note;
  }

  /** Shows that a leaf which is published stands in the tree of the newest checkpoint. */
  prove(index: number): Promise<{ readonly note: string; readonly proof: readonly Hash[] }> {
    // Between two publications the files are those of the newest checkpoint, and no others.
    const proving = this.#publishing.then(async () => {
      const { note, checkpoint } = this.#published;
      return { note, proof: await proveInclusion(this.#options.directory, index, checkpoint.size) };
    });
    this.#publishing = proving.catch(() => undefined);
    return proving;
  }

  #partialTiles(): { readonly id: TileId; readonly bytes: Buffer }[] {
    const { index, items } = this.#entries;
    const tiles = this.#levels.map((filling, level) => ({ id: { level, index: filling.index, width: filling.items.length }, bytes: Buffer.concat(filling.items) }));
    const entries = { id: { level: 'entries', index, width: items.length } as const, bytes: encodeBundle(items) };
    return [entries, ...tiles].filter(({ id }) => id.width > 0);
  }

  /** Puts other people's signatures under the newest checkpoint, if it still is the one that they signed. */
  async addSignatures(text: string, note: string): Promise<void> {
    const adding = this.#publishing.then(async () => {
      if (parseNote(this.#published.note).text !== text) return;
      await replaceFile(this.#options.files, join(this.#options.directory, checkpointFile), Buffer.from(note));
      this.#published = { ...this.#published, note };
    });
    this.#publishing = adding.catch(() => undefined);
    return adding;
  }
}

async function writeCheckpoint({ directory, files, key }: TreeFilesOptions, checkpoint: Checkpoint): Promise<{ checkpoint: Checkpoint; note: string }> {
  const note = signNote(formatCheckpoint(checkpoint), key);
  await replaceFile(files, join(directory, checkpointFile), Buffer.from(note));
  return { checkpoint, note };
}

type Loaded = {
  readonly published: { readonly checkpoint: Checkpoint; readonly note: string };
  readonly edge: TreeEdge;
  readonly entries: Filling;
  readonly levels: Filling[];
  readonly partial: TileId[];
};

/** Reads the right-hand edge of the tree, and checks that it leads to the root that was signed. */
async function loadEdge(directory: string, checkpoint: Checkpoint, note: string): Promise<Loaded> {
  const { size, root } = checkpoint;
  const levels: Filling[] = [];
  for (let level = 0, nodes = size; nodes > 0; level++, nodes = Math.floor(nodes / tileWidth)) {
    const index = Math.floor(nodes / tileWidth);
    const width = nodes % tileWidth;
    levels.push({ index, items: width === 0 ? [] : decodeTile(await readTile(directory, { level, index, width })) });
  }
  const width = size % tileWidth;
  const index = Math.floor(size / tileWidth);
  const entries = { index, items: width === 0 ? [] : decodeBundle(await readTile(directory, { level: 'entries', index, width })) };
  const edge = edgeOf(size, levels);
  if (!edge.root.equals(root)) throw damaged('the tiles do not lead to the root that the checkpoint names');
  const partial = idsOf({ entries, levels }).filter((tile) => tile.width > 0);
  await removeLeftOver(directory, { entries, levels }, partial);
  return { published: { checkpoint, note }, edge, entries, levels, partial };
}

/** The tiles and the bundle that fill up, empty ones included. */
function idsOf({ entries, levels }: Pick<Loaded, 'entries' | 'levels'>): TileId[] {
  const filling = levels.map(({ index, items }, level) => ({ level, index, width: items.length }));
  return [{ level: 'entries', index: entries.index, width: entries.items.length }, ...filling];
}

/** A publication that was cut short leaves partial tiles that no checkpoint speaks of. */
async function removeLeftOver(directory: string, edge: Pick<Loaded, 'entries' | 'levels'>, partial: readonly TileId[]): Promise<void> {
  const kept = new Set(partial.map((id) => tilePath(id)));
  for (const { level, index } of idsOf(edge)) {
    const folder = dirname(tilePath({ level, index, width: 1 }));
    const names = await readdir(join(directory, folder)).catch(() => []);
    for (const name of names) if (!kept.has(`${folder}/${name}`)) await unlink(join(directory, folder, name)).catch(() => undefined);
  }
}

/** The complete subtrees at the edge, from the partial tiles: each tile holds those of eight levels. */
function edgeOf(size: number, levels: readonly Filling[]): TreeEdge {
  return new TreeEdge(size, (level, index) => {
    const tile = levels[Math.floor(level / tileHeight)];
    const span = 2 ** (level % tileHeight);
    const from = index * span - (tile?.index ?? 0) * tileWidth;
    return foldSubtrees(tile?.items.slice(from, from + span) ?? []);
  });
}

async function readTile(directory: string, id: TileId): Promise<Buffer> {
  const path = tilePath(id);
  try {
    return await readFile(join(directory, path));
  } catch (error) {
    throw damaged(`${path} cannot be read: ${messageOf(error)}`);
  }
}

function removeQuietly(files: LogFiles, path: string): void {
  try {
    files.remove(path);
  } catch {
    // An old partial tile that stays does no harm.
  }
}

function damaged(problem: string): GateError {
  return new GateError('record-damaged', `the tree of the record is damaged: ${problem}`, {
    hint: 'Keep the directory as it is: it is evidence. gate audit verify says more.',
  });
}
