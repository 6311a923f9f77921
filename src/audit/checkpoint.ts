/** Signed statements about the tree: checkpoints (C2SP tlog-checkpoint) as signed notes (C2SP signed-note) with Ed25519 keys. Pure. */
import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { GateError } from '../errors/errors.ts';
import type { Hash } from './tree.ts';

export type Checkpoint = {
  /** Name of the log; lines that begin and end without blanks. */
  readonly origin: string;
  /** Leaves of the tree. */
  readonly size: number;
  readonly root: Hash;
};

export type NoteSignature = { readonly name: string; readonly keyId: Buffer; readonly signature: Buffer };
export type Note = { readonly text: string; readonly signatures: readonly NoteSignature[] };

/** What a key signs: whole notes (a log's key), or checkpoints together with a time (a witness's, C2SP tlog-cosignature). */
export type KeyType = 'ed25519' | 'cosignature/v1';
const typeBytes: Readonly<Record<KeyType, number>> = { ed25519: 0x01, 'cosignature/v1': 0x04 };

/** An Ed25519 key with the name that signature lines and verifiers use. */
export type NoteKey = { readonly type: KeyType; readonly name: string; readonly keyId: Buffer; readonly publicKey: Buffer };
export type SigningKey = NoteKey & { readonly privateKey: KeyObject };

/** Signature lines of one note. The specification asks for 16 at least. */
export const signaturesMax = 64;

export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`;
}

/** Fails with `record-damaged` for a text that is none. Lines behind the third are other people's, and are passed over. */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = '', size = '', root = '', ...others] = text.split('\n');
  const hash = Buffer.from(root, 'base64');
  const isWhole = others.pop() === '' && origin !== '' && !others.includes('');
  if (!isWhole || !/^(?:0|[1-9]\d{0,14})$/.test(size) || hash.length !== 32 || hash.toString('base64') !== root) throw damaged('checkpoint');
  return { origin, size: Number(size), root: hash };
}

/** `seed`: the 32 secret bytes (RFC 8032 section 5.1.5). */
export function signingKey(name: string, seed: Buffer, type: KeyType = 'ed25519'): SigningKey {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  return { ...noteKey(name, publicKey, type), privateKey };
}

function noteKey(name: string, publicKey: Buffer, type: KeyType): NoteKey {
  const keyId = createHash('sha256').update(`${name}\n`).update(Buffer.from([typeBytes[type]])).update(publicKey).digest().subarray(0, 4);
  return { type, name, keyId, publicKey };
}

/** Whether notes allow this as the name of a key. */
export function isKeyName(name: string): boolean {
  return /^[^\s+]{1,255}$/.test(name) && !hasControls(name);
}

/** The public key as verifiers of notes take it: name, key id in hex, type and key in base64, joined by "+". */
export function formatVerifierKey(key: NoteKey): string {
  return formatKey(key, key.publicKey);
}

/** Fails with `usage` for a text that is no such key, or not of its own key id. */
export function parseVerifierKey(text: string): NoteKey {
  const parts = parseKey(text.trim());
  const key = parts && noteKey(parts.name, parts.bytes, parts.type);
  if (key === undefined || key.keyId.toString('hex') !== parts?.id) {
    throw new GateError('usage', 'this is not a verifier key', { hint: 'It looks like name+0123abcd+AbC…, as gate audit key and gate witness print it.' });
  }
  return key;
}

const privateMark = 'PRIVATE+KEY+';

/** Secret: the private key in the form that tools for notes read. */
export function formatSigningKey(key: SigningKey): string {
  return privateMark + formatKey(key, key.privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32));
}

/** Fails with `usage`, without a word of the text. */
export function parseSigningKey(text: string): SigningKey {
  const trimmed = text.trim();
  const parts = trimmed.startsWith(privateMark) ? parseKey(trimmed.slice(privateMark.length)) : undefined;
  const key = parts && signingKey(parts.name, parts.bytes, parts.type);
  if (key === undefined || key.keyId.toString('hex') !== parts?.id) throw new GateError('usage', 'this is not a signing key');
  return key;
}

function formatKey({ type, name, keyId }: NoteKey, bytes: Buffer): string {
  return `${name}+${keyId.toString('hex')}+${Buffer.concat([Buffer.from([typeBytes[type]]), bytes]).toString('base64')}`;
}

function parseKey(text: string): { name: string; id: string; type: KeyType; bytes: Buffer } | undefined {
  const [, name = '', id = '', base64 = ''] = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text) ?? [];
  const bytes = Buffer.from(base64, 'base64');
  const type = (Object.keys(typeBytes) as KeyType[]).find((known) => typeBytes[known] === bytes[0]);
  return type === undefined || bytes.length !== 33 || !isKeyName(name) ? undefined : { name, id, type, bytes: bytes.subarray(1) };
}

/** `text` ends with a newline, and `key` is of type ed25519. */
export function signNote(text: string, key: SigningKey): string {
  if (key.type !== 'ed25519') throw new TypeError('a key of a witness signs no notes');
  return formatNote({ text, signatures: [{ name: key.name, keyId: key.keyId, signature: sign(null, Buffer.from(text), key.privateKey) }] });
}

export function formatNote({ text, signatures }: Note): string {
  return `${text}\n${formatSignatures(signatures)}`;
}

/** The lines below the text of a note; also what a witness answers. */
export function formatSignatures(signatures: readonly NoteSignature[]): string {
  return signatures.map(({ name, keyId, signature }) => `\u2014 ${name} ${Buffer.concat([keyId, signature]).toString('base64')}\n`).join('');
}

/** Fails with `record-damaged`, also for more than `signaturesMax` signatures. */
export function parseNote(note: string): Note {
  const at = note.lastIndexOf('\n\n');
  if (at === -1 || !note.endsWith('\n') || hasControls(note)) throw damaged('signed note');
  const lines = note.slice(at + 2, -1).split('\n');
  if (lines.length > signaturesMax) throw damaged('signed note');
  const signatures = lines.map((line) => {
    const [, name = '', base64 = ''] = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+=*)$/.exec(line) ?? [];
    const bytes = Buffer.from(base64, 'base64');
    if (bytes.length < 5 || bytes.toString('base64') !== base64) throw damaged('signed note');
    return { name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) };
  });
  return { text: note.slice(0, at + 1), signatures };
}

function hasControls(text: string): boolean {
  // Bytes of characters beyond ASCII are all above these.
  return Buffer.from(text).some((byte) => byte < 0x20 && byte !== 0x0a);
}

/** Whether the note bears a good signature of this key, which is of a log. */
export function isSignedBy({ text, signatures }: Note, key: NoteKey): boolean {
  if (key.type !== 'ed25519') return false;
  return signatures.some(({ name, keyId, signature }) => name === key.name && keyId.equals(key.keyId) && isGood(Buffer.from(text), key, signature));
}

/** A witness's line under a checkpoint, with a key of type cosignature/v1: `seconds` is when it saw it, since 1970. */
export function cosign(text: string, key: SigningKey, seconds: number): NoteSignature {
  if (key.type !== 'cosignature/v1') throw new TypeError('a key of a log does not cosign');
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(seconds));
  return { name: key.name, keyId: key.keyId, signature: Buffer.concat([time, sign(null, cosigned(text, seconds), key.privateKey)]) };
}

/** When the witness with this key has seen the checkpoint, in seconds since 1970; undefined where it has not signed it. */
export function cosignedAt({ text, signatures }: Note, key: NoteKey): number | undefined {
  if (key.type !== 'cosignature/v1') return undefined;
  for (const one of signatures) {
    if (one.name !== key.name || !one.keyId.equals(key.keyId) || one.signature.length !== 72) continue;
    const seconds = Number(one.signature.readBigUInt64BE(0));
    if (isGood(cosigned(text, seconds), key, one.signature.subarray(8))) return seconds;
  }
  return undefined;
}

function cosigned(text: string, seconds: number): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`);
}

function isGood(message: Buffer, { publicKey }: NoteKey, signature: Buffer): boolean {
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), publicKey]);
  return verify(null, message, createPublicKey({ key: der, format: 'der', type: 'spki' }), signature);
}

function damaged(what: string): GateError {
  return new GateError('record-damaged', `this is not a ${what}`);
}
