/** Every version of the policy that was ever in force, each in a file named by the SHA-256 of its text. */
import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GateError, messageOf } from '../errors/errors.ts';
import { makeDurableDirectory, realLogFiles, replaceFile } from './log-files.ts';

/** Durable when this resolves. Fails with `record-unavailable`: a policy that nobody could look up is not put in force. */
export async function keepPolicy(directory: string, { digest, text }: { readonly digest: string; readonly text: string }): Promise<void> {
  try {
    await makeDurableDirectory(realLogFiles, directory);
    if ((await findPolicy(directory, digest)) !== undefined) return;
    await replaceFile(realLogFiles, pathOf(directory, digest), Buffer.from(text));
  } catch (error) {
    throw new GateError('record-unavailable', `the text of the policy cannot be kept: ${messageOf(error)}`, { cause: error });
  }
}

/** Undefined for a version that is not there, or no longer is what its name says. */
export async function findPolicy(directory: string, digest: string): Promise<string | undefined> {
  if (!/^[0-9a-f]{64}$/.test(digest)) return undefined;
  try {
    const text = await readFile(pathOf(directory, digest), 'utf8');
    return hash('sha256', text, 'hex') === digest ? text : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function pathOf(directory: string, digest: string): string {
  return join(directory, `${digest}.yaml`);
}
