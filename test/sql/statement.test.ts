/** SQL texts to facts, by PostgreSQL's own grammar: every way to hide an effect that we know is a row here. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { beforeAll, describe, expect, test } from 'vitest';
import type { StatementKind } from '../../src/sql/kind.ts';
import { deliberatelyUnknown, knownNodes } from '../../src/sql/node-kinds.ts';
import { inlineSqlBytesMax, loadParser, type ParsedSql } from '../../src/sql/parser.ts';
import type { Statement } from '../../src/sql/statement.ts';

let parse: (sql: string) => ParsedSql;
beforeAll(async () => {
  parse = await loadParser();
});

function facts(sql: string): Statement {
  const parsed = parse(sql);
  if (!parsed.ok) throw new Error(`${parsed.message}: ${sql}`);
  return parsed.statement;
}

const kindsOf: readonly (readonly [string, readonly StatementKind[]])[] = [
  // Nothing, and plain reading.
  ['', []],
  [' \t\r\n\f\v', []],
  [';;', []],
  ['-- nothing\n/* at /* all */ */', []],
  ['select 1', ['read']],
  ['((select 1))', ['read']],
  ['table t', ['read']],
  ['values (1), (2)', ['read']],
  ['select 1 union all (select 2 limit 1)', ['read']],
  ['select nextval from t', ['read']],
  ['select * from "nextval"', ['read']],
  ['select "NEXTVAL"(1)', ['read']],
  ["select 'delete from t; select nextval(1)'", ['read']],
  ['show all', ['read']],
  ['fetch 1 from c', ['read']],
  ['close c', ['read']],
  ['listen x', ['read']],
  ['unlisten *', ['read']],
  ['begin', ['read']],
  ['commit and chain', ['read']],
  ['savepoint a', ['read']],
  ['rollback to a', ['read']],
  ['set constraints all deferred', ['read']],
  ['discard plans', ['read']],
  ['declare c cursor for select 1', ['read']],
  ['copy t to stdout', ['read']],
  ['copy (select 1) to stdout', ['read']],
  ['lock table t in access share mode', ['read']],
  // Writes, also inside of reads.
  ['insert into t values (1)', ['write', 'read']],
  ['insert into t default values', ['write']],
  ['insert into t select 1', ['write', 'read']],
  ['update t set a = 1', ['write']],
  ['update t set a = 1 where current of c', ['write']],
  ['delete from t', ['write']],
  ['merge into t using s on t.a = s.a when matched then delete', ['write']],
  ['truncate t', ['write']],
  ['lock table t', ['write']],
  ['lock table t in row share mode', ['write']],
  ['notify x', ['write']],
  ['with x as (delete from t returning *) select * from x', ['read', 'write']],
  ['with recursive x as (select 1), y as (update t set a = 1 returning 1) select * from x, y', ['read', 'write']],
  ['with x as (merge into t using s on true when matched then delete returning *) table x', ['read', 'write']],
  ['select * from (with x as (insert into t values (1) returning 1) select 1) y', ['read', 'write']],
  ['select 1 from t for update', ['read', 'write']],
  ['select 1 from t for key share skip locked', ['read', 'write']],
  ['select * from (select 1 from t for share) x', ['read', 'write']],
  ['copy t from stdin', ['write']],
  ['copy (delete from t returning 1) to stdout', ['read', 'write']],
  ['declare c cursor for select nextval(1)', ['read', 'write']],
  ['select 1; delete from t', ['read', 'write']],
  ['select 1;\fdelete\ffrom\ft', ['read', 'write']],
  ['select 1 -- x\rdelete from t', ['read']],
  ['prepare p as delete from t', ['read', 'write']],
  // Functions that write, in every spelling of a call.
  ["select nextval('s')", ['read', 'write']],
  ["select pg_catalog.nextval('s')", ['read', 'write']],
  ['select "nextval"(\'s\')', ['read', 'write']],
  ["select U&\"next\\0076al\"('s')", ['read', 'write']],
  ["select NEXTVAL /* x */ (\n's')", ['read', 'write']],
  ["select ('s'::regclass).nextval", ['read', 'write']],
  ["select x.nextval from unnest(array['s'::regclass]) x", ['read', 'write']],
  ["select (x).nextval from unnest(array['s'::regclass]) x", ['read', 'write']],
  ["select 1 from nextval('s')", ['read', 'write']],
  ["select 1 from rows from (nextval('s'), now())", ['read', 'write']],
  ["select 1 limit nextval('s')", ['read', 'write']],
  ["select coalesce(1, case when true then nextval('s') end)", ['read', 'write']],
  ["select 1 from t order by nextval('s')", ['read', 'write']],
  ["select sum(1) filter (where nextval('s') > 0)", ['read', 'write']],
  ["values (nextval('s'))", ['read', 'write']],
  ["execute p(nextval('s'))", ['read', 'write']],
  ['select lo_create(0)', ['read', 'write']],
  ["select pg_notify('a', 'b')", ['read', 'write']],
  ['select pg_advisory_lock(1)', ['read', 'write']],
  ['select pg_try_advisory_xact_lock_shared(1)', ['read', 'write']],
  ['select pg_advisory_unlock_all()', ['read']],
  // Functions that reach further.
  ["select pg_read_file('x')", ['read', 'admin']],
  ["select ('/etc/passwd'::text).pg_read_file", ['read', 'admin']],
  ['select pg_terminate_backend(pid) from pg_stat_activity', ['read', 'admin']],
  ["select query_to_xml('delete from t', true, false, '')", ['read', 'admin']],
  ["select dblink_exec('x', 'drop table t')", ['read', 'admin']],
  ['select lo_export(1, \'/tmp/x\')', ['read', 'admin']],
  ["select pg_logical_emit_message(false, 'a', 'b')", ['read', 'admin']],
  ['select pg_stat_reset()', ['read', 'admin']],
  ['select pg_log_standby_snapshot()', ['read', 'admin']],
  // EXPLAIN: of the plan only, unless it runs something.
  ['explain delete from t', ['read']],
  ['explain (costs off, verbose) update t set a = 1', ['read']],
  ['explain create table x as select 1', ['read']],
  ["explain select nextval('s')", ['read']],
  ["explain select 1 from t where a = table_to_xml('t', true, false, '')::text", ['read', 'admin']],
  ['explain analyze delete from t', ['read', 'write']],
  ['explain (analyze) create table x as select 1', ['read', 'schema']],
  ['explain (analyze false) delete from t', ['read', 'write']],
  ['explain (verbose, ANALYZE on) select nextval(1)', ['read', 'write']],
  ["explain execute p(nextval('s'))", ['read', 'write']],
  ["explain execute p(set_config('default_transaction_read_only', 'off', false))", ['read', 'write']],
  ["explain create table x as execute p(pg_cancel_backend(1))", ['read', 'schema', 'admin']],
  // Definitions.
  ['create table t (a int)', ['schema']],
  ['create temp table t as select 1', ['schema', 'read']],
  ['create table t as execute p', ['schema', 'read']],
  ['select 1 into t', ['read', 'schema']],
  ['select 1 into temp t', ['read', 'schema']],
  ['with x as (select 1) select * into t from x', ['read', 'schema']],
  ['create view v as select 1', ['schema', 'read']],
  ['create rule r as on select to t do also delete from u', ['schema', 'write']],
  ['create schema s create table t (a int)', ['schema']],
  ['create materialized view v as select 1', ['schema', 'read']],
  ['refresh materialized view v', ['schema']],
  ['create function f() returns int return 1', ['schema', 'read']],
  ["create function f() returns int language plpgsql as 'begin end'", ['schema']],
  ["create function f() returns int language SQL begin atomic delete from t; select 1; end", ['schema', 'write', 'read']],
  ['drop table t', ['schema']],
  ['alter table t add a int', ['schema']],
  ['alter table t rename to u', ['schema']],
  ["comment on table t is 'x'", ['schema']],
  // Privileges, files, the server.
  ["create function f(cstring) returns int language c as 'libc', 'system'", ['admin']],
  ["create function f() returns int language plpython3u as 'x'", ['admin']],
  ["create function f() returns int as 'now' language internal", ['admin']],
  ['alter table t owner to r', ['admin']],
  ['alter table t add a int, disable row level security', ['admin']],
  ['create policy p on t using (true)', ['admin']],
  ['drop policy p on t', ['admin']],
  ['alter policy p on t rename to q', ['admin']],
  ['alter extension e set schema s', ['admin']],
  ['drop extension e', ['admin']],
  ['drop role r', ['admin']],
  ['grant select on t to r', ['admin']],
  ['grant a to b', ['admin']],
  ["copy t from '/etc/passwd'", ['admin']],
  ["copy t to program 'sh'", ['admin']],
  ["copy t from program 'sh'", ['admin']],
  ['vacuum', ['admin']],
  ["prepare transaction 'x'", ['admin']],
  ["commit prepared 'x'", ['admin']],
  ["rollback prepared 'x'", ['admin']],
  ['alter system set a.b = 1', ['admin']],
  ['alter role r set default_transaction_read_only = off', ['admin']],
  ["load 'x'", ['admin']],
  ['create extension x', ['admin']],
  ["create subscription s connection 'x' publication p", ['admin']],
  ["update pg_settings set setting = 'off' where name = 'default_transaction_read_only'", ['admin']],
  ['update pg_catalog.pg_authid set rolsuper = true', ['admin']],
  ['with x as (delete from pg_class returning 1) table x', ['read', 'admin']],
  ['insert into information_schema.sql_features default values', ['admin']],
  ['truncate t, pg_largeobject', ['admin']],
  ['copy pg_class from stdin', ['admin']],
  ['select rolpassword from pg_authid', ['read', 'admin']],
  ['copy pg_authid to stdout', ['read', 'admin']],
  ['select subname, s.subenabled, pg_get_userbyid(subowner) from pg_catalog.pg_subscription s', ['read']],
  ['select count(*) from pg_subscription where subdbid = 1', ['read']],
  ['select subconninfo from pg_subscription', ['read', 'admin']],
  ['select s."subconninfo" from pg_subscription s', ['read', 'admin']],
  ['table pg_subscription', ['read', 'admin']],
  ['select s.* from pg_subscription s', ['read', 'admin']],
  ['select s from pg_subscription s', ['read', 'admin']],
  ['select pg_subscription::text from pg_subscription', ['read', 'admin']],
  ['select s.row_to_json from pg_subscription s', ['read', 'admin']],
  ['select (s).subconninfo from pg_subscription s', ['read', 'admin']],
  ['select n from pg_subscription as s(a, b, c, d, e, n)', ['read', 'admin']],
  ['select n from (pg_subscription cross join (select 1) x) as j(n)', ['read', 'admin']],
  ["select 1 from pg_subscription join (select 'x' as subconninfo) x using (subconninfo)", ['read', 'admin']],
  ["select 1 from pg_subscription natural join (select 'x' as subconninfo) x", ['read', 'admin']],
  ['copy pg_subscription to stdout', ['read', 'admin']],
  ['select 1 from t where a in (table pg_catalog.pg_shadow)', ['read', 'admin']],
  // What cannot be told.
  ['do $$ begin end $$', ['unknown']],
  ['call p()', ['unknown']],
  ["call nextval('s')", ['unknown']],
  // Settings.
  ['set work_mem = 1', ['read']],
  ['set local app.tenant = 7', ['read']],
  ['set search_path = a, b', ['read']],
  ["set time zone 'UTC'", ['read']],
  ['reset all', ['read']],
  ['discard all', ['read']],
  ['reset role', ['read']],
  ['set session authorization default', ['read']],
  ['set role r', ['admin']],
  ['set role none', ['admin']],
  ['set local role r', ['admin']],
  ['set "ROLE" to r', ['admin']],
  ['set session authorization r', ['admin']],
  ['set session_replication_role = replica', ['admin']],
  ['set log_statement = none', ['admin']],
  ['set pgaudit.log = none', ['admin']],
  ['set transaction read only', ['read']],
  ['set transaction read write', ['write']],
  ['set transaction isolation level serializable, read write, deferrable', ['write']],
  ['set session characteristics as transaction read only', ['read']],
  ['set session characteristics as transaction read write', ['write']],
  ['begin read write', ['write']],
  ['start transaction isolation level serializable, read write', ['write']],
  ['begin read only', ['read']],
  ['set default_transaction_read_only = on', ['read']],
  ['set default_transaction_read_only = off', ['write']],
  ['set default_transaction_read_only = 0', ['write']],
  ['set transaction_read_only to default', ['write']],
  ['reset transaction_read_only', ['write']],
  ['set "Transaction_Read_Only" = false', ['write']],
  ["select set_config('work_mem', '1', false)", ['read']],
  ["select set_config('default_transaction_read_only', 'on', false)", ['read']],
  ["select set_config('default_transaction_read_only', 'off', false)", ['read', 'write']],
  ["select pg_catalog.set_config('TRANSACTION_READ_ONLY', $1, true)", ['read', 'write']],
  ["select set_config('transaction_read_only'::text, 'off', true)", ['read', 'write']],
  ["select set_config('transaction_read_only', null, true)", ['read', 'write']],
  ["select set_config(E'transaction_read\\x5fonly', 'off', true)", ['read', 'write']],
  ["select set_config(U&'transaction_read\\005fonly', 'off', true)", ['read', 'write']],
  ["select set_config($$transaction_read_only$$, 'off', true)", ['read', 'write']],
  ["select set_config('transaction_'\n'read_only', 'off', true)", ['read', 'write']],
  ["select set_config(setting_name => 'role', new_value => 'r', is_local => false)", ['read', 'admin']],
  ["select set_config(is_local := false, new_value := 'off', setting_name := 'transaction_read_only')", ['read', 'write']],
  ["select set_config('transaction_' || 'read_only', 'off', true)", ['read', 'unknown']],
  ["select set_config('role'::char(4), 'r', true)", ['read', 'unknown']],
  ["select set_config(name, 'off', true) from pg_settings", ['read', 'unknown']],
  ["SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'", ['read']],
  ["select pg_catalog.set_config(name, 'r', false) from pg_catalog.pg_settings where name = 'role'", ['read', 'admin']],
  ["select set_config(name, 'off', false) from pg_settings where name = 'default_transaction_read_only'", ['read', 'write']],
  ["select set_config(name, 'x', false) from pg_settings where name <> 'role'", ['read', 'unknown']],
  ["select set_config(name, 'x', false) from pg_settings where name = $1", ['read', 'unknown']],
  ["select set_config(name, 'x', false) from pg_settings where name = 'a' or name = 'role'", ['read', 'unknown']],
  ["select set_config(name, 'x', false) from public.pg_settings where name = 'work_mem'", ['read', 'unknown']],
  ["select set_config(name, 'x', false) from pg_settings as t(setting, name) where name = 'work_mem'", ['read', 'unknown']],
  ["select set_config(name, 'x', false) from pg_settings, names where name = 'work_mem'", ['read', 'unknown']],
  ["with pg_settings as (select 'role' as name) select set_config(name, 'x', false) from pg_settings where name = 'work_mem'", ['read', 'unknown']],
  ['select set_config($1, $2, true)', ['read', 'unknown']],
  ["select set_config(variadic array['role', 'r'])", ['read', 'unknown']],
  ["with x as (select set_config('role', 'r', false)) table x", ['read', 'admin']],
  ["select 1 where (select set_config('role', 'r', false)) is null", ['read', 'admin']],
  ["prepare p as select set_config('role', 'r', false)", ['read', 'admin']],
  ["create table t (a text default set_config('role', 'r', false))", ['schema', 'admin']],
];

describe('kinds', () => {
  test.each(kindsOf)('%j → %j', (sql, kinds) => {
    expect(facts(sql).kinds.toSorted()).toEqual(kinds.toSorted());
  });

  test('every statement node of the grammar has a kind, or is unknown on purpose', () => {
    const require = createRequire(createRequire(import.meta.url).resolve('libpg-query'));
    const types = readFileSync(require.resolve('@pgsql/types/package.json').replace('package.json', 'types.d.ts'), 'utf8');
    const nodes = [...types.matchAll(/^export interface (\w+Stmt)\b/gm)].map(([, name]) => name as string);
    expect(nodes.length).toBeGreaterThan(110);
    const judged = new Set<string>([
      ...knownNodes,
      ...deliberatelyUnknown,
      'CopyStmt',
      'VariableSetStmt',
      'TransactionStmt',
    ]);
    expect(nodes.filter((name) => !judged.has(name))).toEqual([]);
    expect([...knownNodes].filter((name) => !nodes.includes(name))).toEqual([]);
  });

  test('a list longer than a call may have arguments is walked to its end', () => {
    const rows = Array.from({ length: 150_000 }, () => '(1)').join(',');
    expect(facts(`insert into t values ${rows}, (nextval('s'))`).kinds.toSorted()).toEqual(['read', 'write']);
  });
});

describe('pinned settings', () => {
  test.each([
    ["set client_encoding = 'latin1'", 'client_encoding'],
    ["set names 'sjis'", 'client_encoding'],
    ['set standard_conforming_strings = off', 'standard_conforming_strings'],
    ['set local "Standard_Conforming_Strings" to false', 'standard_conforming_strings'],
    ["set client_encoding to 'utf8', 'latin1'", 'client_encoding'],
    ["select set_config('client_encoding', 'latin1', false)", 'client_encoding'],
    ["select set_config('client_encoding', 'lat' || 'in1', false)", 'client_encoding'],
    ["select set_config('client_encoding', $1, false)", 'client_encoding'],
    ["select set_config(new_value => 'off', setting_name => 'standard_conforming_strings', is_local => true)", 'standard_conforming_strings'],
    ["select 1; set client_encoding = 'latin1'", 'client_encoding'],
    ["explain execute p(set_config('client_encoding', 'latin1', false))", 'client_encoding'],
    ["set client_encoding = 'utf-8'", undefined],
    ['set standard_conforming_strings = true', undefined],
    ['reset client_encoding', undefined],
    ['set client_encoding to default', undefined],
    ['set search_path = client_encoding', undefined],
  ])('%j → %j', (sql, setting) => {
    expect(facts(sql).pinnedSetting).toBe(setting);
  });
});

describe('names', () => {
  test.each([
    ['execute a', ['a']],
    ['execute "A b"(1)', ['A b']],
    ['explain analyze execute a', ['a']],
    ['explain execute a(1)', ['a']],
    ['create table t as execute a', ['a']],
    ['execute a; execute b; execute a', ['a', 'b']],
    [`execute ${'n'.repeat(70)}`, ['n'.repeat(63)]],
    [`execute "${'é'.repeat(40)}"`, ['é'.repeat(31)]],
  ])('%j executes %j', (sql, names) => {
    expect(facts(sql).executes).toEqual(names);
  });

  test('PREPARE, DEALLOCATE and DISCARD in order', () => {
    const { nameChanges, outlines } = facts('prepare a as delete from t; deallocate prepare b; deallocate all; discard all; discard temp');
    expect(nameChanges).toEqual([
      { tag: 'PREPARE', name: 'a', kinds: ['read', 'write'], outline: outlines[0] },
      { tag: 'DEALLOCATE', name: 'b' },
      { tag: 'DEALLOCATE ALL' },
      { tag: 'DISCARD ALL' },
    ]);
  });

  test.each([
    ['copy t from stdin', true],
    ['copy t (a) from stdin with (format csv)', true],
    ["copy t from '/x'", false],
    ["copy t from program 'x'", false],
    ['copy t to stdout', false],
    ['select 1; copy t from stdin', true],
  ])('%j takes data: %j', (sql, isCopyIn) => {
    expect(facts(sql).isCopyIn).toBe(isCopyIn);
  });
});

describe('the bound of what is parsed in line', () => {
  const shapes: readonly (readonly [string, string, string, string])[] = [
    ['parentheses', '(', ')', 'select '],
    ['sub-selects', '(select ', ')', 'select '],
    ['arrays', 'array[', ']', 'select '],
    ['indices', 'a[', ']', 'select '],
    ['NOT', 'not ', '', 'select '],
    ['minus', '- ', '', 'select '],
    ['function calls', 'f(', ')', 'select '],
    ['CASE', 'case when ', ' then 1 end', 'select '],
    ['joins', '(a join ', ' on true)', 'select from '],
    ['derived tables', '(select from ', ') x', 'select from '],
    ['CTEs', 'with x as (', ') select 1', ''],
    ['EXISTS', 'exists (select ', ')', 'select '],
    ['operators', '1+', '', 'select '],
    ['AND', '1 and ', '', 'select '],
    ['casts', '', '::int', 'select '],
    ['indirection', '', '.a', 'select (a)'],
    ['UNION', '', ' union select 1', 'select '],
    ['commas', '1,', '', 'select '],
    ['comments', '/*', '*/', 'select 1 '],
    ['schema elements', ' create table t()', '', 'create schema s'],
    ['statements', '1;select ', '', 'select '],
  ];
  test.each(shapes)('%s as deep as they go, 500 times, leave the parser whole', (_name, open, close, start) => {
    const depth = Math.floor((inlineSqlBytesMax - start.length - 1) / (open.length + close.length));
    const sql = `${start}${open.repeat(depth)}1${close.repeat(depth)}`;
    expect(Buffer.byteLength(sql)).toBeLessThanOrEqual(inlineSqlBytesMax);
    for (let round = 0; round < 500; round++) parse(sql);
    // The open half alone is an error deep inside.
    for (let round = 0; round < 20; round++) parse(`${start}${open.repeat(depth)}`);
    expect(facts('select 1').kinds).toEqual(['read']);
  });
});
