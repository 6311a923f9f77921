/** Another key for checkpoints: announced by an entry under the old one, and vouched for by both on one checkpoint. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { formatNote, formatSigningKey, formatVerifierKey, parseCheckpoint, parseNote, signingKey, signNote } from '../audit/checkpoint.ts';
import { decisionsChain } from '../audit/entry.ts';
import { makeDurableDirectory, realLogFiles, replaceFile } from './log-files.ts';
import { loadLogSecrets, type LogSecretPaths } from './log-secrets.ts';
import { openLog } from './log.ts';

/** Beside `checkpoint`: one file for each rotation, with the size of its tree as name. */
export const rotationsDirectory = 'rotations';

export type Rotation = { readonly from: string; readonly to: string; readonly size: number };

/**
 * The caller holds the lock of the state directory: no relay runs. A crash on the way leaves the old key in force, and an
 * entry that announces one which is never used.
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
    await makeDurableDirectory(realLogFiles, join(directory, rotationsDirectory));
    await replaceFile(realLogFiles, join(directory, rotationsDirectory, String(size)), Buffer.from(both));
    await log.publisher.addSignatures(note.text, both);
    await replaceFile(realLogFiles, secrets.signingKeyFile, Buffer.from(`${formatSigningKey(next)}\n`));
    return { ...rotation, size };
  } finally {
    await log.close();
  }
}
