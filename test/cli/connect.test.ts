/** gate connect as a process: what it prints, its ports, its signals, and how it ends. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startConnectStage, type ConnectStage, type Event } from './connect-stage.ts';
import { eventually, program } from './exec-stage.ts';

let stage: ConnectStage;
beforeAll(async () => {
  stage = await startConnectStage();
});
afterAll(async () => stage?.[Symbol.asyncDispose]());

const stateOf = async (session: unknown) => (await stage.relay.session(String(session))).state;

describe('the port and its end', () => {
  test('the same port each time, another one with a note while it is taken, and nothing left after Ctrl-C', async () => {
    const first = stage.connect(['prod-db', '--json']);
    const ready = await first.event('ready');
    expect(Object.keys(ready)).toEqual([
      'event', 'host', 'port', 'user', 'password', 'database', 'url', 'passfile', 'session', 'grant', 'target', 'role', 'expiresAt',
    ]);
    const client = await stage.client(ready);
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect((await stat(String(ready['passfile']))).mode & 0o777).toBe(0o600);
    expect((await stat(join(stage.directory, 'config/ports.json'))).mode & 0o777).toBe(0o600);

    const second = stage.connect(['prod-db', '--json']);
    const other = await second.event('ready');
    expect(other['port']).not.toBe(ready['port']);
    expect(second.err).toEqual([{ event: 'warning', message: `port ${ready['port']}, which prod-db had last time, is in use; this time it is ${other['port']}` }]);
    second.child.kill('SIGTERM');
    expect(await second.ended).toBe(143);

    first.child.kill('SIGINT');
    expect(await first.ended).toBe(130);
    expect(await first.event('ended')).toEqual({ event: 'ended', target: 'prod-db', session: ready['session'], code: 'interrupted', message: 'ended by SIGINT' });
    expect(await stateOf(ready['session'])).toBe('ended');
    expect(existsSync(String(ready['passfile']))).toBe(false);

    const third = stage.connect(['prod-db', '--json']);
    expect((await third.event('ready'))['port']).toBe(ready['port']);
    third.child.kill('SIGINT');
    await third.ended;
    const free = stage.connect(['prod-db', '--json', '-p', '0']);
    expect((await free.event('ready'))['port']).not.toBe(ready['port']);
    const exact = stage.connect(['second-db', '--json', '-p', String((await free.event('ready'))['port'])]);
    expect(await exact.ended).toBe(2);
    expect(exact.err[0]?.['error']).toMatchObject({ code: 'usage', message: expect.stringContaining('EADDRINUSE') });
    free.child.kill('SIGINT');
    await free.ended;
    await eventually('no session is left open', async () => (await stage.relay.sessions()).every(({ state }) => state === 'ended'));
  });

  test('the block for people names every way in, and the demo can copy from it', async () => {
    const running = stage.connect(['prod-db', '-p', '0']);
    await eventually('gate has said all', () => running.text().stderr.includes('Ctrl-C closes'));
    const { stdout, stderr } = running.text();
    expect(stdout.replaceAll(/s_\w+/g, 's_…').replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME').replaceAll(/[\w-]{32}\b/g, 'SECRET').replaceAll(/\b\d{4,5}\b/g, 'PORT').replaceAll(stage.directory, '')).toBe(
      `prod-db as engineer, until TIME (in 60 min), session s_…

  host      127.0.0.1
  port      PORT
  user      engineer
  password  SECRET
  database  shop

  psql      PGPASSFILE=/config/passfiles/s_….pgpass psql -h 127.0.0.1 -p PORT -U engineer shop
  URL       postgresql://engineer:SECRET@127.0.0.1:PORT/shop
  JDBC      jdbc:postgresql://127.0.0.1:PORT/shop?user=engineer&password=SECRET
  env       export PGHOST=127.0.0.1 PGPORT=PORT PGUSER=engineer PGDATABASE=shop PGPASSFILE=/config/passfiles/s_….pgpass

`,
    );
    expect(stderr).toBe('Every statement is recorded. Ctrl-C closes the port and ends the session.\n');
    running.child.kill('SIGINT');
    expect(await running.ended).toBe(130);
  });

  test.each([
    ['url', /^postgresql:\/\/engineer:[\w-]{32}@127\.0\.0\.1:\d+\/shop\n$/],
    ['jdbc', /^jdbc:postgresql:\/\/127\.0\.0\.1:\d+\/shop\?user=engineer&password=[\w-]{32}\n$/],
    ['env', /^export PGHOST=127\.0\.0\.1 PGPORT=\d+ PGUSER=engineer PGDATABASE=shop PGPASSFILE=\S+\n$/],
    ['psql', /^PGPASSFILE=\S+ psql -h 127\.0\.0\.1 -p \d+ -U engineer shop\n$/],
  ])('--print %s puts this line alone on stdout and stays', async (form, expected) => {
    const running = stage.connect(['prod-db', '--print', form, '--watch-stdin']);
    await eventually('gate has said all', () => running.text().stderr.includes('Ctrl-C closes'));
    expect(running.text().stdout).toMatch(expected);
    expect(running.child.exitCode).toBeNull();
    // The parent that held the other end of stdin is gone.
    running.child.stdin.end();
    expect(await running.ended).toBe(0);
  });

  test('a signal ends it, and so does the end of its session, while the standard input that it watches stays open', async () => {
    const [told, over] = [stage.connect(['prod-db', '--json', '-p', '0', '--watch-stdin']), stage.connect(['prod-db', '--json', '-p', '0', '--watch-stdin'])];
    await told.event('ready');
    told.child.kill('SIGTERM');
    await stage.relay.endSession(String((await over.event('ready'))['session']));
    expect([await told.ended, await over.ended]).toEqual([143, 3]);
  });

  test('several targets: a session, a port and a password each, and one end for all', async () => {
    const running = stage.connect(['prod-db', 'second-db', '--json', '--watch-stdin']);
    const both = [await running.event('ready', 0), await running.event('ready', 1)];
    expect(both.map(({ target }) => target)).toEqual(['prod-db', 'second-db']);
    for (const field of ['port', 'password', 'session', 'grant', 'passfile']) expect(new Set(both.map((ready) => ready[field])).size).toBe(2);
    const databases = await Promise.all(both.map(async (ready) => (await (await stage.client(ready)).query('select current_database() as name')).rows[0].name));
    expect(databases).toEqual(['shop', 'postgres']);
    const [first, second] = both as [object, object];
    await expect(stage.client({ ...first, password: (second as { password: string }).password })).rejects.toMatchObject({ code: '28P01' });
    await stage.relay.endSession(String(both[0]?.['session']));
    expect(await running.event('ended')).toMatchObject({ target: 'prod-db', code: 'session-ended' });
    expect((await (await stage.client(second as Event)).query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    running.child.stdin.end();
    expect(await running.ended).toBe(0);
    expect(running.out.filter(({ event }) => event === 'ended').map(({ target, code }) => [target, code])).toEqual([
      ['prod-db', 'session-ended'],
      ['second-db', 'stdin-closed'],
    ]);
    for (const { session } of both) expect(await stateOf(session)).toBe('ended');
  });

  test('what does not go together is refused before anything is asked for', async () => {
    const before = (await stage.relay.sessions()).length;
    const cases: string[][] = [
      ['prod-db', 'prod-db'],
      ['prod-db', 'second-db', '-p', '5000'],
      ['prod-db', 'second-db', '--', 'true'],
      ['prod-db', '--listen', '-', '-p', '0'],
      ['prod-db', '--listen', '-', '--json'],
      ['prod-db', '--tls', '--socket-dir', '/tmp/x'],
      ['prod-db', '--print', 'url', '--json'],
      ['prod-db', '--print', 'yaml'],
      ['prod-db', '--watch-stdin', '--', 'true'],
      ['prod-db', '-p', '70000'],
      ['--', 'psql'],
    ];
    const codes = await Promise.all(cases.map(async (words) => [words.join(' '), await stage.connect(words).ended]));
    expect(codes).toEqual(cases.map((words) => [words.join(' '), 2]));
    expect((await stage.relay.sessions()).length).toBe(before);
  });

  test('a refused second target leaves no session of the first behind', async () => {
    const running = stage.connect(['prod-db', 'no-such-db']);
    expect(await running.ended).toBe(3);
    await eventually('no session is left open', async () => (await stage.relay.sessions()).every(({ state }) => state === 'ended'));
    expect(await readdir(join(stage.directory, 'config/passfiles'))).toEqual([]);
  });
});

describe('a command behind the dashes', () => {
  test('its output alone on stdout, its environment, and its exit code', async () => {
    const script = 'echo "$PGHOST $PGUSER $PGDATABASE ${PGPASSWORD-none} ${PGHOSTADDR-none} ${KEPT-none}"; cat "$PGPASSFILE"; exit 7';
    const running = stage.connect(['prod-db', '--', 'sh', '-c', script], { PGPASSWORD: 'wrong', PGHOSTADDR: '192.0.2.1', KEPT: 'kept' });
    expect(await running.ended).toBe(7);
    const [environment, passfile] = running.text().stdout.split('\n');
    expect(environment).toBe('127.0.0.1 engineer shop none none kept');
    expect(passfile).toMatch(/^127\.0\.0\.1:\d+:\*:engineer:[\w-]{32}$/);
    expect(running.text().stderr).toMatch(/^prod-db as engineer, until \S+ \(in 60 min\), session s_\w+\n$/);
    expect(await readdir(join(stage.directory, 'config/passfiles'))).toEqual([]);
    expect((await stage.relay.sessions({ limit: 1 }))[0]?.state).toBe('ended');
  });

  test.each([
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
    ['true', 0],
  ])('%s → %i', async (script, code) => {
    expect(await stage.connect(['prod-db', '--', 'sh', '-c', script]).ended).toBe(code);
  });

  test('SIGTERM reaches it, and so does SIGINT where no terminal sends it to both', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const script = `process.on('${signal}', () => { console.log('got it'); process.exit(9); }); console.log('up'); setInterval(() => 0, 1000)`;
      const running = stage.connect(['prod-db', '--', process.execPath, '-e', script]);
      await eventually('the command is up', () => running.text().stdout === 'up\n');
      running.child.kill(signal);
      expect(await running.ended).toBe(9);
      expect(running.text().stdout).toBe('up\ngot it\n');
    }
  });

  test('a program that does not exist', async () => {
    const running = stage.connect(['prod-db', '--', 'no-such-program-here']);
    expect(await running.ended).toBe(2);
    expect(running.text().stderr).toContain('cannot run no-such-program-here: there is no such program');
  });

  test.each([[[]], [['--tls']]])('psql finds its way %j', async (flags) => {
    const running = stage.connect(['prod-db', ...flags, '--', 'psql', '-XAtc', 'select 42', '-c', '\\conninfo']);
    expect([await running.ended, running.text().stderr.split('\n').slice(1)]).toEqual([0, ['']]);
    expect(running.text().stdout.split('\n')[0]).toBe('42');
    expect(running.text().stdout.includes('SSL connection')).toBe(flags.length > 0);
  });
});

test('a Unix socket: psql behind the dashes, node-postgres by the URL', async () => {
  const directory = join(stage.directory, 'sockets');
  const child = stage.connect(['prod-db', '--socket-dir', directory, '--', 'psql', '-XAtc', 'select 44']);
  expect([await child.ended, child.text().stdout]).toEqual([0, '44\n']);
  const running = stage.connect(['prod-db', '--socket-dir', directory, '--json']);
  const ready = await running.event('ready');
  expect([ready['host'], ready['port'], (await stat(directory)).mode & 0o777]).toEqual([directory, 5432, 0o700]);
  const client = new Client({ connectionString: String(ready['url']) });
  await client.connect();
  expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  await client.end();
  running.child.kill('SIGINT');
  expect(await running.ended).toBe(130);
  expect(await readdir(directory)).toEqual([]);
});

describe.skipIf(!existsSync('/usr/bin/script'))('on a terminal', () => {
  test('Ctrl-C cancels what psql runs; psql and gate stay', async () => {
    const running = stage.connectOnTerminal(['prod-db', '--', 'psql', '-X', '-P', 'pager=off']);
    const shown = () => running.text().stdout;
    await eventually('psql asks', () => /shop[=#>-]+ ?/.test(shown()));
    running.child.stdin.write('select pg_sleep(63);\n');
    const admin = new Client({ connectionString: stage.stack.postgres.url('shop') });
    await admin.connect();
    await eventually('the sleep runs', async () => (await admin.query(`select 1 from pg_stat_activity where query like 'select pg_sleep(63)%' and state = 'active'`)).rowCount === 1);
    await admin.end();
    running.child.stdin.write('\x03');
    await eventually('the statement is cancelled', () => shown().includes('canceling statement due to user request'));
    running.child.stdin.write('select 40 + 3 as still_here;\n');
    await eventually('psql goes on', () => /43\s/.test(shown()));
    running.child.stdin.write('\\q\n');
    expect(await running.ended).toBe(0);
    expect((await stage.relay.sessions({ limit: 1 }))[0]?.state).toBe('ended');
  });

  test('in the background of a shell it is not stopped for what it shows', async () => {
    const running = stage.connectInBackground(['prod-db', '--', 'true']);
    await running.ended;
    expect(running.text().stdout).toContain('ended with 0');
  });
});

describe('ends that come from elsewhere', () => {
  test('the grant expires: exit 3 with the reason, though no client is there', async () => {
    const running = stage.connect(['prod-db', '--json', '--duration', '3s']);
    const ready = await running.event('ready');
    expect(await running.ended).toBe(3);
    expect(await running.event('ended')).toMatchObject({ session: ready['session'], code: 'grant-expired' });
    expect(running.err.at(-1)?.['error']).toMatchObject({ code: 'grant-expired', hint: expect.stringContaining('gate connect') });
  });

  test('the last minute is announced', async () => {
    const running = stage.connect(['prod-db', '--json', '--duration', '62s', '--watch-stdin']);
    const { expiresAt } = await running.event('ready');
    await eventually('the end is announced', () => running.err.length > 0);
    expect(running.err[0]).toEqual({ event: 'warning', message: expect.stringMatching(new RegExp(`^the grant ends in (5\\d|60) s, at ${String(expiresAt)}$`)) });
    running.child.stdin.end();
    expect(await running.ended).toBe(0);
  });

  test('the session is ended at the relay: noticed without a client, and at once with one', async () => {
    const [idle, busy] = [stage.connect(['prod-db', '--json', '-p', '0']), stage.connect(['prod-db', '--json', '-p', '0'])];
    const sessions = [await idle.event('ready'), await busy.event('ready')];
    await stage.client(sessions[1] as object as typeof sessions[0]);
    for (const { session } of sessions) await stage.relay.endSession(String(session));
    expect(await busy.ended).toBe(3);
    expect(await idle.ended).toBe(3);
    for (const running of [idle, busy]) expect(await running.event('ended')).toMatchObject({ code: 'session-ended', message: expect.stringContaining('ended by its owner') });
  });

  test('a relay that restarts: connections break with a reason, port, password and session stay', async () => {
    const running = stage.connect(['prod-db', '--json', '-p', '0']);
    const ready = await running.event('ready');
    const before = await stage.client(ready);
    const failure = new Promise<Error>((resolve) => before.once('error', resolve));
    await stage.stack.restartRelay();
    expect(await failure).toMatchObject({ code: '57P01' });
    await stage.stack.relayReady();
    const after = await stage.client(ready);
    expect((await after.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(running.err.map(({ message }) => message)).toEqual([
      expect.stringMatching(/stopping; local ports stay open, and new connections work as soon as the relay is back$/),
      'the relay is back',
    ]);
    running.child.kill('SIGINT');
    expect(await running.ended).toBe(130);
  });

  test('a relay that gets SIGTERM ends, though whoever started it holds its standard input open', async () => {
    const pid = stage.stack.relayPid();
    process.kill(pid, 'SIGTERM');
    await eventually('another one is started', () => stage.stack.relayPid() !== pid);
    await stage.stack.relayReady();
  });

  test('a relay ends when whoever started it has gone before it could be told that it serves', async () => {
    const { stateDirectory } = stage.stack;
    const config = join(stateDirectory, 'relay-2.yaml');
    const text = await readFile(join(stateDirectory, 'relay.yaml'), 'utf8');
    await writeFile(config, text.replace(/^listen: .*$/m, 'listen: 127.0.0.1:0').replace('./relay\n', './relay-2\n'), { mode: 0o600 });
    const child = spawn(process.execPath, [program, 'relay', '--config', config, '--json', '--watch-stdin'], { stdio: ['pipe', 'pipe', 'ignore'] });
    child.stdout.destroy();
    const ended = new Promise<'ended'>((resolve) => child.once('exit', () => resolve('ended')));
    try {
      expect(await Promise.race([ended, sleep(30_000)])).toBe('ended');
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('Ctrl-C does not wait for a relay that stands still, and the second one for nothing', async () => {
    const runs = [stage.connect(['prod-db', '--json', '-p', '0']), stage.connect(['prod-db', '--json', '-p', '0'])];
    const [patient, impatient] = runs as [(typeof runs)[0], (typeof runs)[0]];
    for (const running of runs) await stage.client(await running.event('ready'));
    process.kill(stage.stack.relayPid(), 'SIGSTOP');
    try {
      impatient.child.kill('SIGINT');
      await impatient.event('ended');
      impatient.child.kill('SIGINT');
      expect(await impatient.ended).toBe(130);
      const startedAt = performance.now();
      patient.child.kill('SIGINT');
      expect(await patient.ended).toBe(130);
      // Three seconds for the relay, one for its tunnels, and room for a machine that is busy.
      expect(performance.now() - startedAt).toBeLessThan(10_000);
      expect(patient.err.at(-1)?.['message']).toMatch(/^the relay could not be told that the session is over .*; it ends by itself at /);
      for (const running of runs) expect(existsSync(String((await running.event('ready'))['passfile']))).toBe(false);
    } finally {
      process.kill(stage.stack.relayPid(), 'SIGCONT');
    }
  });
});

test('--listen -: one connection over stdin and stdout, words on stderr', async () => {
  const running = stage.connect(['prod-db', '--listen', '-']);
  await eventually('gate names the password file', () => /stands in \S+\n/.test(running.text().stderr));
  const passfile = /stands in (\S+)\n/.exec(running.text().stderr)?.[1] as string;
  const password = /^\*:\*:\*:engineer:(\S+)\n$/.exec(await readFile(passfile, 'utf8'))?.[1] as string;
  const accepted = new Promise<Socket>((resolve) => {
    const server = createServer((socket) => {
      server.close();
      resolve(socket);
    }).listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      void use(port);
    });
  });
  const answers: unknown[] = [];
  const use = async (port: number) => {
    const client = new Client({ host: '127.0.0.1', port, user: 'engineer', password, database: 'shop' });
    await client.connect();
    answers.push((await client.query(`select length(repeat('x', 3000000)) as length, repeat('y', 2000000) as text`)).rows[0]);
    await client.end();
  };
  const socket = await accepted;
  socket.pipe(running.child.stdin);
  running.child.stdout.pipe(socket);
  expect(await running.ended).toBe(0);
  expect(answers).toEqual([{ length: 3_000_000, text: 'y'.repeat(2_000_000) }]);
  expect(existsSync(passfile)).toBe(false);
  expect((await stage.relay.sessions({ limit: 1 }))[0]?.state).toBe('ended');
});
