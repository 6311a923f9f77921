/** Masks through a whole relay: what a principal with masks sees, writes, and is refused, on a real server. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Client, QueryResult } from 'pg';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

const policy = `
auditors: [audit]
tags:
  contact: [public.customers.email, public.customers.phone]
targets:
  prod-db:
    masks:
      rules:
        - { name: cards, columns: ["*.customers.card"], mask: { partial: { last: 4 } }, exempt: [{ groups: [dba], reason: operations, until: 2099-12-31 }] }
        - { name: contact, tags: [contact], mask: email, exempt: [{ groups: [dba], reason: operations, until: 2099-12-31 }] }
        - { name: pins, columns: [public.customers.pin, public.people.pin, public.ledger.pin], mask: "null", exempt: [{ groups: [dba], reason: operations, until: 2099-12-31 }] }
        - { name: born, columns: [public.customers.born], mask: { bucket: { unit: year } }, exempt: [{ groups: [dba], reason: operations, until: 2099-12-31 }] }
        - { name: tax, columns: [public.customers.tax], mask: hash, exempt: [{ groups: [dba], reason: operations, until: 2099-12-31 }] }
        - { name: declared, columns: [public.declared.id, public.declared.name], mask: clear }
        - { name: clear, columns: [public.customers.id, public.customers.name, public.customers.balance, public.people.id, public.ledger.amount], mask: clear }
    roles:
      engineer: { groups: [engineering], allow: [read, write, schema, admin, unknown], maxDuration: 8h }
      dba: { groups: [dba], allow: [read, write, schema, admin, unknown], maxDuration: 8h }
`;

const schema = `
create table customers (
  id int primary key, name text not null, email text unique, phone text, card text, pin int, born date, tax varchar(40), balance numeric(12,2) default 0,
  notes text, tail text generated always as (right(card, 12)) stored
);
insert into customers (id, name, email, phone, card, pin, born, tax, balance, notes) values
  (1, 'Ann', 'ann@mail.test', '12', '4111111111111111', 1234, '1984-05-06', 'DE-1', 10, 'secret notes'),
  (2, 'Bob', 'bob@mail.test', null, '5555555555554444', 4321, '1990-01-02', 'DE-1', 20, 'more notes');
create table orders (id int primary key, customer_id int references customers, amount int, status text default 'new');
insert into orders select n, 1 + n % 2, n * 10, 'new' from generate_series(1, 20) n;
create table people (id int, pin int);
create table staff (badge text) inherits (people);
insert into staff values (1, 77, 'b');
create view cards as select id, card as cc, 'c:' || card as label from customers;
create view declared as select id, name, card from customers;
create materialized view copies as select id, card from customers;
create table ledger (pin int, amount int) partition by range (pin);
create table ledger_low partition of ledger for values from (0) to (5000);
insert into ledger values (1234, 10);
create table lists (id int primary key, words text[]);
create function card_of(int) returns text language sql stable as 'select card from customers where id = $1';
create function card_text(customers) returns text language sql immutable as 'select $1.card';
create function upper(int) returns text language sql stable as 'select card from customers limit 1';
create function noted() returns trigger language plpgsql as $$ begin raise notice 'was %', old.card; return new; end $$;
create trigger noted after update of balance on customers for each row execute function noted();
`;

let fixture: RelayFixture;
let client: Client;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  await fixture.admin.query(schema);
  client = await (await fixture.connect('engineer', 'engineer')).client();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

type Failure = Error & { code?: string; detail?: string; hint?: string; position?: string };

async function rows(sql: string, values?: unknown[]): Promise<unknown[]> {
  const { rows: found } = (await client.query(sql, values)) as QueryResult<Record<string, unknown>>;
  return found;
}

async function refusal(sql: string, values?: unknown[]): Promise<Failure> {
  return client.query(sql, values).then(
    () => expect.fail(`not refused: ${sql}`),
    (error: unknown) => error as Failure,
  );
}

describe('what is read', () => {
  test('each mask in its type, unclassified columns not at all', async () => {
    const [ann, bob] = (await client.query('select * from customers order by id')).rows as Record<string, unknown>[];
    expect(ann).toMatchObject({ id: 1, name: 'Ann', email: '***@mail.test', phone: '[redacted]', card: '************1111', pin: null, balance: '10.00' });
    expect(ann?.['tax']).toMatch(/^gm_[0-9a-f]{32}$/);
    expect(ann?.['tax']).toBe(bob?.['tax']);
    expect(String(ann?.['born'])).toContain('1984');
    expect(bob).toMatchObject({ phone: null });
    expect(Object.keys(ann ?? {})).toEqual(['id', 'name', 'email', 'phone', 'card', 'pin', 'born', 'tax', 'balance']);
  });

  test.each([
    ['select reverse(card) as x from customers where id = 1', '1111************'],
    ['select c.card::text || c.id as x from public.customers as c where id = 1', '************11111'],
    ["select to_jsonb(c) ->> 'card' as x from customers c where id = 1", '************1111'],
    ['select (c).card as x from customers c where id = 1', '************1111'],
    ['select public.customers.card as x from public.customers where public.customers.id = 1', '************1111'],
    ['with customers as (select * from customers) select card as x from customers where id = 1', '************1111'],
    ['select cc as x from cards where id = 1', '************1111'],
    ['select label as x from cards where id = 1', 'c:************1111'],
    ['select x from (table customers) t(x) where x = 1', 1],
    ["select count(*)::int as x from customers where card like '4%'", 0],
    ['select name as x from declared where id = 1', 'Ann'],
    ['select max(card) as x from only customers tablesample bernoulli (100)', '************4444'],
    ['select pin as x from people', null],
    ['select pin as x from staff', null],
    ["select pg_sleep(0.01)::text as x", ''],
    ['select amount as x from ledger', 10],
    ['select upper(name) as x from customers where id = 1', 'ANN'],
    ["select 'x' as x from customers c join orders o on o.customer_id = c.id group by c.id limit 1", 'x'],
    ["select c.name || count(*) as x from customers c join orders o on o.customer_id = c.id group by c.id order by c.id limit 1", 'Ann10'],
    ['select card as x from customers where id = 1 for update', '************1111'],
    ["select current_setting('server_encoding') as x", 'UTF8'],
    ["select setting as x from pg_settings where name = 'standard_conforming_strings'", 'on'],
    ["select relname as x from pg_catalog.pg_class where relname = 'customers'", 'customers'],
    ["/* 'c' */ select U&\"c\\0061rd\" as x from cu\u200bstomers".replace('\u200b', '') + ' where id = 1 -- end', '************1111'],
  ])('%s', async (sql, expected) => {
    expect(await rows(sql)).toEqual([{ x: expected }]);
    expect((await rows(`select * from (${sql.replace(/ -- end$/, '')}) q where $1 = 1`.replace(' for update) q', ') q'), [1]))[0]).toEqual({ x: expected });
  });

  test('cursors, COPY, prepared statements, EXPLAIN', async () => {
    await client.query('begin; declare c cursor for select card from customers order by id');
    expect(await rows('fetch all from c')).toEqual([{ card: '************1111' }, { card: '************4444' }]);
    await client.query('commit; prepare p(int) as select card from customers where id = $1');
    expect(await rows('execute p(1)')).toEqual([{ card: '************1111' }]);
    expect(await rows('prepare q as select 1 as x; execute q')).toBeUndefined();
    const plan = (await client.query('explain select card from customers where id = 1')).rows.map((row) => Object.values(row as object)[0]).join('\n');
    expect(plan).toContain('Index Scan');
    expect(plan).not.toContain('cost=');
  });
});

describe('what is refused, by its element', () => {
  test.each([
    ["select query_to_xml('select 1', true, false, '')", 'masks/function', 'query_to_xml'],
    ['select card_of(1)', 'masks/function', 'card_of'],
    ['select c.card_text from customers c', 'masks/function', 'card_text'],
    ['select (c).card_text from customers c', 'masks/function', 'card_text'],
    ['select upper(1)', undefined, ''],
    ['select * from copies', 'masks/relation', 'copies'],
    ['select pg_sleep(pin) from customers', 'masks/function', 'pg_sleep'],
    ['select * from pg_stats', 'masks/relation', 'pg_stats'],
    ['select count(*) from ledger_low', 'masks/relation', 'ledger_low'],
    ['insert into orders (id, status) select 98, cc from cards', 'masks/write', 'masks'],
    ['select * from pg_stat_activity', 'masks/relation', 'pg_stat_activity'],
    ['select notes from customers', 'masks/column', 'notes'],
    ['select c.tail from customers c', 'masks/column', 'tail'],
    ['select ctid from customers', 'masks/column', 'ctid'],
    ['select card from declared', 'masks/column', 'card'],
    ['select * into t2 from customers', 'masks/statement', 'SELECT INTO'],
    ['create table t3 as select 1', 'masks/statement', 'CREATE TABLE AS'],
    ['do $$ begin end $$', 'masks/statement', 'DO'],
    ['explain analyze select 1', 'masks/statement', 'ANALYZE'],
    ['listen x', 'masks/statement', 'LISTEN'],
    ['set search_path to pg_temp', 'masks/setting', 'search_path'],
    ["select current_setting('gate.mask_inner')", 'masks/setting', 'gate.mask_inner'],
    ['show gate.mask_inner', 'masks/setting', 'gate.mask_inner'],
    ["select current_setting('gate.' || 'mask_inner')", 'masks/setting', 'current_setting'],
    ["select set_config('app.x', card, false) from customers", 'masks/setting', ''],
    ["copy customers to '/tmp/x'", 'masks/statement', 'files'],
    ['with d as (delete from orders returning *) select * from d', 'masks/write', 'WITH'],
    ['select 1 from nowhere', 'masks/relation', 'nowhere'],
    ["select 'x'::customers", 'masks/type', 'customers'],
    ['insert into orders (id, status) select 99, card from customers', 'masks/write', 'masks'],
    ["update customers set card = 'x' where id = 1", 'masks/write', 'card'],
    ["update customers set name = 'x'", 'masks/write', 'WHERE'],
    ["update customers set name = card where id = 1", 'masks/column', 'card'],
    ["update customers set balance = 1 where id = 1", 'masks/write', 'noted'],
    ["delete from customers where id = 1 and card like '4%'", 'masks/column', 'card'],
    ["update customers set name = c.name from customers c where customers.id = 1", 'masks/write', 'FROM'],
    ["insert into lists (id, words[(select length(card) from customers where id = 1)]) values (1, 'x')", 'masks/write', 'reads columns with masks'],
    ["insert into customers (id, name) values (8, 'x') limit (select length(card) from customers where id = 1)", 'masks/write', 'limitCount'],
    ['delete from orders where id = id or id is null', 'masks/write', 'WHERE'],
    ['select 1 from orders for update', 'masks/write', 'lock'],
    ["update orders set status = '************1111' where id = 1", 'masks/value', '************1111'],
  ])('%s', async (sql, rule, text) => {
    const error = await refusal(sql);
    if (rule === undefined) return expect(error.code).toBe('42883');
    expect({ code: error.code, detail: error.detail }).toEqual({ code: '42501', detail: `Rule: ${rule}` });
    expect(error.message).toContain(text);
    expect(error.hint).toBeTruthy();
    expect(await rows('select 1 as ok')).toEqual([{ ok: 1 }]);
  });

  test('a mask that comes back as a parameter', async () => {
    expect((await refusal('update orders set status = $1 where id = 1', ['***@mail.test'])).detail).toBe('Rule: masks/value');
  });
});

describe('what is written', () => {
  test('bounded writes of columns without masks, RETURNING masked', async () => {
    expect(await rows("insert into customers (id, name) values (3, 'Cyd') returning *")).toMatchObject([{ id: 3, name: 'Cyd', card: null }]);
    expect(await rows("update customers set name = 'Cyd!' where id = 3 and name = 'Cyd' returning id, card as c, email")).toEqual([{ id: 3, c: null, email: null }]);
    expect(await rows('delete from customers where id in (3, 4) returning name')).toEqual([{ name: 'Cyd!' }]);
    expect((await client.query("update orders set status = 'done' where id in (1, 2) and amount < 100")).rowCount).toBe(2);
    expect((await client.query("insert into orders (id, amount) values (50, 1) on conflict (id) do update set amount = excluded.amount")).rowCount).toBe(1);
  });

  test('errors quote no row', async () => {
    const error = await refusal("insert into customers (id, name) values (1, 'x')");
    expect(error.code).toBe('23505');
    expect(error.detail).toBeUndefined();
  });
});

test('positions of errors are those of the own text', async () => {
  const sql = "select 'ä', c.card from customers c where nothing_here = 1";
  expect(Number((await refusal(sql)).position)).toBe(sql.indexOf('nothing_here') + 1);
});

test('the record says what was masked, by which rule, and what was sent', async () => {
  const tunnel = await fixture.connect('engineer', 'engineer');
  const own = await tunnel.client();
  await own.query('select card from customers');
  const statement = (await fixture.entries(tunnel.session.id)).map(({ event }) => event).find((event) => event.kind === 'statement');
  expect(statement).toMatchObject({ sql: 'select card from customers' });
  expect(statement?.masked).toContainEqual({ column: 'public.customers.card', rule: 'prod-db/masks/cards', kind: 'partial' });
  expect(statement?.sent).toContain('"public"."customers"');
  expect(statement?.sent).not.toMatch(/[0-9a-f]{64}/);
});

test('an explanation says what would be masked and sent, or refused', async () => {
  const relay = await fixture.clientFor('engineer');
  const answer = await relay.explain({ target: 'prod-db', role: 'engineer', sql: 'select card from customers' });
  expect(answer.masks).toMatchObject({ level: 'proven', sent: expect.stringContaining('"public"."customers"') as string });
  expect(answer.masks?.columns).toContainEqual({ column: 'public.customers.card', rule: 'prod-db/masks/cards', kind: 'partial' });
  const refused = await relay.explain({ target: 'prod-db', role: 'engineer', sql: 'select * from pg_stats' });
  expect(refused.masks?.refusal?.rule).toBe('masks/relation');
});

test('who is exempt sees the values, on any statement', async () => {
  const own = await (await fixture.connect('dba', 'dba')).client();
  expect((await own.query('select card, notes from customers where id = 1')).rows).toEqual([{ card: '4111111111111111', notes: 'secret notes' }]);
});
