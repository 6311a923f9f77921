/** A new file that a command writes its data to: never in place of another, for its owner alone, and whole or not there. */
import { open, rm } from 'node:fs/promises';
import { systemCodeOf } from '../client/private-file.ts';
import { GateError } from '../errors/errors.ts';

export type WriteText = (text: string) => Promise<void>;

/**
 * Makes the file (mode 0600) and runs `work`. When it resolves, all that was written is on disk; when it rejects, the
 * file is gone again. Fails with `usage` where the file exists or cannot be written.
 */
export async function writeNewFile(path: string, work: (write: WriteText) => Promise<void>): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch((error: unknown) => {
    throw explain(path, error);
  });
  try {
    try {
      await work((text) => file.appendFile(text).catch((error: unknown) => {
        throw explain(path, error);
      }));
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

function explain(path: string, cause: unknown): unknown {
  const code = systemCodeOf(cause);
  if (code === undefined) return cause;
  if (code === 'EEXIST') {
    return new GateError('usage', `${path} exists already`, { hint: 'Name a new file, or move that one away.', cause });
  }
  return new GateError('usage', `${path} cannot be written (${code})`, { cause });
}
