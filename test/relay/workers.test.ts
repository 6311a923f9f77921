/** gate relay --workers, as processes and under TLS: one port, one record and one state, whichever worker a tunnel comes to. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatVerifierKey } from '../../src/audit/checkpoint.ts';
import { verifyRecord } from '../../src/audit/verify.ts';
import { createLocalhostCertificate } from '../../src/client/certificate.ts';
import { evidenceFiles } from '../../src/store/evidence-files.ts';
import { loadLogSecrets } from '../../src/store/log-secrets.ts';
import { DeskClient } from './desk-client.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { rawCancel } from './raw-client.ts';

const policy = `
auditors: [audit]
administrators: [dba]
approvers: { dbas: { groups: [dba] } }
targets:
  prod-db: &target
    roles:
      engineer:
        groups: [engineering, operations]
        allow: [read, write]
        maxDuration: 8h
        rules:
          - { name: updates, effect: hold, commands: [UPDATE], approval: { by: [dbas], within: 10m } }
  fast-db: *target
  warm-db: *target
`;
const moreSettings = `
  fast-db: { host: 127.0.0.1, port: @PORT@, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable, durability: before-result }
  warm-db: { host: 127.0.0.1, port: @PORT@, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable, warmUpstreams: 1 }
tls: { certificateFile: certificate.pem, keyFile: key.pem }
`;

let directory: string;
let fixture: RelayFixture;
let relay: ChildProcess;
/** Two sessions, each served by another worker. */
let tunnels: readonly [OpenTunnel, OpenTunnel];

beforeAll(async () => {
  // The certificate of the relay is made here, and this process must take it.
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  directory = await mkdtemp(join(tmpdir(), 'gate-workers-test-'));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  await writeFile(join(directory, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await writeFile(join(directory, 'certificate.pem'), certificate(privateKey));
  fixture = await startRelayFixture({ directory, policy, start, targets: moreSettings });
  tunnels = await openOnBoth();
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
});

function certificate(privateKey: KeyObject): string {
  const day = 86_400_000;
  const lifetime = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
  return createLocalhostCertificate({ publicKey: createPublicKey(privateKey), commonName: 'relay', issuer: { commonName: 'relay', privateKey }, ...lifetime });
}

async function start(configFile: string) {
  const program = join(import.meta.dirname, '../../dist/gate.cjs');
  const child = spawn(process.execPath, [program, 'relay', '--config', configFile, '--workers', '2', '--json', '--watch-stdin'], { stdio: ['pipe', 'pipe', 'pipe'] });
  relay = child;
  let said = '';
  child.stderr.on('data', (text: Buffer) => (said += text.toString()));
  const ready = await new Promise<{ url: string; port: number }>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', (line) => resolve(JSON.parse(line) as { url: string; port: number }));
    child.once('exit', () => reject(new Error(said)));
  });
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  };
  return { ...ready, stop, reloadPolicy: async () => void child.kill('SIGHUP') };
}

/** Of the process: proc_pid_task_children(5). */
async function workers(): Promise<number[]> {
  const children = await readFile(`/proc/${relay.pid}/task/${relay.pid}/children`, 'utf8');
  return children.trim().split(' ').filter((pid) => pid !== '').map(Number);
}

/** The worker that has the socket to the database: proc_net(5), proc_pid_fd(5). The list of sockets is not read in one piece, and may lack some. */
async function workerOf({ session }: OpenTunnel): Promise<number> {
  const { rows } = await fixture.admin.query('select client_port from pg_stat_activity where application_name like $1 order by backend_start desc limit 1', [`gate/${session.id}%`]);
  const port = Number(rows[0]?.client_port).toString(16).toUpperCase().padStart(4, '0');
  const ofPort = new RegExp(`^ *\\d+: [0-9A-F]{8}:${port} (?:\\S+ +){7}(\\d+)`, 'gm');
  let found: number | undefined;
  await eventually(`a worker serves ${session.id}`, async () => {
    const sockets = [...(await readFile('/proc/net/tcp', 'utf8')).matchAll(ofPort)].map(([, inode]) => `socket:[${inode}]`);
    for (const pid of await workers()) {
      const files = await readdir(`/proc/${pid}/fd`);
      const links = await Promise.all(files.map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => '')));
      if (links.some((link) => sockets.includes(link))) found = pid;
    }
    return found !== undefined;
  });
  return found as number;
}

async function openOnBoth(): Promise<[OpenTunnel, OpenTunnel]> {
  const first = await fixture.connect();
  await first.client();
  for (let attempt = 0; attempt < 30; attempt++) {
    const second = await fixture.connect('operator', undefined, undefined, 'fast-db');
    await second.client();
    if ((await workerOf(second)) !== (await workerOf(first))) return [first, second];
  }
  throw new Error('one worker got everything');
}

const events = async ({ session }: OpenTunnel) => (await fixture.entries(session.id)).map(({ event }) => event);
const states = async (tunnel: OpenTunnel, sql: string) => {
  const all = await events(tunnel);
  const numbers = all.flatMap((event) => (event.kind === 'statement' && event.sql === sql ? [event.statement] : []));
  return numbers.map((number) => all.flatMap((event) => (event.kind === 'outcome' && event.statement === number ? [event.state] : [])));
};
const failure = (query: Promise<unknown>) => query.then(() => undefined, (error: { code?: string; message: string }) => error);
const running = async (sql: string) => (await fixture.admin.query(`select 1 from pg_stat_activity where query = $1 and state = 'active'`, [sql])).rowCount;

test('connections of several sessions: each statement on record once, numbered without gaps, with its client and its outcome', async () => {
  const clients = (await Promise.all(tunnels.map(async (tunnel) => Promise.all(Array.from({ length: 6 }, () => tunnel.client()))))) as [Client[], Client[]];
  await Promise.all(clients.flatMap((own, session) => own.map(async (client, place) => {
    for (let n = 0; n < 15; n++) expect((await client.query(`select ${session} as a, ${place} as b, ${n} as c`)).rows).toEqual([{ a: session, b: place, c: n }]);
  })));
  await Promise.all(clients.flat().map((client) => client.end()));
  for (const [session, tunnel] of tunnels.entries()) {
    await eventually('all of them are closed', async () => (await events(tunnel)).filter(({ kind }) => kind === 'connection.close').length === 6);
    const all = await events(tunnel);
    const statements = all.flatMap((event) => (event.kind === 'statement' ? [event] : []));
    expect(statements.map(({ statement }) => statement)).toEqual(Array.from({ length: 90 }, (_, index) => index + 1));
    expect(new Set(statements.map(({ sql }) => sql)).size).toBe(90);
    expect(statements.every(({ sql }) => sql.startsWith(`select ${session} as a`))).toBe(true);
    const outcomes = all.flatMap((event) => (event.kind === 'outcome' ? [event] : []));
    expect(outcomes.map(({ statement }) => statement).toSorted((a, b) => a - b)).toEqual(statements.map(({ statement }) => statement));
    expect(outcomes.every(({ state }) => state === 'ok')).toBe(true);
    const opened = all.flatMap((event) => (event.kind === 'connection.open' ? [event] : []));
    expect(opened.map(({ connection }) => connection).toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(opened.map(({ clientAddress }) => clientAddress)).size).toBe(7);
    for (const { clientAddress } of opened) expect(clientAddress).toMatch(/^127\.0\.0\.1:\d+$/);
  }
});

test('a cancel request and an approval find their statement', async () => {
  for (const [place, tunnel] of tunnels.entries()) {
    const client = await tunnel.client();
    const sleeping = `select pg_sleep(60 + ${place})`;
    const cancelled = failure(client.query(sleeping));
    await eventually('it runs', async () => (await running(sleeping)) === 1);
    const key = client as unknown as { processID: number; secretKey: number };
    await rawCancel(tunnel.port, key.processID, key.secretKey);
    expect(await cancelled).toMatchObject({ code: '57014' });

    const held = client.query(`update items set name = 'held' where id = ${place + 1}`);
    const dba = new DeskClient(fixture, 'dba');
    await dba.approve((await dba.waiting(tunnel.session.id)).id);
    expect((await held).rowCount).toBe(1);
    const gone = failure(client.query(`update items set name = 'gone' where id = ${place + 1}`));
    const { id } = await dba.waiting(tunnel.session.id);
    await rawCancel(tunnel.port, key.processID, key.secretKey);
    expect(await gone).toMatchObject({ code: '57014' });
    await eventually('the request is withdrawn', async () => (await dba.request(id)).state === 'withdrawn');
    await client.end();
  }
});

test('a policy that is read again is in force in both', async () => {
  const clients = await Promise.all(tunnels.map((tunnel) => tunnel.client()));
  await writeFile(join(directory, 'policy.yaml'), policy.replace('[read, write]', '[read]'));
  relay.kill('SIGHUP');
  for (const client of clients) {
    await eventually('writes are refused', async () => (await failure(client.query('delete from items where id = 900')))?.code === '42501');
  }
  await writeFile(join(directory, 'policy.yaml'), policy);
  relay.kill('SIGHUP');
  for (const client of clients) {
    await eventually('writes are let through', async () => (await failure(client.query('delete from items where id = 900'))) === undefined);
    await client.end();
  }
});

test('a worker that dies takes its connections only; what ran is unknown, what waited is withdrawn, and its sessions go on', async () => {
  const [unhurt, hurt] = tunnels;
  // A tunnel that came in by the worker that dies breaks, too, though its session is served by the other.
  const others = await Promise.all(Array.from({ length: 10 }, () => unhurt.client()));
  const [client, holder] = [await hurt.client(), await hurt.client()];
  const pid = await workerOf(hurt);
  const sleeping = 'select pg_sleep(71)';
  const dies = failure(client.query(sleeping));
  const held = failure(holder.query(`update items set name = 'never' where id = 1`));
  const lives = others.map((other) => other.query('select pg_sleep(1), 7 as seven').then(({ rows }) => rows[0]?.seven as number, () => 'broken'));
  await eventually('it runs', async () => (await running(sleeping)) === 1);
  const dba = new DeskClient(fixture, 'dba');
  const { id } = await dba.waiting(hurt.session.id);
  process.kill(pid, 'SIGKILL');
  expect(await dies).toBeDefined();
  expect(await held).toBeDefined();
  expect(await Promise.all(lives)).toContain(7);
  const again = await hurt.client();
  expect((await again.query('select 8 as eight')).rows).toEqual([{ eight: 8 }]);
  expect(await states(hurt, sleeping)).toEqual([['unknown']]);
  const all = await events(hurt);
  expect(all.filter((event) => event.kind === 'connection.close' && event.reason === 'a worker of the relay stopped without warning')).not.toHaveLength(0);
  const numbers = all.flatMap((event) => (event.kind === 'statement' ? [event.statement] : []));
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  await eventually('the request is withdrawn', async () => (await dba.request(id)).state === 'withdrawn');
  await eventually('there are two workers again', async () => (await workers()).length === 2 && !(await workers()).includes(pid));
  await again.end();
});

test('a session that is ended, and a grant that is revoked, end at once on either worker', async () => {
  for (const account of ['engineer', 'engineer', 'engineer', 'engineer']) {
    const tunnel = await fixture.connect(account);
    const client = await tunnel.client();
    const sleeping = `select pg_sleep(80), '${tunnel.session.id}'`;
    const ended = failure(client.query(sleeping));
    await eventually('it runs', async () => (await running(sleeping)) === 1);
    const before = performance.now();
    await new DeskClient(fixture, 'dba').revoke(tunnel.session.grant, 'enough');
    expect((await ended)?.message).toContain('the grant was revoked by dba');
    expect(performance.now() - before).toBeLessThan(1000);
    expect((await events(tunnel)).at(-1)).toMatchObject({ kind: 'session.close' });
    expect(await running(sleeping)).toBe(0);
  }
});

test('without the primary the workers are gone at once, and nothing is forwarded any more', async () => {
  const pids = await workers();
  expect(pids).toHaveLength(2);
  const clients = await Promise.all(tunnels.map((tunnel) => tunnel.client()));
  const sent: Promise<unknown>[] = [];
  for (const [place, client] of clients.entries()) {
    for (let n = 0; n < 200; n++) sent.push(failure(client.query(`insert into items values (${1000 + place * 1000 + n}, 'last')`)));
  }
  await Promise.race(sent.slice(20, 21));
  const exited = once(relay, 'exit');
  relay.kill('SIGKILL');
  await exited;
  await eventually('the workers are gone', async () => pids.every((pid) => !isAlive(pid)));
  await Promise.all(sent);
  await eventually('the database has finished', async () => {
    const { rowCount } = await fixture.admin.query(`select 1 from pg_stat_activity where application_name like 'gate/%'`);
    return rowCount === 0;
  });
  await fixture.startRelay();
  const { rows } = await fixture.admin.query(`select id from items where name = 'last'`);
  const recorded = new Set((await Promise.all(tunnels.map(events))).flat().flatMap((event) => (event.kind === 'statement' ? [event.sql] : [])));
  expect(rows.length).toBeGreaterThan(0);
  for (const { id } of rows) expect(recorded).toContain(`insert into items values (${id}, 'last')`);
});

test('what a worker opens ahead is taken by the next client of the session, and goes with the session', async () => {
  const tunnel = await fixture.connect('engineer', undefined, undefined, 'warm-db');
  const backends = async () =>
    (await fixture.admin.query<{ pid: number }>('select pid from pg_stat_activity where application_name like $1', [`gate/${tunnel.session.id} %`])).rows.map(({ pid }) => pid);
  const pidOf = async (client: Client) => (await client.query<{ pid: number }>('select pg_backend_pid() pid')).rows[0]?.pid;
  await pidOf(await tunnel.client());
  await eventually('a client gets one that was there before', async () => {
    const before = await backends();
    return before.includes((await pidOf(await tunnel.client())) ?? 0);
  });
  await (await fixture.clientFor('engineer')).endSession(tunnel.session.id);
  await eventually('none is left', async () => (await backends()).length === 0);
});

test('a stop ends the workers in order, and the record of all of this is whole', async () => {
  const pids = await workers();
  const tunnel = await fixture.connect();
  const client = await tunnel.client();
  const sleeping = 'select pg_sleep(90)';
  const ended = failure(client.query(sleeping));
  await eventually('it runs', async () => (await running(sleeping)) === 1);
  await fixture.stopRelay();
  expect(await ended).toMatchObject({ code: '57P01', message: expect.stringContaining('the relay is stopping') });
  expect(relay.exitCode).toBe(0);
  for (const pid of pids) expect(isAlive(pid)).toBe(false);
  const log = join(directory, 'state', 'log');
  const report = await verifyRecord({ evidence: evidenceFiles(log), keys: [], keyBeside: formatVerifierKey((await loadLogSecrets(log)).key), checkpoints: [], receipts: [], witnesses: [], witnessesMin: undefined });
  // Sessions that are still open, and nothing else.
  expect(report.findings.filter(({ kind }) => kind !== 'close-missing')).toEqual([]);
  await fixture.startRelay();
  expect(await states(tunnel, sleeping)).toEqual([['error']]);
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
