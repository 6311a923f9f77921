/** The server under all ways, and the tables that the cases read and write. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Client } from 'pg';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import type { Cleanup } from './cleanup.ts';
import { run } from './processes.ts';
import { libpqEnvironment, type Way } from './way.ts';

export type Database = {
  readonly postgres: Postgres;
  readonly direct: Way;
  /** Past everything, as superuser: to prepare and to check. */
  readonly admin: Client;
  /** The same role on another database. */
  directTo(database: string): Way;
};

const role = 'bench';
/** TPC-B of pgbench grows with this; its default would make eight clients wait for one row. */
export const branches = 8;
/** A fresh backend pays for each page that it touches first, so few pages are read. */
export const accountsRead = 2000;

export async function startDatabase(cleanup: Cleanup, options: { readonly directory?: string; readonly connectionsMax: number }): Promise<Database> {
  const postgres = await startPostgres({
    ...(options.directory !== undefined && { directory: join(options.directory, 'postgres') }),
    settings: {
      max_connections: String(options.connectionsMax),
      shared_buffers: '512MB',
      // What all ways share is kept out of the way: no checkpoint or vacuum in the middle of one of them.
      checkpoint_timeout: '1h',
      max_wal_size: '16GB',
      autovacuum: 'off',
    },
  });
  cleanup.add(() => postgres.stop());
  const admin = new Client({ connectionString: postgres.url() });
  admin.on('error', () => undefined);
  await admin.connect();
  cleanup.add(() => admin.end().catch(() => undefined));
  const password = randomBytes(18).toString('base64url');
  await admin.query(`create role ${role} login password '${password}'`);
  const directTo = (database: string): Way => ({ name: 'direct', host: postgres.host, port: postgres.port, user: role, password, database, pids: {} });
  await admin.query(`create database ${role} owner ${role}`);
  return { postgres, direct: directTo(role), admin, directTo };
}

/** As superuser on one of the databases. */
export async function asAdmin<T>({ postgres }: Database, database: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: postgres.url(database) });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** pgbench's own tables, in the database of a way that leads there directly. */
export async function createPgbenchTables(cleanup: Cleanup, direct: Way): Promise<void> {
  const made = await run(['pgbench', '-i', '-q', '-s', String(branches)], { cleanup, env: libpqEnvironment(direct) });
  if (made.code !== 0) throw new Error(`pgbench -i failed: ${made.err.trim()}`);
}

/** Rows of about 200 bytes on the wire: a number, words, an address, a card and a remark. */
export const rowBytes = 200;

/** Of the first row of `bulk`. */
export const firstCard = '4000000000007919';

/** `bulk` to read, with a column worth masking, and the empty `bulk_in` to load into. */
export async function createBulkTables(database: Database, megabytes: number): Promise<number> {
  const rows = Math.ceil((megabytes * 1_000_000) / rowBytes);
  const { database: name, user } = database.direct;
  await asAdmin(database, name, async (client) => {
    await client.query(`set role ${user}`);
    await client.query(`create unlogged table bulk (id int primary key, name text, email text, card text, remark text)`);
    await client.query(
      `insert into bulk select n, 'customer ' || n, 'c' || n || '@example.com', lpad((4000000000000000 + n::bigint * 7919)::text, 16, '0'), repeat(md5(n::text), 3)
       from generate_series(1, ${rows}) n`,
    );
    await client.query('create unlogged table bulk_in (id int, name text, email text, card text, remark text)');
    await client.query('reset role');
    await client.query('vacuum (freeze, analyze) bulk');
  });
  return rows;
}
