/** The shipped roles on real SQL: what people do all day passes, what could hurt does not, however it is written. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { CatalogFile, sessionNames } from '../../src/policy/catalog-file.ts';
import { commandNames } from '../../src/policy/commands.ts';
import { answer } from '../../src/policy/explain.ts';
import { examineParsed } from '../../src/policy/examined.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { loadParser, type ParsedSql } from '../../src/sql/parser.ts';
import { parseYaml } from '../../src/yaml/yaml-file.ts';
import { now, person } from './some.ts';

const policy = parsePolicy(
  `approvers: { dba: { groups: [dba] } }
targets:
  shop:
    roles:
      read-only: { preset: read-only, groups: [g] }
      engineer: { preset: engineer, groups: [g], approvers: [dba] }
      break-glass: { preset: break-glass, groups: [g], approvers: [dba] }
      ci-migration: { preset: ci-migration, groups: [g], approvers: [dba] }
`,
  'policy.yaml',
);
const names = sessionNames(
  parseYaml(
    `tables:
  public.users: { keys: [{ id: bigint }, { email: text }] }
  public.orders: { keys: [{ id: bigint }] }
  public.lines: { keys: [{ order_id: bigint, line: int }] }
views: { public.open_orders: [public.orders] }
functions: [app.purge]
`,
    'catalog.yaml',
    CatalogFile,
  ),
);

let parse: (sql: string) => ParsedSql;
beforeAll(async () => {
  parse = await loadParser();
});

function ask(role: string, sql: string) {
  const examined = examineParsed(parse(sql), names);
  return answer({ policy, principal: person('alice', 'g'), target: { name: 'shop' }, role, examined, now });
}

/** Effects in the order read-only, engineer, ci-migration: a(llow), h(old), d(eny). */
const letters = { allow: 'a', hold: 'h', deny: 'd' };
const effects = (sql: string) => ['read-only', 'engineer', 'ci-migration'].map((role) => letters[ask(role, sql).decision.effect]).join('');

describe('read-only, engineer, ci-migration', () => {
  test.each([
    ['select * from orders', 'aaa'],
    ['select count(*), lower(email) from users group by 2', 'aaa'],
    ['table users', 'aaa'],
    ['select * from open_orders', 'aaa'],
    ['with o as (select * from orders) select * from o join users on true', 'aaa'],
    ["select 'drop table users; delete from orders' as delete", 'aaa'],
    ['select "delete" from (select 1 as "delete") as "drop table users"', 'aaa'],
    ['explain select * from orders', 'aaa'],
    ['explain delete from orders', 'aaa'],
    ['begin; select 1; commit', 'aaa'],
    ['begin read only', 'aaa'],
    ["set work_mem = '64MB'; show work_mem", 'aaa'],
    ['prepare p as select 1; execute p', 'aaa'],
    ['copy orders to stdout', 'aaa'],
    ['declare c cursor for select * from orders', 'aaa'],
    ['update orders set total = 1 where id = 7', 'daa'],
    ["update users set name = 'x' where email = 'a@b'", 'daa'],
    ['delete from lines where order_id = 1 and line = 2', 'daa'],
    ['insert into orders (id) values (1)', 'daa'],
    ['delete from orders where id in (1, 2)', 'dha'],
    ['delete from lines where order_id = 1', 'dhh'],
    ['delete from orders', 'dhh'],
    ['DELETE FROM orders WHERE true', 'dhh'],
    ['delete from orders where id = id', 'dhh'],
    ['delete from orders where id = 1 or 1 = 1', 'dhh'],
    ['select 1; delete from users', 'dhh'],
    ['/* x */ delete/**/from -- y\n users', 'dhh'],
    ['with x as (delete from users returning *) select * from x', 'dhh'],
    ['explain analyze delete from users', 'dhh'],
    ['prepare p as delete from users; execute p', 'dhh'],
    ['merge into orders o using users u on o.id = u.id when matched then delete', 'dhh'],
    ['update orders set total = 0', 'dha'],
    ['insert into orders select * from orders', 'dha'],
    ['copy orders from stdin', 'dha'],
    ['alter table orders drop column id', 'dhh'],
    ['alter table orders add column note text', 'dha'],
    ['select * from orders for update', 'dha'],
    ['select * from orders where id = 1 for update', 'daa'],
    ['lock table orders', 'dha'],
    ['truncate users', 'dhh'],
    ['truncate "users"', 'dhh'],
    ['truncate U&"\\0075sers"', 'dhh'],
    ['drop/**/table users', 'dhh'],
    ['DROP TABLE IF EXISTS users CASCADE', 'dhh'],
    ['drop schema public cascade', 'dhh'],
    ['alter table users add column x int', 'dha'],
    ['create index on users (name)', 'dha'],
    ['create table n as select * from users', 'dha'],
    ['select * into n from users', 'dha'],
    ['select app.purge(1)', 'aha'],
    ['select nowhere(1)', 'aha'],
    ['alter role x superuser', 'ddd'],
    ['grant all on users to public', 'ddd'],
    ['set role postgres', 'ddd'],
    ["copy users to program 'sh'", 'ddd'],
    ["select pg_read_file('/etc/passwd')", 'ddd'],
    ['select pg_terminate_backend(1)', 'ddd'],
    ['do $$ begin delete from users; end $$', 'ddd'],
    ['call p()', 'ddd'],
    ['execute nothing', 'ddd'],
    ['begin read write', 'daa'],
    ['set transaction_read_only = off', 'daa'],
    ['select set_config($1, $2, false)', 'ddd'],
    ['selekt 1', 'ddd'],
  ])('%s: %s', (sql, expected) => {
    expect(effects(sql)).toBe(expected);
  });

  test.each([
    ['delete from orders', 'wide-writes'],
    ['drop table users', 'definitions'],
    ['select app.purge(1)', 'own-code'],
    ['lock table orders', 'table-locks'],
  ])('what an engineer is held for takes two people: %s', (sql, rule) => {
    expect(ask('engineer', sql).decision).toMatchObject({ rule: `shop/engineer/${rule}`, approval: { by: ['dba'], count: 2 } });
  });

  test('break-glass opens everything, and is reviewed', () => {
    for (const sql of ['drop table users', 'do $$ begin end $$', 'alter role x superuser', 'select 1']) {
      expect(ask('break-glass', sql).decision.effect).toBe('allow');
    }
    expect(policy.targets.get('shop')?.find(({ name }) => name === 'break-glass')?.review).toEqual({ by: ['dba'], count: 1, denials: 1, withinSeconds: 72 * 3600 });
  });
});

describe('what psql asks for \\d and its family', () => {
  const queries = JSON.parse(readFileSync(join(import.meta.dirname, 'testdata/psql-describe.json'), 'utf8')) as string[];
  /** They show passwords of other servers, or could. */
  const secret = /\bsubconninfo\b|\bpg_catalog\.pg_user_mappings\b/;

  test.each(['read-only', 'engineer', 'ci-migration', 'break-glass'])('passes %s', (role) => {
    expect(queries.length).toBeGreaterThan(60);
    const refused = queries.filter((sql) => ask(role, sql).decision.effect !== 'allow');
    expect(refused.filter((sql) => !secret.test(sql))).toEqual([]);
  });
});

test('commands that statements have are commands that rules can name', () => {
  const texts = `select 1; insert into orders values (1); truncate orders; lock table orders; drop index i; alter view v rename to w;
    create policy p on orders; comment on table orders is 'x'; discard temp; fetch c; close all; close c; deallocate all; grant a to b;
    create materialized view m as select 1; alter text search dictionary d (x = 1); drop function f; alter index i set (x = 1);
    create aggregate a (int) (sfunc = f, stype = int); drop owned by x; reindex table orders; start transaction; refresh materialized view m;
    alter default privileges grant select on tables to x; import foreign schema a from server b into c; drop operator family f using btree`;
  const commands = texts.split(';').flatMap((sql) => ask('engineer', sql).statements.flatMap(({ facts }) => facts.commands));
  expect(commands.length).toBeGreaterThan(25);
  expect(commands.filter((command) => !commandNames.has(command))).toEqual([]);
});
