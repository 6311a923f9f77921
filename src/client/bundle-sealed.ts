/** The sealed contents in a bundle: one file per session, one line per content, in the order of the entries that they belong to. */
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { SealedContent } from '../api/audit-api.ts';
import { GateError } from '../errors/errors.ts';
import { systemCodeOf } from './private-file.ts';
import type { RelayClient } from './relay-client.ts';

/** SHA-256 of what the entries of each session have sealed, in order. */
export type SealedOnRecord = Map<string, string[]>;

/** Fetches what is not there yet. Answers how many there are: fewer than on record, where the relay has lost some. */
export async function writeSealed(relay: RelayClient, directory: string, sealed: SealedOnRecord): Promise<number> {
  let found = 0;
  if (sealed.size > 0) await mkdir(join(directory, 'sealed'), { recursive: true, mode: 0o700 });
  for (const [session, hashes] of sealed) {
    if (!/^[\w-]{1,100}$/.test(session)) throw new GateError('record-damaged', 'an entry names a session that has no proper id');
    const path = join(directory, 'sealed', `${session}.ndl`);
    found += (await isComplete(path, hashes)) ? hashes.length : await fetchSealed(relay, session, hashes, path);
  }
  return found;
}

async function isComplete(path: string, hashes: readonly string[]): Promise<boolean> {
  let count = 0;
  try {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
      if (hashOf(SealedContent.safeParse(parseJson(line)).data) !== hashes[count++]) return false;
    }
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return false;
    throw error;
  }
  return count === hashes.length;
}

function hashOf(content: SealedContent | undefined): string | undefined {
  return content && hash('sha256', Buffer.from(content.data, 'base64'), 'hex');
}

async function fetchSealed(relay: RelayClient, session: string, hashes: readonly string[], path: string): Promise<number> {
  const draft = `${path}.new`;
  await rm(draft, { force: true });
  const file = await open(draft, 'wx', 0o600);
  let next = 0;
  let found = 0;
  try {
    for await (const content of relay.sealed(session)) {
      const actual = hashOf(content);
      const place = hashes.indexOf(actual ?? '', next);
      // Beyond the checkpoint, or not what any entry names.
      if (place === -1 || actual !== content.sha256) continue;
      next = place + 1;
      found++;
      await file.appendFile(`${JSON.stringify({ sha256: content.sha256, data: content.data })}\n`);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
  return found;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
