/** Ways around masks that were open once: clauses that nobody walked, values that nobody wrote, keys that tell. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Client } from 'pg';
import { viewsCharactersMax } from '../../src/mask/analyse.ts';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

const policy = `
auditors: [audit]
targets:
  prod-db:
    masks:
      rules:
        - { name: cards, columns: [public.customers.card, public.uq.card, public.gen.card, public.rls.card, public.loose.card, public.twice.card, public.child.parent], mask: { partial: { last: 4 } } }
        - { name: clear, columns: [public.customers.id, public.customers.name, public.customers.region, public.customers.tags, public.uq.id, "public.gen.*", public.rls.id, public.loose.id, public.loose.name, public.twice.id, public.twice.name, public.child.id], mask: clear }
    roles:
      engineer: { groups: [engineering], allow: [read, write, schema, admin, unknown], maxDuration: 8h }
`;
const schema = `
create table customers (id int primary key, name text, region text, tags int[], card text, unique (region, card));
insert into customers values (1,'Ann','EU','{1}','4111111111111111'),(2,'Bob','US','{2}','4111111111111111'),(3,'Cid','DE','{3}','5555555555554444');
create function peek(text) returns bool language plpgsql stable as $$ begin return (select card like $1 || '%' from customers where id = 1); end $$;
create function stolen() returns text language sql stable as 'select card from customers where id = 1';
create table gen (id int primary key, card text, tail text generated always as (right(card, 6)) stored); insert into gen values (1, '4111');
create table rls (id int, card text); alter table rls enable row level security; create policy p on rls using (card like '4%');
create table rls_code (id int); alter table rls_code enable row level security; create policy p on rls_code using (peek(id::text));
create table loose (id int primary key, name text, card text); insert into loose values (1, 'a', '4111'); alter table loose add check (card not like '4%') not valid;
create table twice (id int primary key, name text, card text); insert into twice values (1, 'a', '4'), (2, 'b', '4');
create table parent (id int primary key, name text); insert into parent values (1, 'a'), (2, 'b');
create table child (id int primary key, parent int references parent); insert into child values (1, 1);
create domain dom as text check (value = 'ok' or peek(value));
create table plain (id int primary key, arr int[], note text default stolen(), d dom, label text);
create type holder as (d dom); create view key_view as select current_setting('gate.mask_inner', true) as k;
create table tidy (id int primary key, arr int[], label text);
create table log (id int primary key, what text default stolen());
create function on_up() returns trigger language plpgsql as $$ begin new.label := stolen(); return new; end $$;
create table trig (id int primary key, label text);
create trigger up before update on trig for each row execute function on_up();
create table fk (id int primary key, card text); create table uq (id int primary key, card text unique); create table ufk (id int primary key, card text references uq (card));
create view low as select c.id, lower(c.name::varchar) as l from customers c;
create function lower(varchar) returns text language sql stable as 'select card from public.customers where id = 1';
create function bad_eq(varchar, varchar) returns bool language plpgsql stable as $$ begin raise exception 'LEAK %', public.stolen(); end $$;
create operator === (leftarg = varchar, rightarg = varchar, function = bad_eq);
create view tables as select n.nspname, c.relname, k.card from pg_class c join pg_namespace n on n.oid = c.relnamespace left join customers k on k.id = 1;
insert into plain values (1, null, 'n', 'ok', null); create view v_plain as select * from plain; create materialized view m_plain as select * from plain; create table doms (id int primary key, d dom[]); create table rows (id int primary key, r plain);
create type plainrow as (a int); create sequence counter; select nextval('counter');
create table dflt (id int primary key default length(stolen()), note text); insert into dflt values (7, 'x'), (16, 'stolen');
create table follows (id int primary key, parent int default length(stolen()) references dflt on delete set default); insert into follows values (1, 7);
insert into uq values (1, '4111'), (2, '4222'); insert into ufk values (1, '4111');
create table part (id int, k int, label text, primary key (id, k)) partition by list (k);
create table part1 partition of part for values in (1);
create table part2 partition of part for values in (2);
create trigger up before insert on part2 for each row execute function on_up();
alter table customers add column late text default 'DEFAULTSECRET'; insert into trig values (1,'x'); insert into part values (1,1,'x'); insert into tidy values (1,'{1}','a');
`;

/** Each reads the one below twice. The lowest is as long as lets the third come to below the limit of all together, and the fourth to more. */
const views = [`create view pad0 as select id, card, '${'x'.repeat(10_000)}' as pad from customers`, ...[1, 2, 3, 4].map((level) => `create view pad${level} as select a.id, b.card from pad${level - 1} a, pad${level - 1} b`)].join(';\n');

let fixture: RelayFixture;
let client: Client;
beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  await fixture.admin.query(`${schema};\n${views}`);
  await expect(fixture.admin.query('create unique index concurrently on twice (card)')).rejects.toThrow('unique');
  client = await (await fixture.connect('engineer', 'engineer')).client();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

test.each([
  ['limit of VALUES', "insert into customers (id, name) values (10,'x'),(11,'y') limit (select length(card) - 15 from customers where id = 1)"],
  ['order of VALUES', "insert into customers (id, name) values (20,'x'),(21,'y') order by (select card from customers where id = 1) limit 1"],
  ['subscript of a target with masks', "insert into customers (id, tags[(select substr(card,1,2)::int from customers where id = 1)]) values (30, 1) returning tags"],
  ['subscript of a target', "insert into tidy (id, arr[(select substr(card,1,2)::int from customers where id = 1)]) values (31, 1) returning array_lower(arr,1)"],
  ['function in a subscript', "insert into tidy (id, arr[length(stolen())]) values (32, 1) returning array_lower(arr,1)"],
  ['array of a domain', "select '{411}'::_dom"],
  ['array of rows', "select null::_customers"],
  ['type in a text', "select pg_input_is_valid('411', 'dom')"],
  ['row filled from JSON', "select jsonb_populate_record(p, '{\"d\":\"411\"}') from plain p"],
  ['DEFAULT among values', "insert into log (id, what) values (1, default) returning what"],
  ['DEFAULT in SET', "update log set what = default where id = 1 returning what"],
  ['DEFAULT in a row of SET', "update log set (what) = row (default) where id = 1 returning what"],
  ['trigger of the other half of an upsert', "insert into trig (id, label) values (1, 'q') on conflict (id) do update set label = 'z' returning label"],
  ['default behind an upsert', "insert into log (id) values (3) on conflict (id) do update set what = 'n' returning what"],
  ['row that moves between partitions', "update part set k = 2 where id = 1 and k = 1 returning label"],
  ['key with a masked column', "update customers set region = 'US' where id = 1"],
  ['foreign key to a masked column', "insert into ufk values (1, '4111')"],
  ['row filled from JSON through record', "select jsonb_populate_record(p::record, '{\"d\":\"411\"}') from plain p"],
  ['row filled from JSON by names', "select jsonb_populate_record(from_json => '{\"d\":\"411\"}', base => p) from plain p"],
  ['ON CONFLICT about a masked column', "insert into uq (id, card) values (9, '1') on conflict (card) do nothing"],
  ['ON CONFLICT by a masked key', "insert into customers (id, name) values (1, 'x') on conflict (region, card) do nothing"],
  ['ON CONFLICT by a constraint', "insert into customers (id, name) values (1, 'x') on conflict on constraint customers_pkey do nothing"],
  ['ON CONFLICT WHERE a masked column', "insert into customers (id, name) values (1, 'x') on conflict (id) do update set name = 'y' where customers.card like '4%'"],
  ['ON CONFLICT that copies a masked column', "insert into customers (id, name) values (1, 'x') on conflict (id) do update set name = customers.card"],
  ['ON CONFLICT with a sub-select', "insert into customers (id, name) values (1, 'x') on conflict (id) do update set name = (select 'y')"],
  ['ON CONFLICT that writes a masked column', "insert into customers (id, name) values (1, 'x') on conflict (id) do update set card = excluded.card"],
  ['ON CONFLICT of a key with a masked column', "insert into customers (id, name) values (1, 'x') on conflict (id) do update set region = 'US'"],
  ['RETURNING of a row in an expression', "update customers set name = 'Ann' where id = 1 returning length(customers::text)"],
  ['RETURNING of all in an expression', "update customers set name = 'Ann' where id = 1 returning row(customers.*)"],
  ['RETURNING of a field of a row', "update customers set name = 'Ann' where id = 1 returning (customers).card || ''"],
  ['RETURNING of the old masked column', "update customers set name = 'Ann' where id = 1 returning old.card || ''"],
  ['RETURNING that computes', "update customers set name = 'Ann' where id = 1 returning md5(card)"],
  ['RETURNING with a sub-select', "update customers set name = 'Ann' where id = 1 returning (select card)"],
  ['RETURNING of a row as text', "update customers set name = 'Ann' where id = 1 returning customers::text"],
  ['RETURNING of a cast', "delete from customers where id = 3 returning card::text"],
  ['check that old rows need not meet', "update loose set name = 'x' where id = 1"],
  ['unique index that was never finished', "update twice set name = 'x' where id = 1"],
  ['delete of what a masked column refers to', 'delete from parent where id = 1'],
  ['key that a masked column refers to', 'update parent set id = 9 where id = 1'],
  ['row security by a masked column', 'select id from rls'],
  ['row security by code of a user', 'select id from rls_code'],
  ['generated column that only a pattern names', 'select tail from gen'],
  ['operator of a user', `select 'a'::varchar === 'b'::varchar`],
  ['operator of a user, qualified', `select 'a'::varchar operator(public.===) any (array['b'::varchar])`],
  ['literal made into an array of a domain', "select array_position(d, '411') from doms"],
  ['column that is an array of a domain', `insert into doms values (1, '{"411"}')`],
  ['column that is a row', `insert into rows values (1, null)`],
  ['composite with a domain', 'select null::holder'],
  ['delete of what a foreign key refers to', 'delete from uq where id = 2'],
  ['default of a row that follows a delete', 'delete from dflt where id = 7'],
  ['parenthesised DEFAULT', 'update log set (what, id) = (default, 1) where id = 1 returning what'],
  ['COPY of the stored defaults', 'copy pg_attribute to stdout'],
  ['TABLESAMPLE of the stored defaults', 'select * from pg_attribute tablesample system (100)'],
  ['setting of the relay in a view', 'select * from key_view'],
])('refused: %s', async (_, sql) => {
  await expect(client.query(sql)).rejects.toMatchObject({ code: '42501' });
});

test('views of views come to so much and no more', async () => {
  const tunnel = await fixture.connect('engineer', 'engineer');
  const own = await tunnel.client();
  expect((await own.query<{ n: number }>('select count(*)::int as n from pad3')).rows[0]?.n).toBeGreaterThan(0);
  const { message } = await own.query('select count(*) from pad4').then(() => ({ message: '' }), (error: Error) => error);
  expect(message).toContain(`more than ${viewsCharactersMax} characters`);
  await own.end();
  const sent = (await fixture.entries(tunnel.session.id)).flatMap(({ event }) => (event.kind === 'statement' && event.sent !== undefined ? [event.sent.length] : []));
  expect(sent[0]).toBeGreaterThan(viewsCharactersMax * 0.3);
});

test.each([
  ["insert into tidy (id, arr[2]) values (91, 5) returning arr[2] as x", 5],
  ["insert into tidy values (1, '{}', 'new') on conflict (id) do update set label = excluded.label returning label as x", 'new'],
  ["insert into customers (id, name) values (90, 'z') returning card as x", null],
  ["update customers set name = 'Ann' where id = 1 returning upper(name) || '/' || id as x", 'ANN/1'],
  ["insert into customers (id, name) values (2, 'Bob') on conflict (id) do update set name = excluded.name || '!' where customers.id < 9 returning name as x", 'Bob!'],
  ["insert into customers (id, name) values (2, 'Bob') on conflict (id) do update set name = excluded.name returning card as x", '************1111'],
  ["insert into customers (id, name) values (77, 'new') on conflict do nothing returning id as x", 77],
  ["update parent set name = 'c' where id = 1 returning name as x", 'c'],
  ["update customers set name = 'Ann' where id = 1 returning card as x", '************1111'],
  ["update customers set name = 'Anna' where id = 1 returning name as x", 'Anna'],
  ["select '{a}'::_text as x", ['a']],
  ['select id as x from customers as c -- a comment behind the alias\n tablesample system (100) where id = 1', 1],
  ["select array_append(array_agg(d), '411')::text as x from plain", '{ok,411}'],
  ["select lag(d, 1, '411') over () as x from plain", '411'],
  ["select array_append(array_agg(d), '411')::text as x from v_plain", '{ok,411}'],
  ["select lag(d, 1, '411') over () as x from m_plain", '411'],
  ['select row_to_json(p)::text as x from plain p', '{"id":1,"arr":null,"note":"n","d":"ok","label":null}'],
  ['select l as x from low where id = 2', 'bob'],
  ['with pg_class as (select 1 as oid) select relname as x from tables where relname = $$pg_namespace$$', 'pg_namespace'],
  ['select last_value as x from pg_sequences where sequencename = $$counter$$', null],
  ["select count(*)::int as x from (select * from pg_attribute) a where a::text like '%DEFAULTSECRET%'", 0],
  ["select count(*)::int as x from pg_attribute a where row_to_json(a)::text like '%DEFAULTSECRET%'", 0],
  ["select jsonb_populate_record(null::plainrow, '{\"a\":3}')::text as x", '(3)'],
  ["select array[1]::int4[] as x", [1]],
])('admitted: %s', async (sql, value) => {
  const { rows } = await client.query<{ x: unknown }>(sql);
  expect(rows).toEqual([{ x: value }]);
});

test('code that orders values of the server without being named stops everything, as long as it is there', async () => {
  const asked = () => client.query('select 1').then(() => 'admitted', (error: Error) => error.message);
  await fixture.admin.query(`create function compare(json, json) returns int language plpgsql immutable as $$ begin return 0; end $$;
    create operator class json_ops default for type json using btree as function 1 compare(json, json)`);
  await vi.waitFor(async () => expect(await asked()).toBe("the operator family json_ops for json runs code of the database's own, which any expression may call"), 60_000);
  await fixture.admin.query('drop operator class json_ops using btree; drop operator family if exists json_ops using btree; drop function compare(json, json)');
  await vi.waitFor(async () => expect(await asked()).toBe('admitted'), 60_000);
});
