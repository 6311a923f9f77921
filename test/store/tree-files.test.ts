/** Publications are shared: whoever asks for a receipt again and again must not keep the disk from the record. */
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { signingKey } from '../../src/audit/checkpoint.ts';
import { realLogFiles } from '../../src/store/log-files.ts';
import { TreeFiles } from '../../src/store/tree-files.ts';
import { temporaryDirectory } from './temporary-directory.ts';

test('those who wait for the next publication get the same one, with all that was there when they asked', async () => {
  const directory = await temporaryDirectory();
  let publications = 0;
  let isNew = () => {};
  const rename = (from: string, to: string) => {
    realLogFiles.rename(from, to);
    if (!to.endsWith('checkpoint')) return;
    publications++;
    // There is something new behind each.
    isNew();
  };
  const tree = await TreeFiles.create({ directory, key: signingKey('relay.example.com/log', randomBytes(32)), files: { ...realLogFiles, rename } });
  tree.append(Buffer.from('{"n":0}'));
  publications = 0;
  isNew = () => tree.append(Buffer.from(`{"n":${publications}}`));
  const first = tree.publish();
  await Promise.resolve();
  const others = Array.from({ length: 20 }, () => tree.publish());
  const notes = [await first, ...(await Promise.all(others))];
  expect(publications).toBe(2);
  expect(notes.slice(1).every((note) => note === notes[20])).toBe(true);
  expect(notes[0]).not.toBe(notes[20]);
  expect(tree.published.checkpoint.size).toBe(2);
});
