/** Names without certainty: no catalog, no path, an open transaction that changed definitions; and totality whatever the catalog says. */
import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { Catalog } from '../../src/sql/catalog.ts';
import type { StatementFacts } from '../../src/sql/facts.ts';
import type { StatementOutline } from '../../src/sql/outline.ts';
import { grammarFor, grammars, loadParser, type Grammar, type ParsedSql } from '../../src/sql/parser.ts';
import { resolveFacts, type SessionNames } from '../../src/sql/resolve.ts';
import { parseName, parseSearchPath } from '../../src/sql/search-path.ts';
import type { Statement } from '../../src/sql/statement.ts';
import { sampleCatalog, sampleData } from './sample-catalog.ts';

const parsers = new Map<Grammar, (sql: string) => ParsedSql>();
beforeAll(async () => {
  for (const grammar of grammars) parsers.set(grammar, await loadParser(grammar));
});

const session: SessionNames = { catalog: sampleCatalog, path: ['public'] };

function statementOf(sql: string, grammar: Grammar = 18): Statement {
  const parsed = parsers.get(grammar)?.(sql);
  if (parsed?.ok !== true) throw new Error(`${parsed?.message}: ${sql}`);
  return parsed.statement;
}

function factsOf(sql: string, names: Partial<SessionNames>): StatementFacts {
  return resolveFacts(statementOf(sql).outlines[0] as StatementOutline, { ...session, ...names });
}

describe('without a catalog', () => {
  test.each([
    ['select * from users', { reads: ['?.users'], writes: [], functions: [], runsCode: false }],
    ['select * from app.users', { reads: ['app.users'] }],
    ['delete from users where id = 1', { reads: ['?.users'], writes: ['?.users'] }],
    ['create table fresh (a int)', { writes: ['?.fresh'] }],
    ['create table app.fresh (a int)', { writes: ['app.fresh'] }],
    ['select lower(1)', { functions: ['?.lower'], runsCode: true }],
    ['select pg_catalog.lower(1)', { functions: ['lower'], runsCode: false }],
    ['select (1).pg_sleep', { functions: [], runsCode: false }],
    ['select (1).query_to_xml', { functions: ['?.query_to_xml'], runsCode: true }],
  ])('%s', (sql, expected) => {
    const facts = factsOf(sql, { catalog: undefined });
    expect(facts).toMatchObject(expected);
    if (facts.writes.length + facts.reads.length > 0 || facts.runsCode) expect(facts.rowsMax).toBeUndefined();
  });
  test('what names nothing changes nothing', () => {
    for (const sql of ['select 1', 'begin', 'set work_mem = 1', 'explain select 1']) expect(factsOf(sql, { catalog: undefined }).rowsMax).toBe(0);
  });
});

describe('the search path', () => {
  test.each<[string, readonly string[] | undefined, readonly string[], readonly string[]]>([
    ['select * from users', ['public'], ['public.users'], []],
    ['select * from users', ['app', 'public'], ['app.users'], []],
    ['select * from users', ['nowhere', 'app'], ['app.users'], []],
    ['select * from accounts', ['public'], ['?.accounts'], []],
    ['select * from users', [], ['?.users'], []],
    ['select * from users', undefined, ['app.users', 'public.users'], []],
    ['select * from pg_class', ['public'], ['pg_catalog.pg_class'], []],
    ['select * from pg_class', undefined, ['pg_catalog.pg_class'], []],
    ['select length(1)', ['public'], [], ['length']],
    ['select length(1)', ['other', 'public'], [], ['length']],
    ['select length(1)', undefined, [], ['length', 'other.length']],
    ['select cleanup()', ['public'], [], ['?.cleanup']],
    ['select cleanup()', ['app'], [], ['app.cleanup']],
    ['select 1 + 1', ['public'], [], []],
    ['select 1 + 1', undefined, [], ['public.shady']],
  ])('%s with %j', (sql, path, reads, functions) => {
    const facts = factsOf(sql, { path });
    expect([facts.reads.toSorted(), facts.functions.toSorted()]).toEqual([reads, functions]);
  });

  test('rows are proven only where every meaning of the name proves them', () => {
    expect(factsOf('delete from users where id = 1', { path: undefined }).rowsMax).toBe(1);
    expect(factsOf("delete from users where email = 'x'", { path: undefined }).rowsMax).toBeUndefined();
    expect(factsOf("delete from users where email = 'x'", { path: ['public'] }).rowsMax).toBe(1);
  });

  test.each<[string, readonly string[] | undefined]>([
    ['"$user", public', ['me', 'public']],
    ['', []],
    ['  ', []],
    ['A, "B" ,"c""d"', ['a', 'B', 'c"d']],
    ['$user', ['me']],
    ['pg_catalog', ['pg_catalog']],
    ['a,', undefined],
    ['a b', undefined],
    ['"a', undefined],
    [',a', undefined],
  ])('%j is the list %j', (value, names) => expect(parseSearchPath(value, 'me')).toEqual(names));

  test.each<[string, readonly string[] | undefined]>([
    ['a', ['a']],
    ['S."T.t"', ['s', 'T.t']],
    ['a.', undefined],
    ['', undefined],
    ['a b', undefined],
  ])('%j is the name %j', (text, names) => expect(parseName(text)).toEqual(names));
});

describe('a transaction that changed definitions', () => {
  test.each([
    ['select * from users', ['?.users', 'public.users'], []],
    ['select * from public.users', ['?.users', 'public.users'], []],
    ['select lower(1)', [], ['?.lower', 'lower']],
  ])('%s', (sql, reads, functions) => {
    const facts = factsOf(sql, { isUncertain: true });
    expect([facts.reads.toSorted(), facts.functions.toSorted(), facts.rowsMax]).toEqual([reads, functions, undefined]);
  });
  test('proves no number of rows', () => {
    expect(factsOf('delete from users where id = 1', { isUncertain: true }).rowsMax).toBeUndefined();
  });
});

describe('EXECUTE', () => {
  const outlineOf = (sql: string) => statementOf(sql).outlines[0] as StatementOutline;
  test('is what was prepared', () => {
    const prepared = new Map([['p', [outlineOf('prepare p as delete from users where id = $1')]]]);
    expect(factsOf('execute p(1)', { prepared })).toMatchObject({
      command: 'EXECUTE', commands: ['EXECUTE', 'PREPARE', 'DELETE'], reads: ['public.users'], writes: ['public.users'], rowsMax: 1, runsCode: false,
    });
    expect(factsOf('explain analyze execute p(1)', { prepared })).toMatchObject({ writes: ['public.users'], rowsMax: 1 });
    expect(factsOf('create table fresh as execute p(1)', { prepared })).toMatchObject({ writes: ['public.fresh', 'public.users'] });
  });
  test('is unknown code otherwise', () => {
    expect(factsOf('execute p', {})).toMatchObject({ kinds: ['read', 'unknown'], runsCode: true });
    const nested = new Map([['p', [outlineOf('execute q')]]]);
    expect(factsOf('execute p', { prepared: nested })).toMatchObject({ kinds: ['read', 'unknown'], runsCode: true });
    expect(factsOf('execute p', {}).rowsMax).toBeUndefined();
  });
  test('a PREPARE carries its outline for later', () => {
    const { nameChanges, outlines } = statementOf('prepare p as delete from users');
    expect(nameChanges).toMatchObject([{ tag: 'PREPARE', name: 'p', outline: outlines[0] }]);
    expect(structuredClone(outlines)).toEqual(outlines);
  });
});

test.each([
  [[0], 1], [[23], 1], [[20], 1], [[701], undefined], [[25], undefined], [[], 1],
])('parameters that Parse declares as %j', (parameterTypes, rowsMax) => {
  expect(factsOf('delete from users where id = $1', { parameterTypes }).rowsMax).toBe(rowsMax);
});

test('types that others could have put before those of pg_catalog prove nothing', () => {
  const types = [{ schema: 'pg_temp_3', name: 'int8' }];
  const catalog = new Catalog({ ...sampleData, types });
  expect(factsOf('delete from users where id = 1::int8', {}).rowsMax).toBe(1);
  expect(factsOf('delete from users where id = 1::int8', { catalog }).rowsMax).toBeUndefined();
  expect(factsOf('delete from users where id = 1::bigint', { catalog }).rowsMax).toBe(1);
  expect(factsOf('delete from users where id = 1::"int"', {}).rowsMax).toBeUndefined();
});

test('implicit casts of users run with any expression', () => {
  const catalog = new Catalog({ ...sampleData, implicitCasts: [{ schema: 'public', name: 'shady' }] });
  expect(factsOf('select 1 + 1', { catalog })).toMatchObject({ functions: ['public.shady'], runsCode: true });
  expect(factsOf('begin', { catalog })).toMatchObject({ functions: [], runsCode: false });
});

test('names that could be taken for two parts are quoted', () => {
  const relations = [{ id: 1, schema: 'a.b', name: 'c', kind: 'table' as const }, { id: 2, schema: 'a', name: 'b.c', kind: 'table' as const }];
  const catalog = new Catalog({ ...sampleData, relations });
  expect(factsOf('select * from "a.b".c, a."b.c", a."?"', { catalog }).reads).toEqual(['"a.b".c', 'a."b.c"', 'a."?"', '?."?"']);
});

describe('settings that a text changes', () => {
  test.each<[string, Statement['settingChanges']]>([
    ['set statement_timeout = 5', [{ name: 'statement_timeout', value: '5', isReset: false, isLocal: false }]],
    ['set local Statement_Timeout to \'1 min\'', [{ name: 'statement_timeout', value: '1 min', isReset: false, isLocal: true }]],
    ['set search_path = a, "B c", \'$user\'', [{ name: 'search_path', value: 'a, "B c", "$user"', isReset: false, isLocal: false }]],
    ['set schema \'x\'', [{ name: 'search_path', value: 'x', isReset: false, isLocal: false }]],
    ['set search_path to default', [{ name: 'search_path', isReset: true, isLocal: false }]],
    ['set search_path from current', [{ name: 'search_path', isReset: false, isLocal: false }]],
    ['reset all', [{ name: 'all', isReset: true, isLocal: false }]],
    ['discard all', [{ name: 'all', isReset: true, isLocal: false }]],
    ['set time zone \'UTC\'', [{ name: 'timezone', value: 'UTC', isReset: false, isLocal: false }]],
    ['set transaction read only, isolation level serializable', [
      { name: 'transaction_read_only', value: 'on', isReset: false, isLocal: true },
      { name: 'transaction_isolation', value: 'serializable', isReset: false, isLocal: true },
    ]],
    ['set session characteristics as transaction read write', [{ name: 'default_transaction_read_only', value: 'off', isReset: false, isLocal: false }]],
    ["select set_config('a.b', 'c', true)", [{ name: 'a.b', value: 'c', isReset: false, isLocal: true }]],
    ["select set_config('work_mem', $1, false)", [{ name: 'work_mem', isReset: false, isLocal: false }]],
    ['select set_config($1, $2, $3)', [{ name: '?', isReset: false, isLocal: false }]],
    ["select set_config(is_local => true, new_value => 'x', setting_name => 'role')", [{ name: 'role', value: 'x', isReset: false, isLocal: true }]],
    ["with x as (select set_config('a', 'b', false)) insert into t select * from x", [{ name: 'a', value: 'b', isReset: false, isLocal: false }]],
    ["explain select set_config('a', 'b', false)", []],
    ["explain analyze select set_config('a', 'b', false)", [{ name: 'a', value: 'b', isReset: false, isLocal: false }]],
    ['alter role x set work_mem = 1', []],
    ['alter system set work_mem = 1', []],
    ['create function f() returns int language sql set search_path = a as $$ select 1 $$', []],
    ['set a.b = 1; set local c.d = 2', [
      { name: 'a.b', value: '1', isReset: false, isLocal: false },
      { name: 'c.d', value: '2', isReset: false, isLocal: true },
    ]],
  ])('%s', (sql, changes) => {
    for (const grammar of grammars) expect(statementOf(sql, grammar).settingChanges).toEqual(changes);
  });
});

test('the grammar for a server', () => {
  expect([15, 16, 17, 18, 19, 25].map(grammarFor)).toEqual([15, 16, 17, 18, 18, 18]);
  for (const old of [9, 14, Number.NaN]) expect(() => grammarFor(old)).toThrow('works with PostgreSQL 15 and newer');
});

test('text is read as the server of its version reads it', () => {
  // Before PostgreSQL 16 a letter may follow a number directly, and begins an alias; later it is a mistake, or a number.
  expect(statementOf('select 0x10', 15).outlines).toHaveLength(1);
  expect(parsers.get(16)?.('select 123abc').ok).toBe(false);
  expect(parsers.get(15)?.("select * from json_table('[]', '$' columns (a int path '$'))").ok).toBe(false);
  // The parser of 17 knows json_value by itself; for a server of 15 it is a call that anybody may have defined.
  expect(resolveFacts(statementOf("select json_value('{}'::jsonb, '$.a')", 15).outlines[0] as StatementOutline, session)).toMatchObject({ functions: ['?.json_value'], runsCode: true });
  expect(resolveFacts(statementOf("select json_value('{}'::jsonb, '$.a')", 17).outlines[0] as StatementOutline, session)).toMatchObject({ functions: [], runsCode: false });
});

describe('totality', () => {
  const texts = [
    'select * from users u, lateral f(u.x) where u.y = any ((select a from adults))', 'delete from payments where id = 1', 'update nested set id = 1',
    'truncate owners cascade', 'drop table users cascade', 'drop schema public cascade', 'merge into users u using (values (1)) s (id) on u.id = s.id when matched then delete',
    'insert into ruled select * from calling', 'with recursive a as (select * from b), b as (select * from a) select * from a, b', 'call shady(1)', 'select 1::checked %% 2',
    'refresh materialized view counted', 'copy staff from stdin', 'lock table people', "select nextval('ids')", 'create table users (a int)',
  ];
  const id = fc.integer({ min: 0, max: 12 });
  const ids = fc.array(id, { maxLength: 4 });
  const name = fc.constantFrom('users', 'adults', 'nested', 'payments', 'owners', 'ruled', 'calling', 'counted', 'staff', 'people', 'ids', 'b', 'f', 'shady', '%%');
  const schema = fc.constantFrom('public', 'app', 'pg_catalog', 'pg_temp_3', '');
  const qualified = fc.record({ schema, name });
  const relation = fc.record(
    {
      id, schema, name,
      kind: fc.constantFrom('table', 'partitioned', 'view', 'materialized', 'foreign', 'sequence', 'index', 'composite'),
      keys: fc.array(fc.array(fc.record({ name: fc.constantFrom('id', 'a'), type: fc.constantFrom('int4', 'text', 'enum') }), { maxLength: 2 }), { maxLength: 2 }),
      parents: ids, uses: ids, ruleEvents: fc.integer({ min: 0, max: 15 }), ruleUses: ids,
      triggers: fc.array(fc.record({ events: fc.integer({ min: 0, max: 15 }), runs: qualified }), { maxLength: 2 }),
      readFunctions: fc.array(qualified, { maxLength: 2 }), writeFunctions: fc.array(qualified, { maxLength: 2 }),
      references: fc.array(fc.record({ from: id, columns: fc.constant(['id']), onDelete: fc.constantFrom('none', 'delete', 'update'), onUpdate: fc.constantFrom('none', 'update') }), { maxLength: 2 }),
    },
    { requiredKeys: ['id', 'schema', 'name', 'kind'] },
  );
  const data = fc.record({
    relations: fc.array(relation, { maxLength: 14 }), schemas: fc.array(schema), functions: fc.array(qualified, { maxLength: 5 }),
    operators: fc.array(fc.record({ schema, name, runs: qualified }), { maxLength: 3 }), types: fc.array(fc.record({ schema, name, runs: fc.array(qualified, { maxLength: 2 }) }), { maxLength: 3 }),
    implicitCasts: fc.array(qualified, { maxLength: 1 }),
  });

  test('any catalog, with circles and gaps, gives facts', () => {
    const outlines = texts.map((sql) => statementOf(sql).outlines[0] as StatementOutline);
    fc.assert(
      fc.property(fc.constantFrom(...outlines), data, fc.option(fc.array(schema, { maxLength: 3 }), { nil: undefined }), fc.boolean(), (outline, catalog, path, isUncertain) => {
        const facts = resolveFacts(outline, { catalog: new Catalog(catalog), path, isUncertain });
        for (const list of [facts.reads, facts.writes, facts.functions]) expect(new Set(list).size).toBe(list.length);
        if (facts.rowsMax !== undefined) expect(Number.isSafeInteger(facts.rowsMax) && facts.rowsMax >= 0).toBe(true);
        expect(structuredClone(facts)).toEqual(facts);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['casts', (n: number) => `delete from users where id = 1${'::int'.repeat(n)}`],
    ['parentheses', (n: number) => `delete from users where ${'('.repeat(n)}id = 1${')'.repeat(n)}`],
    ['alternatives', (n: number) => `delete from users where ${Array.from({ length: n }, (_, i) => `id = ${i}`).join(' or ')}`],
    ['NOT', (n: number) => `delete from users where ${'not '.repeat(n)}true`],
    ['WITH queries', (n: number) => `with ${Array.from({ length: n }, (_, i) => `a${i} as (select 1)`).join(', ')} select * from a0`],
    ['nested WITH', (n: number) => `${'with a as ('.repeat(n)}select 1${') select 1'.repeat(n)}`],
    ['UNION', (n: number) => `insert into users ${'select 1 union all '.repeat(n)} select 1`],
    ['nested conditions', (n: number) => `delete from users where ${'(id = 1 and (id = 2 or '.repeat(n)}true${'))'.repeat(n)}`],
  ])('%s, many of them', (_, make) => {
    for (const count of [10, 60, 300]) {
      const parsed = parsers.get(18)?.(make(count));
      if (parsed?.ok !== true) continue;
      for (const outline of parsed.statement.outlines) expect(resolveFacts(outline, session).command).not.toBe('');
    }
  });
});
