/** However the network cuts the bytes of a session, in both directions, the result is the same. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { accessSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { serialize } from 'pg-protocol';
import postgresJs, { type Sql } from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startLocalPort, type LocalPort } from '../../src/client/local-port.ts';
import { openSession, type OpenSession } from '../../src/client/session.ts';
import { FrameScanner } from '../../src/pgwire/frame.ts';
import { fixturePolicy, startRelayFixture, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';
import { randomCut, single, SplittingProxy, whole, writePieces, type Cut } from './splitting.ts';

/** Fifty take minutes on a small machine: GATE_TEST_SPLITS=50. */
const randomSplits = Number(process.env['GATE_TEST_SPLITS'] ?? 3);

/** What a client sent after its login, each part with the number of replies that had come before. */
type Recording = { readonly parts: { readonly bytes: Buffer; readonly after: number }[]; readonly replies: string[] };

const terminate = Buffer.from([0x58, 0, 0, 0, 4]);

/** Runs a real client against the port and writes down both directions. */
async function record(port: LocalPort, useClient: (port: number) => Promise<void>): Promise<Recording> {
  const parts: Recording['parts'] = [];
  const replies: string[] = [];
  let isReady = false;
  const server = createServer({ noDelay: true }, (down) => {
    const up = connect({ host: port.host, port: port.port, noDelay: true });
    const scanner = new FrameScanner({
      begin: () => 'whole',
      raw: () => undefined,
      message: (type, bytes) => {
        if (isReady) replies.push(bytes.toString('latin1'));
        else isReady = type === 0x5a;
      },
    });
    for (const socket of [down, up]) socket.on('error', () => undefined);
    down.on('data', (bytes: Buffer) => {
      if (isReady) parts.push({ bytes, after: replies.length });
      up.write(bytes);
    });
    up.on('data', (bytes: Buffer) => {
      scanner.push(bytes);
      down.write(bytes);
    });
    down.on('close', () => up.destroy());
    up.on('close', () => down.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await useClient((server.address() as AddressInfo).port);
  server.close();
  await once(server, 'close');
  const last = parts.at(-1);
  // The replay says goodbye in its own time.
  if (last !== undefined && last.bytes.subarray(-5).equals(terminate)) parts[parts.length - 1] = { ...last, bytes: last.bytes.subarray(0, -5) };
  return { parts, replies };
}

async function replay(client: RawClient, recording: Recording, cut: Cut): Promise<string[]> {
  for (const { bytes, after } of recording.parts) {
    await client.until(() => (client.replies.length >= after ? 0 : -1));
    await writePieces(client.socket, cut(bytes));
  }
  await client.until(() => (client.replies.length >= recording.replies.length ? 0 : -1));
  return client.replies.splice(0).map(({ bytes }) => bytes.toString('latin1'));
}

type Login = { user: string; password: string; database: string };
type Session = (port: number, login: Login) => Promise<void>;

const withPg =
  (use: (client: Client) => Promise<unknown>): Session =>
  async (port, login) => {
    const client = new Client({ host: '127.0.0.1', port, ...login });
    client.on('error', () => undefined);
    await client.connect();
    await use(client);
    await client.end();
  };

const withPostgresJs =
  (use: (sql: Sql) => Promise<unknown>): Session =>
  async (port, login) => {
    const sql = postgresJs({ host: '127.0.0.1', port, ...login, max: 1, onnotice: () => undefined });
    await use(sql);
    await sql.end();
  };

const psql = findOnPath('psql');
const withPsql =
  (...commands: string[]): Session =>
  async (port, login) => {
    const environment = { PGHOST: '127.0.0.1', PGPORT: String(port), PGUSER: login.user, PGDATABASE: login.database, PGPASSWORD: login.password };
    const env = { ...process.env, ...environment, PGSSLMODE: 'disable', PGGSSENCMODE: 'disable' };
    await promisify(execFile)(psql as string, ['-X', ...commands.flatMap((command) => ['-c', command])], { env }).catch(() => undefined);
  };

const failing = (promise: Promise<unknown>) => promise.catch(() => undefined);

const sessions: Readonly<Record<string, Session>> = {
  'pg: a simple query': withPg((client) => client.query('select id, name from items where id < 5 order by id')),
  'pg: several statements': withPg((client) => client.query(`select 1; select 'two'; update items set name = name where id = 1; select 3`)),
  'pg: parameters': withPg((client) => client.query('select $1::int + 1, $2::text, $3::bytea', [41, 'ü€😀', Buffer.from([0, 1, 255])])),
  'pg: a prepared statement, again and again': withPg(async (client) => {
    for (let id = 1; id < 6; id++) await client.query({ name: 'by-id', text: 'select name from items where id = $1', values: [id] });
  }),
  'pg: a transaction that is rolled back': withPg(async (client) => {
    await client.query('begin');
    await client.query('insert into items values ($1, $2)', [5001, 'x']);
    await client.query('savepoint a');
    await failing(client.query('select 1/0'));
    await client.query('rollback to a');
    await client.query('select count(*) from items where id = 5001');
    await client.query('rollback');
  }),
  'pg: errors': withPg(async (client) => {
    await failing(client.query('selec 1'));
    await failing(client.query('select $1::int', ['x']));
    await failing(client.query('select * from missing'));
    await client.query('select 1');
  }),
  'pg: refusals': withPg(async (client) => {
    await failing(client.query('drop table items'));
    await client.query('begin');
    await failing(client.query('create table other (n int)', []));
    await failing(client.query('select 1'));
    await client.query('rollback');
    await failing(client.query('select 1; drop table items'));
  }),
  'pg: empty queries and nulls': withPg(async (client) => {
    await client.query('');
    await client.query('select $1::text, null', [null]);
    await client.query(';');
  }),
  'pg: a large parameter and a large row': withPg(async (client) => {
    await client.query('select length($1)', ['y'.repeat(3000)]);
    await client.query(`select repeat('z', 3000), 1`);
  }),
  'pg: many rows': withPg((client) => client.query('select n, n::text from generate_series(1, 150) n')),
  'pg: COPY out': withPg(async (client) => {
    const out = client.query(copyTo('copy (select * from items where id < 20 order by id) to stdout'));
    for await (const chunk of out) expect(chunk).toBeInstanceOf(Buffer);
    await client.query('select 1');
  }),
  'pg: COPY in': withPg(async (client) => {
    await client.query('begin');
    await pipeline(Readable.from(Array.from({ length: 30 }, (_, n) => `${6000 + n}\trow ${n}\t\\N\n`)), client.query(copyFrom('copy items from stdin')));
    await client.query('select count(*) from items where id >= 6000');
    await client.query('rollback');
  }),
  'pg: COPY in that fails': withPg(async (client) => {
    await failing(pipeline(Readable.from(['no number\tx\t\\N\n']), client.query(copyFrom('copy items from stdin'))));
    await client.query('select 1');
  }),
  'pg: cursors of SQL': withPg(async (client) => {
    await client.query('begin');
    await client.query('declare c cursor for select generate_series(1, 9)');
    await client.query('fetch 4 from c');
    await client.query('fetch all from c');
    await client.query('commit');
  }),
  'pg: prepared in SQL': withPg(async (client) => {
    await client.query('prepare p (int) as select $1 * 2');
    await client.query('execute p (4)');
    await client.query('deallocate p');
    await failing(client.query('execute p (4)'));
    // node-postgres fails at the error already, and would leave before ReadyForQuery.
    await client.query('select 1');
  }),
  'pg: settings and notices': withPg(async (client) => {
    await client.query(`set datestyle = 'SQL, DMY'`);
    await client.query(`select date '2020-02-01'`);
    await client.query('rollback');
    await client.query('reset datestyle');
  }),
  'postgres.js: tagged queries': withPostgresJs(async (sql) => {
    await sql`select id, name from items where id = ${7}`;
    await sql`select ${'text'}::text, ${[1, 2]}::int[], ${sql.json({ a: 1 })}::jsonb`;
  }),
  'postgres.js: a pipeline': withPostgresJs((sql) => Promise.all(Array.from({ length: 12 }, (_, n) => sql`select ${n}::int as n, name from items where id = ${n + 1}`))),
  'postgres.js: a cursor': withPostgresJs(async (sql) => {
    for await (const rows of sql`select * from generate_series(1, 25)`.cursor(10)) expect(rows.length).toBeGreaterThan(0);
  }),
  'postgres.js: a transaction with savepoints': withPostgresJs(async (sql) => {
    await failing(
      sql.begin(async (transaction) => {
        await transaction`insert into items values (7001, 'x') returning id`;
        await failing(transaction.savepoint((inner) => inner`select 1/0`));
        await transaction`select count(*) from items where id = 7001`;
        await transaction`drop table items`;
      }),
    );
  }),
  'postgres.js: simple texts': withPostgresJs(async (sql) => {
    await sql.unsafe('select 1; select 2');
    await failing(sql.unsafe('select 1/0'));
    await sql`select 1`.simple();
  }),
  ...(psql !== undefined && {
    'psql: \\d': withPsql('\\d items', '\\dt'),
    'psql: queries, an error and a refusal': withPsql('select * from items limit 3', 'select 1/0', 'drop table items', 'select 2'),
    'psql: \\copy': withPsql('\\copy (select * from items where id < 4 order by id) to stdout', 'begin', `\\copy items (id, name) from program 'printf "8001\\tx\\n8002\\ty\\n"'`, 'rollback'),
    'psql: \\gdesc and \\watch-like repetition': withPsql('select 1 as one, now() is null as two', 'show datestyle', 'select 1 \\gdesc'),
  }),
};

let fixture: RelayFixture;
let session: OpenSession;
let port: LocalPort;
let client: RawClient;
const proxy = new SplittingProxy();

beforeAll(async () => {
  await proxy.start(() => fixture.postgres.port);
  const roles = `  split-db:\n    roles:\n      engineer: { groups: [engineering], allow: [read, write], maxDuration: 8h }\n`;
  fixture = await startRelayFixture({
    policy: fixturePolicy + roles,
    targets: `  split-db: { host: 127.0.0.1, port: ${proxy.port}, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable }\n`,
  });
  const relay = await fixture.clientFor('engineer');
  session = await openSession(relay, 'connect', { target: 'split-db', reason: 'testing' });
  port = await startLocalPort({
    relay: relay.url,
    session: session.id,
    accessToken: () => relay.accessToken(),
    listen: { port: 0 },
    onBroken: () => undefined,
  });
});
afterAll(async () => {
  client?.close();
  await port?.close();
  await fixture?.[Symbol.asyncDispose]();
  await proxy.stop();
});

describe.each(Object.entries(sessions))('%s', (_, use) => {
  test(`the same in single bytes and in ${randomSplits} random splits, both ways`, async () => {
    proxy.cut = whole;
    const recording = await record(port, (at) => use(at, session));
    expect(recording.replies.length).toBeGreaterThan(1);
    client ??= await RawClient.logIn(port, session);
    const cuts: [string, Cut, Cut][] = [
      ['whole', whole, whole],
      ['client in single bytes', single, whole],
      ['server in single bytes', whole, single],
      ['both in single bytes', single, single],
    ];
    for (let seed = 1; seed <= randomSplits; seed++) cuts.push([`seed ${seed}`, randomCut(seed), randomCut(seed + 1000)]);
    for (const [name, down, up] of cuts) {
      proxy.cut = up;
      expect([name, await replay(client, recording, down)]).toEqual([name, recording.replies]);
      client.send(serialize.query('discard all'));
      await client.upToReady();
    }
  });
});

test('a login in single bytes', async () => {
  proxy.cut = single;
  const own = await RawClient.logIn(port, session);
  own.send(serialize.query('select 1'));
  expect(await own.upToReady()).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
  own.close();
});

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
