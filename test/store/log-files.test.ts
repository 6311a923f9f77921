/** Durable names: a file outlasts a loss of power only if each directory above it does. */
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { makeDurableDirectory, realLogFiles } from '../../src/store/log-files.ts';
import { temporaryDirectory } from './temporary-directory.ts';

test('the name of each directory that is made is synced in the one above it', async () => {
  const base = await temporaryDirectory();
  const synced: string[] = [];
  const files = { ...realLogFiles, fsyncDirectory: async (path: string) => void synced.push(path) };
  const path = join(base, 'tile', 'entries', 'x001', '000.p');
  await makeDurableDirectory(files, path);
  expect(synced.toSorted()).toEqual([base, join(base, 'tile'), join(base, 'tile', 'entries'), dirname(path)]);
  await makeDurableDirectory(files, path);
  expect(synced).toHaveLength(4);
});
