/** Another key for checkpoints: announced by an entry under the old one, and vouched for by both on one checkpoint. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatNote, formatSigningKey, formatVerifierKey, isSignedBy, parseCheckpoint, parseNote, signingKey, signNote, type SigningKey } from '../audit/checkpoint.ts';
import { decisionsChain } from '../audit/entry.ts';
import { checkpointFile } from '../audit/tiles.ts';
import { makeDurableDirectory, realLogFiles, replaceFile } from './log-files.ts';
import { loadLogSecrets, type LogSecretPaths } from './log-secrets.ts';
import { openLog } from './log.ts';

/** Beside `checkpoint`: one file for each rotation, with the size of its tree as name. */
export const rotationsDirectory = 'rotations';

export type Rotation = { readonly from: string; readonly to: string; readonly size: number };

/**
 * The caller holds the lock of the state directory: no relay runs. A crash before the key file is replaced leaves the old
 * key in force, and an entry that announces one which is never used; one after it is made good by `finishRotation`.
 */
export async function rotateKey(directory: string, paths: LogSecretPaths): Promise<Rotation> {
  const secrets = await loadLogSecrets(directory, realLogFiles, paths);
  const next = signingKey(secrets.key.name, randomBytes(32));
  const rotation = { from: formatVerifierKey(secrets.key), to: formatVerifierKey(next) };
  const log = await openLog(directory, { secrets });
  try {
    await log.record(decisionsChain, [{ kind: 'key.rotate', ...rotation }]);
    const note = parseNote(await log.publish());
    const { size } = parseCheckpoint(note.text);
    const both = formatNote({ text: note.text, signatures: [...note.signatures, ...parseNote(signNote(note.text, next)).signatures] });
    await log.publisher.addSignatures(note.text, both);
    await replaceFile(realLogFiles, secrets.signingKeyFile, Buffer.from(`${formatSigningKey(next)}\n`));
    await keepRotation(directory, size, both);
    return { ...rotation, size };
  } finally {
    await log.close();
  }
}

/** For a start, before anything new is signed: a checkpoint whose last signature is the key's in force, behind another, is a rotation. */
export async function finishRotation(directory: string, key: SigningKey): Promise<void> {
  const text = await readFile(join(directory, checkpointFile), 'utf8').catch(() => undefined);
  if (text === undefined) return;
  const note = parseNote(text);
  const ofLog = note.signatures.filter(({ name }) => name === key.name);
  const last = ofLog.at(-1);
  if (ofLog.length < 2 || last === undefined || !isSignedBy({ text: note.text, signatures: [last] }, key)) return;
  const { size } = parseCheckpoint(note.text);
  const path = join(directory, rotationsDirectory, String(size));
  if ((await readFile(path).catch(() => undefined)) === undefined) await keepRotation(directory, size, formatNote({ text: note.text, signatures: ofLog }));
}

async function keepRotation(directory: string, size: number, note: string): Promise<void> {
  await makeDurableDirectory(realLogFiles, join(directory, rotationsDirectory));
  await replaceFile(realLogFiles, join(directory, rotationsDirectory, String(size)), Buffer.from(note));
}
