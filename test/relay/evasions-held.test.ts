/** Attacks on approvals: nothing runs but what was approved, and only as often as that; and what runs is on record. */
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DeskClient } from './desk-client.ts';
import { bind, close, execute, parse, sync } from './evasions-stage.ts';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';

const policy = `
auditors: [audit]
approvers: { dbas: { groups: [dba] } }
targets:
  prod-db:
    roles:
      engineer:
        groups: [engineering]
        allow: [read]
        maxDuration: 8h
        rules:
          - { name: one, effect: allow, kinds: [read, write], maxRows: 1 }
          - { name: many, effect: hold, kinds: [write], approval: { by: [dbas], within: 10m } }
          - { name: code, effect: hold, kinds: [read, schema], when: statement.runsCode || "schema" in statement.kinds, approval: { by: [dbas] } }
      open: { groups: [engineering], allow: [read, write, schema, admin, unknown], maxDuration: 8h }
`;

let fixture: RelayFixture;
let dba: DeskClient;
let tunnel: OpenTunnel;
let client: RawClient;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  dba = new DeskClient(fixture, 'dba');
  await fixture.admin.query(`
    create schema other;
    create function public.wipe(int) returns int language sql as 'select 1';
    create function public.wipe(text) returns int language sql as $$ delete from items where id > 90; select 2 $$;
    create function public.go_read_write() returns text language sql as $$ select set_config('default_transaction_read_only', 'off', false) $$;`);
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  await fixture.admin.query(`
    truncate items; insert into items select n, 'item ' || n from generate_series(1, 100) n;
    drop table if exists public.doomed, other.doomed; create table public.doomed (id int); create table other.doomed (id int)`);
  tunnel = await fixture.connect('engineer', 'engineer');
  client = await RawClient.logIn(tunnel.port, tunnel.session);
});

const query = (sql: string) => serialize.query(sql);

async function left(): Promise<number> {
  return (await fixture.admin.query(`select 1 from items where name like 'item %'`)).rowCount as number;
}

describe('a portal that was approved', () => {
  /** Binds what is held, gets it approved, does something, and only then runs it. */
  async function runLater(first: Buffer[], statement: string, between: Buffer[], readies: number): Promise<string[]> {
    client.send(...first, parse('held', statement), bind('p', 'held'), sync);
    await dba.approve((await dba.waiting(tunnel.session.id)).id);
    await client.upToReady(2);
    client.send(...between);
    await client.upToReady(readies);
    client.send(execute('p'), sync, query('commit'));
    return (await client.upToReady(2)).filter((reply) => reply !== 'N' && reply !== 'S');
  }

  test('runs as it was approved', async () => {
    const replies = await runLater([query('begin')], `update items set name = 'x' where id < 3`, [query('select 1')], 1);
    expect(replies).toEqual(['C:UPDATE 2', 'Z:T', 'C:COMMIT', 'Z:I']);
    expect(await left()).toBe(98);
    client.close();
  });

  test('does not run when its name was prepared anew', async () => {
    const first = [query('begin'), parse('s', `update items set name = 'x' where id < 3`), sync];
    client.send(...first);
    await client.upToReady(2);
    client.send(parse('held', 'execute s'), bind('p', 'held'), sync);
    await dba.approve((await dba.waiting(tunnel.session.id)).id);
    await client.upToReady();
    client.send(close('S', 's'), parse('s', 'delete from items'), sync);
    await client.upToReady();
    client.send(execute('p'), sync, query('commit'));
    expect((await client.upToReady(2)).filter((reply) => reply !== 'N')).toEqual(['E:42501:denied', 'Z:E', 'C:ROLLBACK', 'Z:I']);
    expect(await left()).toBe(100);
    client.close();
  });

  test('does not run when the search_path was changed', async () => {
    const replies = await runLater([query('begin')], 'drop table doomed', [query('set search_path = other')], 1);
    expect(replies).toEqual(['E:42501:denied', 'Z:E', 'C:ROLLBACK', 'Z:I']);
    expect((await fixture.admin.query(`select to_regclass('other.doomed') is not null as is_there`)).rows).toEqual([{ is_there: true }]);
    client.close();
  });
});

test('an approval is for the types that were declared, too', async () => {
  const patient = await fixture.connect('engineer', 'engineer', undefined, 'prod-db', 0);
  const impatient = await RawClient.logIn(patient.port, patient.session);
  const ask = (type: number) => impatient.send(parse('', 'select wipe($1)', [type]), bind('', '', ['1']), execute(), sync);
  ask(23);
  expect((await impatient.upToReady()).filter((reply) => reply.startsWith('E'))).toEqual([expect.stringContaining('approval-pending')]);
  const { id } = await dba.waiting(patient.session.id);
  await dba.approve(id);
  ask(25);
  expect((await impatient.upToReady()).filter((reply) => reply.startsWith('E'))).toEqual([expect.stringContaining('approval-pending')]);
  expect(await left()).toBe(100);
  ask(23);
  expect(await impatient.upToReady()).toEqual(['1', '2', 'D', 'C:SELECT 1', 'Z:I']);
  expect((await dba.request(id)).state).toBe('used');
  impatient.close();
});

test('one approval that two connections wait for runs once', async () => {
  const second = await RawClient.logIn(tunnel.port, tunnel.session);
  const sql = `update items set name = name || '!'`;
  client.send(query(sql));
  const first = await dba.waiting(tunnel.session.id);
  second.send(query(sql));
  await second.next('N');
  await dba.approve(first.id);
  await client.upToReady();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await fixture.admin.query(`select max(length(name) - length(rtrim(name, '!'))) as times from items`)).rows).toEqual([{ times: 1 }]);
  second.close();
  client.close();
});

test('a portal of the protocol is run by Execute only, so that its statement is on record', async () => {
  client.send(query('begin'), parse('', 'delete from items where id = 1 returning id'), bind('p', ''), sync);
  await client.upToReady(2);
  client.send(query('fetch all from p'), query('rollback'));
  expect(await client.upToReady(2)).toEqual(['E:42501:denied', 'Z:E', 'C:ROLLBACK', 'Z:I']);
  client.send(query('begin'), query('declare p cursor for select 1'), query('fetch all from p'), query('commit'));
  expect((await client.upToReady(4)).slice(-4)).toEqual(['C:FETCH 1', 'Z:T', 'C:COMMIT', 'Z:I']);
  client.close();
});
