/** The parser serves everybody: no text may break it, stall it, or slip past it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StatementParser } from '../../src/relay/parsing.ts';
import { inlineSqlBytesMax, sqlBytesMax } from '../../src/sql/parser.ts';
import { parserWorker } from './parser-worker.ts';

let parser: StatementParser;

beforeAll(async () => {
  parser = await StatementParser.load(parserWorker);
});
afterAll(async () => parser?.close());

const literal = (bytes: number) => `select '${'x'.repeat(bytes - 9)}'`;

test('long texts are parsed one after another, at and past the bound for short ones', async () => {
  for (const bytes of [inlineSqlBytesMax, inlineSqlBytesMax + 1, 5000, 5000, 100_000]) {
    const parsed = await parser.parse(literal(bytes));
    expect([bytes, parsed.ok]).toEqual([bytes, true]);
  }
});

test('many at once keep their answers apart', async () => {
  const texts = Array.from({ length: 30 }, (_, n) => `${n % 2 === 0 ? 'select' : 'delete from t --'} '${'y'.repeat(3000 + n)}'`);
  const kinds = (await Promise.all(texts.map(async (text) => parser.parse(text)))).map((parsed) => parsed.ok && parsed.statement.kinds[0]);
  expect(kinds).toEqual(texts.map((_, n) => (n % 2 === 0 ? 'read' : 'write')));
});

test('texts that break the parser are refused, and it goes on', async () => {
  for (let round = 0; round < 4; round++) {
    await expect(Promise.resolve(parser.parse(`select ${'1+'.repeat(400_000)}1`)).catch((error: unknown) => error)).resolves.toMatchObject({ code: 'denied', rule: 'parse' });
    expect((await parser.parse(literal(4000))).ok).toBe(true);
  }
});

test('deep nesting is a clear answer', async () => {
  const nested = await Promise.resolve(parser.parse(`select ${'('.repeat(12_000)}1${')'.repeat(12_000)}`)).catch((error: unknown) => error);
  expect(nested).toMatchObject(nested instanceof Error ? { rule: 'parse' } : { ok: false });
});

test('the size limit holds at and past the edge, in bytes', async () => {
  expect((await parser.parse(literal(sqlBytesMax))).ok).toBe(true);
  expect(() => parser.parse(literal(sqlBytesMax + 1))).toThrow('longer than');
  expect(() => parser.parse(`select '${'ü'.repeat(sqlBytesMax / 2)}'`)).toThrow('longer than');
});
