/** The user's own certificate authority for local ports: made once, kept private, good for this machine's names only. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GateError } from '../errors/errors.ts';
import { createCaCertificate, createLocalhostCertificate } from './certificate.ts';
import type { ClientConfig } from './config.ts';
import { withFileLock } from './file-lock.ts';
import { findExposure, systemCodeOf, writePrivateFile } from './private-file.ts';

const dayMs = 24 * 3600_000;
const caDays = 3650;
/** A CA with less than this to live is replaced, so that no client is surprised in the middle of a session. */
const caDaysMin = 60;
/** Clocks of clients in containers and virtual machines differ a little. */
const slackMs = 3600_000;

export type LocalIdentity = {
  /** PEM: the server's private key, which is in no file, and its certificate. */
  readonly key: string;
  readonly cert: string;
  /** What clients give as `sslrootcert`. */
  readonly caFile: string;
};

/**
 * A fresh key and certificate for localhost, 127.0.0.1 and ::1 that hold until `until` and an hour longer, signed by
 * the CA below the configuration directory, which is made (durably, key 0600) where there is none. Fails with
 * `config-invalid` when its files are open to others or do not belong together.
 */
export async function createLocalIdentity(config: ClientConfig, until: Date, now = new Date()): Promise<LocalIdentity> {
  const directory = join(config.directory, 'local-ca');
  const ca = await withFileLock(join(directory, 'lock'), async () => (await loadCa(directory, now)) ?? createCa(directory, now));
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const cert = createLocalhostCertificate({
    publicKey,
    commonName: 'localhost',
    issuer: ca,
    notBefore: new Date(now.getTime() - slackMs),
    notAfter: new Date(Math.max(until.getTime(), now.getTime()) + slackMs),
  });
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, cert, caFile: caFileIn(directory) };
}

type Ca = { readonly commonName: string; readonly privateKey: KeyObject };

function caFileIn(directory: string): string {
  return join(directory, 'ca.crt');
}

function keyFileIn(directory: string): string {
  return join(directory, 'ca.key');
}

/** Undefined where one of the two files is missing, or the certificate is about to expire. */
async function loadCa(directory: string, now: Date): Promise<Ca | undefined> {
  const [keyText, certText] = await Promise.all([readIfThere(keyFileIn(directory)), readIfThere(caFileIn(directory))]);
  if (keyText === undefined || certText === undefined) return undefined;
  const exposure = await findExposure(keyFileIn(directory));
  if (exposure !== undefined) throw unusable(directory, `its key ${keyFileIn(directory)} ${exposure}`);
  try {
    const certificate = new X509Certificate(certText);
    const privateKey = createPrivateKey(keyText);
    if (!certificate.checkPrivateKey(privateKey)) throw new Error('key and certificate do not belong together');
    if (Date.parse(certificate.validTo) - now.getTime() < caDaysMin * dayMs) return undefined;
    return { commonName: nameOf(privateKey), privateKey };
  } catch (error) {
    throw unusable(directory, 'its files cannot be read as a key and its certificate', error);
  }
}

/** The key is written first: a crash in between leaves no certificate, and both are made anew. */
async function createCa(directory: string, now: Date): Promise<Ca> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ca: Ca = { commonName: nameOf(privateKey), privateKey };
  const cert = createCaCertificate({
    publicKey,
    commonName: ca.commonName,
    issuer: ca,
    notBefore: new Date(now.getTime() - slackMs),
    notAfter: new Date(now.getTime() + caDays * dayMs),
  });
  await writePrivateFile(keyFileIn(directory), privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await writePrivateFile(caFileIn(directory), cert);
  return ca;
}

/** A name of its own for each key, so that a trust store with an old CA is not confused by a new one. */
function nameOf(privateKey: KeyObject): string {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return `gate local CA ${createHash('sha256').update(spki).digest('hex').slice(0, 12)}`;
}

function unusable(directory: string, why: string, cause?: unknown): GateError {
  return new GateError('config-invalid', `the local certificate authority cannot be used: ${why}`, {
    cause,
    hint: `Remove ${directory}; gate makes a new one, and clients find it at the same path.`,
  });
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw new GateError('config-invalid', `cannot read ${path} (${systemCodeOf(error) ?? 'unknown error'})`, { cause: error });
  }
}
