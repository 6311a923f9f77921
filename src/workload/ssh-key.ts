/** SSH public keys as authorized_keys and .pub files write them (RFC 4253 section 6.6, RFC 5656, RFC 8709), and the strings they are made of. */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';

export type SshKey = {
  readonly type: string;
  /** As it stands on the wire. */
  readonly blob: Buffer;
  readonly key: KeyObject;
};

export const sshKeyTypes = ['ssh-ed25519', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ssh-rsa'] as const;
const rsaBitsMin = 2048;
const rsaBitsMax = 16384;

/** As it stands in a line, unchecked. */
export function blobOf(line: string): Buffer {
  return Buffer.from(line.trim().split(/[ \t]+/)[1] ?? '', 'base64');
}

/** Undefined for a line that is no key of a known type, has options before it, or is too short to be safe. */
export function parseSshKey(line: string): SshKey | undefined {
  const [type = '', base64 = ''] = line.trim().split(/[ \t]+/);
  if (/[\r\n]/.test(line.trim()) || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  const blob = Buffer.from(base64, 'base64');
  const [name, ...parts] = readStrings(blob) ?? [];
  if (name?.toString('latin1') !== type) return undefined;
  const jwk = jwkOf(type, parts);
  if (jwk === undefined) return undefined;
  try {
    return { type, blob, key: createPublicKey({ key: jwk, format: 'jwk' }) };
  } catch {
    return undefined;
  }
}

function jwkOf(type: string, parts: readonly Buffer[]): JsonWebKey | undefined {
  const [first, second] = parts;
  if (type === 'ssh-ed25519') {
    return first?.length === 32 && parts.length === 1 ? { kty: 'OKP', crv: 'Ed25519', x: first.toString('base64url') } : undefined;
  }
  if (first === undefined || second === undefined || parts.length !== 2) return undefined;
  if (type === 'ssh-rsa') {
    const modulus = unsigned(second);
    const bits = modulus.length * 8;
    return bits >= rsaBitsMin && bits <= rsaBitsMax ? { kty: 'RSA', e: unsigned(first).toString('base64url'), n: modulus.toString('base64url') } : undefined;
  }
  const curve = curves.get(type);
  if (curve === undefined || first.toString('latin1') !== curve.name || second.length !== 1 + 2 * curve.bytes || second[0] !== 4) return undefined;
  const half = (index: number) => second.subarray(1 + index * curve.bytes, 1 + (index + 1) * curve.bytes).toString('base64url');
  return { kty: 'EC', crv: curve.jwk, x: half(0), y: half(1) };
}

const curves = new Map([
  ['ecdsa-sha2-nistp256', { name: 'nistp256', jwk: 'P-256', bytes: 32 }],
  ['ecdsa-sha2-nistp384', { name: 'nistp384', jwk: 'P-384', bytes: 48 }],
]);

/** The bytes of r and s in a signature of this key's type; undefined for a type that is not ECDSA. */
export function curveBytes(type: string): number | undefined {
  return curves.get(type)?.bytes;
}

/** A number without the zero bytes before it. */
export function unsigned(mpint: Buffer): Buffer {
  const start = mpint.findIndex((byte) => byte !== 0);
  return start < 0 ? Buffer.alloc(0) : mpint.subarray(start);
}

/** RFC 4251 strings, one after another, up to the very end. */
export function readStrings(bytes: Buffer): Buffer[] | undefined {
  const strings: Buffer[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < 4) return undefined;
    const length = bytes.readUInt32BE(at);
    if (length > bytes.length - at - 4) return undefined;
    strings.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return strings;
}

export function writeString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
