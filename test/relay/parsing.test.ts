/** The parser serves everybody: no text may break it, stall it, or slip past it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StatementParser } from '../../src/relay/parsing.ts';
import { namesMax } from '../../src/sql/extent.ts';
import { grammars, inlineSqlBytesMax, loadParser, loadSyntaxParser, sqlBytesMax, type ParsedSql } from '../../src/sql/parser.ts';
import { shapeOf } from '../../src/sql/shape.ts';
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

const many = (count: number, text: (n: number) => string, separator = ',') => Array.from({ length: count }, (_, n) => text(n)).join(separator);
const statements = (count: number) => many(count, (n) => `select f${n % 7}(${n})`, ';');
const calls = (count: number) => `select ${many(count, (n) => `f${n}()`)}`;
const conditions = (count: number) => `delete from t where ${many(count / 3, (n) => `(a = ${n} and b = ${n})`, ' or ')}`;

test('what nobody would work through is refused, with the reason', async () => {
  await expect(Promise.resolve(parser.parse(calls(namesMax + 1)))).rejects.toMatchObject({ code: 'too-large', rule: 'parse', message: expect.stringContaining(`at most ${namesMax}`) as string });
});

test('what comes over from the worker, in pieces, is what the parser says', async () => {
  const [parse, parseSyntax] = [await loadParser(), await loadSyntaxParser()];
  const texts = [statements(3000), calls(2000), conditions(3000), `alter role r password '${'x'.repeat(3000)}'`, `select ${'('.repeat(3000)}`, `prepare p as ${calls(500)}`];
  for (const sql of texts) {
    const { shape, ...parsed } = await parser.parse(sql);
    const own: ParsedSql = parse(sql);
    // Where secrets stand is of no use to anybody once the text has been redacted.
    expect(parsed).toEqual(own.ok ? { ...own, statement: { ...own.statement, secretOffsets: [] } } : own);
    expect(shape).toBe(shapeOf(own.recordedSql));
    expect(await parser.parseSyntax(sql)).toEqual(parseSyntax(sql));
  }
});

test('statements that come to the same share their outline', async () => {
  const parsed = await parser.parse(many(500, (n) => `insert into t values (${n})`, ';'));
  expect(parsed.ok && new Set(parsed.statement.outlines).size).toBe(1);
  expect(parsed.ok && parsed.statement.statementCount).toBe(500);
});

test('a rewritten text is compared with its origin, whichever of the two is long', async () => {
  const long = `'${'x'.repeat(4000)}'`;
  for (const [sql, column] of [['select a from t', 'a'], [`select a, ${long} from t`, 'a']] as const) {
    const syntax = await parser.parseSyntax(sql);
    const at = sql.indexOf(' t') + 1;
    const edits = [{ start: at, end: at + 1, characters: 1, text: '(SELECT a FROM t) AS t' }];
    const check = (rewritten: string) => parser.check({ sql, syntax: syntax ?? { tree: {}, tokens: [] }, rewritten, edits }, 18);
    expect(await check(`${sql.slice(0, at)}(SELECT ${column} FROM t) AS t`)).toEqual({ isSame: true, relations: [] });
    expect(await check(`${sql.slice(0, at)}(SELECT ${column} FROM t) AS t where a = ${long}`)).toMatchObject({ isSame: false });
    expect(await parser.check({ sql, syntax: syntax ?? { tree: {}, tokens: [] }, rewritten: sql, edits: [] }, 18)).toMatchObject({ isSame: true, relations: [{ relname: 't' }] });
  }
});

test('a text that is given up keeps nobody waiting, whether it is being examined or waits for that', async () => {
  const stops = [new AbortController(), new AbortController()];
  const reason = new Error('given up');
  const [running, waiting] = stops.map(async (stop) => parser.parse(`select ${'1+'.repeat(20_000)}${literal(sqlBytesMax - 50_000).slice(7)}`, 18, () => stop.signal));
  for (const stop of stops) setImmediate(() => stop.abort(reason));
  await expect(running).rejects.toBe(reason);
  await expect(waiting).rejects.toBe(reason);
  expect((await parser.parse(literal(4000))).ok).toBe(true);
  const aborted = AbortSignal.abort(reason);
  await expect(Promise.resolve(parser.parse(literal(4000), 18, () => aborted))).rejects.toBe(reason);
});
