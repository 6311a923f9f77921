/** The body of add-checkpoint: as the specification shows it, and each way in which one is malformed. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatAddCheckpoint, parseAddCheckpoint, proofLinesMax } from '../../src/audit/witness-request.ts';

const hash = Buffer.alloc(32, 5);
const line = `${hash.toString('base64')}\n`;

test('is an old size, a proof, an empty line and a note', () => {
  expect(formatAddCheckpoint({ old: 7, proof: [hash, hash], note: 'log\n9\nroot\n\nsignature\n' })).toBe(`old 7\n${line}${line}\nlog\n9\nroot\n\nsignature\n`);
  expect(formatAddCheckpoint({ old: 0, proof: [], note: 'n\n' })).toBe('old 0\n\nn\n');
});

test('goes through its text, whatever the note is', () => {
  const request = fc.record({
    old: fc.integer({ min: 0, max: 999_999_999_999_999 }),
    proof: fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)), { maxLength: proofLinesMax }),
    note: fc.string(),
  });
  const property = fc.property(request, (one) => {
    expect(parseAddCheckpoint(formatAddCheckpoint(one))).toEqual(one);
  });
  fc.assert(property);
});

test('takes a proof of 63 lines and not of 64', () => {
  expect(parseAddCheckpoint(`old 1\n${line.repeat(63)}\nn`).proof).toHaveLength(63);
  expect(() => parseAddCheckpoint(`old 1\n${line.repeat(64)}\nn`)).toThrow('more than 63 lines');
});

test.each([
  '',
  '\n\n',
  'old 1',
  'old 1\n',
  `old 1\n${line}`,
  'old\n\nn',
  'old  1\n\nn',
  'old 01\n\nn',
  'old -1\n\nn',
  'old 1 \n\nn',
  'old 1000000000000000\n\nn',
  'OLD 1\n\nn',
  'new 1\n\nn',
  `${line}old 1\n\nn`,
  'old 1\r\n\r\nn',
  'old 1\nAAAA\n\nn',
  `old 1\n ${line}\nn`,
  `old 1\n${line.replace('=', '')}\nn`,
  // The last two bits of the last letter are not zero: another spelling of the same bytes.
  `old 1\n${line.replace(/.=\n$/, 'V=\n')}\nn`,
])('is refused: %j', (text) => {
  expect(() => parseAddCheckpoint(text)).toThrow(expect.objectContaining({ code: 'usage' }));
});
