/** Real clients through the tunnel against a real server: what works directly works here. */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import postgresJs from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
let tunnel: OpenTunnel;

beforeAll(async () => {
  fixture = await startRelayFixture();
  tunnel = await fixture.connect();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

describe('node-postgres', () => {
  test('simple, extended and prepared statements, transactions and large values', async () => {
    const client = await tunnel.client();
    expect((await client.query('select 1 as one; select 2 as two') as unknown as { rows: object[] }[]).map(({ rows }) => rows)).toEqual([
      [{ one: 1 }],
      [{ two: 2 }],
    ]);
    for (let round = 0; round < 3; round++) {
      const { rows } = await client.query({ name: 'by-id', text: 'select name from items where id = $1', values: [round + 1] });
      expect(rows).toEqual([{ name: `item ${round + 1}` }]);
    }
    const value = 'ü'.repeat(5_000_000);
    const { rows } = await client.query('select $1::text as value', [value]);
    expect(rows[0].value === value).toBe(true);
    await client.query('begin');
    await client.query('insert into items values (500, $1)', ['in transaction']);
    await client.query('rollback');
    expect((await client.query('select 1 from items where id = 500')).rowCount).toBe(0);
    expect((await client.query('')).rows).toEqual([]);
  });

  test('settings in the start-up parameter "options" are taken as the server takes them', async () => {
    const options = String.raw`-c IntervalStyle=postgres_verbose --search-path=a,b  -cdatestyle=SQL,\ DMY -c lock_timeout=1`;
    const client = await tunnel.client({ options, lock_timeout: 99 });
    const shown = [];
    for (const name of ['intervalstyle', 'search_path', 'datestyle', 'lock_timeout']) {
      shown.push(...Object.values((await client.query(`show ${name}`)).rows[0] as object));
    }
    expect(shown).toEqual(['postgres_verbose', 'a,b', 'SQL, DMY', '99ms']);
    const opened = (await fixture.entries(tunnel.session.id)).flatMap(({ event }) => (event.kind === 'connection.open' ? [event.settings] : []));
    expect(opened.at(-1)).toEqual({ intervalstyle: 'postgres_verbose', search_path: 'a,b', datestyle: 'SQL, DMY', lock_timeout: '99' });
  });

  test('COPY in and out carry the same bytes', async () => {
    const client = await tunnel.client();
    const lines = Array.from({ length: 50_000 }, (_, n) => `${n + 10_000}\tcopied row ${n} with some padding ${'x'.repeat(40)}\t\\N\n`).join('');
    await pipeline(Readable.from([lines]), client.query(copyFrom('copy items from stdin')));
    const hash = createHash('sha256');
    for await (const chunk of client.query(copyTo('copy (select * from items where id >= 10000 order by id) to stdout'))) {
      hash.update(chunk as Buffer);
    }
    expect(hash.digest('hex')).toBe(createHash('sha256').update(lines).digest('hex'));
    const outcomes = (await fixture.entries(tunnel.session.id)).flatMap(({ event }) =>
      event.kind === 'outcome' && event.tags[0] === 'COPY 50000' ? [event] : [],
    );
    expect(outcomes.some(({ bytesIn }) => bytesIn > lines.length)).toBe(true);
    expect(outcomes.some(({ bytesOut }) => bytesOut > lines.length)).toBe(true);
    await client.query('delete from items where id >= 10000');
  });

  test('a failing COPY in leaves the connection usable', async () => {
    const client = await tunnel.client();
    const broken = pipeline(Readable.from(['not a number\tx\t\\N\n'.repeat(1000)]), client.query(copyFrom('copy items from stdin')));
    await expect(broken).rejects.toMatchObject({ code: '22P02' });
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  test('a result of 100 MB arrives whole and in bounded relay memory', async () => {
    const client = await tunnel.client();
    const before = process.memoryUsage.rss();
    let bytes = 0;
    const out = client.query(copyTo(`copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout`));
    for await (const chunk of out) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(100_100_000);
    // The client, the local port and the relay share this process.
    expect(process.memoryUsage.rss() - before).toBeLessThan(300_000_000);
  });

  test('notices, NOTIFY, errors with their fields, and cancel', async () => {
    const dba = await fixture.connect('dba');
    const client = await dba.client();
    const notices: string[] = [];
    client.on('notice', ({ message }) => notices.push(String(message)));
    await client.query(`do $$ begin raise notice 'from the server'; end $$`);
    expect(notices).toEqual(['from the server']);
    const heard = new Promise((resolve) => client.on('notification', ({ payload }) => resolve(payload)));
    await client.query('listen news');
    await (await dba.client()).query(`notify news, 'hello'`);
    expect(await heard).toBe('hello');
    await expect(client.query('select 1/0')).rejects.toMatchObject({ code: '22012', severity: 'ERROR' });
    const sleeping = client.query('select pg_sleep(60)');
    sleeping.catch(() => undefined);
    await eventually('the sleep runs', async () => (await running('select pg_sleep(60)')) > 0);
    const pid = (client as unknown as { processID: number; secretKey: number }).processID;
    // node-postgres has no cancel of its own that goes through the same port, so ask as libpq would.
    const { rawCancel } = await import('./raw-client.ts');
    await rawCancel(dba.port, pid, (client as unknown as { secretKey: number }).secretKey);
    await expect(sleeping).rejects.toMatchObject({ code: '57014' });
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    const cancels = (await fixture.entries(dba.session.id)).filter(({ event }) => event.kind === 'cancel');
    expect(cancels.map(({ event }) => event)).toEqual([{ kind: 'cancel', connection: 1, forwarded: true }]);
  });

  test('twenty connections at once, each with its own session state', async () => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => tunnel.client()));
    const answers = await Promise.all(
      clients.map(async (client, index) => {
        await client.query(`set extra_float_digits = ${index % 3}`);
        return (await client.query('select pg_backend_pid() as pid, current_setting($1) as digits', ['extra_float_digits'])).rows[0];
      }),
    );
    expect(new Set(answers.map(({ pid }) => pid)).size).toBe(20);
    expect(answers.map(({ digits }) => Number(digits))).toEqual(clients.map((_, index) => index % 3));
  });
});

test('postgres.js: prepared statements in a pipeline, cursors, transactions, large inserts', async () => {
  const sql = postgresJs(tunnel.url, { max: 3, onnotice: () => undefined });
  try {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => sql`select ${n}::int as n`));
    expect(answers.map(([row]) => row?.n)).toEqual(Array.from({ length: 50 }, (_, n) => n));
    let rows = 0;
    for await (const batch of sql`select * from generate_series(1, 1000)`.cursor(100)) rows += batch.length;
    expect(rows).toBe(1000);
    await expect(
      sql.begin(async (transaction) => {
        await transaction`insert into items values (700, 'x')`;
        await transaction`drop table items`;
      }),
    ).rejects.toMatchObject({ code: '42501' });
    expect((await sql`select 1 from items where id = 700`).count).toBe(0);
  } finally {
    await sql.end();
  }
});

const psql = findOnPath('psql');

describe.skipIf(psql === undefined)('psql (where it is installed)', () => {
  const environment = () => ({
    ...process.env,
    PGHOST: tunnel.port.host,
    PGPORT: String(tunnel.port.port),
    PGUSER: tunnel.session.user,
    PGDATABASE: tunnel.session.database,
    PGPASSWORD: tunnel.session.password,
  });
  const runWith = (env: NodeJS.ProcessEnv, args: readonly string[]) =>
    new Promise<{ stdout: string; stderr: string; code: number }>((resolve) => {
      execFile(psql as string, ['-X', ...args], { env }, (error, stdout, stderr) => {
        resolve({ stdout, stderr, code: typeof error?.code === 'number' ? error.code : 0 });
      });
    });
  const run = (...args: string[]) => runWith(environment(), args);

  test('queries, \\d, \\copy, and a refusal that reads well', async () => {
    expect((await run('-Atc', 'select count(*) from items')).stdout).toBe('100\n');
    const described = await run('-c', '\\d items');
    expect(described.stderr).toBe('');
    expect(described.stdout).toContain('"items_pkey" PRIMARY KEY');
    expect((await run('-c', '\\copy (select 1) to stdout')).stdout).toBe('1\n');
    const refused = await run('-c', 'drop table items');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toBe(
      'ERROR:  the role engineer may not run schema changes on prod-db\nDETAIL:  Rule: prod-db/engineer/allow\n' +
        'HINT:  See gate targets for other roles, or ask whoever keeps the policy.\n',
    );
  });

  test.each(['selec 1', 'select 1 as one\nform items', "select 'ü', 1 as one form items, 2 two three"])(
    'what is not SQL is answered as by the server: %j',
    async (sql) => {
      const direct = await runWith(process.env, ['-d', fixture.postgres.url('postgres'), '-c', sql]);
      expect(direct.stderr).toContain('ERROR:');
      expect(await run('-c', sql)).toEqual(direct);
    },
  );

  test('Ctrl-C cancels the running statement', async () => {
    const child = spawn(psql as string, ['-X', '-At'], { env: environment(), stdio: ['pipe', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (chunk) => (out += String(chunk)));
    child.stderr.on('data', (chunk) => (out += String(chunk)));
    child.stdin.write('select pg_sleep(61);\n');
    await eventually('the sleep runs', async () => (await running('select pg_sleep(61)')) > 0);
    child.kill('SIGINT');
    // A script that is interrupted ends psql with EXIT_USER; on a terminal it would go on.
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(3);
    expect(out).toContain('ERROR:  canceling statement due to user request');
    expect(await running('select pg_sleep(61)')).toBe(0);
  });

  test('a wrong password is refused', async () => {
    const wrong = await new Promise<string>((resolve) => {
      execFile(psql as string, ['-X', '-c', 'select 1'], { env: { ...environment(), PGPASSWORD: 'wrong' } }, (_, __, stderr) => resolve(stderr));
    });
    expect(wrong).toContain('FATAL:  the tunnel password is wrong');
  });
});

async function running(sql: string): Promise<number> {
  const { rows } = await fixture.admin.query(`select 1 from pg_stat_activity where state = 'active' and rtrim(query, ';') = $1`, [sql]);
  return rows.length;
}

function findOnPath(program: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((directory) => join(directory, program))
    .find((path) => {
      try {
        accessSync(path);
        return true;
      } catch {
        return false;
      }
    });
}
