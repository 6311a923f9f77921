/** What a session leaves: shapes and tables in the open, texts and rows sealed, digests, logins, refusals; and no canary in plain text. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { serialize } from 'pg-protocol';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AuditEntry, EventOf } from '../../src/audit/entry.ts';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';
import { RelayChild } from './relay-child.ts';

const canary = 'content-canary-5526';
const child = new RelayChild();
let fixture: RelayFixture;
let tunnel: OpenTunnel;

const policy = `
auditors: [audit]
approvers: { dbas: { groups: [dba] } }
targets:
  prod-db:
    masks:
      rules:
        - { name: names, columns: [public.items.name], mask: { partial: { last: 4 } } }
        - { name: rest, columns: ["public.items.*"], mask: clear }
    roles:
      engineer:
        groups: [engineering]
        allow: [read, write]
        maxDuration: 8h
        recordRows: true
        approvers: [dbas]
        rules: [{ name: bulk, effect: hold, commands: [DELETE], approval: { within: 60s } }]
      plain:
        groups: [engineering]
        allow: [read, write]
        maxDuration: 8h
`;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy, start: child.start });
  await fixture.admin.query('create table notes (id int primary key, note text)');
  tunnel = await fixture.connect();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

async function eventsOf<K extends AuditEntry['event']['kind']>(session: string, kind: K): Promise<EventOf<K>[]> {
  const entries = await fixture.entries(session);
  return entries.flatMap(({ event }) => (event.kind === kind ? [event as EventOf<K>] : []));
}

describe('rows on record, as the client saw them', () => {
  test('by simple and extended protocol, masked, in text and binary, several results of one text', async () => {
    const client = await tunnel.client();
    const { rows } = await client.query('select id, name from items order by id limit 2');
    await client.query('select id, name from items where id = $1', [7]);
    const raw = await RawClient.logIn(tunnel.port, tunnel.session);
    raw.send(serialize.query('select 1 as one; select null as two, 3 as three'));
    await raw.upToReady();
    raw.send(serialize.parse({ text: 'select id from items where id = 5' }), serialize.bind({ binary: true }), serialize.execute({}), serialize.sync());
    await raw.upToReady();
    raw.close();
    const results = await eventsOf(tunnel.session.id, 'result');
    expect(rows[0]).toEqual({ id: 1, name: expect.stringMatching(/^\*+em 1$/) });
    expect(results.map(({ columns, rows: kept }) => [columns.map(({ name }) => name), kept])).toEqual([
      [['id', 'name'], (rows as { id: number; name: string }[]).map(({ id, name }) => [String(id), name])],
      [['id', 'name'], [['7', expect.stringMatching(/\*em 7$/)]]],
      [['one'], [['1']]],
      [['two', 'three'], [[null, '3']]],
      [['id'], [[{ base64: 'AAAABQ==' }]]],
    ]);
    const outcomes = await eventsOf(tunnel.session.id, 'outcome');
    expect(outcomes.filter(({ digest }) => /^[0-9a-f]{64}$/.test(digest ?? '')).map(({ statement }) => statement)).toEqual([1, 2, 3, 4]);
  });

  test('are cut at 1000 rows and at 1 MiB, which the record says, and every byte is in the digest', async () => {
    const other = await fixture.connect();
    const client = await other.client();
    for (const rows of [1000, 1001, 5000]) await client.query(`select n from generate_series(1, ${rows}) n`);
    await client.query(`select repeat('x', 100000) from generate_series(1, 50)`);
    const results = await eventsOf(other.session.id, 'result');
    expect(results.map(({ rows, isCut }) => [rows.length, isCut])).toEqual([[1000, undefined], [1000, true], [1000, true], [10, true]]);
    expect((await eventsOf(other.session.id, 'outcome')).map(({ rows }) => rows)).toEqual([1000, 1001, 5000, 50]);
  });

  test('where the policy does not ask for them: a number and a digest, the same for the same rows and keys', async () => {
    const other = await fixture.connect('engineer', 'plain');
    const client = await other.client();
    for (const sql of ['select 1', 'select 1', 'select 2', 'insert into notes values (1, null)']) await client.query(sql);
    expect(await eventsOf(other.session.id, 'result')).toEqual([]);
    const digests = (await eventsOf(other.session.id, 'outcome')).map(({ digest }) => digest);
    expect(digests[0]).toBe(digests[1]);
    expect(digests[2]).not.toBe(digests[0]);
    expect(digests[3]).toBeUndefined();
  });
});

test('statements say in the open what they touch, without their literals', async () => {
  const other = await fixture.connect();
  const client = await other.client();
  await client.query(`select note -- a comment\n from notes where note <> '${canary}' and id = 4711`);
  await client.query(`insert into notes (id, note) values ($1, $2)`, [4711, canary]);
  await client.query('drop table items').catch(() => undefined);
  const [read, write, refused] = await eventsOf(other.session.id, 'statement');
  expect(read).toMatchObject({ shape: 'select note from notes where note <> ? and id = ?', tables: ['public.notes'] });
  expect(read?.sql).toContain(canary);
  expect(write).toMatchObject({ shape: 'insert into notes (id, note) values ($1, $2)', tables: ['public.notes'], parameters: ['4711', canary] });
  expect(refused).toMatchObject({ effect: 'deny', shape: 'drop table items' });
});

test('beside the sessions stand the start of the relay, logins, and refusals of grants', async () => {
  const client = await fixture.clientFor('engineer');
  await expect(client.createGrant({ target: 'prod-db', role: 'nothing', reason: 'x' })).rejects.toMatchObject({ code: 'denied' });
  const events: AuditEntry['event'][] = [];
  for await (const { event } of (await fixture.clientFor('operator')).decisions()) events.push(event);
  expect(events[0]).toMatchObject({ kind: 'relay.start', after: 'nothing' });
  expect(events).toContainEqual(expect.objectContaining({ kind: 'login', who: expect.objectContaining({ name: 'engineer' }) }));
  expect(events).toContainEqual(expect.objectContaining({ kind: 'grant.deny', target: 'prod-db', role: 'nothing', rule: 'prod-db/nothing/groups' }));
});

/** Every file below, as bytes. */
async function filesBelow(directory: string): Promise<[string, Buffer][]> {
  const names = await readdir(directory, { recursive: true });
  const files = await Promise.all(names.map(async (name) => ((await stat(join(directory, name))).isFile() ? [[name, await readFile(join(directory, name))] as [string, Buffer]] : [])));
  return files.flat();
}

test('a canary in texts, parameters, rows, copies, errors and held statements stands in no file in plain text', { timeout: 60_000 }, async () => {
  const client = await tunnel.client();
  await client.query(`select '${canary}' as a, $1::text as b`, [canary]).catch(() => undefined);
  await client.query(`select '${canary}'`);
  await client.query('select $1::text', [canary]);
  await client.query(`selec '${canary}'`).catch(() => undefined);
  await client.query(`select '${canary}`).catch(() => undefined);
  await client.query(`select '${canary}'::int`).catch(() => undefined);
  await client.query(`prepare p as select '${canary}'`);
  await client.query(`do $$ begin raise notice '${canary}'; end $$`).catch(() => undefined);
  const copy = client.query(copyFrom('copy notes (id, note) from stdin'));
  await new Promise((resolve) => copy.end(`9001\t${canary}\n`, () => resolve(undefined)));
  const out = client.query(copyTo(`copy (select '${canary}' as x) to stdout`));
  out.resume();
  await new Promise((resolve) => out.once('end', resolve));
  const raw = await RawClient.logIn(tunnel.port, tunnel.session);
  raw.send(serialize.query(`delete from notes /* ${canary} */ where note = '${canary}'`));
  await expect.poll(async () => ((await (await fixture.clientFor('dba')).requests({ states: ['pending'] })).length), { timeout: 20_000 }).toBeGreaterThan(0);
  raw.close();
  await client.end();
  for (const bytes of [Buffer.from(canary), Buffer.from(canary, 'utf16le'), Buffer.from(Buffer.from(canary).toString('base64').slice(0, 20))]) {
    for (const [name, content] of await filesBelow(fixture.directory)) expect(content.includes(bytes), name).toBe(false);
  }
  // The search itself works: those who may read it find it.
  expect((await eventsOf(tunnel.session.id, 'statement')).filter(({ sql }) => sql.includes(canary)).length).toBeGreaterThan(5);
});

test('an orderly stop is an entry, and the next start says how the last one ended', async () => {
  await fixture.stopRelay();
  await fixture.startRelay();
  await child.end('SIGKILL');
  await fixture.startRelay();
  const events: AuditEntry['event'][] = [];
  for await (const { event } of (await fixture.clientFor('operator')).decisions()) events.push(event);
  const life = events.flatMap((event) => (event.kind === 'relay.start' ? [event.after] : event.kind === 'relay.stop' ? ['stops'] : []));
  expect(life).toEqual(['nothing', 'stops', 'stop', 'crash']);
});
