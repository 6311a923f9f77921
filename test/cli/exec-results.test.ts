/** The output formats on their own: what a hostile or unusual value does to each, and what they hold in memory. */
import { describe, expect, test } from 'vitest';
import { createCsvWriter } from '../../src/cli/results/csv.ts';
import { createJsonWriter, createNdjsonWriter } from '../../src/cli/results/json.ts';
import type { ResultWriter, WriteOut } from '../../src/cli/results/result-writer.ts';
import { createTableWriter, measuredLengthMax, measuredRowsMax } from '../../src/cli/results/table.ts';
import type { SqlRow } from '../../src/client/sql-text.ts';

const text = 25;

function open(create: (write: WriteOut) => ResultWriter): { writer: ResultWriter; out: () => string } {
  const pieces: string[] = [];
  const writer = create((data) => {
    pieces.push(typeof data === 'string' ? data : Buffer.from(data).toString());
    return Promise.resolve();
  });
  return { writer, out: () => pieces.join('') };
}

type Column = readonly [name: string, typeOid: number];

async function format(create: (write: WriteOut) => ResultWriter, columns: readonly Column[], ...rows: readonly SqlRow[]): Promise<string> {
  const { writer, out } = open(create);
  await writer.fields(columns.map(([name, typeOid]) => ({ name, typeOid })));
  if (rows.length > 0) await writer.rows(rows);
  await writer.complete(`SELECT ${rows.length}`);
  await writer.end();
  return out();
}

describe('table', () => {
  test('no value and no name reaches the terminal as a control character', async () => {
    const hostile = 'a\u001b[2J\r\u0007\u009b31m\u202eb\u2028';
    const table = await format(createTableWriter, [[hostile, text]], [hostile], [`${hostile}\n${hostile}`]);
    expect(table.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\u2028]/u);
    expect(table).toContain(String.raw`a\x1b[2J\x0d\x07\x9b31m\u{202e}b\u{2028}`);
  });

  test('a statement without columns has rows that are counted only', async () => {
    expect(await format(createTableWriter, [], [], [])).toBe('--\n(2 rows)\n\n');
  });

  test('wide characters take their columns', async () => {
    const lines = (await format(createTableWriter, [['a', text], ['b', 23]], ['日本', '1'], ['x', '22'])).split('\n');
    expect(lines.slice(0, 4)).toEqual(['  a   | b  ', '------+----', ' 日本 |  1', ' x    | 22']);
  });

  test.each([
    ['rows', measuredRowsMax, 'x'],
    ['characters', 4, 'x'.repeat(measuredLengthMax / 4)],
  ])('holds back at most so many %s', async (_, count, value) => {
    const { writer, out } = open(createTableWriter);
    await writer.fields([{ name: 'a', typeOid: text }]);
    for (let row = 1; row < count; row++) await writer.rows([[value]]);
    expect(out()).toBe('');
    await writer.rows([[value]]);
    expect(out().split('\n')).toHaveLength(count + 3);
    await writer.rows([[`${value} and more`]]);
    expect(out().endsWith(` ${value} and more\n`)).toBe(true);
  });

  test('a result that breaks off shows its rows without their count', async () => {
    const { writer, out } = open(createTableWriter);
    await writer.fields([{ name: 'a', typeOid: text }]);
    await writer.rows([['1']]);
    await writer.end();
    expect(out()).toBe(' a \n---\n 1\n');
  });
});

describe('csv', () => {
  test.each<[string, string | null, string]>([
    ['plain', 'a b', 'a b'],
    ['NULL', null, ''],
    ['the empty string', '', '""'],
    ['a comma', 'a,b', '"a,b"'],
    ['a quote', 'a"b', '"a""b"'],
    ['line breaks', 'a\r\nb', '"a\r\nb"'],
    ['blanks at an end', ' a', '" a"'],
    ['the end of COPY data', '\\.', '"\\."'],
    ['a control character', '\u001b[2J', '\u001b[2J'],
  ])('%s', async (_, value, expected) => {
    expect(await format(createCsvWriter, [['v', text], ['w', text]], [value, 'x'])).toBe(`v,w\n${expected},x\n`);
  });
});

describe('json', () => {
  test.each<[string, number, string, unknown]>([
    ['int2', 21, '-32768', -32768],
    ['int4', 23, '2147483647', 2147483647],
    ['oid', 26, '4294967295', 4294967295],
    ['int8 that a number holds', 20, '9007199254740991', 9007199254740991],
    ['int8 that a number does not hold', 20, '9007199254740992', '9007199254740992'],
    ['numeric', 1700, '1.10', '1.10'],
    ['float8', 701, '1.5e-07', 1.5e-7],
    ['float8, large', 701, '1e+300', 1e300],
    ['float4', 700, '-0.1', -0.1],
    ['NaN', 701, 'NaN', 'NaN'],
    ['-Infinity', 701, '-Infinity', '-Infinity'],
    ['true', 16, 't', true],
    ['false', 16, 'f', false],
    ['json', 114, '{"a": [1,\n 2], "b": "\\n"}', { a: [1, 2], b: '\n' }],
    ['jsonb', 3802, '"x"', 'x'],
    ['jsonb null, unlike NULL', 3802, '"null"', 'null'],
    ['text that looks like a number', text, '12', '12'],
    ['an array', 1007, '{1,2}', '{1,2}'],
    ['line separators and halves of pairs', text, '\u2028\ud800', '\u2028\ud800'],
  ])('%s', async (_, typeOid, value, expected) => {
    const line = await format(createNdjsonWriter, [['v', typeOid]], [value]);
    expect(line.indexOf('\n')).toBe(line.length - 1);
    expect(JSON.parse(line)).toEqual({ v: expected });
    expect(JSON.parse(await format(createJsonWriter, [['v', typeOid]], [value]))[0].rows).toEqual([{ v: expected }]);
  });

  test('a number keeps all of its digits as text', async () => {
    const value = '{"n": 12345678901234567890.10}';
    expect(await format(createNdjsonWriter, [['v', 114]], [value])).toBe(`{"v":${value}}\n`);
  });

  test('columns of one name, of awkward names, and of names that would collide', async () => {
    const names = ['a', 'a', 'a_2', 'a', '2', '1', '__proto__', ''];
    const out = await format(createJsonWriter, names.map((name): Column => [name, 23]), names.map((_, index) => String(index)));
    expect(out).toContain('{"a":0,"a_3":1,"a_2":2,"a_4":3,"2":4,"1":5,"__proto__":6,"":7}');
    expect(JSON.parse(out)[0].fields.map(({ name }: { name: string }) => name)).toEqual(names);
  });

  test('several results, COPY in text and in binary', async () => {
    const { writer, out } = open(createJsonWriter);
    await writer.complete('BEGIN');
    await writer.copy(false);
    await writer.copyData([Buffer.from('1\té\n'), Buffer.from('2\t\\N\n')]);
    await writer.complete('COPY 2');
    await writer.copy(true);
    await writer.copyData([Buffer.from([0, 255])]);
    await writer.complete('COPY 0');
    await writer.end();
    expect(JSON.parse(out())).toEqual([
      { command: 'BEGIN' },
      { copy: ['1\té\n', '2\t\\N\n'], command: 'COPY 2' },
      { copyBase64: ['AP8='], command: 'COPY 0' },
    ]);
  });

  test.each([[[]], [[['1']]], [[['1'], ['2']]]])('broken off after the rows %j: whole, and marked', async (rows) => {
    const { writer, out } = open(createJsonWriter);
    await writer.fields([{ name: 'a', typeOid: 23 }]);
    if (rows.length > 0) await writer.rows(rows);
    await writer.end();
    expect(JSON.parse(out())).toEqual([
      { fields: [{ name: 'a', key: 'a', typeOid: 23 }], rows: rows.map(([a]) => ({ a: Number(a) })), incomplete: true },
    ]);
  });

  test('nothing at all where nothing came', async () => {
    const { writer, out } = open(createJsonWriter);
    await writer.end();
    expect(out()).toBe('');
  });
});
