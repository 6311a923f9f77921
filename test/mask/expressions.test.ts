/** Masks on a real server: for every type and every nasty value an answer, of the same type, and never an error. */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hashKeySettings, maskExpression } from '../../src/mask/expressions.ts';
import { cutMaskSql } from '../../src/mask/custom.ts';
import type { Mask } from '../../src/mask/plan.ts';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { loadSyntaxParser } from '../../src/sql/parser.ts';

const values: Readonly<Record<string, readonly string[]>> = {
  text: ['', 'abc', 'a@b@c', '@', 'x@y', 'ünïcode 漢字', '*'.repeat(5), 'z'.repeat(10_000)],
  varchar: ['', 'a@b'],
  bpchar: ['', 'ab '],
  name: ['n'],
  int2: ['0', '-32768', '32767'],
  int4: ['-2147483648', '2147483647'],
  int8: ['-9223372036854775808', '9223372036854775807'],
  numeric: ['NaN', 'Infinity', '-Infinity', '1e100', '-12345678901234567890.123', '0'],
  float8: ['NaN', 'Infinity', '-Infinity', '1e308'],
  bool: ['t', 'f'],
  date: ['infinity', '-infinity', '4713-01-01 BC', '5874897-12-31', '2024-02-29'],
  timestamp: ['infinity', '4713-11-24 00:00:00 BC', '294276-12-31 23:59:59', '2024-02-29 12:34:56'],
  timestamptz: ['infinity', '294276-12-31 23:59:59+00', '2024-02-29 12:34:56+05'],
  json: ['{"a":1}', '[]'],
  jsonb: ['null', '{}'],
  uuid: ['00000000-0000-0000-0000-000000000001'],
  bytea: ['\\x', '\\xff00'],
  inet: ['10.0.0.1'],
  interval: ['1 year', '-1 day'],
  _text: ['{}', '{a,b}', '{{a},{b}}'],
  int4range: ['empty', '[1,5)'],
  xml: ['<a/>'],
  point: ['(1,2)'],
};

const masks: readonly Mask[] = [
  { kind: 'null' }, { kind: 'redact' }, { kind: 'email' }, { kind: 'hash' }, { kind: 'partial', last: 4 }, { kind: 'partial', first: 2 }, { kind: 'partial', last: 32 },
  { kind: 'bucket', size: 10 }, { kind: 'bucket', size: 0.5 }, { kind: 'bucket', unit: 'month' }, { kind: 'bucket', unit: 'decade' },
  { kind: 'constant', value: `it's \\ x` }, { kind: 'constant', value: 7 }, { kind: 'constant', value: true },
];

let postgres: Postgres;
let client: Client;

beforeAll(async () => {
  postgres = await startPostgres();
  client = new Client({ connectionString: postgres.url('postgres') });
  await client.connect();
  const blocks = [hashKeySettings.inner, hashKeySettings.outer].map((name, index) => `set ${name} = '${`${index + 1}f`.repeat(64)}'`);
  await client.query(blocks.join(';'));
});
afterAll(async () => {
  await client?.end();
  await postgres?.stop();
});

const typeOf = (baseType: string) => ({ type: `pg_catalog."${baseType}"`, baseType, typeKind: baseType === 'int4range' ? 'r' : 'b', category: baseType.startsWith('_') ? 'A' : ['text', 'varchar', 'bpchar', 'name'].includes(baseType) ? 'S' : 'X' });

describe.each(Object.keys(values))('%s', (baseType) => {
  test.each(masks.map((mask) => [JSON.stringify(mask), mask] as const))('%s', async (_shown, mask) => {
    const column = { name: 'c "x"', number: 1, ...typeOf(baseType) };
    const { sql, image, problem } = maskExpression(column, mask);
    const { rows } = await client.query<{ raw: string | null; type: string; own: string; shown: string | null }>(
      `select "c ""x"""::text as raw, pg_typeof(${sql})::text as type, pg_typeof("c ""x""")::text as own, (${sql})::text as shown
         from (select unnest($1::text[])::${column.type} as "c ""x""") t`,
      [[...(values[baseType] ?? []), null]],
    );
    expect(rows).toHaveLength((values[baseType]?.length ?? 0) + 1);
    for (const { raw, type, own, shown } of rows) {
      expect(type).toBe(own);
      if (problem !== undefined) expect(shown).toBeNull();
      if (raw === null && mask.kind !== 'constant') expect(shown).toBeNull();
      if (image !== undefined && shown !== null) expect(shown).toMatch(image);
      if (raw !== null && raw.length > 40 && shown !== null && mask.kind !== 'bucket') expect(shown).not.toContain(raw);
    }
  });
});

test('hashes join over types of text, and hang on the key', async () => {
  const hash = (baseType: string) => maskExpression({ name: 'v', number: 1, ...typeOf(baseType) }, { kind: 'hash' }).sql;
  const ask = async () => (await client.query<{ a: string; b: string }>(`select a, b from (select ${hash('text')} as a from (select 'x'::text as v) t) t, (select ${hash('varchar')} as b from (select 'x'::varchar as v) t) u`)).rows[0];
  const before = await ask();
  expect(before?.a).toBe(before?.b);
  await client.query(`set ${hashKeySettings.inner} = '${'ab'.repeat(64)}'`);
  expect((await ask())?.a).not.toBe(before?.a);
});

test('SQL of a policy: what computes from value alone and cannot fail', async () => {
  const parse = await loadSyntaxParser();
  const cut = (sql: string) => cutMaskSql(sql, parse(`SELECT ${sql}`));
  expect(cut(`left(value, 2) || '…'`)).toEqual({ parts: ['left(', `, 2) || '…'`] });
  expect(cut(`case when length(value) > 3 and value like 'a%' then value else coalesce(upper(value), '') end`)).toHaveProperty('parts');
  for (const sql of ['value::int', 'md5(value)', 'other', 't.value', '(select 1)', 'value; drop table x', 'value from t', '$1', 'repeat(value, 10)', 'substr(value, 1, -1)', `split_part(value, ',', 0)`, 'value ~ value', 'value like value', '1/0', 'now()', 'count(value)', 'value over ()', `"value" || U&"v\\0061lue"`]) {
    expect([sql, cut(sql)]).toEqual([sql, { problem: expect.any(String) }]);
  }
});
