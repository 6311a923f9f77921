/** A long write leaves turns of the event loop to others, and is the same bytes. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { segmentName } from '../../src/audit/segment.ts';
import { realLogFiles, type LogFiles } from '../../src/store/log-files.ts';
import { SegmentWriter, slicesOf } from '../../src/store/segment-writer.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const MiB = 1024 * 1024;
const chunksOf = (sizes: readonly number[]) => sizes.map((size, index) => Buffer.alloc(size, `${index}`));

test.each([[[]], [[0]], [[1]], [[MiB]], [[MiB + 1]], [[5, MiB - 5, 1]], [[3 * MiB + 7, 10, 0, 2 * MiB]], [[1, 2, 3]]])('chunks of %j are cut to a MiB at most', (sizes) => {
  const chunks = chunksOf(sizes);
  const slices = [...slicesOf(chunks)];
  expect(Buffer.concat(slices).equals(Buffer.concat(chunks))).toBe(true);
  expect(slices.every(({ length }) => length > 0 && length <= MiB)).toBe(true);
  expect(slices.length).toBeLessThanOrEqual(2 * Math.ceil(Buffer.concat(chunks).length / MiB));
});

const writerIn = (directory: string, files: LogFiles, ends: string[] = []) =>
  new SegmentWriter({ directory, files, segmentBytesMax: 64 * MiB, now: () => new Date(0), onEnd: ({ reason }) => ends.push(reason), end: undefined, nextNumber: 1, segments: [], leaves: 0 });

test('others have turns while much is written, and it stands there whole', async () => {
  const directory = await temporaryDirectory();
  const turns: number[] = [];
  let turn = 0;
  const writer = writerIn(directory, { ...realLogFiles, write: (...args) => (turns.push(turn), realLogFiles.write(...args)) });
  await writer.start();
  turns.length = 0;
  let isDone = false;
  const count = () => void ((turn += 1), isDone || setImmediate(count));
  setImmediate(count);
  const bytes = Buffer.concat(chunksOf([MiB, 2 * MiB, 3]));
  const { from } = await writer.write(chunksOf([MiB, 2 * MiB, 3]));
  isDone = true;
  expect(new Set(turns).size).toBe(4);
  expect((await readFile(join(directory, segmentName(1)))).subarray(from).equals(bytes)).toBe(true);
});

test('a slice that fails ends the segment: nothing of the write counts', async () => {
  const directory = await temporaryDirectory();
  let writes = 0;
  const ends: string[] = [];
  const failing: LogFiles = {
    ...realLogFiles,
    write: (...args) => {
      if ((writes += 1) === 3) throw new Error('full');
      return realLogFiles.write(...args);
    },
  };
  const writer = writerIn(directory, failing, ends);
  await writer.start();
  const [header] = writer.segments;
  await expect(writer.write(chunksOf([3 * MiB]))).rejects.toThrow('full');
  expect(ends).toEqual(['failed']);
  expect(writer.segments).toEqual([header]);
});
