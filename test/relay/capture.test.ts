/** What of a statement's results is kept: bounded, however many statements stand in its text. */
import { expect, test } from 'vitest';
import { Capture, captureLimits } from '../../src/relay/capture.ts';

/** A RowDescription of one column, `a`, of type int4. */
const description = Buffer.from('540000001a000161000000000000000000001700040000ffff0000', 'hex');
const row = (text: string) => {
  const value = Buffer.from(text);
  const body = Buffer.alloc(6 + value.length);
  body.writeUInt16BE(1);
  body.writeUInt32BE(value.length, 2);
  value.copy(body, 6);
  const head = Buffer.from([0x44, 0, 0, 0, 0]);
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};

function capture(sets: number, rowsOfEach: number): Capture {
  const found = new Capture(captureLimits);
  for (let set = 0; set < sets; set++) {
    found.describe(description);
    for (let n = 0; n < rowsOfEach; n++) found.add(row(String(n)));
  }
  return found;
}

test.each([
  { sets: captureLimits.setsMax, kept: captureLimits.setsMax, isCut: false },
  { sets: captureLimits.setsMax + 1, kept: captureLimits.setsMax, isCut: true },
  { sets: 100_000, kept: captureLimits.setsMax, isCut: true },
])('of $sets results of one text $kept are kept', ({ sets, kept, isCut }) => {
  const results = capture(sets, 1).results();
  expect(results).toHaveLength(kept);
  expect(results.every(({ rows }) => rows.length === 1)).toBe(true);
  expect(results.at(-1)?.isCut === true).toBe(isCut);
});

test('the limit of rows is that of the statement, not of each of its results', () => {
  const results = capture(3, 400).results();
  expect(results.map(({ rows, isCut }) => [rows.length, isCut])).toEqual([[400, undefined], [400, undefined], [200, true]]);
});

test('the digest is of all that came', () => {
  expect(capture(200, 1).digest).not.toBe(capture(100, 1).digest);
});
