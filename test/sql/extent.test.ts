/** How much one text may hold: each limit at its edge and past it. */
import { beforeAll, expect, test } from 'vitest';
import { conditionsMax, extentProblem, nameChangesMax, namesMax, statementsMax } from '../../src/sql/extent.ts';
import { loadParser, type ParsedSql } from '../../src/sql/parser.ts';

let parse: (sql: string) => ParsedSql;
beforeAll(async () => {
  parse = await loadParser();
});

const many = (count: number, text: (n: number) => string, separator = ',') => Array.from({ length: count }, (_, n) => text(n)).join(separator);
const problemOf = (sql: string) => {
  const parsed = parse(sql);
  expect(parsed.ok).toBe(true);
  return parsed.ok ? extentProblem(parsed.statement) : undefined;
};

/** Each pair is three conditions, and another combines them all. */
const pairs = (count: number) => many(count, (n) => `(a = ${n} and b = ${n})`, ' or ');
const pairsMax = Math.floor((conditionsMax - 1) / 3);

test.each([
  ['statements', (more: number) => many(statementsMax + more, () => 'end', ';')],
  ['times', (more: number) => many(nameChangesMax + more, (n) => `prepare p${n} as select 1`, ';')],
  ['times', (more: number) => many(nameChangesMax + more, (n) => `execute p${n}`, ';')],
  ['functions', (more: number) => `select ${many(namesMax + more, (n) => `f${n}()`)}`],
  ['relations', (more: number) => `select from ${many(namesMax + more, (n) => `t${n}`)}`],
  ['relations', (more: number) => `drop table ${many(namesMax + more, (n) => `t${n}`)}`],
  ['conditions', (more: number) => `delete from t where ${pairs(pairsMax + more)}`],
  ['conditions', (more: number) => `select from t where ${pairs(pairsMax + more)} for update`],
])('%s', (what, sql) => {
  expect(problemOf(sql(0))).toBeUndefined();
  expect(problemOf(sql(1))).toContain(what);
});

test('values are no names, however many there are', () => {
  expect(problemOf(`select from t where id in (${many(20_000, String)})`)).toBeUndefined();
  expect(problemOf(`delete from t where id in (${many(20_000, String)})`)).toBeUndefined();
  expect(problemOf(`insert into t values ${many(10_000, (n) => `(${n}, 'x')`)}`)).toBeUndefined();
});
