/** Receipts that this machine keeps: each ties the record of a session to a checkpoint, whatever becomes of the relay. */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Receipt } from '../api/audit-api.ts';
import { isSignedBy, parseCheckpoint, parseNote, parseVerifierKey } from '../audit/checkpoint.ts';
import { rootFromInclusion } from '../audit/tree.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import { writePrivateFile } from './private-file.ts';
import type { RelayClient } from './relay-client.ts';

/** Past that, the oldest go. */
export const receiptsMax = 10_000;
/** What a receipt may delay the end of a command by. */
export const receiptMsMax = 3000;

/** Fetches and keeps the receipt of a session that has ended. Never rejects: what goes wrong is one warning. */
export async function keepReceipt(relay: RelayClient, directory: string, session: string, warn: (line: string) => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new GateError('relay-unreachable', 'no answer came in time')), receiptMsMax);
  });
  try {
    const receipt = await Promise.race([relay.receipt(session, receiptMsMax), timeout]);
    await saveReceipt(directory, receipt);
  } catch (error) {
    warn(`no receipt of session ${session} was kept: ${messageOf(error)}`);
  } finally {
    clearTimeout(timer);
  }
}

/** Writes a receipt (0600), and answers where. Fails with `record-damaged` for one that is not signed by the log that it names. */
export async function saveReceipt(directory: string, receipt: Receipt, max = receiptsMax): Promise<string> {
  const origin = checkReceipt(receipt);
  const folder = join(directory, 'receipts', folderOf(origin));
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${fileName(receipt.session)}.json`);
  await writePrivateFile(path, `${JSON.stringify(receipt)}\n`);
  await removeOldest(folder, max);
  return path;
}

/** The origin of the log. What needs the entry itself is for `gate audit verify`. */
export function checkReceipt({ checkpoint, key, index, proof }: Receipt): string {
  const note = parseNote(checkpoint);
  const { origin, size } = parseCheckpoint(note.text);
  const verifier = parseVerifierKey(key);
  // The length of a proof follows from the place of the leaf.
  const hashes = proof.map((hash) => Buffer.from(hash, 'base64'));
  const isWhole = rootFromInclusion(Buffer.alloc(32), index, size, hashes) !== undefined;
  if (verifier.name === origin && isSignedBy(note, verifier) && isWhole) return origin;
  throw new GateError('record-damaged', 'the receipt is not signed by the log that it names');
}

function folderOf(origin: string): string {
  return origin.replaceAll(/[^A-Za-z0-9._-]+/g, '_').replace(/^\.+/, '_').slice(0, 200);
}

function fileName(session: string): string {
  if (/^[\w-]{1,100}$/.test(session)) return session;
  throw new GateError('protocol-violation', 'the relay answered with a receipt of a session that has no proper id');
}

async function removeOldest(folder: string, max: number): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  if (names.length <= max) return;
  const files = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(folder, name)).catch(() => undefined))?.mtimeMs ?? 0 })));
  const oldest = files.toSorted((one, other) => one.at - other.at).slice(0, names.length - max);
  for (const { name } of oldest) await rm(join(folder, name), { force: true });
}
