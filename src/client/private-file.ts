/** Writes files that hold secrets: whole or not at all, 0600 in a 0700 directory. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The code of an error of the operating system, such as ENOENT. */
export function systemCodeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Makes the directory and its parents where they are missing, for this user alone. */
export async function makePrivateDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
}

/**
 * Replaces `path` with `text`. When the promise resolves the text is on disk (fsync of file and directory); when it
 * rejects the old file stands as it was.
 */
export async function writePrivateFile(path: string, text: string | Uint8Array): Promise<void> {
  await makePrivateDirectory(dirname(path));
  const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/**
 * What is wrong with a file's protection, as the end of a sentence, or undefined when it is this user's alone or
 * missing. Windows keeps a profile's files private by other means and has no modes to look at.
 */
export async function findExposure(path: string): Promise<string | undefined> {
  if (process.platform === 'win32') return undefined;
  const found = await stat(path).catch((error: unknown) => {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return undefined;
  if (found.uid !== process.getuid?.()) return 'belongs to another user';
  if ((found.mode & 0o077) === 0) return undefined;
  return `is open to other users (mode ${(found.mode & 0o777).toString(8).padStart(4, '0')})`;
}

/** Makes a rename durable. Windows has no such call and does not need it. */
async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
