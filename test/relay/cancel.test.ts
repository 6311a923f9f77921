/** A cancel request reaches the statement that it was aimed at, whatever state that is in, and no other. */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { serialize } from 'pg-protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { decodeAuthentication, decodeBackendKeyData } from '../../src/pgwire/backend.ts';
import { encodeStartup } from '../../src/pgwire/frontend.ts';
import { ScramClient } from '../../src/pgwire/scram.ts';
import { CancelKeys } from '../../src/relay/cancel-keys.ts';
import { Journal } from '../../src/relay/journal.ts';
import { StatementParser, type Stopping } from '../../src/relay/parsing.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient, type Address } from './raw-client.ts';

type Key = { readonly pid: number; readonly key: Buffer };
type Cancellable = Key & { readonly client: RawClient };

let fixture: RelayFixture;
let tunnel: OpenTunnel;
let client: RawClient;
let pid: number;
let key: Buffer;

beforeAll(async () => {
  fixture = await startRelayFixture();
  tunnel = await fixture.connect();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  ({ client, pid, key } = await logIn(tunnel));
});
afterEach(() => {
  client.close();
  vi.restoreAllMocks();
});

const sync = serialize.sync();
const query = (sql: string) => serialize.query(sql);
const run = (sql: string) => Buffer.concat([serialize.parse({ text: sql }), serialize.bind({}), serialize.execute({}), sync]);

/** As RawClient does, but with the key for cancelling. */
async function logIn({ port, session }: OpenTunnel, minor = 0): Promise<Cancellable> {
  const raw = await RawClient.open(port);
  raw.send(encodeStartup(minor, { user: session.user, database: session.database }));
  const scram = new ScramClient(session.password, randomBytes(18).toString('base64'));
  await raw.next('R');
  raw.send(serialize.sendSASLInitialResponseMessage('SCRAM-SHA-256', scram.clientFirst));
  const challenge = decodeAuthentication((await raw.next('R')).bytes);
  if (challenge.method !== 'sasl-continue') throw new Error(challenge.method);
  raw.send(serialize.sendSCRAMClientFinalMessage(scram.answer(challenge.data)));
  const keyData = decodeBackendKeyData((await raw.next('K')).bytes);
  await raw.next('Z');
  return { client: raw, ...keyData };
}

/** Resolves when the request has been taken, like PQcancel. */
async function cancel(address: Address, to: { pid: number; key: Buffer }): Promise<void> {
  const request = Buffer.alloc(12 + to.key.length);
  request.writeUInt32BE(request.length, 0);
  request.writeUInt32BE(80877102, 4);
  request.writeInt32BE(to.pid, 8);
  to.key.copy(request, 12);
  const socket = connect(address);
  socket.on('error', () => undefined);
  socket.write(request);
  await new Promise((resolve) => socket.once('close', resolve).resume());
}

async function isActive(sql: string, waitEvent?: string): Promise<boolean> {
  const { rows } = await fixture.admin.query(
    `select wait_event from pg_stat_activity where state = 'active' and query = $1 and usename = 'gate_relay'`,
    [sql],
  );
  return rows.some((row: { wait_event: string }) => waitEvent === undefined || row.wait_event === waitEvent);
}

async function eventsOf(session: string) {
  return (await fixture.entries(session)).map(({ event }) => event);
}

test('1,000 cancels that race the ends of statements: not one hits the next statement', async () => {
  const clients = await Promise.all(Array.from({ length: 10 }, () => logIn(tunnel)));
  const seen = { hit: 0, missed: 0 };
  await Promise.all(
    clients.map(async (own, index) => {
      for (let round = 0; round < 100; round++) {
        const name = `${index}-${round}`;
        // Now and then the cancel comes early, now and then late.
        own.client.send(query(`select pg_sleep(${((round * 7) % 40) / 1000}), 'aimed at ${name}'`));
        const [replies] = await Promise.all([own.client.upToReady(), cancel(tunnel.port, own)]);
        seen[replies.includes('E:57014') ? 'hit' : 'missed']++;
        own.client.send(round % 2 === 0 ? query(`select pg_sleep(0.002), 'spared ${name}'`) : run(`select pg_sleep(0.002), 'spared ${name}'`));
        expect([name, (await own.client.upToReady()).at(-2)]).toEqual([name, 'C:SELECT 1']);
      }
      own.client.close();
    }),
  );
  expect(seen.hit + seen.missed).toBe(1000);
  // Otherwise there was no race. On a busy machine one of the two is rare.
  expect(seen.hit).toBeGreaterThan(5);
  expect(seen.missed).toBeGreaterThan(5);
}, 180_000);

test('keys that are wrong, too short, too long, of another session or of a connection that has ended do nothing', async () => {
  const other = await fixture.connect();
  const gone = await logIn(tunnel);
  gone.client.close();
  const long = await logIn(tunnel, 2);
  expect(long.key.length).toBe(32);
  const sql = `select pg_sleep(60), 'not for you'`;
  client.send(query(sql));
  await eventually('it runs', () => isActive(sql));
  const flipped = Buffer.from(key);
  flipped[3] = (flipped[3] as number) ^ 1;
  await cancel(tunnel.port, { pid, key: flipped });
  await cancel(tunnel.port, { pid: pid ^ 1, key });
  for (const length of [0, 1, 3, 5, 32, 200]) await cancel(tunnel.port, { pid, key: Buffer.concat([key, Buffer.alloc(200)]).subarray(0, length) });
  await cancel(tunnel.port, { pid, key: long.key });
  await cancel(tunnel.port, { pid: long.pid, key: long.key.subarray(0, 4) });
  await cancel(other.port, { pid, key });
  await cancel(tunnel.port, gone);
  expect(await isActive(sql)).toBe(true);
  const before = (await eventsOf(tunnel.session.id)).filter(({ kind }) => kind === 'cancel').length;
  await cancel(tunnel.port, { pid, key });
  expect(await client.upToReady()).toEqual(['T', 'E:57014', 'Z:I']);
  const after = (await eventsOf(tunnel.session.id)).filter(({ kind }) => kind === 'cancel');
  // Each cancel that found its connection is on record; the others are not.
  expect(after.length).toBe(before + 1);
  long.client.close();
});

test("the process id is the server's own, by which a client knows its own notifications", async () => {
  client.send(query(`select 1 / (pg_backend_pid() = ${pid})::int`));
  expect(await client.upToReady()).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
});

test('process ids that two servers share, or that a pooler leaves out, still tell connections apart', () => {
  const keys = new CancelKeys();
  const cancelled: string[] = [];
  const [first, second, none] = ['first', 'second', 'none'].map((name) =>
    keys.issue({ session: 's', cancel: () => cancelled.push(name) }, name === 'none' ? 0 : 4711, 0),
  ) as [Key, Key, Key];
  expect([first.pid, second.pid === 4711, none.pid === 0]).toEqual([4711, false, false]);
  for (const issued of [second, none, first]) keys.use('s', issued.pid, issued.key);
  keys.revoke('s', second.pid);
  keys.use('s', second.pid, second.key);
  expect(cancelled).toEqual(['second', 'none', 'first']);
});

test('a key of protocol 3.2 with its 32 bytes works', async () => {
  const long = await logIn(tunnel, 2);
  const sql = `select pg_sleep(60), 'long key'`;
  long.client.send(query(sql));
  await eventually('it runs', () => isActive(sql));
  await cancel(tunnel.port, long);
  expect(await long.client.upToReady()).toEqual(['T', 'E:57014', 'Z:I']);
  long.client.close();
});

test('a cancel while nothing runs does nothing to what comes next', async () => {
  await cancel(tunnel.port, { pid, key });
  client.send(query('select 1'));
  expect(await client.upToReady()).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
});

describe('a statement that was not sent yet', () => {
  test.each([
    ['simple', query],
    ['extended', run],
  ])('%s, waiting for its record: fails, and is never sent', async (protocol, message) => {
    const sql = `select 'waits for its record ${protocol}'`;
    const record = Object.getOwnPropertyDescriptor(Journal.prototype, 'record')?.value as Journal['record'];
    let release: () => void = () => undefined;
    const waiting = new Promise<void>((resolve) => {
      vi.spyOn(Journal.prototype, 'record').mockImplementation(async function (this: Journal, events) {
        const isIt = events.some((event) => event.kind === 'statement' && event.sql === sql);
        if (isIt) {
          resolve();
          await new Promise<void>((go) => (release = go));
        }
        return record.call(this, events);
      });
    });
    client.send(message(sql));
    await waiting;
    await cancel(tunnel.port, { pid, key });
    release();
    expect(await client.upToReady()).toEqual(['E:57014:cancelled', 'Z:I']);
    client.send(message('select 1'));
    expect((await client.upToReady()).slice(-2)).toEqual(['C:SELECT 1', 'Z:I']);
    expect(await readFile(fixture.postgres.logFile, 'utf8')).not.toContain(sql);
    const events = await eventsOf(tunnel.session.id);
    const statement = events.find((event) => event.kind === 'statement' && event.sql === sql);
    const outcomes = events.filter((event) => event.kind === 'outcome' && statement?.kind === 'statement' && event.statement === statement.statement);
    expect(outcomes).toMatchObject([{ state: 'skipped' }]);
  });

  test.each([
    ['simple', query],
    ['extended', run],
  ])('%s, waiting to be examined: fails at once, and is never sent', async (protocol, message) => {
    const sql = `select 'takes long to examine ${protocol}'`;
    const parse = Object.getOwnPropertyDescriptor(StatementParser.prototype, 'parse')?.value as StatementParser['parse'];
    const waiting = new Promise<void>((resolve) => {
      vi.spyOn(StatementParser.prototype, 'parse').mockImplementation(function (this: StatementParser, text, grammar, stopping) {
        if (text !== sql) return parse.call(this, text, grammar, stopping);
        resolve();
        const signal = (stopping as Stopping)();
        // As when the worker is busy for as long as it may.
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
      });
    });
    client.send(query('begin'), message(sql));
    await waiting;
    await client.upToReady();
    await cancel(tunnel.port, { pid, key });
    expect(await client.upToReady()).toEqual(['E:57014:cancelled', 'Z:E']);
    client.send(query('rollback'));
    expect(await client.upToReady()).toEqual(['C:ROLLBACK', 'Z:I']);
    expect(await readFile(fixture.postgres.logFile, 'utf8')).not.toContain(sql);
    const events = await eventsOf(tunnel.session.id);
    // Of a text that was not examined no more is recorded than what cannot be a secret.
    expect(events.findLast((event) => event.kind === 'statement' && event.effect === 'deny')).toMatchObject({ rule: 'cancelled' });
  });
});

test('of a pipeline only the running statement is hit', async () => {
  const sql = `select pg_sleep(60), 'first of many'`;
  client.send(run(sql), run('select 2'), query('select 3'));
  await eventually('it runs', () => isActive(sql));
  await cancel(tunnel.port, { pid, key });
  const answer = ['1', '2', 'E:57014', 'Z:I', '1', '2', 'D', 'C:SELECT 1', 'Z:I', 'T', 'D', 'C:SELECT 1', 'Z:I'];
  expect(await client.upToReady(3)).toEqual(answer);
});

test('in the middle of COPY in', async () => {
  const sql = 'copy items (id, name) from stdin';
  client.send(query(sql));
  await client.next('G');
  client.send(serialize.copyData(Buffer.from('9001\tx\n')));
  await eventually('it waits for data', () => isActive(sql, 'ClientRead'));
  await cancel(tunnel.port, { pid, key });
  // The server notices when the next row comes.
  client.send(serialize.copyData(Buffer.from('9002\tx\n')));
  expect(await client.upToReady()).toEqual(['E:57014', 'Z:I']);
  client.send(serialize.copyDone(), query('select count(*) from items where id > 9000'));
  expect(await client.upToReady()).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
});

test('in the middle of COPY out, while the client does not read', async () => {
  const sql = `copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout`;
  client.send(query(sql));
  await client.next('H');
  client.socket.pause();
  await eventually('the server waits for the client', () => isActive(sql, 'ClientWrite'));
  await cancel(tunnel.port, { pid, key });
  // It must be the cancel that ends it, not the client's coming back.
  await eventually('the cancel is on record', async () => (await eventsOf(tunnel.session.id)).at(-1)?.kind === 'cancel');
  await sleep(50);
  client.socket.resume();
  const replies = await client.upToReady();
  expect(replies.slice(-2)).toEqual(['E:57014', 'Z:I']);
  client.send(query('select 1'));
  expect(await client.upToReady()).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
});
