/** Commands against the server's own tags. */
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { loadParser, type ParsedSql } from '../../src/sql/parser.ts';

let postgres: Postgres;
let client: Client;
let parse: (sql: string) => ParsedSql;

beforeAll(async () => {
  [postgres, parse] = await Promise.all([startPostgres({ settings: { max_prepared_transactions: '2' } }), loadParser()]);
  client = new Client({ connectionString: postgres.url() });
  client.on('error', () => undefined);
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await postgres?.stop();
});

/** In order: later ones use what earlier ones make. */
const statements = `
create schema s; create table t (id int primary key, a int); create temp table tt (a int); create table p (a int) partition by list (a)
insert into t values (1, 1); update t set a = 2; delete from t where id = 9; merge into t using (values (1)) v (x) on t.id = v.x when matched then do nothing
select 1; table t; values (1); with x as (delete from t returning 1) select * from x; create view v as select * from t
create materialized view m as select * from t; refresh materialized view m; create table ct as select 1 as a; create sequence q; alter sequence q restart
create index i on t (a); reindex index i; alter index i rename to j; alter table t rename column a to b; alter table t add c int; alter view v rename to w
alter materialized view m rename to n; alter table t owner to postgres; comment on table t is 'x'; create type e as enum ('a'); alter type e add value 'b'
create type comp as (a int); create type r as range (subtype = int); create domain d as int; alter domain d set not null; alter type comp add attribute b int
create function f() returns int language sql as 'select 1'; create procedure pr() language sql as 'select 1'; call pr(); alter function f() stable; do $$ begin end $$
create aggregate ag (int) (sfunc = int4pl, stype = int); create operator ### (function = int4eq, leftarg = int, rightarg = int); drop operator ### (int, int)
create function tf() returns trigger language plpgsql as $$ begin return new; end $$; create trigger tr before insert on t for each row execute function tf()
alter trigger tr on t rename to tr2; create rule ru as on delete to t do nothing; create policy po on t; alter policy po on t using (true); drop policy po on t; drop rule ru on t
create statistics st on id, b from t; alter statistics st set statistics 5; create collation co from "C"; create text search configuration tsc (copy = simple)
create cast (comp as text) with inout; drop cast (comp as text); grant select on t to public; revoke select on t from public; create role ro; alter role ro login
grant ro to postgres; revoke ro from postgres; alter role ro set work_mem = '1MB'; alter role ro rename to rp; alter default privileges grant select on tables to rp
create user us; create group gr; reassign owned by rp to postgres; drop owned by rp; drop role rp; set work_mem = '4MB'; reset work_mem; show work_mem; set role us; reset role
begin; savepoint a; release a; savepoint a; rollback to a; declare c cursor for select 1; fetch c; move c; close c; close all; set constraints all deferred; lock table t; rollback
start transaction; commit; begin; prepare transaction 'x'; rollback prepared 'x'; begin; prepare transaction 'y'; commit prepared 'y'
prepare ps as select 1; execute ps; deallocate ps; deallocate all; discard plans; discard temp; discard sequences; discard all
listen l; notify l; unlisten l; explain select 1; analyze t; vacuum t; checkpoint; cluster t using t_pkey; truncate t; copy t to stdout; copy t to '/dev/null'
create extension hstore; alter extension hstore update; create event trigger et on ddl_command_end execute function nothing(); create publication pub for table t; drop publication pub
create foreign data wrapper fw; create server se foreign data wrapper fw; create foreign table ft (a int) server se; create user mapping for us server se; drop user mapping for us server se
alter server se options (a 'b'); drop foreign table ft; drop server se; drop foreign data wrapper fw; security label on table t is 'x'; alter system set work_mem = '4MB'; alter system reset work_mem
create database db; alter database db set work_mem = '1MB'; drop database db; alter table p attach partition ct default; select * into si from t; drop view w; drop materialized view n
drop index j; drop trigger tr2 on t; drop function tf(); drop procedure pr(); drop aggregate ag (int); drop type e; drop domain d; drop statistics st; drop collation co; drop sequence q
drop text search configuration tsc; drop extension hstore; drop table p; drop schema s; drop table t cascade`
  .split(/;\s*|\n/)
  .map((sql) => sql.trim())
  .filter((sql) => sql !== '');

test('each command has the server\'s tag', async () => {
  const tags: string[] = [];
  // node-postgres keeps the first word only.
  (client as unknown as { connection: NodeJS.EventEmitter }).connection.on('commandComplete', ({ text }: { text: string }) => tags.push(text));
  const wrong: unknown[] = [];
  let ran = 0;
  // A semicolon inside of a body must not split it.
  const whole = statements.join(';').split(/;(?=(?:[^$]|\$(?!\$)|\$\$[^]*?\$\$)*$)/);
  for (const sql of whole) {
    tags.length = 0;
    const isDone = await client.query(sql).then(() => true, () => false);
    const parsed = parse(sql);
    const command = parsed.ok ? parsed.statement.outlines[0]?.command : undefined;
    const tag = tags[0]?.replace(/( \d+)+$/, '');
    if (!isDone || tag === undefined) continue;
    ran++;
    // TRUNCATE and SELECT INTO are told apart better than the server does when it has done them.
    const same = { 'TRUNCATE TABLE': 'TRUNCATE', 'LOCK TABLE': 'LOCK TABLE' }[tag] ?? tag;
    if (command !== same && !(tag === 'SELECT' && /^(?:SELECT INTO|CREATE TABLE AS|CREATE MATERIALIZED VIEW|EXECUTE)$/.test(command ?? ''))) wrong.push([sql, tag, command]);
  }
  expect(wrong).toEqual([]);
  expect(ran).toBeGreaterThan(140);
});
