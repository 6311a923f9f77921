/** SSH signatures of commits (OpenSSH, PROTOCOL.sshsig, namespace "git"), verified against keys that the policy lists. */
import { createHash, verify } from 'node:crypto';
import type { Commit } from './commit.ts';
import { blobOf, curveBytes, parseSshKey, readStrings, unsigned, writeString, type SshKey } from './ssh-key.ts';

const magic = Buffer.from('SSHSIG');
const namespace = Buffer.from('git');

/** The key of the list that the commit is signed with. OpenPGP and X.509 signatures are not verified. */
export function signingKeyOf(commit: Commit, keys: readonly string[]): string | undefined {
  const signature = commit.signature === undefined ? undefined : parseSignature(commit.signature);
  if (signature === undefined) return undefined;
  return keys.find((line) => {
    // Making a key of a line takes long, and this is asked at each request of a login.
    const key = blobOf(line).equals(signature.publicKey) ? parseSshKey(line) : undefined;
    return key !== undefined && isSigned(commit.signed, signature, key);
  });
}

type SshSignature = { readonly publicKey: Buffer; readonly reserved: Buffer; readonly hash: 'sha256' | 'sha512'; readonly algorithm: string; readonly value: Buffer };

function parseSignature(armoured: string): SshSignature | undefined {
  const base64 = /^-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n*$/.exec(armoured)?.[1];
  const bytes = Buffer.from(base64 ?? '', 'base64');
  if (bytes.length < magic.length + 4 || !bytes.subarray(0, magic.length).equals(magic) || bytes.readUInt32BE(magic.length) !== 1) return undefined;
  const fields = readStrings(bytes.subarray(magic.length + 4));
  if (fields?.length !== 5) return undefined;
  const [publicKey, usedFor, reserved, hashName, blob] = fields as [Buffer, Buffer, Buffer, Buffer, Buffer];
  const hash = hashName.toString('latin1');
  const [algorithm, value, ...more] = readStrings(blob) ?? [];
  if (!usedFor.equals(namespace) || (hash !== 'sha256' && hash !== 'sha512') || algorithm === undefined || value === undefined || more.length > 0) return undefined;
  return { publicKey, reserved, hash, algorithm: algorithm.toString('latin1'), value };
}

function isSigned(signed: Buffer, { reserved, hash, algorithm, value }: SshSignature, { type, key }: SshKey): boolean {
  const digest = createHash(hash).update(signed).digest();
  const message = Buffer.concat([magic, ...[namespace, reserved, Buffer.from(hash), digest].map(writeString)]);
  if (type === 'ssh-rsa') {
    const digestOf = new Map([['rsa-sha2-256', 'sha256'], ['rsa-sha2-512', 'sha512']]).get(algorithm);
    return digestOf !== undefined && verify(digestOf, message, key, value);
  }
  if (algorithm !== type) return false;
  if (type === 'ssh-ed25519') return verify(null, message, key, value);
  const bytes = curveBytes(type);
  const pair = bytes === undefined ? undefined : pairOf(value, bytes);
  return pair !== undefined && verify(bytes === 32 ? 'sha256' : 'sha384', message, { key, dsaEncoding: 'ieee-p1363' }, pair);
}

/** r and s, each as many bytes as the curve has. */
function pairOf(value: Buffer, bytes: number): Buffer | undefined {
  const numbers = readStrings(value)?.map(unsigned);
  if (numbers?.length !== 2 || numbers.some(({ length }) => length > bytes)) return undefined;
  return Buffer.concat(numbers.map((number) => Buffer.concat([Buffer.alloc(bytes - number.length), number])));
}
