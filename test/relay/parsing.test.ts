/** The parser serves everybody: no text may break it, stall it, or slip past it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StatementParser } from '../../src/relay/parsing.ts';
import { grammars, inlineSqlBytesMax, sqlBytesMax } from '../../src/sql/parser.ts';
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

test.each(grammars)('each grammar has a parser for short texts and a worker of its own for long ones: %i', async (grammar) => {
  const short = await parser.parse("select json_value('{}', '$')", grammar);
  const long = await parser.parse(`select json_value('{}', '$'), '${'x'.repeat(4000)}'`, grammar);
  for (const parsed of [short, long]) {
    // From 17 on it is no function but grammar.
    const calls = parsed.ok ? parsed.statement.outlines[0]?.functions : undefined;
    expect(calls).toEqual(grammar < 17 ? [{ name: 'json_value', as: 'call' }] : []);
  }
});

test.each([15, 16, 17] as const)('texts that break the parser of PostgreSQL %i are refused, and it goes on', async (grammar) => {
  for (let round = 0; round < 3; round++) {
    const broken = await Promise.resolve(parser.parse(`select ${'1+'.repeat(400_000)}1`, grammar)).catch((error: unknown) => error);
    expect(broken).toMatchObject(broken instanceof Error ? { rule: 'parse' } : { ok: false });
    expect((await parser.parse(literal(4000), grammar)).ok).toBe(true);
  }
});

test.each([15, 16, 17] as const)('short texts as deep as they go leave the parser of PostgreSQL %i whole', async (grammar) => {
  const shapes = ['(', '-', 'not ', 'array[', 'case when ', '1+', 'a.', 'f('];
  for (let round = 0; round < 60; round++) {
    for (const shape of shapes) await parser.parse(`select ${shape.repeat(Math.floor((inlineSqlBytesMax - 10) / shape.length))}1`, grammar);
  }
  expect((await parser.parse('select 1', grammar)).ok).toBe(true);
});
