/** The few file operations that the log's promise rests on, as an interface, so that a test can make each one fail. */
import { closeSync, fdatasync, mkdirSync, open as openCallback, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';

export interface LogFiles {
  /** Makes a new file (0600) for appending; fails when it exists. */
  create(path: string): number;
  /** The same without holding up the event loop. */
  createLater(path: string): Promise<number>;
  /** Appends from `offset` on and returns how many bytes the system took, which may be fewer than there are. */
  write(descriptor: number, bytes: Buffer, offset: number): number;
  fdatasync(descriptor: number): Promise<void>;
  /** Makes the names in a directory durable. */
  fsyncDirectory(path: string): Promise<void>;
  close(descriptor: number): void;
  remove(path: string): void;
  /** Puts a file in the place of another, or of none. */
  rename(from: string, to: string): void;
  /** Makes a directory (0700) and those above it; the topmost that it has made, or undefined when all were there. */
  makeDirectory(path: string): string | undefined;
}

const openLater = promisify(openCallback);

export const realLogFiles: LogFiles = {
  create: (path) => openSync(path, 'ax', 0o600),
  createLater: (path) => openLater(path, 'ax', 0o600),
  write: (descriptor, bytes, offset) => writeSync(descriptor, bytes, offset),
  fdatasync: promisify(fdatasync),
  fsyncDirectory,
  close: closeSync,
  remove: unlinkSync,
  rename: renameSync,
  makeDirectory: (path) => mkdirSync(path, { recursive: true, mode: 0o700 }),
};

/** Windows cannot open a directory; NTFS keeps names in its journal. */
export async function fsyncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Writes all of it, however small the pieces that the system takes. */
export function writeWhole(files: LogFiles, descriptor: number, bytes: Buffer): void {
  let offset = 0;
  while (offset < bytes.length) {
    const written = files.write(descriptor, bytes, offset);
    if (written <= 0) throw new Error('the system wrote nothing and gave no reason');
    offset += written;
  }
}

/** Makes a directory and those above it, and their names durable. */
export async function makeDurableDirectory(files: LogFiles, path: string): Promise<void> {
  const made = files.makeDirectory(path);
  if (made === undefined) return;
  const top = dirname(resolve(made));
  for (let at = dirname(resolve(path)); at !== top; at = dirname(at)) await files.fsyncDirectory(at);
  await files.fsyncDirectory(top);
}

/** Whoever looks finds the old content whole, or the new. When this resolves, the new one is durable. */
export async function replaceFile(files: LogFiles, path: string, bytes: Buffer): Promise<void> {
  await replaceFiles(files, [{ path, bytes }]);
}

/** Files whose syncs are under way at once. */
const syncsMax = 4;

/** The same for each of them; their directories are synced once. Where it fails, some may be new and others not. */
export async function replaceFiles(files: LogFiles, all: readonly { readonly path: string; readonly bytes: Buffer }[]): Promise<void> {
  for (let at = 0; at < all.length; at += syncsMax) {
    const results = await Promise.allSettled(all.slice(at, at + syncsMax).map(({ path, bytes }) => replaceContent(files, path, bytes)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
  for (const directory of new Set(all.map(({ path }) => dirname(path)))) await files.fsyncDirectory(directory);
}

async function replaceContent(files: LogFiles, path: string, bytes: Buffer): Promise<void> {
  const draft = `${path}.new`;
  const descriptor = await createDraft(files, draft);
  try {
    writeWhole(files, descriptor, bytes);
    await files.fdatasync(descriptor);
  } finally {
    files.close(descriptor);
  }
  files.rename(draft, path);
}

/** A draft is left over where a process died, or a write failed. */
async function createDraft(files: LogFiles, draft: string): Promise<number> {
  try {
    return await files.createLater(draft);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    files.remove(draft);
    return files.createLater(draft);
  }
}
