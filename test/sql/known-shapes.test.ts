import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { KnownShapes, shapesMax } from '../../src/sql/known-shapes.ts';
import { withLiterals, withoutLiterals } from '../../src/sql/literal-free.ts';
import { loadParser, type ParsedSql } from '../../src/sql/parser.ts';

let parse: (sql: string) => ParsedSql;
let count = 0;
let shapes: KnownShapes;

beforeAll(async () => {
  const parser = await loadParser();
  parse = parser;
  shapes = new KnownShapes((sql) => {
    count++;
    return parser(sql);
  });
});

/** Where a literal stands, and what it may be: what bounds, lists, settings, casts and secrets make of it differs. */
const templates = [
  'select abalance from accounts where aid = N',
  'select * from t where name = S and n > N order by 1 limit N offset N',
  'insert into t (a, b) values (N, S), (N, S)',
  'insert into t select * from u limit N',
  'insert into t values (N) on conflict (a) do update set b = S where t.c < N',
  'update t set a = N where id in (N, N, N)',
  'update t set a = S where id = any (S)',
  'update t set a = S where id = any (S::int[])',
  'delete from t where id = S or id = N',
  'delete from t where ctid = any (array[S]::tid[])',
  'select set_config(S, S, false)',
  'select set_config(S, S, true) from pg_settings where name = S',
  'select nextval(S), pg_sleep(N), S::regclass, S::regproc, cast(S as regprocedure)',
  'select pg_read_file(S), dblink(S, S), query_to_xml(S, true, true, S)',
  'with x as (delete from t where id = N returning *) select * from x where a = S',
  "select interval 'x' where a like S escape S and b ~ S",
  'select * from t where id = N for update',
  'select * from generate_series(N, N) g where g = N limit N for update',
  'select date S, numeric(N, N) S, float(N) S, N.N + - N, N - N',
  'select a."b c", "d""e" from "T" where x = $1 and y = N',
  'merge into t using (values (N, S)) s(a, b) on t.a = s.a when matched then update set b = S',
  'explain (analyze S) select N',
  'set search_path = S',
  'set statement_timeout to N',
  'set client_encoding to S',
  'alter role x password S',
  'begin; update t set a = N; commit',
  'copy t from S',
  'prepare p as select S; execute p(S)',
  'create table x as select N limit N',
  'do S',
  'select S S, S\nS',
  'select 1 from t where a = N and b = S; drop table t',
];

const texts = fc.constantFrom('', 'a', 'search_path', 'client_encoding', 'SQL_ASCII', 'standard_conforming_strings', 'role', '1,2,3', '{1,2,3}', '(0,1)', 'lo_export', 'pg_read_file(text)',
  'nextval', "it''s", 'password=abc', 'postgres://u:pw@h/d', 'select 1', 'zq7zq', '{8,zq},zq.z', "password ''x''", 'drop table t', '%', 'é', 'a\\b', '$$', '--', '/*', 'on', 'true');
const numbers = fc.oneof(fc.constantFrom('0', '1', '007', '7919', '999999999', '2147483648', '12345678901234567890', '1.5', '0.0', '79.19', '.5', '5.', '1e3', '0x1F', '1_000'), fc.nat().map(String));

function fill(template: string, values: { n: string[]; s: string[] }): string {
  let [n, s] = [0, 0];
  return template.replaceAll(/\bN\b|\bS\b/g, (mark) => (mark === 'N' ? (values.n[n++ % values.n.length] ?? '1') : `'${values.s[s++ % values.s.length] ?? ''}'`));
}

const statement = fc
  .record({ template: fc.constantFrom(...templates), n: fc.array(numbers, { minLength: 1, maxLength: 4 }), s: fc.array(texts, { minLength: 1, maxLength: 4 }) })
  .map(({ template, n, s }) => fill(template, { n, s }));

describe('known shapes', () => {
  test('give the facts that the parser itself gives, whatever the literals and whatever was asked before', () => {
    fc.assert(
      fc.property(fc.array(statement, { minLength: 1, maxLength: 6 }), (list) => {
        for (const sql of list) expectSame(sql);
      }),
      { numRuns: 800 },
    );
  });

  test('and for texts that are made of pieces where reading along could go wrong', () => {
    const piece = fc.constantFrom("'", "''", "E'", "U&'", "'\n'", '"', '""', '--', '/*', '*/', '$1', '$a$', '$$', 'select', ' ', '\n', '1', '.', '1.', '.1', '-', 'x', ';', ',', '\\', '(', ')', 'é', '\u0001', '\u0003', 'limit', '=', '::', 'e', '_1');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        for (const start of ['', 'select ', "select 'a' "]) expectSame(start + pieces.join(''));
      }),
      { numRuns: 2000 },
    );
  });

  /** A grammar that refuses a literal is the server's, too: it refuses the text by itself. */
  function expectSame(sql: string): void {
    const got = shapes.parse(sql);
    const expected = parse(sql);
    if (got.ok && !expected.ok) expect(expected.message, sql).toMatch(/precision|must be|out of range|interval/i);
    else expect(got, sql).toEqual(expected);
  }

  test('are learnt once: other literals cost no parse', () => {
    shapes.parse('select abalance from pgbench_accounts where aid = 1');
    const before = count;
    for (let aid = 1; aid <= 2000; aid++) expect(shapes.parse(`select abalance from pgbench_accounts where aid = ${aid}`).ok).toBe(true);
    shapes.parse('begin');
    for (let delta = 0; delta < 500; delta++) shapes.parse(`update pgbench_tellers set tbalance = tbalance + ${delta} where tid = ${delta * 3}`);
    expect(count - before).toBeLessThanOrEqual(6);
  });

  test('are learnt again when there were too many of them', () => {
    for (let index = 0; index < shapesMax + 10; index++) shapes.parse(`select c${index.toString(36).replaceAll(/\d/g, (digit) => 'ghijklmnop'[Number(digit)] ?? '')} from t where a = 1`);
    expectSame('select abalance from pgbench_accounts where aid = 12');
  });

  test('a literal that holds a secret is seen in a shape that is known', () => {
    shapes.parse("insert into notes values (1, 'hello')");
    expect(shapes.parse("insert into notes values (2, 'password = hunter2')")).toMatchObject({ ok: true, isRedacted: true });
  });
});

test('literals are taken out only where they are beyond doubt', () => {
  expect(withoutLiterals("select 'a''b', 12, 1.5, \"x'1\", $1")).toBe('select \u0003, \u0001, \u0002, "x\'1", $1');
  expect(withLiterals('select \u0003, \u0001', { integer: '5', decimal: '5.5', string: 'q' })).toBe("select 'q', 5");
  for (const doubtful of ["e'a'", "select N'x'", "u&'a'", "'a' 'b'", "'a'\n'b'", "'a\\'", "'a", '--', '/* */', '$$a$$', '1e5', '1234567890', '.5', '1.', '1..2', "1'a'", 'é', "'é'", '\0', 'a$b', '$1a', '"a']) {
    expect(withoutLiterals(doubtful), doubtful).toBeUndefined();
  }
});
