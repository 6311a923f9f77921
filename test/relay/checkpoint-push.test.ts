/** Checkpoints in a directory that lets nothing be written over. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { formatCheckpoint, formatNote, parseNote, signingKey, signNote } from '../../src/audit/checkpoint.ts';
import { pushTo } from '../../src/relay/checkpoint-push.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

test('one is put away once; a part of it, or another tree of that size, in its place is told of', async () => {
  const path = await temporaryDirectory();
  const target = { kind: 'directory', path, everySeconds: 60 } as const;
  const key = signingKey('relay.example.com/log', randomBytes(32));
  const note = signNote(formatCheckpoint({ origin: key.name, size: 7, root: randomBytes(32) }), key);
  await pushTo(target, note);
  const { text, signatures } = parseNote(note);
  await pushTo(target, formatNote({ text, signatures: [...signatures, ...signatures] }));
  const [name = ''] = await readdir(path);
  expect(await readFile(join(path, name), 'utf8')).toBe(note);
  const other = signNote(formatCheckpoint({ origin: key.name, size: 7, root: randomBytes(32) }), key);
  await expect(pushTo(target, other)).rejects.toThrow('000000000000007.note is there already, and is not this checkpoint');
  await writeFile(join(path, name), note.slice(0, 20));
  await expect(pushTo(target, note)).rejects.toThrow('is there already');
});
