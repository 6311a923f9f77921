/** Sudden deaths: of the relay, of the database, of the client. What was sent stays on record, and nothing runs on. */
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Client } from 'pg';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';
import { RelayChild } from './relay-child.ts';
import { serialize } from 'pg-protocol';

const child = new RelayChild();
let fixture: RelayFixture;
let tunnel: OpenTunnel;

beforeAll(async () => {
  fixture = await startRelayFixture({ start: child.start });
  fixture.admin.on('error', () => undefined);
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  tunnel = await fixture.connect();
});

async function ask(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  // A client of its own: some of these tests take the server away.
  const client = new Client({ connectionString: fixture.postgres.url('postgres') });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(sql, values)).rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

const pattern = () => `gate/${tunnel.session.id}%`;

async function activeBackends(): Promise<number> {
  const rows = await ask(`select 1 from pg_stat_activity where application_name like $1 and state <> 'idle'`, [pattern()]);
  return rows.length;
}

async function backends(): Promise<number> {
  return (await ask('select 1 from pg_stat_activity where application_name like $1', [pattern()])).length;
}

/** The chain of a session as a stranger would check it; answers statement number, state and SQLSTATE of every intent. */
function story(entries: readonly AuditEntry[]): { sql: string; states: string[] }[] {
  expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
  const events = entries.map(({ event }) => event);
  return events.flatMap((event) => {
    if (event.kind !== 'statement') return [];
    const states = events.flatMap((other) => (other.kind === 'outcome' && other.statement === event.statement ? [other.state] : []));
    return [{ sql: event.sql, states }];
  });
}

describe('kill -9 of the relay', () => {
  async function crash(): Promise<void> {
    await child.end('SIGKILL');
    await fixture.startRelay();
  }

  test('in a statement, in COPY, in a transaction: outcome unknown, rolled back, and the same port serves again', async () => {
    const [sleeping, copying, open] = await Promise.all([tunnel.client(), tunnel.client(), tunnel.client()]);
    await open.query('begin');
    await open.query(`insert into items values (801, 'uncommitted')`);
    const copy = copying.query(copyFrom('copy items (id, name) from stdin'));
    copy.on('error', () => undefined);
    await new Promise((resolve) => copy.write('802\thalf a copy\n', resolve));
    const dies = sleeping.query('select pg_sleep(120)').catch((error: unknown) => error);
    await eventually('all of it runs', async () => (await activeBackends()) === 3);
    await crash();
    expect(await dies).toBeInstanceOf(Error);
    const client = await tunnel.client();
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(await ask('select id from items where id in (801, 802)')).toEqual([]);
    await eventually('nothing of the old life is left', async () => (await backends()) <= 1);
    const told = story(await fixture.entries(tunnel.session.id));
    const states = new Map(told.map(({ sql, states: found }) => [sql, found]));
    expect(states.get('select pg_sleep(120)')).toEqual(['unknown']);
    expect(states.get('copy items (id, name) from stdin')).toEqual(['unknown']);
    expect(states.get('begin')).toEqual(['ok']);
    expect(states.get(`insert into items values (801, 'uncommitted')`)).toEqual(['ok']);
    expect(told.every(({ states: found }) => found.length === 1)).toBe(true);
  });

  test('at random points of a stream of inserts: what is in the database is on record, once each', async () => {
    for (let round = 0; round < 5; round++) {
      const client = await tunnel.client();
      const base = 10_000 + round * 1000;
      const random = (round * 7919 + 13) % 40;
      const sent: Promise<unknown>[] = [];
      const insert = async (n: number) => client.query(`insert into items values (${base + n}, 'round ${round}')`);
      let last: Promise<unknown> = Promise.resolve();
      for (let n = 0; n < 60; n++) {
        last = last.then(() => insert(n)).catch(() => undefined);
        sent.push(last);
      }
      await Promise.race([sent[random], Promise.all(sent)]);
      await crash();
      await Promise.all(sent);
      await eventually('the database has finished with it', async () => (await backends()) === 0);
      const inserted = await ask('select id from items where id >= $1 and id < $1 + 1000 order by id', [base]);
      const told = story(await fixture.entries(tunnel.session.id)).filter(({ sql }) => sql.includes(`'round ${round}'`));
      const recorded = told.map(({ sql }) => Number(/\((\d+),/.exec(sql)?.[1]));
      for (const { id } of inserted) expect(recorded.filter((candidate) => candidate === id)).toEqual([id]);
      expect(told.every(({ states }) => states.length === 1 && ['ok', 'unknown'].includes(states[0] as string))).toBe(true);
      const ok = told.filter(({ states }) => states[0] === 'ok').map(({ sql }) => Number(/\((\d+),/.exec(sql)?.[1]));
      expect(inserted.map(({ id }) => id)).toEqual(expect.arrayContaining(ok));
    }
  });
});

describe('kill -9 of a database process', () => {
  test('in mid-query: the client is told, the outcome is unknown, and the port serves again', async () => {
    const client = await tunnel.client();
    const dies = client.query('select pg_sleep(121)').then(
      () => undefined,
      (error: { code?: string; message: string }) => error,
    );
    await eventually('it runs', async () => (await activeBackends()) === 1);
    const [row] = await ask('select pid from pg_stat_activity where application_name like $1', [pattern()]);
    process.kill(row?.['pid'] as number, 'SIGKILL');
    expect((await dies)?.code).toMatch(/^(08|57)/);
    await eventually('the server has recovered and serves', () =>
      tunnel.client().then(
        (again) => again.query('select 1').then(() => true),
        () => false,
      ),
    );
    const told = story(await fixture.entries(tunnel.session.id));
    expect(told.find(({ sql }) => sql === 'select pg_sleep(121)')?.states).toEqual(['unknown']);
  });
});

describe('a client that vanishes', () => {
  test.each([
    ['in a sleep', 'select pg_sleep(122)'],
    ['in the middle of a result that it does not read', `select repeat('x', 10000) from generate_series(1, 100000)`],
    ['in a COPY out', `copy (select repeat('x', 10000) from generate_series(1, 100000)) to stdout`],
    ['in a COPY in', 'copy items (id, name) from stdin'],
  ])('%s: its work is cancelled, and the outcome is on record', async (_, sql) => {
    const client = await RawClient.logIn(tunnel.port, tunnel.session);
    client.socket.pause();
    client.send(serialize.query(sql));
    await eventually('it runs', async () => (await activeBackends()) === 1);
    client.close();
    await eventually('its backend is gone', async () => (await backends()) === 0);
    await eventually('the record says so', async () => {
      const entries = await fixture.entries(tunnel.session.id);
      return entries.some(({ event }) => event.kind === 'connection.close') && story(entries)[0]?.states.length === 1;
    });
    expect(['error', 'unknown']).toContain(story(await fixture.entries(tunnel.session.id))[0]?.states[0]);
  });

  test('right behind its statements: each that is on record has one outcome', async () => {
    for (let round = 0; round < 20; round++) {
      const client = await RawClient.logIn(tunnel.port, tunnel.session);
      client.send(...Array.from({ length: 5 }, (_, n) => serialize.query(`select ${round}, ${n}`)));
      setTimeout(() => client.close(), round % 5);
      await client.untilClosed();
    }
    await eventually('all connections are closed', async () => {
      const events = (await fixture.entries(tunnel.session.id)).map(({ event }) => event.kind);
      return events.filter((kind) => kind === 'connection.close').length === 20;
    });
    await eventually('every statement has its outcome', async () => {
      const told = story(await fixture.entries(tunnel.session.id));
      return told.every(({ states }) => states.length === 1);
    });
  });
});
