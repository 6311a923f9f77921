/** Rows are looked at for candidates only, many at once: what is found and shown is what the detectors give for every single value. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { coverValue } from '../../src/mask/cover-value.ts';
import { detect, maskSpans } from '../../src/mask/detect.ts';
import type { ResultColumn } from '../../src/mask/guard.ts';
import { detectorKinds, type DetectorKind, type Mask } from '../../src/mask/plan.ts';
import { ResultRows } from '../../src/mask/result-rows.ts';
import { shownValue } from '../../src/mask/shown-value.ts';
import { encodeMessage, int16, int32 } from '../../src/pgwire/bytes.ts';

const key = Buffer.alloc(32, 7);

type Field = Buffer | null;

function message(fields: readonly Field[]): Buffer {
  return encodeMessage('D', int16(fields.length), ...fields.flatMap((field) => (field === null ? [int32(-1)] : [int32(field.length), field])));
}

/** Whole finds, halves of them, and what stands around them in the wild, so that joined they nearly or really are some. */
const pieces = [
  '4111111111111111', '4111 1111 1111 1111', '4111-1111-1111-1111', '3782 822463 10005', '411111111111111', '4222222222222', '41111111', '1111', '6304000000000000000', '0000',
  'NL91ABNA0417164300', 'DE89 3704 0044 0532 0130 00', 'NO9386011117947', 'NL91', 'ABNA0417164300', 'de89', 'GB82WEST12345698765432',
  '219-09-9999', '219-09', '-9999', 'ann@mail.test', 'ann@', '@', 'mail.test', '@b.co', '+31-6-11112222', '+1 (555) 867-5309', '(415) 555-2671', '415-555-2671', '+', '555-2671',
  `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${'s'.repeat(20)}`, 'eyJ', 'AKIAIOSFODNN7EXAMPLE', 'akia', `AIza${'x'.repeat(35)}`, `ghp_${'a1'.repeat(18)}`,
  `GITHUB_PAT_${'a1'.repeat(11)}`, 'xoxb-1111111111', `sk_live_${'a'.repeat(16)}`, '-----BEGIN RSA PRIVATE KEY-----', '-----END RSA PRIVATE KEY-----',
  '550e8400-e29b-41d4-a716-446655440000', '00000000-0000-4111-1111-111111111111', '2026-03-01 12:30:45.123456+00', '0123456789abcdef',
  ' ', '  ', '-', '--', '.', '.00', ',', ';', '\t', '\n', '"', '\\', '{', '}', '[', ':', 'a', 'F', 'z', '0', '1', '7', 'é', '日本', '\0', '\ufffd', 'hello world',
];
const text = fc.array(fc.constantFrom(...pieces), { maxLength: 6 }).map((parts) => Buffer.from(parts.join('')));
/** In charsets that are no UTF-8, and cut anywhere. */
const odd = fc.tuple(text, fc.uint8Array({ maxLength: 3 }), fc.nat(), text).map(([before, bytes, cut, after]) => Buffer.concat([before.subarray(cut % (before.length + 1)), bytes, after]));
/** A value whose length word ends in what looks like a digit, a letter or a blank and dash before it. */
const led = fc.tuple(text, fc.constantFrom(0x20, 0x2d, 0x30, 0x34, 0x39, 0x41, 0x61, 0x7a)).map(([value, length]) => Buffer.concat([value.subarray(0, length), Buffer.alloc(Math.max(0, length - value.length), '.')]));
const int8 = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.constantFrom(4111111111111111n, 4222222222222n, -4111111111111111n, 5018000000009n, 999999999999n)).map((value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
});
const numeric = fc.tuple(fc.array(fc.constantFrom(0, 1, 4, 411, 1111, 4111, 4222, 2222), { maxLength: 6 }), fc.integer({ min: -1, max: 6 }), fc.constantFrom(0, 0, 0x4000)).map(([digits, weight, sign]) =>
  Buffer.concat([int16(digits.length), int16(weight), int16(sign), int16(0), ...digits.map(int16)]),
);
const number = fc.constantFrom('4111111111111111', '4111111111111111.00', '4111111111111111.5', '-4111111111111111', '4222222222222', '42', '41111111111111112222').map((digits) => Buffer.from(digits));
const value = fc.option(fc.oneof(text, text, odd, led, int8, numeric, number));
const types = [25, 1043, 18, 20, 21, 23, 700, 1700, 114, 3802, 1016, 1231, 1009, 2950, 16400];
const columnsOf = fc.array(fc.record({ type: fc.constantFrom(...types), format: fc.constantFrom(0, 1) }), { minLength: 1, maxLength: 4 }).map((kinds) => kinds.map((kind, index): ResultColumn => ({ ...kind, name: `c${index}`, relation: 1, column: index + 1 })));
const kindsOf = fc.oneof(fc.constant(detectorKinds), fc.subarray([...detectorKinds]), fc.constantFrom(...detectorKinds).map((kind) => [kind]));
const rowsOf = (count: number) => fc.array(fc.array(value, { minLength: count, maxLength: count }), { maxLength: 8 });

type Found = [DetectorKind, string | undefined][];

describe('one pass over many messages gives what the detectors give for each value', () => {
  test('rows, with and without a description, columns masked or clear', () => {
    const masks: (Mask | undefined)[] = [undefined, { kind: 'clear' }, { kind: 'partial', last: 4 }, { kind: 'partial', first: 2 }, { kind: 'redact' }, { kind: 'null' }, { kind: 'constant', value: 'x' }];
    const input = columnsOf.chain((columns) =>
      fc.record({ columns: fc.constant(columns), rows: rowsOf(columns.length), kinds: kindsOf, masks: fc.option(fc.array(fc.constantFrom(...masks), { minLength: 4, maxLength: 4 })), isDescribed: fc.boolean() }),
    );
    let changed = 0;
    fc.assert(
      fc.property(input, ({ columns, rows, kinds, masks: chosen, isDescribed }) => {
        const expectedFound: Found = [];
        const expected = rows.map((fields) =>
          message(fields.map((field, index) => {
            const column = isDescribed ? columns[index] : undefined;
            const mask = chosen?.[index];
            if (field === null || (chosen !== null && column === undefined)) return null;
            if (mask !== undefined && mask.kind !== 'clear' && column !== undefined) return shownValue(mask, { ...column, bytes: field, start: 0, end: field.length }, key);
            return kinds.length === 0 ? field : coverValue(field, column, kinds, (kind) => expectedFound.push([kind, column?.name]));
          })),
        );
        const found: Found = [];
        const shown = new ResultRows({ kinds, key, onFound: (kind, column) => found.push([kind, column?.name]), ...(chosen !== null && { maskOf: ({ column }) => chosen[column - 1] }) });
        if (isDescribed) shown.describe(columns);
        const bytes = Buffer.concat(rows.map(message));
        const before = Buffer.from(bytes);
        const result = shown.pass(bytes);
        expect(result.toString('latin1')).toBe(Buffer.concat(expected).toString('latin1'));
        expect(found).toEqual(expectedFound);
        expect(bytes.equals(before)).toBe(true);
        if (result === bytes) expect(found).toEqual([]);
        else changed++;
      }),
      { numRuns: 3000 },
    );
    expect(changed).toBeGreaterThan(500);
  });

  test('copy data, as text, CSV and binary', () => {
    const piece = fc.array(fc.oneof(text, odd, led, fc.constantFrom(Buffer.from('\t'), Buffer.from(','), Buffer.from('"'), int16(3), int32(16), int32(-1))), { maxLength: 5 }).map((parts) => Buffer.concat(parts));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), kindsOf, (bodies, kinds) => {
        const expectedFound: DetectorKind[] = [];
        const expected = bodies.map((body) => {
          const plain = body.toString('latin1');
          const spans = detect(plain, kinds);
          expectedFound.push(...spans.map(({ kind }) => kind));
          return encodeMessage('d', Buffer.from(maskSpans(plain, spans, 'same-length'), 'latin1'));
        });
        const found: DetectorKind[] = [];
        const shown = new ResultRows({ kinds, key, onFound: (kind) => found.push(kind) });
        expect(shown.pass(Buffer.concat(bodies.map((body) => encodeMessage('d', body)))).toString('latin1')).toBe(Buffer.concat(expected).toString('latin1'));
        expect(found).toEqual(expectedFound);
      }),
      { numRuns: 2000 },
    );
  });
});

test('partial masks of plain ASCII are those of any text', () => {
  const mask = fc.record({ kind: fc.constant('partial' as const), count: fc.integer({ min: 0, max: 6 }), isLast: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', '*', 'é', '日', '𝄞'), { maxLength: 8 }).map((characters) => characters.join('')), mask, (plain, { kind, count, isLast }) => {
      const bytes = Buffer.from(`é${plain}é`).subarray(1, -1);
      const characters = Array.from(plain);
      const kept = isLast ? characters.slice(characters.length - count) : characters.slice(0, count);
      const stars = '*'.repeat(12);
      const expected = characters.length <= count ? stars : isLast ? `${stars}${kept.join('')}` : `${kept.join('')}${stars}`;
      expect(shownValue({ kind, ...(isLast ? { last: count } : { first: count }) }, { type: 25, format: 0, bytes, start: 1, end: bytes.length - 1 }, key)?.toString()).toBe(expected);
    }),
  );
});
