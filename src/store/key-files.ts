/** The two secrets of the record, each in a file of its own: the key that signs checkpoints, and the one that wraps data keys. */
import { randomBytes } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { GateError, messageOf } from '../errors/errors.ts';
import { realLogFiles, makeDurableDirectory, replaceFile } from './log-files.ts';

/** The content of a key file, or that of a new one (0600), durable when this resolves. Fails with `config-invalid`. */
export async function loadKeyFile(path: string, what: string, make: () => string): Promise<string> {
  try {
    const [text, { mode }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new GateError('config-invalid', `the ${what} in ${path} can be read by other users`, { hint: `Run chmod 600 ${path}` });
    }
    return text.trim();
  } catch (error) {
    if (error instanceof GateError) throw error;
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new GateError('config-invalid', `the ${what} in ${path} cannot be used: ${messageOf(error)}`, { cause: error });
    }
  }
  const text = make();
  await makeDurableDirectory(realLogFiles, dirname(path));
  await replaceFile(realLogFiles, path, Buffer.from(`${text}\n`));
  return text;
}

/** 32 bytes, as hex in its file. */
export async function loadSealingKey(path: string): Promise<Buffer> {
  const text = await loadKeyFile(path, 'sealing key of the record', () => randomBytes(32).toString('hex'));
  if (/^[0-9a-f]{64}$/.test(text)) return Buffer.from(text, 'hex');
  throw new GateError('config-invalid', `the sealing key of the record in ${path} is not 32 bytes in hex`);
}
