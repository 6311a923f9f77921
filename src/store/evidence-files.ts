/** A record as files for those who verify it: a state directory's log, a log directory, or an exported bundle. */
import { createReadStream } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatVerifierKey, parseSigningKey } from '../audit/checkpoint.ts';
import type { Evidence } from '../audit/verify-source.ts';

export type EvidencePlace = {
  readonly directory: string;
  /** The public part of the key that lies beside the log. */
  readonly keyBeside: string | undefined;
};

/** Finds the record in a directory. Rejects where there is no such directory. */
export async function findEvidence(directory: string): Promise<EvidencePlace> {
  await readdir(directory);
  // A log or a bundle, the state of a relay, the state of gate dev.
  const places = ['.', 'log', 'relay/log'].map((place) => join(directory, place));
  const found = await Promise.all(places.map((place) => stat(join(place, 'checkpoint')).catch(() => undefined)));
  const isState = await stat(join(directory, 'log')).then((one) => one.isDirectory(), () => false);
  const log = places[found.findIndex((one) => one?.isFile() === true)] ?? (isState ? join(directory, 'log') : directory);
  return { directory: log, keyBeside: await publicKeyOf(join(log, '..', 'log-key')) };
}

async function publicKeyOf(path: string): Promise<string | undefined> {
  try {
    return formatVerifierKey(parseSigningKey(await readFile(path, 'utf8')));
  } catch {
    // Whoever verifies need not be able to read it.
    return undefined;
  }
}

export function evidenceFiles(directory: string): Evidence {
  return {
    read: (path, bytesMax) => absentAs(undefined, readUpTo(join(directory, path), bytesMax + 1)),
    async *stream(path) {
      try {
        await checkFile(join(directory, path));
        for await (const chunk of createReadStream(join(directory, path), { highWaterMark: 256 * 1024 })) yield chunk as Buffer;
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
    },
    list: (path) => absentAs([], listFolder(join(directory, path))),
  };
}

/** Pipes and devices may never end, and a record from elsewhere may hold some. */
async function checkFile(path: string): Promise<void> {
  if (!(await stat(path)).isFile()) throw new Error('it is not a file');
}

async function readUpTo(path: string, bytesMax: number): Promise<Buffer> {
  await checkFile(path);
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, bytesMax));
    let at = 0;
    while (at < bytes.length) {
      const { bytesRead } = await file.read(bytes, at, bytes.length - at, at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return bytes.subarray(0, at);
  } finally {
    await file.close();
  }
}

async function listFolder(path: string): Promise<{ name: string; isDirectory: boolean }[]> {
  const all = await readdir(path, { withFileTypes: true });
  return all.map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() })).toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

async function absentAs<T>(value: T, reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (isAbsent(error)) return value;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}
