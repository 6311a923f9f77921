/** Two people on one relay: neither sees, stops, or slows down the other. */
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient, rawCancel } from './raw-client.ts';
import { RawTunnel } from './raw-tunnel.ts';
import { RelayChild } from './relay-child.ts';

const child = new RelayChild();
let fixture: RelayFixture;
let engineer: OpenTunnel;
let dba: OpenTunnel;

beforeAll(async () => {
  fixture = await startRelayFixture({ start: child.start });
  engineer = await fixture.connect('engineer');
  dba = await fixture.connect('dba');
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

async function isRunning(sql: string): Promise<boolean> {
  const { rowCount } = await fixture.admin.query(`select 1 from pg_stat_activity where state = 'active' and query = $1`, [sql]);
  return rowCount === 1;
}

test('the cancel key of one does nothing at the port of another, nor do guesses at its own', async () => {
  const client = await dba.client();
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const sql = 'select pg_sleep(63)';
  const sleeping = client.query(sql).catch((error: { code: string }) => error.code);
  await eventually('it runs', () => isRunning(sql));
  await rawCancel(engineer.port, processID, secretKey);
  for (let guess = 0; guess < 20; guess++) await rawCancel(dba.port, processID, secretKey ^ (1 << guess));
  await rawCancel(dba.port, processID + 1, secretKey);
  // The process id is the server's own, which is no secret; the key is the relay's.
  const { rows } = await fixture.admin.query(`select pid from pg_stat_activity where query = $1`, [sql]);
  expect(rows).toEqual([{ pid: processID }]);
  expect(await isRunning(sql)).toBe(true);
  await rawCancel(dba.port, processID, secretKey);
  expect(await sleeping).toBe('57014');
});

test('a key of the first connection of a session reaches only that connection, and only what runs', async () => {
  const [one, two] = await Promise.all([engineer.client(), engineer.client()]);
  const key = one as unknown as { processID: number; secretKey: number };
  const sleeping = two.query('select pg_sleep(0.5)');
  await eventually('it runs', () => isRunning('select pg_sleep(0.5)'));
  await rawCancel(engineer.port, key.processID, key.secretKey);
  expect((await sleeping).rowCount).toBe(1);
  expect((await one.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
});

test('the key of a connection that is closed is worth nothing', async () => {
  const gone = await engineer.client();
  const key = gone as unknown as { processID: number; secretKey: number };
  await gone.end();
  await rawCancel(engineer.port, key.processID, key.secretKey);
  expect((await (await engineer.client()).query('select 1 as one')).rows).toEqual([{ one: 1 }]);
});

test('cancels that race the end of statements hit no other statement', async () => {
  const client = await engineer.client();
  const key = client as unknown as { processID: number; secretKey: number };
  const storm = { isOn: true };
  const cancelling = (async () => {
    while (storm.isOn) await rawCancel(engineer.port, key.processID, key.secretKey);
  })();
  const witness = await engineer.client();
  let cancelled = 0;
  for (let round = 0; round < 60; round++) {
    await client.query('select pg_sleep(0.02)').catch((error: { code: string }) => {
      expect(error.code).toBe('57014');
      cancelled++;
    });
    // The connection beside it is never the one that is hit.
    expect((await witness.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  }
  storm.isOn = false;
  await cancelling;
  expect(cancelled).toBeGreaterThan(0);
  expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
}, 120_000);

test('the tunnel of one with the token of the other, the port of one with the password of the other', async () => {
  const token = await (await fixture.clientFor('engineer')).accessToken();
  const answer = await RawTunnel.open(fixture.relayUrl, `/v1/sessions/${dba.session.id}/tunnel`, { authorization: `Bearer ${token}` });
  expect(answer.status).toBe(404);
  const mixed = { user: engineer.session.user, database: engineer.session.database, password: dba.session.password };
  await expect(RawClient.logIn(engineer.port, mixed)).rejects.toThrow('E:28P01');
  const other = { user: dba.session.user, database: dba.session.database, password: dba.session.password };
  await expect(RawClient.logIn(engineer.port, other)).rejects.toThrow('E:28P01');
});

test('an auditor sees every session, others their own, and nobody ends one of somebody else', async () => {
  const [mine, all] = await Promise.all([fixture.clientFor('engineer'), fixture.clientFor('operator')]);
  expect((await mine.sessions()).every(({ principal }) => principal.name === 'engineer')).toBe(true);
  expect(new Set((await all.sessions()).map(({ principal }) => principal.name))).toEqual(new Set(['engineer', 'dba']));
  await expect(mine.session(dba.session.id)).rejects.toMatchObject({ code: 'not-found' });
  await expect(all.endSession(dba.session.id)).rejects.toMatchObject({ code: 'not-found' });
  await expect(mine.endSession(dba.session.id)).rejects.toMatchObject({ code: 'not-found' });
});

test('settings, temporary tables and prepared statements of one connection are not those of another', async () => {
  const [one, two] = await Promise.all([dba.client(), dba.client()]);
  await one.query('create temp table mine (id int)');
  await one.query(`set timezone = 'Pacific/Chatham'`);
  await one.query('prepare secret as select 1');
  await expect(two.query('select * from mine')).rejects.toMatchObject({ code: '42P01' });
  expect((await two.query('show timezone')).rows[0].TimeZone).not.toBe('Pacific/Chatham');
  await expect(two.query('execute secret')).rejects.toMatchObject({ code: '26000' });
});

test('one who asks for 100 MB and never reads does not stall another, and costs little memory', async () => {
  const before = (await child.memory()).now;
  const lazy = await Promise.all(Array.from({ length: 3 }, () => RawClient.logIn(engineer.port, engineer.session)));
  for (const client of lazy) {
    client.socket.pause();
    client.send(serialize.query(`select repeat('x', 100000) from generate_series(1, 1000)`));
  }
  await eventually('all of them are stuck', async () => {
    const { rowCount } = await fixture.admin.query(`select 1 from pg_stat_activity where wait_event = 'ClientWrite' and application_name like 'gate/%'`);
    return rowCount === 3;
  });
  const busy = await dba.client();
  for (let n = 0; n < 100; n++) expect((await busy.query('select $1::int as n', [n])).rows).toEqual([{ n }]);
  expect((await child.memory()).peak - before).toBeLessThan(128_000_000);
  for (const client of lazy) client.close();
  await eventually('the database is rid of them', async () => {
    const { rowCount } = await fixture.admin.query(`select 1 from pg_stat_activity where wait_event = 'ClientWrite'`);
    return rowCount === 0;
  });
});

test('one who sends without end and is not read by the database does not stall another', async () => {
  const before = (await child.memory()).now;
  const client = await RawClient.logIn(engineer.port, engineer.session);
  // The lock makes COPY wait, so the data that follows has nowhere to go.
  await fixture.admin.query('begin; lock table items in access exclusive mode');
  client.send(serialize.query('copy items (id, name) from stdin'));
  const data = serialize.copyData(Buffer.alloc(1024 * 1024, 0x78));
  let sent = 0;
  while (sent < 200 && client.socket.writableLength < 64 * 1024 * 1024) {
    sent++;
    client.socket.write(data);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const busy = await dba.client();
  for (let n = 0; n < 50; n++) expect((await busy.query('select $1::int as n', [n])).rows).toEqual([{ n }]);
  expect((await child.memory()).peak - before).toBeLessThan(160_000_000);
  client.close();
  await fixture.admin.query('rollback');
});
