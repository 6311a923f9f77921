/** The wall of a grant: whatever a session is doing when it comes, it ends within a second, with the reason. */
import { randomBytes } from 'node:crypto';
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { decodeAuthentication, decodeReport } from '../../src/pgwire/backend.ts';
import { ScramClient } from '../../src/pgwire/scram.ts';
import { Journal } from '../../src/relay/journal.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';

let fixture: RelayFixture;

beforeAll(async () => {
  fixture = await startRelayFixture();
  // Logging in takes a while the first time; the short grants below begin after it.
  await fixture.clientFor('engineer');
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

const bulk = `select repeat('x', 1000) from generate_series(1, 1000000)`;
/** The promise is one second; the rest is for a machine that is busy with other tests. */
const endedWithinMs = 2500;

async function backends({ session }: OpenTunnel): Promise<number> {
  const { rowCount } = await fixture.admin.query(`select 1 from pg_stat_activity where application_name like 'gate/' || $1 || '%'`, [session.id]);
  return rowCount ?? 0;
}

/** Ends when the connection is closed; answers how long past the expiry that was, in milliseconds. */
async function overtime(tunnel: OpenTunnel, client: RawClient): Promise<number> {
  await client.untilClosed().catch(() => undefined);
  return Date.now() - Date.parse(tunnel.session.expiresAt);
}

const cases: [string, (client: RawClient) => Promise<void>, boolean][] = [
  ['idle', async () => undefined, true],
  ['in a sleep', async (client) => client.send(serialize.query('select pg_sleep(60)')), true],
  [
    'idle in a transaction',
    async (client) => {
      client.send(serialize.query(`begin; insert into items values (700, 'x')`));
      await client.upToReady();
    },
    true,
  ],
  [
    'in the middle of COPY in',
    async (client) => {
      client.send(serialize.query('copy items (id, name) from stdin'));
      await client.next('G');
      client.send(serialize.copyData(Buffer.from('701\tx\n')));
    },
    true,
  ],
  [
    'in a COPY out whose rows are larger than what comes at a time',
    async (client) => {
      client.send(serialize.query(`copy (select repeat('x', 3000000) from generate_series(1, 100000)) to stdout`));
      await client.next('d');
    },
    true,
  ],
  ['in the middle of a message', async (client) => client.send(serialize.query('select 1').subarray(0, 7)), true],
  [
    'in the login',
    async () => undefined,
    true,
  ],
];

test.each(cases)('%s: FATAL 57P01 with the reason, the backend gone, all of it on record', async (what, act) => {
  const tunnel = await fixture.connect('engineer', undefined, 3);
  const client = what === 'in the login' ? await RawClient.open(tunnel.port) : await RawClient.logIn(tunnel.port, tunnel.session);
  await act(client);
  await client.until(() => client.replies.findIndex(({ type }) => type === 'E'));
  const error = client.replies.find(({ type }) => type === 'E');
  const fields = decodeReport(error?.bytes as Buffer);
  // A statement that is cut off may say first that it was cancelled.
  expect([fields.get('S'), fields.get('C'), fields.get('R')]).toEqual(['FATAL', '57P01', 'grant-expired']);
  expect(fields.get('M')).toContain('the grant expired at');
  expect(await overtime(tunnel, client)).toBeLessThan(endedWithinMs);
  await eventually('its backend is gone', async () => (await backends(tunnel)) === 0);
  await eventually('the record is closed', async () => (await fixture.entries(tunnel.session.id)).at(-1)?.event.kind === 'session.close');
  const events = (await fixture.entries(tunnel.session.id)).map(({ event }) => event);
  const statements = events.flatMap((event) => (event.kind === 'statement' ? [event.statement] : []));
  expect(events.flatMap((event) => (event.kind === 'outcome' ? [event.statement] : []))).toEqual(statements);
  expect((await fixture.admin.query('select 1 from items where id in (700, 701)')).rowCount).toBe(0);
  await expect(tunnel.client()).rejects.toMatchObject({ code: '57P01', message: expect.stringContaining('expired') });
});

test.each([
  ['a result', bulk],
  ['COPY out', `copy (${bulk}) to stdout`],
])('in the middle of %s that is not read: the database stops within a second or two', async (_, sql) => {
  const tunnel = await fixture.connect('engineer', undefined, 3);
  const client = await RawClient.logIn(tunnel.port, tunnel.session);
  client.socket.pause();
  client.send(serialize.query(sql));
  await eventually('it runs', async () => (await backends(tunnel)) === 1);
  await eventually('the database has stopped', async () => (await backends(tunnel)) === 0);
  expect(Date.now() - Date.parse(tunnel.session.expiresAt)).toBeGreaterThan(0);
  expect(Date.now() - Date.parse(tunnel.session.expiresAt)).toBeLessThan(endedWithinMs + 2000);
  await eventually('the record is closed', async () => (await fixture.entries(tunnel.session.id)).at(-1)?.event.kind === 'session.close');
  const outcome = (await fixture.entries(tunnel.session.id)).find(({ event }) => event.kind === 'outcome')?.event;
  expect(outcome).toMatchObject({ state: expect.stringMatching('error|unknown') });
  client.close();
});

test('a client that reads slowly gets no more than what was on its way', async () => {
  const tunnel = await fixture.connect('engineer', undefined, 3);
  const client = await RawClient.logIn(tunnel.port, tunnel.session);
  client.send(serialize.query(`select repeat('x', 1000), pg_sleep(0.01) from generate_series(1, 100000)`));
  expect(await overtime(tunnel, client)).toBeLessThan(endedWithinMs);
});

test('ten sessions at once, each at its own wall', async () => {
  const tunnels = await Promise.all(Array.from({ length: 10 }, () => fixture.connect('engineer', undefined, 3)));
  const clients = await Promise.all(tunnels.map(({ port, session }) => RawClient.logIn(port, session)));
  for (const client of clients) client.send(serialize.query('select pg_sleep(61)'));
  const late = await Promise.all(clients.map((client, index) => overtime(tunnels[index] as OpenTunnel, client)));
  expect(Math.max(...late)).toBeLessThan(endedWithinMs);
  expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
});

test('a restart of the relay brings no session back, and an expiry while it was down is on record', async () => {
  const tunnel = await fixture.connect('engineer', undefined, 2);
  const longer = await fixture.connect('engineer', undefined, 60);
  await (await tunnel.client()).query('select 1');
  await fixture.stopRelay();
  await eventually('the grant is over', () => Date.now() > Date.parse(tunnel.session.expiresAt));
  await fixture.startRelay();
  await expect(tunnel.client()).rejects.toMatchObject({ code: '57P01', message: expect.stringContaining('expired') });
  expect((await fixture.entries(tunnel.session.id)).at(-1)?.event).toMatchObject({ kind: 'session.close' });
  expect((await (await longer.client()).query('select 1 as one')).rows).toEqual([{ one: 1 }]);
});

test('an end while a login is being recorded: what came right behind the login does not begin', async () => {
  const tunnel = await fixture.connect();
  const { user, database, password, id } = tunnel.session;
  const write = Object.getOwnPropertyDescriptor(Journal.prototype, 'write')?.value as Journal['write'];
  let release: () => void = () => undefined;
  const recording = new Promise<void>((resolve) => {
    vi.spyOn(Journal.prototype, 'write').mockImplementation(async function (this: Journal, events) {
      // The end has begun, and the tunnel is not closed yet.
      if (events.some(({ kind }) => kind === 'connection.close')) release();
      await write.call(this, events);
      if (!events.some(({ kind }) => kind === 'connection.open')) return;
      resolve();
      await new Promise<void>((go) => (release = go));
    });
  });
  const client = await RawClient.open(tunnel.port);
  client.send(serialize.startup({ user, database }));
  const scram = new ScramClient(password, randomBytes(18).toString('base64'));
  await client.next('R');
  client.send(serialize.sendSASLInitialResponseMessage('SCRAM-SHA-256', scram.clientFirst));
  const challenge = decodeAuthentication((await client.next('R')).bytes);
  if (challenge.method !== 'sasl-continue') throw new Error(challenge.method);
  client.send(serialize.sendSCRAMClientFinalMessage(scram.answer(challenge.data)), serialize.query(`insert into items values (702, 'x')`));
  await recording;
  await (await fixture.clientFor('engineer')).endSession(id);
  expect(await client.untilClosed()).toEqual(['E:57P01:session-ended']);
  await eventually('its backend is gone', async () => (await backends(tunnel)) === 0);
  vi.restoreAllMocks();
  expect((await fixture.entries(id)).filter(({ event }) => event.kind === 'statement')).toEqual([]);
});
