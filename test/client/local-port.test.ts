/** The local port against a real relay and database: clients that insist on TLS, a relay that goes away, Unix sockets. */
import { execFile, spawnSync } from 'node:child_process';
import { accessSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { connect as connectTls, type ConnectionOptions as TlsOptions, type TLSSocket } from 'node:tls';
import { Client } from 'pg';
import { serialize } from 'pg-protocol';
import postgresJs from 'postgres';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createLocalIdentity, type LocalIdentity } from '../../src/client/local-ca.ts';
import { startLocalPort, type LocalPort, type LocalPortOptions } from '../../src/client/local-port.ts';
import { openSession, type TimedSession } from '../../src/client/session.ts';
import { decodeReport } from '../../src/pgwire/backend.ts';
import { eventually, startRelayFixture, type RelayFixture } from '../relay/fixture.ts';
import { rawCancel, RawClient } from '../relay/raw-client.ts';

let fixture: RelayFixture;
let session: TimedSession;
let identity: LocalIdentity;
const ends: (() => Promise<unknown>)[] = [];
const sslRequest = serialize.requestSsl();
const gssRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]);

beforeAll(async () => {
  fixture = await startRelayFixture();
  session = await openSession(await fixture.clientFor('engineer'), 'connect', { target: 'prod-db', reason: 'testing' });
  identity = await createLocalIdentity({ directory: fixture.directory, isKeychainWanted: false }, session.deadline);
});
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

type Broken = { readonly reason: string; readonly code: number; readonly isRelayAway: boolean };
type TestPort = LocalPort & { readonly broken: Broken[] };

async function start(more: Partial<LocalPortOptions> = {}): Promise<TestPort> {
  const relay = await fixture.clientFor('engineer');
  const broken: Broken[] = [];
  const port = await startLocalPort({
    relay: relay.url,
    session: session.id,
    accessToken: () => relay.accessToken(),
    listen: { port: 0 },
    onBroken: (reason, code, isRelayAway) => broken.push({ reason, code, isRelayAway }),
    ...more,
  });
  ends.push(() => port.close());
  return { ...port, broken };
}

const login = ({ host, port }: LocalPort) => ({ host, port, user: session.user, password: session.password, database: session.database });

async function open(port: number): Promise<Socket> {
  const socket = connectTcp({ host: '127.0.0.1', port });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

/** The next bytes, or nothing when the connection ends first. */
function read(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    socket.once('data', resolve);
    socket.once('close', () => resolve(Buffer.alloc(0)));
  });
}

function secure(options: TlsOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connectTls({ host: 'localhost', ...options }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Start-up packet in, first error out. */
async function askToLogIn(socket: Socket): Promise<ReadonlyMap<string, string>> {
  socket.write(serialize.startup({ user: session.user, database: session.database }));
  const answer = await read(socket);
  expect(String.fromCharCode(answer[0] as number)).toBe('E');
  return decodeReport(answer);
}

describe('TLS', () => {
  test('node-postgres checks the certificate, by URL and by options', async () => {
    const port = await start({ tls: identity });
    expect(port.host).toBe('localhost');
    const url = `postgresql://${session.user}:${session.password}@localhost:${port.port}/${session.database}`;
    const ca = await readFile(identity.caFile, 'utf8');
    const configurations = [
      { connectionString: `${url}?sslmode=verify-full&sslrootcert=${encodeURIComponent(identity.caFile)}` },
      { ...login(port), ssl: { ca } },
      { ...login(port), host: '127.0.0.1', ssl: { ca } },
      { ...login(port), ssl: { ca }, sslnegotiation: 'direct' },
    ];
    for (const configuration of configurations) {
      const client = new Client(configuration as object);
      await client.connect();
      expect((await client.query('select count(*)::int as n from items')).rows).toEqual([{ n: 100 }]);
      await client.end();
    }
    await expect(new Client({ ...login(port), ssl: true }).connect()).rejects.toThrow(/self-signed|unable to/);
    expect(port.broken.every(({ isRelayAway }) => !isRelayAway)).toBe(true);
  });

  test('postgres.js', async () => {
    const port = await start({ tls: identity });
    const sql = postgresJs({ ...login(port), username: session.user, ssl: { ca: await readFile(identity.caFile, 'utf8') }, max: 2 });
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => sql`select ${n}::int as n`));
    expect(answers.map(([row]) => row?.n)).toEqual(Array.from({ length: 20 }, (_, n) => n));
    await sql.end();
  });

  test('large results and large parameters pass whole', async () => {
    const port = await start({ tls: identity });
    const client = new Client({ ...login(port), ssl: { ca: await readFile(identity.caFile, 'utf8') } });
    await client.connect();
    const value = 'ü'.repeat(3_000_000);
    const { rows } = await client.query('select $1::text as value', [value]);
    expect(rows[0].value === value).toBe(true);
    await client.end();
  });

  test('direct TLS needs the protocol by name, as in PostgreSQL', async () => {
    const port = await start({ tls: identity });
    const ca = await readFile(identity.caFile);
    const named = await secure({ port: port.port, ca, ALPNProtocols: ['postgresql'] });
    expect(named.alpnProtocol).toBe('postgresql');
    named.write(serialize.startup({ user: session.user, database: session.database }));
    expect(String((await read(named)).subarray(9))).toContain('SCRAM-SHA-256');
    named.destroy();
    const unnamed = await secure({ port: port.port, ca });
    expect(await read(unnamed)).toHaveLength(0);
    await expect(secure({ port: port.port, ca, ALPNProtocols: ['http/1.1'] })).rejects.toThrow();
    expect(port.broken.map(({ reason }) => reason).join()).toContain('without naming PostgreSQL');
  });

  test('clear text is refused with the way out, after a request for GSS as well; nothing may hide behind a request', async () => {
    const port = await start({ tls: identity });
    for (const isGssAsked of [false, true]) {
      const socket = await open(port.port);
      if (isGssAsked) {
        socket.write(gssRequest);
        expect(String(await read(socket))).toBe('N');
      }
      const report = await askToLogIn(socket);
      expect([report.get('S'), report.get('C'), report.get('M')]).toEqual(['FATAL', '42501', 'this port takes encrypted connections only']);
      expect(report.get('H')).toContain(identity.caFile);
    }
    for (const bytes of [Buffer.concat([sslRequest, serialize.startup({ user: 'x' })]), Buffer.concat([gssRequest, gssRequest]), Buffer.from('GET / HTTP/1.1\r\n\r\n')]) {
      const socket = await open(port.port);
      socket.write(bytes);
      expect(await read(socket)).toHaveLength(0);
    }
  });

  test('a request in single bytes is understood', async () => {
    const port = await start({ tls: identity });
    const socket = await open(port.port);
    socket.setNoDelay(true);
    for (const byte of sslRequest) {
      socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(String(await read(socket))).toBe('S');
    socket.destroy();
  });

  test('a cancel request in the clear, as libpq before 17 sends it, cancels', async () => {
    const port = await start({ tls: identity });
    const client = new Client({ ...login(port), ssl: { ca: await readFile(identity.caFile, 'utf8') } });
    await client.connect();
    const sleeping = client.query('select pg_sleep(62)');
    await eventually('the sleep runs', async () => (await fixture.admin.query(`select 1 from pg_stat_activity where query = 'select pg_sleep(62)' and state = 'active'`)).rowCount === 1);
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
    await rawCancel({ host: '127.0.0.1', port: port.port }, processID, secretKey);
    await expect(sleeping).rejects.toMatchObject({ code: '57014' });
    await client.end();
  });

  test('closing the port ends encrypted connections too', async () => {
    const port = await start({ tls: identity });
    const client = new Client({ ...login(port), ssl: { ca: await readFile(identity.caFile, 'utf8') } });
    const ended = new Promise((resolve) => client.once('error', resolve));
    await client.connect();
    await port.close();
    expect(await ended).toBeInstanceOf(Error);
  });
});

const psql = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((directory) => join(directory, 'psql'))
  .find((path) => {
    try {
      accessSync(path);
      return true;
    } catch {
      return false;
    }
  });

function runPsql(environment: Record<string, string>, sql = 'select count(*) from items'): Promise<{ stdout: string; stderr: string }> {
  const base = { PATH: process.env['PATH'], PGUSER: session.user, PGDATABASE: session.database, PGPASSWORD: session.password };
  return new Promise((resolve) => {
    execFile(psql as string, ['-XAtc', sql], { env: { ...base, ...environment } }, (_, stdout, stderr) => resolve({ stdout, stderr }));
  });
}

describe.skipIf(psql === undefined)('psql', () => {
  test.each(['require', 'verify-ca', 'verify-full'])('sslmode=%s', async (sslmode) => {
    const port = await start({ tls: identity });
    const environment = { PGHOST: port.host, PGPORT: String(port.port), PGSSLMODE: sslmode, PGSSLROOTCERT: identity.caFile };
    expect(await runPsql(environment)).toEqual({ stdout: '100\n', stderr: '' });
    const { stdout } = await runPsql(environment, '\\conninfo');
    expect(stdout).toContain('SSL connection (protocol: TLSv1.3');
  });

  test('sslmode=disable reads why, and sslmode=verify-full without --tls as well', async () => {
    const secured = await start({ tls: identity });
    expect((await runPsql({ PGHOST: secured.host, PGPORT: String(secured.port), PGSSLMODE: 'disable' })).stderr).toContain(
      'FATAL:  this port takes encrypted connections only\nDETAIL:  Rule: local-tls\nHINT:  Connect with sslmode=verify-full',
    );
    const plain = await start();
    expect((await runPsql({ PGHOST: plain.host, PGPORT: String(plain.port), PGSSLMODE: 'require' })).stderr).toContain('server does not support SSL');
  });

  test('a Unix socket', async () => {
    const directory = join(await makeTemporary(), 'sockets');
    const port = await start({ listen: { directory } });
    expect(await runPsql({ PGHOST: port.host, PGPORT: String(port.port) })).toEqual({ stdout: '100\n', stderr: '' });
  });
});

describe('Unix sockets', () => {
  test('node-postgres, several in one directory, and what a dead gate left is taken over', async () => {
    const directory = await makeTemporary();
    const path = join(directory, '.s.PGSQL.5432');
    const killed = spawnSync(process.execPath, ['-e', `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`, path]);
    expect([killed.signal, (await lstat(path)).isSocket()]).toEqual(['SIGKILL', true]);
    const first = await start({ listen: { directory } });
    const second = await start({ listen: { directory } });
    expect([first.port, second.port]).toEqual([5432, 5433]);
    for (const port of [first, second]) {
      const client = new Client(login(port));
      await client.connect();
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
      await client.end();
    }
    await expect(start({ listen: { directory, port: 5433 } })).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('already listens') });
    await first.close();
    expect((await start({ listen: { directory } })).port).toBe(5432);
  });

  test('a directory that others may enter, and a path that is too long, are refused', async () => {
    const directory = await makeTemporary();
    const opened = join(directory, 'open');
    await mkdir(opened, { mode: 0o755 });
    await expect(start({ listen: { directory: opened } })).rejects.toMatchObject({ code: 'usage', hint: `Run chmod 700 ${opened}` });
    const fits = join(directory, 'x'.repeat(107 - directory.length - '//.s.PGSQL.5432'.length));
    await start({ listen: { directory: fits } });
    await expect(start({ listen: { directory: `${fits}x` } })).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/would take 108 bytes, and the system allows 107/) });
  });
});

describe('a relay that is away', () => {
  test('clients are told, whatever they begin with; port and session serve again when it is back', async () => {
    const port = await start();
    const secured = await start({ tls: identity });
    const before = new Client(login(port));
    before.on('error', () => undefined);
    await before.connect();
    await fixture.stopRelay();
    try {
      const plain = await askToLogIn(await open(port.port));
      const asked = await open(port.port);
      asked.write(sslRequest);
      expect(String(await read(asked))).toBe('N');
      const direct = await secure({ port: secured.port, ca: await readFile(identity.caFile), ALPNProtocols: ['postgresql'] });
      for (const report of [plain, await askToLogIn(asked), await askToLogIn(direct)]) {
        expect([report.get('S'), report.get('C'), report.get('R')]).toEqual(['FATAL', '08006', 'relay-unreachable']);
        expect(report.get('M')).toMatch(/^cannot reach the relay http:\/\/127\.0\.0\.1:\d+: nothing listens there/);
        expect(report.get('H')).toContain('port and password stay');
      }
      expect(port.broken.filter(({ isRelayAway }) => isRelayAway).length).toBeGreaterThanOrEqual(2);
      const silent = await open(port.port);
      await rawCancel({ host: '127.0.0.1', port: port.port }, 1, 2);
      silent.destroy();
    } finally {
      await fixture.startRelay();
    }
    const client = new Client(login(port));
    await client.connect();
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await client.end();
  });

  test('a connection that is cut without a word gets a reason between two messages, and none within one', async () => {
    const { proxy, cut } = await startProxy(Number(new URL(fixture.relayUrl).port));
    const port = await start({ relay: `http://127.0.0.1:${proxy}` });
    const idle = await RawClient.logIn({ host: port.host, port: port.port }, session);
    const half = await RawClient.logIn({ host: port.host, port: port.port }, session);
    // Nobody reads this result, so the cut falls into the middle of it.
    half.socket.pause();
    half.send(serialize.query(`select repeat('x', 60000000)`));
    await eventually('the result is on its way', () => half.socket.bytesRead > 1000 || port.broken.length > 0 || half.socket.readableLength > 1000);
    cut();
    expect(await idle.untilClosed()).toEqual(['E:08006:relay-unreachable']);
    half.socket.resume();
    expect((await half.untilClosed()).filter((reply) => reply.startsWith('E'))).toEqual([]);
    expect(port.broken.map(({ code, isRelayAway }) => [code, isRelayAway])).toContainEqual([1006, true]);
  });

  test('closing the port does not wait for a relay that stands still', async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address() as { port: number };
    ends.push(() => new Promise((resolve) => server.close(resolve)));
    const port = await start({ relay: `http://127.0.0.1:${address.port}` });
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    const client = await open(port.port);
    const held = await accepted;
    const gone = new Promise((resolve) => held.once('close', resolve));
    held.on('error', () => undefined).resume();
    await port.close();
    await gone;
    expect(port.broken).toEqual([]);
    client.destroy();
  });
});

test('a session that was ended is named to the client, with the code of its end', async () => {
  const relay = await fixture.clientFor('engineer');
  const own = await openSession(relay, 'connect', { target: 'prod-db', reason: 'testing' });
  const port = await start({ session: own.id });
  await relay.endSession(own.id);
  const report = await askToLogIn(await open(port.port));
  expect([report.get('S'), report.get('C'), report.get('R')]).toEqual(['FATAL', '57P01', 'session-ended']);
  expect(port.broken.map(({ code, isRelayAway }) => [code, isRelayAway])).toEqual([[4411, false]]);
});

async function makeTemporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'gate-port-'));
  ends.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Between local port and relay, to be cut as a network is. */
async function startProxy(relayPort: number): Promise<{ proxy: number; cut: () => void }> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connectTcp({ host: '127.0.0.1', port: relayPort });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => sockets.forEach((socket) => socket.resetAndDestroy());
  ends.push(async () => {
    cut();
    await new Promise((resolve) => server.close(resolve));
  });
  return { proxy: (server.address() as { port: number }).port, cut };
}
