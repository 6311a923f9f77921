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

/** An Ed25519 key with the name that signature lines and verifiers use. */
export type NoteKey = { readonly name: string; readonly keyId: Buffer; readonly publicKey: Buffer };
export type SigningKey = NoteKey & { readonly privateKey: KeyObject };

/** Types of signed-note keys: Ed25519, and the time-stamped cosignature of a witness (C2SP tlog-cosignature). */
const ed25519 = 0x01;
const cosignatureV1 = 0x04;

export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`;
}

/** Fails with `record-damaged` for a text that is none. Lines behind the third are other people's, and are passed over. */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = '', size = '', root = ''] = text.split('\n');
  const hash = Buffer.from(root, 'base64');
  if (origin === '' || !/^(?:0|[1-9]\d{0,14})$/.test(size) || hash.length !== 32 || hash.toString('base64') !== root) throw damaged('checkpoint');
  return { origin, size: Number(size), root: hash };
}

/** `seed`: the 32 secret bytes (RFC 8032 section 5.1.5). */
export function signingKey(name: string, seed: Buffer): SigningKey {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  return { ...noteKey(name, publicKey), privateKey };
}

/** A private key as its file holds it: `PRIVATE+KEY+name+id+`, and type and seed in base64 (as golang.org/x/mod/sumdb/note writes them). */
export function formatSigningKey(name: string, seed: Buffer): string {
  const { keyId } = signingKey(name, seed);
  return `PRIVATE+KEY+${name}+${keyId.toString('hex')}+${Buffer.concat([Buffer.from([ed25519]), seed]).toString('base64')}`;
}

/** Fails with `config-invalid`, and never repeats the text. */
export function parseSigningKey(text: string): SigningKey {
  const [, name = '', id = '', base64 = ''] = /^PRIVATE\+KEY\+([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text.trim()) ?? [];
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length === 33 && bytes[0] === ed25519) {
    const key = signingKey(name, bytes.subarray(1));
    if (key.keyId.toString('hex') === id) return key;
  }
  throw new GateError('config-invalid', 'the file of the signing key does not hold one');
}

function noteKey(name: string, publicKey: Buffer, type = ed25519): NoteKey {
  const keyId = createHash('sha256').update(`${name}\n`).update(Buffer.from([type])).update(publicKey).digest().subarray(0, 4);
  return { name, keyId, publicKey };
}

/** The public key as verifiers of notes take it: name, key id in hex, type and key in base64, joined by "+". */
export function formatVerifierKey({ name, keyId, publicKey }: NoteKey): string {
  return `${name}+${keyId.toString('hex')}+${Buffer.concat([Buffer.from([ed25519]), publicKey]).toString('base64')}`;
}

/** Fails with `usage` for a text that is no such key, or not of its own key id. */
export function parseVerifierKey(text: string): NoteKey {
  const [, name = '', id = '', base64 = ''] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text.trim()) ?? [];
  const bytes = Buffer.from(base64, 'base64');
  const key = noteKey(name, bytes.subarray(1));
  if (bytes.length !== 33 || bytes[0] !== ed25519 || key.keyId.toString('hex') !== id) {
    throw new GateError('usage', 'this is not the verifier key of a log', { hint: 'It looks like name+0123abcd+AbC…, as gate audit key prints it.' });
  }
  return key;
}

/** `text` ends with a newline. */
export function signNote(text: string, key: SigningKey): string {
  return formatNote({ text, signatures: [{ name: key.name, keyId: key.keyId, signature: sign(null, Buffer.from(text), key.privateKey) }] });
}

export function formatNote({ text, signatures }: Note): string {
  const lines = signatures.map(({ name, keyId, signature }) => `\u2014 ${name} ${Buffer.concat([keyId, signature]).toString('base64')}\n`);
  return `${text}\n${lines.join('')}`;
}

/** Fails with `record-damaged`. */
export function parseNote(note: string): Note {
  const at = note.lastIndexOf('\n\n');
  if (at === -1 || !note.endsWith('\n')) throw damaged('signed note');
  const signatures = note.slice(at + 2, -1).split('\n').map((line) => {
    const [, name = '', base64 = ''] = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+=*)$/.exec(line) ?? [];
    const bytes = Buffer.from(base64, 'base64');
    if (bytes.length < 5) throw damaged('signed note');
    return { name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) };
  });
  return { text: note.slice(0, at + 1), signatures };
}

/** Whether the note bears a good signature of this key. */
export function isSignedBy({ text, signatures }: Note, key: NoteKey): boolean {
  return signatures.some(({ name, keyId, signature }) => name === key.name && keyId.equals(key.keyId) && isGood(Buffer.from(text), key, signature));
}

/** A witness's line under a checkpoint: `seconds` is when it saw it, since 1970. */
export function cosign(text: string, key: SigningKey, seconds: number): NoteSignature {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(seconds));
  const { keyId } = noteKey(key.name, key.publicKey, cosignatureV1);
  return { name: key.name, keyId, signature: Buffer.concat([time, sign(null, cosigned(text, seconds), key.privateKey)]) };
}

/** When the witness with this key has seen the checkpoint, in seconds since 1970; undefined where it has not signed it. */
export function cosignedAt({ text, signatures }: Note, key: NoteKey): number | undefined {
  const { keyId } = noteKey(key.name, key.publicKey, cosignatureV1);
  for (const one of signatures) {
    if (one.name !== key.name || !one.keyId.equals(keyId) || one.signature.length !== 72) continue;
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
