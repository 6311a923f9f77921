/** Checkpoints: the format to the byte, signatures that hold, and each way in which one does not. */
import { expect, test } from 'vitest';
import {
  cosign,
  cosignedAt,
  formatCheckpoint,
  formatNote,
  formatVerifierKey,
  isSignedBy,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  signingKey,
  signNote,
} from '../../src/audit/checkpoint.ts';
import { leafHash } from '../../src/audit/tree.ts';

const key = signingKey('relay.example/log', Buffer.alloc(32, 7));
const witness = signingKey('witness.example', Buffer.alloc(32, 9));
const root = leafHash(Buffer.from('x'));
const text = formatCheckpoint({ origin: 'relay.example/log', size: 42, root });

test('a checkpoint is three lines', () => {
  expect(text).toBe(`relay.example/log\n42\n${root.toString('base64')}\n`);
  expect(parseCheckpoint(`${text}more\n`)).toEqual({ origin: 'relay.example/log', size: 42, root });
  for (const bad of ['', 'a\n', 'a\n01\nx\n', `a\n-1\n${root.toString('base64')}\n`, 'a\n1\nAAAA\n', `\n1\n${root.toString('base64')}\n`]) {
    expect(() => parseCheckpoint(bad)).toThrow('not a checkpoint');
  }
});

test('the public key goes through its text, and a damaged text is refused', () => {
  const shown = formatVerifierKey(key);
  expect(shown).toMatch(/^relay\.example\/log\+[0-9a-f]{8}\+A[A-Za-z0-9+/]{43}$/);
  expect(parseVerifierKey(shown)).toEqual({ name: key.name, keyId: key.keyId, publicKey: key.publicKey });
  for (const bad of ['', 'x', shown.slice(0, -2), shown.replace('relay', 'other'), shown.replace(/\+A/, '+B')]) expect(() => parseVerifierKey(bad)).toThrow('verifier key');
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
  const moved = note.signatures.map((one) => (one.name === witness.name ? { ...one, signature: Buffer.concat([Buffer.alloc(8, 1), one.signature.subarray(8)]) } : one));
  expect(cosignedAt({ ...note, signatures: moved }, witness)).toBeUndefined();
});
