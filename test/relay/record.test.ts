/** No record, no query: a disk that is really full. Nothing runs, everybody is told, and afterwards it goes on by itself. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Event } from '../../src/audit/entry.ts';
import { decodeReport } from '../../src/pgwire/backend.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { describeReply, RawClient } from './raw-client.ts';
import { RelayChild } from './relay-child.ts';

const canMount = process.platform === 'linux' && process.getuid?.() === 0 && tryMount();

/** Root in a container may still lack the right to mount. */
function tryMount(): boolean {
  const directory = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory], { stdio: 'ignore' });
    execFileSync('umount', [directory]);
    return true;
  } catch {
    return false;
  } finally {
    execFileSync('rmdir', [directory]);
  }
}

const sync = serialize.sync();
const query = (sql: string) => serialize.query(sql);
const run = (sql: string) =>
  Buffer.concat([serialize.parse({ text: sql }), serialize.bind({}), serialize.describe({ type: 'P' }), serialize.execute({})]);
const refused = 'E:57P05:record-unavailable';

describe.skipIf(!canMount)('on a full disk (needs root and the right to mount a tmpfs)', () => {
  const child = new RelayChild();
  let directory: string;
  let state: string;
  let fixture: RelayFixture;
  let tunnel: OpenTunnel;
  let client: RawClient;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gate-full-disk-'));
    state = join(directory, 'state');
    await mkdir(state, { mode: 0o700 });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=0700', 'tmpfs', state]);
    fixture = await startRelayFixture({ directory, start: child.start });
  });
  afterAll(async () => {
    await fixture?.[Symbol.asyncDispose]();
    execFileSync('umount', [state]);
    await rm(directory, { recursive: true, force: true });
  });
  beforeEach(async () => {
    tunnel = await fixture.connect();
    client = await RawClient.logIn(tunnel.port, tunnel.session);
    client.send(query('select 1'));
    await client.upToReady();
  });

  const filler = () => join(state, 'filler');

  async function fill(): Promise<void> {
    // A checkpoint that is published meanwhile gives back what the one before it took.
    await eventually('there is no room left', async () => {
      const { bavail, bsize } = await statfs(state);
      await appendFile(filler(), Buffer.alloc(bavail * bsize)).catch(() => undefined);
      return bavail === 0;
    });
    // The last page of the log may still have room for a few entries.
    const probe = await RawClient.logIn(tunnel.port, tunnel.session).catch(() => undefined);
    await eventually('the log is full', async () => {
      if (probe === undefined || probe.isClosed) return true;
      probe.send(query(`select '${'x'.repeat(1500)}'`));
      return (await probe.upToReady()).includes(refused);
    });
    probe?.close();
  }

  async function free(): Promise<void> {
    await rm(filler(), { force: true });
    await eventually('the relay is ready', async () => (await fetch(`${fixture.relayUrl}/readyz`)).status === 200);
  }

  async function stored(...ids: number[]): Promise<number[]> {
    const { rows } = await fixture.admin.query('select id from items where id = any($1) order by id', [ids]);
    return (rows as { id: number }[]).map(({ id }) => id);
  }

  async function events(): Promise<Event[]> {
    const entries = await fixture.entries(tunnel.session.id);
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
    return entries.map(({ event }) => event);
  }

  test('simple and extended, outside a transaction: 57P05 in clear words, not executed, and the session goes on', async () => {
    await fill();
    try {
      client.send(query(`insert into items values (601, 'x')`));
      const error = await client.next('E');
      const fields = decodeReport(error.bytes);
      expect(fields.get('C')).toBe('57P05');
      expect(fields.get('M')).toContain('the record cannot be written');
      expect(fields.get('H')).toContain('Nothing runs unrecorded');
      expect(await client.upToReady()).toEqual(['Z:I']);
      client.send(run(`insert into items values (602, 'x')`), sync);
      expect(await client.upToReady()).toEqual([refused, 'Z:I']);
      client.send(run(`insert into items values (603, 'x')`), run(`insert into items values (604, 'x')`), sync, run('select 1'), sync);
      expect(await client.upToReady(2)).toEqual([refused, 'Z:I', refused, 'Z:I']);
      client.send(query('drop table items'));
      expect(await client.upToReady()).toEqual([refused, 'Z:I']);
      expect((await fetch(`${fixture.relayUrl}/readyz`)).status).toBe(503);
      expect((await fetch(`${fixture.relayUrl}/livez`)).status).toBe(200);
    } finally {
      await free();
    }
    client.send(query(`insert into items values (605, 'x')`));
    expect(await client.upToReady()).toEqual(['C:INSERT 0 1', 'Z:I']);
    expect(await stored(601, 602, 603, 604, 605)).toEqual([605]);
    const statements = (await events()).flatMap((event) => (event.kind === 'statement' ? [event.sql] : []));
    expect(statements.filter((sql) => sql.startsWith('insert'))).toEqual([`insert into items values (605, 'x')`]);
  });

  test('inside a transaction: it has failed, and what ran before is rolled back', async () => {
    client.send(query('begin'), query(`insert into items values (611, 'x')`));
    expect(await client.upToReady(2)).toEqual(['C:BEGIN', 'Z:T', 'C:INSERT 0 1', 'Z:T']);
    await fill();
    try {
      client.send(query(`insert into items values (612, 'x')`));
      expect(await client.upToReady()).toEqual([refused, 'Z:E']);
      client.send(query('commit'));
      expect(await client.upToReady()).toEqual([refused, 'Z:E']);
    } finally {
      await free();
    }
    client.send(query('commit'), query('select 1'));
    expect(await client.upToReady(2)).toEqual(['C:ROLLBACK', 'Z:I', 'T', 'D', 'C:SELECT 1', 'Z:I']);
    expect(await stored(611, 612)).toEqual([]);
  });

  test('what runs when the disk fills up finishes, and its outcome is written when there is room again', async () => {
    client.send(query(`select pg_sleep(1.5)`));
    await eventually('it runs', async () => {
      return (await fixture.admin.query(`select 1 from pg_stat_activity where query = 'select pg_sleep(1.5)' and state = 'active'`)).rowCount === 1;
    });
    await fill();
    const replies = await client.upToReady();
    expect(replies).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
    await free();
    await eventually('its outcome is on record, though nobody does anything', async () => {
      const all = await events();
      const sleep = all.find((event) => event.kind === 'statement' && event.sql.includes('pg_sleep'));
      return all.some((event) => event.kind === 'outcome' && sleep?.kind === 'statement' && event.statement === sleep.statement && event.state === 'ok');
    });
  });

  test('new sessions and connections are refused while it lasts, with the reason', async () => {
    await fill();
    try {
      await expect(fixture.connect()).rejects.toThrow(/record cannot be written|failed on this request|full/);
      const late = await RawClient.open(tunnel.port);
      late.close();
      await expect(RawClient.logIn(tunnel.port, tunnel.session)).rejects.toThrow(refused);
    } finally {
      await free();
    }
    expect((await (await tunnel.client()).query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect((await (await (await fixture.connect()).client()).query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  test('a client that leaves and a grant that ends while the disk is full: the relay lives, and both are on record later', async () => {
    const short = await fixture.connect('engineer', undefined, 4);
    const doomed = await RawClient.logIn(short.port, short.session);
    await fill();
    client.close();
    await doomed.untilClosed();
    expect(child.isAlive).toBe(true);
    await expect(RawClient.logIn(short.port, short.session)).rejects.toThrow('E:57P01');
    await free();
    expect(child.isAlive).toBe(true);
    await eventually('the connection is closed on record', async () => (await events()).some(({ kind }) => kind === 'connection.close'));
    await eventually('the session is closed on record', async () => {
      return (await fixture.entries(short.session.id)).at(-1)?.event.kind === 'session.close';
    });
    const operator = await fixture.clientFor('operator');
    await eventually('the session is listed as ended', async () => (await operator.session(short.session.id)).state === 'ended');
  });

  test('COPY in is refused before it takes any data', async () => {
    await fill();
    try {
      client.send(query('copy items (id, name) from stdin'));
      expect(await client.upToReady()).toEqual([refused, 'Z:I']);
    } finally {
      await free();
    }
    expect(client.replies.map(describeReply)).toEqual([]);
    expect(existsSync(filler())).toBe(false);
  });
});
