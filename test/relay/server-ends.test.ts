/** Ends that nobody asked for: of the server, by order, by crash and by silence, and of clients, tunnel and relay under load. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Client } from 'pg';
import { serialize } from 'pg-protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BankLoad, bankSchema, bankSums, missing, readTransfers } from './bank.ts';
import { eventually, fixturePolicy, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';
import { RelayChild } from './relay-child.ts';
import { Victim } from './victim.ts';

const child = new RelayChild();
let victim: Victim;
let fixture: RelayFixture;
/** To the server that is ended, and beside it to one that is left alone. */
let tunnel: OpenTunnel;
let neighbour: OpenTunnel;
const clients: RawClient[] = [];

beforeAll(async () => {
  victim = await Victim.start();
  fixture = await startRelayFixture({
    start: child.start,
    targets: `  victim-db: { host: 127.0.0.1, port: ${victim.port}, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable }`,
    policy: `${fixturePolicy}  victim-db: { roles: { engineer: { groups: [engineering], allow: [read, write], maxDuration: 8h } } }\n`,
  });
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
  await victim?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await victim.startAgain();
  tunnel = await connect();
  neighbour = await fixture.connect();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

const query = (sql: string) => serialize.query(sql);
const execute = (sql: string) =>
  Buffer.concat([serialize.parse({ text: sql }), serialize.bind({}), serialize.execute({}), serialize.sync()]);
const row = (id: number) => serialize.copyData(Buffer.from(`${id}\tcopied\n`));
const copyIn = 'copy copies from stdin';
/** Never finished, and never so much at a time that the server waits for its client. */
const trickle = `select repeat('x', 500), pg_sleep(0.002) from generate_series(1, 1000000)`;
const copyOut = `copy (${trickle}) to stdout`;

function connect(): Promise<OpenTunnel> {
  return fixture.connect('engineer', undefined, undefined, 'victim-db');
}

async function logIn(): Promise<RawClient> {
  const client = await RawClient.logIn(tunnel.port, tunnel.session);
  clients.push(client);
  return client;
}

/** Sends `messages` and resolves once the victim works on them. */
async function running(...messages: Buffer[]): Promise<RawClient> {
  const client = await logIn();
  const before = await active();
  client.send(...messages);
  await eventually('the server works on it', async () => (await active()) > before);
  return client;
}

async function active(): Promise<number> {
  const rows = await victim.ask(`select 1 from pg_stat_activity where state = 'active' and application_name like $1`, [
    `gate/${tunnel.session.id}%`,
  ]);
  return rows.length;
}

/** What is on record of each statement: its text, and its outcomes as state and SQLSTATE. */
async function outcomes(session = tunnel.session.id): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  const texts = new Map<number, string>();
  for (const { event } of await fixture.entries(session)) {
    if (event.kind === 'statement') {
      texts.set(event.statement, event.sql);
      found[event.sql] ??= [];
    } else if (event.kind === 'outcome') {
      found[texts.get(event.statement) as string]?.push([event.state, event.sqlstate].filter(Boolean).join(':'));
    }
  }
  return found;
}

/** Sends COPY data as fast as it is taken, until the connection ends. */
function flood(client: RawClient): void {
  const data = serialize.copyData(Buffer.from('999999\tnever committed\n'.repeat(1000)));
  const send = (): void => {
    while (client.socket.writable && client.socket.write(data));
  };
  client.socket.on('drain', send);
  send();
}

async function lastReplies(client: RawClient): Promise<string> {
  return (await client.untilClosed()).slice(-2).join(' ');
}

/** What transactions that never ended would have left in the tables. */
async function leftOvers(): Promise<unknown[]> {
  return victim.ask(`select id from items where name <> 'item ' || id union all select id from copies`);
}

async function isServing(): Promise<boolean> {
  const client = await logIn().catch(() => undefined);
  client?.send(query('select 1'));
  return (await client?.upToReady())?.join(' ') === 'T D C:SELECT 1 Z:I';
}

describe('the server is stopped by its operator', () => {
  test('in everything that a session can be in: its own FATAL in its place, and the same port serves after a start', async () => {
    const relay = child.pid;
    const sleeping = await running(query('select pg_sleep(100)'));
    const pipelined = await running(execute('select 1 as done'), execute('select pg_sleep(101)'), execute('select 2 as never'));
    const copyingOut = await running(query(copyOut));
    const copyingIn = await running(query(`${copyIn} -- waits`), row(801));
    const flooding = await running(query(`${copyIn} -- floods`));
    flood(flooding);
    const inTransaction = await logIn();
    inTransaction.send(query('begin'), query(`insert into items values (802, 'uncommitted')`));
    await inTransaction.upToReady(2);
    const idle = await logIn();
    await copyingOut.next('d');
    await victim.end('SIGINT');

    expect(await sleeping.untilClosed()).toEqual(['T', 'E:57P01']);
    expect(await pipelined.untilClosed()).toEqual(['1', '2', 'D', 'C:SELECT 1', 'Z:I', '1', '2', 'E:57P01']);
    expect(await lastReplies(copyingOut)).toBe('d E:57P01');
    expect(await copyingIn.untilClosed()).toEqual(['G', 'E:57P01']);
    // Bytes that meet a closed socket may cost the relay the server's last ones; the client is told all the same.
    expect((await flooding.untilClosed()).join(' ')).toMatch(/^G E:(57P01|08001:upstream-unreachable)$/);
    expect(await inTransaction.untilClosed()).toEqual(['E:57P01']);
    expect(await idle.untilClosed()).toEqual(['E:57P01']);
    await expect(tunnel.client()).rejects.toMatchObject({
      severity: 'FATAL',
      code: '08001',
      message: expect.stringMatching(/^cannot reach the database of target victim-db: .*ECONNREFUSED/),
    });
    await victim.startAgain();
    expect(await isServing()).toBe(true);
    expect(child.isAlive && child.pid).toBe(relay);
    expect(await leftOvers()).toEqual([]);
    const ends = await outcomes();
    expect(ends[`${copyIn} -- floods`]?.join()).toMatch(/^(error:57P01|unknown)$/);
    expect(ends).toMatchObject({
      'select pg_sleep(100)': ['error:57P01'],
      'select 1 as done': ['ok'],
      'select pg_sleep(101)': ['error:57P01'],
      'select 2 as never': ['skipped'],
      [copyOut]: ['error:57P01'],
      [`${copyIn} -- waits`]: ['error:57P01'],
      begin: ['ok'],
    });
  });
});

describe('the server crashes', () => {
  test.each([
    ['one backend is killed', async (pid: number) => void process.kill(pid, 'SIGKILL')],
    ['the postmaster quits at once', async () => victim.end('SIGQUIT')],
    ['the postmaster is killed', async () => victim.end('SIGKILL')],
  ])('%s: everybody on it is told, nobody beside it, and the port serves after recovery', async (_, crash) => {
    const beside = await neighbour.client();
    const asleep = beside.query('select pg_sleep(0.5)');
    const sleeping = await running(query('select pg_sleep(102)'));
    const [pid] = await victim.backends(tunnel.session.id);
    const copyingIn = await running(query(copyIn), row(803));
    const copyingOut = await running(query(copyOut));
    await copyingOut.next('d');
    const idle = await logIn();
    await crash(pid as number);
    for (const client of [sleeping, copyingIn, idle]) {
      expect(await lastReplies(client)).toMatch(/E:(57P0[12]|08001:upstream-unreachable)$/);
    }
    // A server that dies within a row leaves no place for an error; then `gate connect` itself says it.
    expect(await lastReplies(copyingOut)).toMatch(/d$|E:(57P0[12]|08001:upstream-unreachable)$/);
    expect(tunnel.broken).toContain('the database closed the connection');
    expect((await asleep).rowCount).toBe(1);
    expect((await beside.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await victim.startAgain();
    await eventually('the server has recovered', isServing);
    const { [copyIn]: first, [copyOut]: second, 'select pg_sleep(102)': third } = await outcomes();
    for (const states of [first, second, third]) expect(states?.join()).toMatch(/^(unknown|error:57P0[12])$/);
    expect(await leftOvers()).toEqual([]);
  });
});

describe('the server falls silent', () => {
  test('others work on, a login fails in time, what it cannot take costs little memory, and who leaves is let go', async () => {
    const beside = await neighbour.client();
    const stuck = await running(query(trickle));
    const flooding = await running(query(copyIn));
    const abandoned = await running(query('select pg_sleep(103)'));
    await stuck.next('D');
    // Nothing but this would ever tell of a server whose machine is gone.
    await eventually('the system probes all of them', async () => (await timersToVictim()).join() === '02,02,02');
    const memory = (await child.memory()).now;
    const frozen = [victim.pid, ...(await victim.backends(tunnel.session.id))];
    for (const pid of frozen) process.kill(pid, 'SIGSTOP');
    try {
      flood(flooding);
      const loggingIn = performance.now();
      const refused = tunnel.client().then(() => 'let in', (error: Error) => `${error.message} after ${performance.now() - loggingIn}`);
      const gone = RawClient.logIn(tunnel.port, tunnel.session).catch((error: Error) => error.message);
      abandoned.close();
      const slowestMs = await slowestQuery(beside, refused);
      expect(slowestMs).toBeLessThan(2000);
      expect(await refused).toMatch(/^cannot reach the database of target victim-db: the login took too long after 1[5-9]\d{3}\./);
      expect(await gone).toMatch('E:08001');
      expect((await child.memory()).peak - memory).toBeLessThan(96_000_000);
      expect((await outcomes())['select pg_sleep(103)']).toEqual(['unknown']);
      // The two that go on, and neither the one that was abandoned nor its cancel request.
      await eventually('nothing else is held open', async () => (await timersToVictim()).length === 2);
    } finally {
      for (const pid of frozen) process.kill(pid, 'SIGCONT');
    }
    stuck.close();
    flooding.close();
    await eventually('the server is rid of them', async () => (await victim.backends(tunnel.session.id)).length === 0);
    expect(await isServing()).toBe(true);
  });

  /** Of each connection that a process has open to the victim's port the timer, 02 for keep-alive (proc_net_tcp(5)). */
  async function timersToVictim(): Promise<string[]> {
    const port = victim.port.toString(16).toUpperCase().padStart(4, '0');
    const lines = (await readFile('/proc/net/tcp', 'utf8')).matchAll(/: \S+ \w+:(\w+) \w+ \S+ (\w+):\w+ +\w+ +\d+ +\d+ [1-9]/g);
    return [...lines].flatMap(([, remotePort, timer = '']) => (remotePort === port ? [timer] : []));
  }

  /** Milliseconds that the slowest round of the neighbour took, a query and a whole connection, until `end`. */
  async function slowestQuery(client: Client, end: Promise<unknown>): Promise<number> {
    const until = { isOver: false };
    void end.then(() => (until.isOver = true));
    let slowest = 0;
    while (!until.isOver) {
      const start = performance.now();
      await client.query('select count(*) from items');
      const another = await neighbour.client();
      await another.end();
      slowest = Math.max(slowest, performance.now() - start);
      await sleep(50);
    }
    return slowest;
  }
});

describe('the client vanishes', () => {
  const update = `update items set name = 'never' where id = 1`;

  test.each([
    ['idle in its transaction', [], update, /^ok$/],
    ['in a result that it reads', [query(trickle)], trickle, /^error:57014$/],
    ['in a sleep', [query('select pg_sleep(104)')], 'select pg_sleep(104)', /^error:57014$/],
    ['in a COPY', [query(copyIn), row(804)], copyIn, /^error:(57014|08006)$/],
    ['in the middle of a row of a COPY', [query(copyIn), row(805), row(806).subarray(0, -4)], copyIn, /^error:(57014|08006)$/],
  ])('%s: its backend ends, its transaction is rolled back, its locks are free', async (_, messages, last, outcome) => {
    const client = await logIn();
    client.send(query('begin'), query(update), ...messages);
    const at = `select pid from pg_stat_activity where query = $1 and state in ('active', 'idle in transaction') and application_name like $2`;
    await eventually('it is so far', async () => (await victim.ask(at, [last, `gate/${tunnel.session.id}%`])).length === 1);
    client.close();
    await eventually('its backend is gone', async () => (await victim.backends(tunnel.session.id)).length === 0);
    expect(await victim.ask('update items set name = name where id = 1 returning name')).toEqual([{ name: 'item 1' }]);
    expect(await leftOvers()).toEqual([]);
    await eventually('the outcome is on record', async () => (await outcomes())[last]?.length === 1);
    expect((await outcomes())[last]?.join()).toMatch(outcome);
  });

  test('behind more than the server takes: the relay, which has stopped reading, hears of it all the same', async () => {
    const holder = await connect();
    const holding = await RawClient.logIn(holder.port, holder.session);
    clients.push(holding);
    holding.send(query('begin'), query(`update items set name = 'held' where id = 2`));
    await holding.upToReady(2);
    const client = await running(query(`update items set name = 'waits' where id = 2`));
    for (let n = 0; n < 60; n++) client.send(query(`select '${'x'.repeat(100_000)}'`));
    await child.quiet();
    client.close();
    await eventually('its backend is gone', async () => (await victim.backends(tunnel.session.id)).length === 0);
  });
});

describe('clients, tunnel and relay are killed at random under load', () => {
  let gate: ChildProcess | undefined;
  let load: BankLoad | undefined;

  beforeAll(async () => void (await fixture.admin.query(bankSchema)));
  afterAll(async () => {
    await load?.stop();
    gate?.kill('SIGKILL');
  });

  /** `gate connect`, in a process of its own, on the same port in every life. */
  async function startTunnel(port: number): Promise<number> {
    const program = fileURLToPath(new URL('tunnel-program.ts', import.meta.url));
    const token = await (await fixture.clientFor('engineer')).accessToken();
    const args = ['--import', 'tsx', program, fixture.relayUrl, neighbour.session.id, token, String(port)];
    gate = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface({ input: gate.stdout as NonNullable<typeof gate.stdout> }), 'line')) as [string];
    return Number(line);
  }

  test('no transfer is half done, none is done off the record, and what may have been cut is on record as unknown', { timeout: 240_000 }, async () => {
    const port = await startTunnel(0);
    load = new BankLoad(port, neighbour.session);
    const kill = {
      clients: async () => load?.kill(),
      tunnel: async () => {
        gate?.kill('SIGKILL');
        await startTunnel(port);
      },
      relay: async () => {
        await child.end('SIGKILL');
        await fixture.startRelay();
      },
    };
    for (const next of ['clients', 'relay', 'tunnel', 'clients', 'relay', 'clients', 'relay'] as const) {
      // In each life some transfers get through, however slow the machine; then it ends at any moment.
      const before = load.completed;
      await eventually('transfers get through', () => (load?.completed ?? 0) >= before + 10);
      await sleep(Math.random() * 600);
      await kill[next]();
    }
    await load.stop();
    await eventually('the database has finished with it', async () => {
      const { rowCount } = await fixture.admin.query(`select 1 from pg_stat_activity where application_name like 'gate/%'`);
      return rowCount === 0;
    });
    const sums = (await fixture.admin.query({ text: bankSums, rowMode: 'array' })).rows.flat();
    expect(sums).toEqual(Array.from({ length: 4 }, () => sums[0] as number));
    const { rows } = await fixture.admin.query({ text: 'select tid, bid, aid, delta from pgbench_history', rowMode: 'array' });
    const done = rows.map((values) => values.join());
    const recorded = readTransfers((await fixture.entries(neighbour.session.id)).map(({ event }) => event));
    expect(done.length).toBeGreaterThanOrEqual(70);
    expect(missing(done, recorded.sent)).toEqual([]);
    expect(missing(recorded.confirmed, done)).toEqual([]);
    expect(recorded.outcomesPerStatement).toEqual([1]);
    expect(recorded.unknown).toBeGreaterThan(0);
  });
});
