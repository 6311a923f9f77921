/** The keys of the record: by default files beside the directory of the log. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { formatSigningKey, parseSigningKey, signingKey, type SigningKey } from '../audit/checkpoint.ts';
import { GateError } from '../errors/errors.ts';
import { ColumnSeal } from './column-seal.ts';
import { loadKeyFile, loadSealingKey } from './key-files.ts';
import { realLogFiles, type LogFiles } from './log-files.ts';
import { SessionKeys } from './session-keys.ts';

export type LogSecrets = {
  /** Signs checkpoints; its name is that of the log. */
  readonly key: SigningKey;
  readonly keys: SessionKeys;
  /** For what the state holds of statements. */
  readonly columns: ColumnSeal;
  readonly signingKeyFile: string;
};

export type LogSecretPaths = { readonly signingKeyFile?: string; readonly sealingKeyFile?: string; readonly origin?: string };

/** Keys that are not there yet are made (0600). Fails with `config-invalid` for those that cannot be used. */
export async function loadLogSecrets(directory: string, files: LogFiles = realLogFiles, paths: LogSecretPaths = {}): Promise<LogSecrets> {
  const base = dirname(directory);
  const signingKeyFile = paths.signingKeyFile ?? join(base, 'log-key');
  const text = await loadKeyFile(signingKeyFile, 'signing key of the record', () => {
    return formatSigningKey(signingKey(paths.origin ?? defaultOrigin(), randomBytes(32)));
  });
  const sealingKey = await loadSealingKey(paths.sealingKeyFile ?? join(base, 'sealing-key'));
  const keys = await SessionKeys.open(join(base, 'keys'), sealingKey, files);
  return { key: readKey(text, signingKeyFile), keys, columns: new ColumnSeal(sealingKey), signingKeyFile };
}

function readKey(text: string, file: string): SigningKey {
  try {
    const key = parseSigningKey(text);
    if (key.type === 'ed25519') return key;
  } catch {
    // Told below, without a word of what stands there.
  }
  throw new GateError('config-invalid', `${file} does not hold the signing key of a log`);
}

/** Names of logs look like URLs without a scheme, and no two may be the same. */
function defaultOrigin(): string {
  const host = hostname().toLowerCase().replaceAll(/[^a-z0-9.-]+/g, '-').slice(0, 60) || 'relay';
  return `${host}/gate/${randomBytes(6).toString('hex')}`;
}
