/** Connections opened ahead: who gets one, who does not, what they carry over (nothing), and when they are closed. */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { encodeParameterStatus } from '../../src/pgwire/backend.ts';
import { encodeStartup } from '../../src/pgwire/frontend.ts';
import { loadRelayConfig, warmUpstreamsMax, type Target } from '../../src/relay/config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { spareIdleMs, sparesPerTargetMax, WarmUpstreams } from '../../src/relay/warm-upstreams.ts';
import { eventually, fixturePolicy, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';

const target = (name: string, rest: string) =>
  `  ${name}: { host: 127.0.0.1, port: @PORT@, database: postgres, passwordFile: ./password, tls: disable, ${rest} }`;
const engineers = (name: string) => `  ${name}: { roles: { engineer: { groups: [engineering], allow: [read, write, schema, admin, unknown], maxDuration: 8h } } }`;
const policy = `${fixturePolicy.replace('auditors: [audit]', 'auditors: [audit]\nadministrators: [dba]')}
${['warm', 'two', 'full', 'tight'].map(engineers).join('\n')}
`;

/** Longer than a connection takes to be opened. */
const settleMs = 300;

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await startRelayFixture({
    policy,
    targets: [
      target('warm', 'user: gate_relay, warmUpstreams: 1'),
      target('two', 'user: gate_relay, warmUpstreams: 2'),
      target('full', 'user: one_only, warmUpstreams: 2'),
      target('tight', 'user: two_only, warmUpstreams: 1'),
    ].join('\n'),
  });
  await fixture.admin.query(`create role one_only login password 'upstream-canary-7261' connection limit 1;
    create role two_only login password 'upstream-canary-7261' connection limit 2`);
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

type Backend = { readonly pid: number; readonly backend_start: Date; readonly wait_event: string | null };

async function backendsOf({ session }: OpenTunnel): Promise<Backend[]> {
  const { rows } = await fixture.admin.query<Backend>('select pid, backend_start, wait_event from pg_stat_activity where application_name like $1 order by backend_start', [`gate/${session.id} %`]);
  return rows;
}

async function pidOf(client: Client): Promise<number> {
  return (await client.query<{ pid: number }>('select pg_backend_pid() pid')).rows[0]?.pid ?? 0;
}

/** The first connection of a session, and what was opened ahead for the second. */
async function warmUp(name = 'warm', count = 1) {
  const tunnel = await fixture.connect('engineer', undefined, undefined, name);
  const client = await tunnel.client();
  const pid = await pidOf(client);
  const spares = await sparesBeside(tunnel, [pid], count);
  return { tunnel, client, pid, spare: spares[0] as Backend, spares };
}

async function sparesBeside(tunnel: OpenTunnel, pids: readonly number[], count = 1): Promise<Backend[]> {
  let spares: Backend[] = [];
  await eventually(`${count} opened ahead`, async () => {
    spares = (await backendsOf(tunnel)).filter(({ pid }) => !pids.includes(pid));
    return spares.length === count && spares.every(({ wait_event: waits }) => waits === 'ClientRead');
  });
  // They have said all of the login; by the next answer the relay, which is this process, has read it.
  await fixture.admin.query('select 1');
  return spares;
}

describe('the next connection of a session', () => {
  test('gets what was opened ahead, is on record with it, and the next after it is opened ahead again', async () => {
    const { tunnel, pid, spare } = await warmUp();
    const { rows } = await fixture.admin.query<{ now: Date }>('select clock_timestamp() now');
    const second = await tunnel.client();
    expect(await pidOf(second)).toBe(spare.pid);
    expect(spare.backend_start < (rows[0]?.now as Date)).toBe(true);
    const opened = (await fixture.entries(tunnel.session.id)).flatMap(({ event }) => (event.kind === 'connection.open' ? [event.backendPid] : []));
    expect(opened).toEqual([pid, spare.pid]);
    const [next] = await sparesBeside(tunnel, [pid, spare.pid]);
    expect(await pidOf(await tunnel.client())).toBe(next?.pid);
  });

  test('finds nothing of an earlier one, and leaves nothing: a backend serves once', async () => {
    const { tunnel, client, pid, spare } = await warmUp();
    await client.query('create temp table left_behind (n int)');
    await client.query("set work_mem to '3MB'; select pg_advisory_lock(4711); listen gossip; prepare left_over as select 1");
    await client.end();
    const second = await tunnel.client();
    expect(await pidOf(second)).toBe(spare.pid);
    const { rows } = await second.query(`select current_setting('work_mem') work_mem, to_regclass('left_behind') "table",
      (select count(*)::int from pg_prepared_statements) prepared, (select count(*)::int from pg_listening_channels()) listening,
      (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) locks`);
    expect(rows).toEqual([{ work_mem: '4MB', table: null, prepared: 0, listening: 0, locks: 0 }]);
    await second.end();
    await sparesBeside(tunnel, [pid, spare.pid]);
    await eventually('both are gone', async () => (await backendsOf(tunnel)).length === 1);
    expect((await backendsOf(tunnel)).map((backend) => backend.pid)).not.toContain(spare.pid);
  });

  test('that asks for other settings gets its own, and what was opened ahead for the former goes', async () => {
    const { tunnel, pid, spare } = await warmUp();
    const other = await tunnel.client({ options: '-c work_mem=2MB' });
    const otherPid = await pidOf(other);
    expect(otherPid).not.toBe(spare.pid);
    expect((await other.query('show work_mem')).rows).toEqual([{ work_mem: '2MB' }]);
    const [next] = await sparesBeside(tunnel, [pid, otherPid, spare.pid]);
    await eventually('the former is gone', async () => !(await backendsOf(tunnel)).some((backend) => backend.pid === spare.pid));
    const third = await tunnel.client({ options: '-c work_mem=2MB' });
    expect(await pidOf(third)).toBe(next?.pid);
    expect((await third.query('show work_mem')).rows).toEqual([{ work_mem: '2MB' }]);
  });

  test('does not get one that was terminated', async () => {
    const { tunnel, spare } = await warmUp();
    await fixture.admin.query('select pg_terminate_backend($1, 5000)', [spare.pid]);
    expect(await pidOf(await tunnel.client())).not.toBe(spare.pid);
  });

  test('gets none before it has proven the password', async () => {
    const { tunnel, spare } = await warmUp();
    await expect(tunnel.client({ password: 'wrong' })).rejects.toMatchObject({ message: expect.stringContaining('password is wrong') });
    expect(await pidOf(await tunnel.client())).toBe(spare.pid);
  });

  test('of another session gets none, also of the same person', async () => {
    const { spare } = await warmUp();
    const other = await fixture.connect('engineer', undefined, undefined, 'warm');
    expect(await pidOf(await other.client())).not.toBe(spare.pid);
  });
});

test('no statement runs on one, and gate shows as many connections as clients have made', async () => {
  const { tunnel, spares } = await warmUp('two', 2);
  const { rows } = await fixture.admin.query<{ query: string; state: string }>('select query, state from pg_stat_activity where pid = any($1)', [spares.map(({ pid }) => pid)]);
  expect(rows).toEqual(Array.from({ length: 2 }, () => ({ query: '', state: 'idle' })));
  expect(await (await fixture.clientFor('engineer')).session(tunnel.session.id)).toMatchObject({ connections: 1 });
});

test('a target without warmUpstreams has none', async () => {
  const tunnel = await fixture.connect();
  await pidOf(await tunnel.client());
  await pidOf(await tunnel.client());
  expect(await backendsOf(tunnel)).toHaveLength(2);
});

describe('they are closed', () => {
  test('when the session ends, is killed, or its grant is revoked', async () => {
    const ends = [
      async ({ session }: OpenTunnel) => (await fixture.clientFor('engineer')).endSession(session.id),
      async ({ session }: OpenTunnel) => void (await (await fixture.clientFor('dba')).killSession(session.id)),
      async ({ session }: OpenTunnel) => void (await (await fixture.clientFor('dba')).revokeGrant(session.grant)),
    ];
    for (const end of ends) {
      const { tunnel } = await warmUp('two', 2);
      await end(tunnel);
      await eventually('none is left', async () => (await backendsOf(tunnel)).length === 0);
    }
  });

  test('when the policy is another, which they were not opened under', async () => {
    const { tunnel, pid, spare } = await warmUp();
    await writeFile(join(fixture.directory, 'policy.yaml'), policy.replace('dba: { groups: [dba]', 'chief: { groups: [dba]'));
    await eventually('it is gone', async () => !(await backendsOf(tunnel)).some((backend) => backend.pid === spare.pid));
    const second = await tunnel.client();
    const [next] = await sparesBeside(tunnel, [pid, await pidOf(second)]);
    expect(await pidOf(await tunnel.client())).toBe(next?.pid);
  });

  test('when the relay stops', async () => {
    const { tunnel } = await warmUp();
    await fixture.stopRelay();
    await eventually('none is left', async () => (await backendsOf(tunnel)).length === 0);
    await fixture.startRelay();
  });
});

describe('a server without room', () => {
  test('has none opened ahead, and no client hears of it', async () => {
    const tunnel = await fixture.connect('engineer', undefined, undefined, 'full');
    for (let round = 0; round < 3; round++) {
      const client = await tunnel.client();
      expect(await pidOf(client)).toBeGreaterThan(0);
      await client.end();
      await eventually('its place is free', async () => (await backendsOf(tunnel)).length <= 1);
      await fixture.admin.query("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'one_only'");
    }
    expect(tunnel.broken).toEqual([]);
  });

  test('loses those opened ahead before a client is refused', async () => {
    const { tunnel, client, spare } = await warmUp('tight');
    const other = await tunnel.client({ options: '-c work_mem=2MB' });
    expect(await pidOf(other)).not.toBe(spare.pid);
    expect((await backendsOf(tunnel)).map(({ pid }) => pid)).not.toContain(spare.pid);
    await expect(tunnel.client()).rejects.toMatchObject({ message: expect.stringContaining('53300') });
    expect(await pidOf(client)).toBeGreaterThan(0);
  });
});

test('relay.yaml takes 0 to the limit, and nothing past it', async () => {
  const file = join(fixture.directory, 'relay.yaml');
  const yaml = await readFile(file, 'utf8');
  const load = async (count: string) => {
    await writeFile(join(fixture.directory, 'other.yaml'), yaml.replace('user: gate_relay, warmUpstreams: 1 ', `user: gate_relay, warmUpstreams: ${count} `));
    return (await loadRelayConfig(join(fixture.directory, 'other.yaml'))).targets.get('warm')?.warmUpstreams;
  };
  expect(await load('0')).toBe(0);
  expect(await load(String(warmUpstreamsMax))).toBe(warmUpstreamsMax);
  for (const wrong of [String(warmUpstreamsMax + 1), '-1', '1.5', 'yes']) await expect(load(wrong)).rejects.toMatchObject({ code: 'config-invalid' });
});

test('nothing is opened for a client that has not proven its password', async () => {
  const tunnel = await fixture.connect();
  const socket = connect(tunnel.port.port, tunnel.port.host);
  socket.on('error', () => undefined);
  socket.write(encodeStartup(0, { user: tunnel.session.user, database: tunnel.session.database }));
  await once(socket, 'data');
  await expect(tunnel.client({ password: 'wrong' })).rejects.toMatchObject({ code: '28P01' });
  await sleep(settleMs);
  expect(await backendsOf(tunnel)).toEqual([]);
  expect((await fixture.entries(tunnel.session.id)).some(({ event }) => event.kind === 'connection.open')).toBe(false);
  socket.destroy();
});

describe('by themselves', () => {
  let postgres: Postgres;
  let admin: Client;
  beforeAll(async () => {
    postgres = await startPostgres();
    admin = new Client({ connectionString: postgres.url('postgres') });
    await admin.connect();
  });
  afterAll(async () => {
    await admin?.end();
    await postgres?.stop();
  });

  const targetOf = (warmUpstreams: number): Target => ({
    name: 'db', host: '127.0.0.1', port: postgres.port, database: 'postgres', user: postgres.superuser, password: postgres.password, tls: 'disable', durability: 'os', warmUpstreams,
  });
  const pool = (of: Target, idleMs = spareIdleMs, right = () => 'the same' as string | undefined) => new WarmUpstreams({ target: of, right, log: createRelayLog('silent'), idleMs });
  const open = async () => (await admin.query<{ count: number }>("select count(*)::int from pg_stat_activity where application_name = 'ahead'")).rows[0]?.count;
  const areHeld = async (count: number) => {
    const { rowCount } = await admin.query("select 1 from pg_stat_activity where application_name = 'ahead' and wait_event = 'ClientRead'");
    await admin.query('select 1');
    return rowCount === count;
  };
  const startup = { application_name: 'ahead', work_mem: '1MB' };

  test('nobody who takes one in its time: closed, and the next is opened as if there had been none', async () => {
    const warm = pool(targetOf(3), 50);
    warm.prepare(startup);
    await eventually('they have come and gone', async () => (await admin.query("select 1 from pg_stat_activity where application_name = 'ahead'")).rowCount === 0);
    const { socket, parameters } = await warm.open(startup);
    expect(parameters.get('application_name')).toBe('ahead');
    socket.destroy();
    warm.close();
  });

  test('at most so many for one target, of all sessions together', async () => {
    const shared = targetOf(warmUpstreamsMax);
    const pools = [pool(shared), pool(shared), pool(shared)];
    for (const warm of pools) warm.prepare(startup);
    await eventually('there are as many as may be', () => areHeld(sparesPerTargetMax));
    // Those of the last are within its own limit, and past that of the target.
    pools[2]?.prepare(startup);
    pools[0]?.close();
    pools[2]?.prepare(startup);
    await eventually('its room is used', async () => (await open()) === sparesPerTargetMax);
    for (const warm of pools) warm.close();
    await eventually('none is left', async () => (await open()) === 0);
  });

  test('closed while they are being opened, or once there is no right to them: none stays', async () => {
    let right: string | undefined = 'the same';
    const arriving = () => eventually('one is on its way', async () => (await open()) !== 0);
    const warm = pool(targetOf(2), spareIdleMs, () => right);
    warm.prepare(startup);
    await arriving();
    right = undefined;
    // What was on its way has come by then.
    await sleep(settleMs);
    await eventually('none is left', async () => (await open()) === 0);
    warm.prepare(startup);
    await sleep(settleMs);
    expect(await open()).toBe(0);
    right = 'the same';
    warm.prepare(startup);
    warm.close();
    // What was on its way has come by then.
    await sleep(settleMs);
    await eventually('none is left', async () => (await open()) === 0);
    warm.prepare(startup);
    await sleep(settleMs);
    expect(await open()).toBe(0);
  });

  test('one whose server says anything before it is asked is closed', async () => {
    const toServer = new Set<Socket>();
    const toRelay = new Set<Socket>();
    const between = createServer((client) => {
      const server = connect(postgres.port, '127.0.0.1');
      toServer.add(server);
      toRelay.add(client);
      client.pipe(server).pipe(client);
      for (const socket of [client, server]) socket.on('error', () => undefined);
    }).listen(0, '127.0.0.1');
    await once(between, 'listening');
    const warm = pool({ ...targetOf(1), port: (between.address() as AddressInfo).port });
    warm.prepare(startup);
    await eventually('it is there', () => areHeld(1));
    for (const socket of toRelay) socket.write(encodeParameterStatus('TimeZone', 'Asia/Tokyo'));
    await eventually('it is closed', async () => (await open()) === 0);
    warm.close();
    for (const socket of [...toServer, ...toRelay]) socket.destroy();
    between.close();
  });

  test('the same parameters in another order are the same; of others none is taken', async () => {
    const warm = pool(targetOf(1));
    warm.prepare(startup);
    await eventually('it is there', () => areHeld(1));
    const [backend] = (await admin.query<{ pid: number }>("select pid from pg_stat_activity where application_name = 'ahead'")).rows;
    const other = await warm.open({ ...startup, work_mem: '2MB' });
    const same = await warm.open({ work_mem: '1MB', application_name: 'ahead' });
    expect(other.pid).not.toBe(backend?.pid);
    expect(same.pid).toBe(backend?.pid);
    for (const { socket } of [other, same]) socket.destroy();
    warm.close();
  });
});
