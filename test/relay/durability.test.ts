/** How far the record must be, by target: what the database and the client have got while the disk has not answered. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ResultBarrier } from '../../src/relay/result-barrier.ts';
import { realLogFiles } from '../../src/store/log-files.ts';
import { fixturePolicy, startRelayFixture, type RelayFixture } from './fixture.ts';

const levels = { 'prod-db': undefined, early: 'before-result', os: 'os' } as const;
const disk = { ...realLogFiles };
const soundDisk = () => (realLogFiles.fdatasync = (descriptor) => disk.fdatasync(descriptor));
let fixture: RelayFixture;
beforeAll(async () => {
  const target = (durability: string) => `{ host: 127.0.0.1, port: @PORT@, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable, durability: ${durability} }`;
  const roles = fixturePolicy.slice(fixturePolicy.indexOf('    roles:'));
  fixture = await startRelayFixture({ targets: `  early: ${target('before-result')}\n  os: ${target('os')}\n`, policy: `${fixturePolicy}  early:\n${roles}  os:\n${roles}` });
  await fixture.admin.query('create table marks (id int)');
});
afterEach(() => void soundDisk());
afterAll(async () => fixture?.[Symbol.asyncDispose]());

/** From now on the disk answers when it is let. */
function holdDisk(fails = false): () => void {
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  realLogFiles.fdatasync = async (descriptor) => {
    await released;
    if (fails) throw new Error('EIO: i/o error, fdatasync');
    return disk.fdatasync(descriptor);
  };
  return release;
}

const isThere = async (id: number) => (await fixture.admin.query('select from marks where id = $1', [id])).rowCount === 1;

async function within(done: () => Promise<boolean>, waitMs = 1000): Promise<boolean> {
  for (let waited = 0; waited < waitMs; waited += 20) {
    if (await done()) return true;
    await sleep(20);
  }
  return false;
}

async function open(target: keyof typeof levels): Promise<{ client: Client; session: string }> {
  const access = await fixture.connect('engineer', 'engineer', undefined, target);
  return { client: await access.client(), session: access.session.id };
}

describe.each([
  ['prod-db', { forwarded: false, answered: false }],
  ['early', { forwarded: true, answered: false }],
  ['os', { forwarded: true, answered: true }],
] as const)('%s', (target, expected) => {
  const id = Object.keys(levels).indexOf(target) + 1;
  test('while the disk has not answered', async () => {
    const { client, session } = await open(target);
    const release = holdDisk();
    let isAnswered = false;
    const answer = client.query(`insert into marks values (${id})`).then(() => (isAnswered = true));
    expect(await within(() => isThere(id))).toBe(expected.forwarded);
    if (expected.answered) await answer;
    else await sleep(100);
    expect(isAnswered).toBe(expected.answered);
    release();
    await answer;
    expect(await isThere(id)).toBe(true);
    soundDisk();
    await client.end();
    const entries = await fixture.entries(session);
    const [opened] = entries.flatMap(({ event }) => (event.kind === 'session.open' ? [event] : []));
    expect(opened?.durability).toBe(levels[target]);
    expect(entries.flatMap(({ event }) => (event.kind === 'statement' ? [event.sql] : []))).toEqual([`insert into marks values (${id})`]);
  });

  test('results come whole and in order, errors, pipelines and large ones', async () => {
    const { client } = await open(target);
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) => (n % 10 === 9 ? client.query('select 1/0').catch(({ code }: { code: string }) => code) : client.query('select $1::int + g as n from generate_series(1, 3) g', [n]).then(({ rows }) => rows.map((row: { n: number }) => row.n)))),
    );
    expect(answers).toEqual(Array.from({ length: 60 }, (_, n) => (n % 10 === 9 ? '22012' : [n + 1, n + 2, n + 3])));
    const { rows } = await client.query<{ n: number; text: string }>("select n, repeat('x', 1000) as text from generate_series(1, 3000) n");
    expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: 3000 }, (_, n) => n + 1));
    await client.end();
  });
});

test('before-result: a sync that fails cuts the connection without the result, and what ran is on record', async () => {
  const { client, session } = await open('early');
  holdDisk(true)();
  await expect(client.query('insert into marks values (10)')).rejects.toMatchObject({ code: '57P05' });
  soundDisk();
  expect(await isThere(10)).toBe(true);
  // Reading is an entry as well: both wait until the log has tried again.
  const recorded = async () => (await fixture.entries(session).catch(() => [])).some(({ event }) => event.kind === 'statement' && event.sql === 'insert into marks values (10)');
  expect(await within(recorded, 10_000)).toBe(true);
});

describe('the barrier', () => {
  test('holds what comes while a record is open, and asks to stop reading when that is much', async () => {
    const out: string[] = [];
    const barrier = new ResultBarrier((bytes) => out.push(bytes.toString()) > 0);
    let settle: () => void = () => undefined;
    expect(barrier.write(Buffer.from('a'))).toBe(true);
    const held = barrier.hold(new Promise<void>((resolve) => (settle = resolve)));
    expect(barrier.write(Buffer.from('b'))).toBe(true);
    expect(barrier.write(Buffer.alloc(256 * 1024, 'c'))).toBe(false);
    expect(out).toEqual(['a']);
    settle();
    expect(await held).toBe(true);
    expect(out.map((text) => text.slice(0, 1))).toEqual(['a', 'b', 'c']);
  });

  test('drops what is held, and all that comes, when one fails; and gives up waiting at the end', async () => {
    const out: string[] = [];
    const barrier = new ResultBarrier((bytes) => out.push(bytes.toString()) > 0);
    const failed = barrier.hold(Promise.reject(new Error('no')));
    barrier.write(Buffer.from('a'));
    await expect(failed).rejects.toThrow('no');
    barrier.write(Buffer.from('b'));
    await barrier.finish();
    expect([out, barrier.hasFailed]).toEqual([[], true]);
  });
});
