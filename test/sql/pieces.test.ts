/** What is cut into pieces comes together again as it was, whatever its shape, and no piece is large. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { cutIntoPieces, JoinedPieces, pieceValuesMax, type Piece } from '../../src/sql/pieces.ts';

/** As the port between two threads hands them over. */
const joined = (pieces: Iterable<Piece>) => {
  const whole = new JoinedPieces();
  for (const piece of pieces) whole.add(structuredClone(piece));
  expect(whole.isWhole).toBe(true);
  return whole.value;
};

const countValues = (value: unknown): number => (typeof value === 'object' && value !== null ? Object.values(value).reduce<number>((sum, one) => sum + countValues(one), 1) : 1);

test('any plain value survives any size of pieces', () => {
  const plain = fc.jsonValue({ maxDepth: 6 });
  fc.assert(
    fc.property(plain, fc.integer({ min: 2, max: 50 }), (value, size) => {
      expect(joined(cutIntoPieces(value, size))).toEqual(value);
    }),
    { numRuns: 500 },
  );
});

test.each([
  ['a long list', Array.from({ length: 50_000 }, (_, n) => ({ A_Const: { ival: { ival: n }, location: n } }))],
  ['lists in lists', { items: Array.from({ length: 300 }, (_, n) => Array.from({ length: 300 }, (__, m) => n * m)) }],
  ['deep nesting', Array.from({ length: 900 }).reduce<unknown>((inner, _, n) => ({ A_Expr: { lexpr: inner, location: n } }), {})],
  ['deep lists', Array.from({ length: 900 }).reduce<unknown>((inner, _, n) => [n, inner], 0)],
  ['nothing', undefined],
])('%s comes over whole, in pieces that are short', (_, value) => {
  const pieces = [...cutIntoPieces(value)];
  expect(joined(pieces)).toEqual(value);
  for (const piece of pieces) expect(countValues(piece.value)).toBeLessThan(2 * pieceValuesMax);
});

test('numbers in a typed array stay in one piece', () => {
  const value = { order: new Uint32Array(100_000).map((_, n) => n) };
  expect(joined(cutIntoPieces(value))).toEqual(value);
  expect([...cutIntoPieces(value)]).toHaveLength(1);
});

test('the order of fields stays: the first names a node', () => {
  const value = { SelectStmt: { targetList: Array.from({ length: 9000 }, () => ({ a: 1 })), op: 'x' }, z: 1, a: 2 };
  expect(JSON.stringify(joined(cutIntoPieces(value, 10)))).toBe(JSON.stringify(value));
});

test('a piece that belongs nowhere is an error', () => {
  const whole = new JoinedPieces();
  whole.add({ value: {}, holes: [] });
  expect(() => whole.add({ value: {}, holes: [] })).toThrow('belongs nowhere');
});
