/** The few file operations that the log's promise rests on, as an interface, so that a test can make each one fail. */
import { closeSync, fdatasync, openSync, unlinkSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';

export interface LogFiles {
  /** Makes a new file (0600) for appending; fails when it exists. */
  create(path: string): number;
  /** Appends from `offset` on and returns how many bytes the system took, which may be fewer than there are. */
  write(descriptor: number, bytes: Buffer, offset: number): number;
  fdatasync(descriptor: number): Promise<void>;
  /** Makes the names in a directory durable. */
  fsyncDirectory(path: string): Promise<void>;
  close(descriptor: number): void;
  remove(path: string): void;
}

export const realLogFiles: LogFiles = {
  create: (path) => openSync(path, 'ax', 0o600),
  write: (descriptor, bytes, offset) => writeSync(descriptor, bytes, offset),
  fdatasync: promisify(fdatasync),
  fsyncDirectory,
  close: closeSync,
  remove: unlinkSync,
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
