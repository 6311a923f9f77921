/** Checkpoints: the format to the byte, signatures that hold, and each way in which one does not. */
import { expect, test } from 'vitest';
import {
  cosign,
  cosignedAt,
  formatCheckpoint,
  formatNote,
  formatSigningKey,
  formatVerifierKey,
  isSignedBy,
  parseCheckpoint,
  parseNote,
  parseSigningKey,
  parseVerifierKey,
  signaturesMax,
  signingKey,
  signNote,
} from '../../src/audit/checkpoint.ts';
import { leafHash } from '../../src/audit/tree.ts';

const key = signingKey('relay.example/log', Buffer.alloc(32, 7));
const witness = signingKey('witness.example', Buffer.alloc(32, 9), 'cosignature/v1');
const root = leafHash(Buffer.from('x'));
const text = formatCheckpoint({ origin: 'relay.example/log', size: 42, root });

test('a checkpoint is three lines', () => {
  expect(text).toBe(`relay.example/log\n42\n${root.toString('base64')}\n`);
  expect(parseCheckpoint(`${text}more\n`)).toEqual({ origin: 'relay.example/log', size: 42, root });
  for (const bad of ['', 'a\n', text.slice(0, -1), `${text}\n`, `${text}more\n\nmore\n`, 'a\n01\nx\n', `a\n-1\n${root.toString('base64')}\n`, 'a\n1\nAAAA\n', `\n1\n${root.toString('base64')}\n`]) {
    expect(() => parseCheckpoint(bad)).toThrow('not a checkpoint');
  }
});

test('the public key goes through its text, and a damaged text is refused', () => {
  const shown = formatVerifierKey(key);
  expect(shown).toMatch(/^relay\.example\/log\+[0-9a-f]{8}\+A[A-Za-z0-9+/]{43}$/);
  expect(parseVerifierKey(shown)).toEqual({ type: 'ed25519', name: key.name, keyId: key.keyId, publicKey: key.publicKey });
  for (const bad of ['', 'x', shown.slice(0, -2), `${shown}=`, shown.replace('relay', 'other'), shown.replace('.', ' '), shown.replace('.', '\u0001'), shown.replace(/\+A/, '+B')]) expect(() => parseVerifierKey(bad)).toThrow('verifier key');
});

test('the key of a witness is of another type, and has another key id than a key of a log with the same name and bytes', () => {
  const shown = formatVerifierKey(witness);
  expect(shown).toMatch(/^witness\.example\+[0-9a-f]{8}\+B[A-Za-z0-9+/]{43}$/);
  expect(parseVerifierKey(shown)).toEqual({ type: 'cosignature/v1', name: witness.name, keyId: witness.keyId, publicKey: witness.publicKey });
  const log = signingKey('witness.example', Buffer.alloc(32, 9));
  expect(log.publicKey).toEqual(witness.publicKey);
  expect(log.keyId).not.toEqual(witness.keyId);
  expect(() => parseVerifierKey(shown.replace('+B', '+A'))).toThrow('verifier key');
  // The type 2 (ECDSA) is one that notes know and gate does not.
  expect(() => parseVerifierKey(shown.replace('+B', '+C'))).toThrow('verifier key');
});

test.each([key, witness])('the private key of $name goes through its text, and no error repeats it', (one) => {
  const secret = formatSigningKey(one);
  expect(secret).toMatch(/^PRIVATE\+KEY\+[a-z./]+\+[0-9a-f]{8}\+[AB][A-Za-z0-9+/]{43}$/);
  const parsed = parseSigningKey(`${secret}\n`);
  expect(formatVerifierKey(parsed)).toBe(formatVerifierKey(one));
  expect(parsed.privateKey.equals(one.privateKey)).toBe(true);
  const changed = (secret.endsWith('A') ? 'B' : 'A') + secret.slice(-1);
  for (const bad of ['', secret.slice('PRIVATE+KEY+'.length), secret.slice(0, -1), secret.slice(0, -2) + changed, secret.replace('example', 'other'), formatVerifierKey(one)]) {
    expect(() => parseSigningKey(bad)).toThrow(/^this is not a signing key$/);
  }
});

test('a private key that another program has made is the key that it says', () => {
  // RFC 8032 section 7.1, TEST 1: seed and public key.
  const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
  const rfc = signingKey('rfc8032', seed);
  expect(rfc.publicKey.toString('hex')).toBe('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a');
  expect(formatSigningKey(rfc).split('+').slice(0, 3)).toEqual(['PRIVATE', 'KEY', 'rfc8032']);
  expect(parseSigningKey(formatSigningKey(rfc)).publicKey).toEqual(rfc.publicKey);
});

test('a note has no control characters, and no more signatures than are read', () => {
  const line = `\u2014 relay ${Buffer.alloc(68, 1).toString('base64')}\n`;
  expect(parseNote(`${text}\n${line.repeat(signaturesMax)}`).signatures).toHaveLength(signaturesMax);
  expect(() => parseNote(`${text}\n${line.repeat(signaturesMax + 1)}`)).toThrow('signed note');
  expect(parseNote(`d\u00e9j\u00e0 vu\n\n${line}`).text).toBe('d\u00e9j\u00e0 vu\n');
  for (const control of ['\r', '\t', '\0', '\u001b']) expect(() => parseNote(`${control}${text}\n${line}`)).toThrow('signed note');
});

test('a signature holds for its text and key only', () => {
  const note = parseNote(signNote(text, key));
  expect(note.text).toBe(text);
  expect(isSignedBy(note, key)).toBe(true);
  expect(isSignedBy({ ...note, text: text.replace('42', '43') }, key)).toBe(false);
  expect(isSignedBy(note, witness)).toBe(false);
  expect(isSignedBy(note, { ...key, name: 'another' })).toBe(false);
  for (const bad of ['', text, `${text}\n`, `${text}\n- relay x\n`, `${text}\n\u2014 relay AAAA\n`]) expect(() => parseNote(bad)).toThrow('signed note');
});

test('a witness says when it saw a checkpoint, and nobody can change that', () => {
  const signed = parseNote(signNote(text, key));
  const note = parseNote(formatNote({ ...signed, signatures: [...signed.signatures, cosign(text, witness, 1_790_000_000)] }));
  expect(cosignedAt(note, witness)).toBe(1_790_000_000);
  expect(isSignedBy(note, key)).toBe(true);
  expect(cosignedAt(note, key)).toBeUndefined();
  expect(isSignedBy(note, witness)).toBe(false);
  expect(() => cosign(text, key, 1)).toThrow('cosign');
  expect(() => signNote(text, witness)).toThrow('signs no notes');
  const moved = note.signatures.map((one) => (one.name === witness.name ? { ...one, signature: Buffer.concat([Buffer.alloc(8, 1), one.signature.subarray(8)]) } : one));
  expect(cosignedAt({ ...note, signatures: moved }, witness)).toBeUndefined();
});
