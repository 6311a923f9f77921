/** The record as a whole over HTTP, on a real relay: who may read it, that tiles and receipts are true, and how keys end. */
import { createHash } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IndexedEntry } from '../../src/api/audit-api.ts';
import { isSignedBy, parseCheckpoint, parseNote, parseVerifierKey } from '../../src/audit/checkpoint.ts';
import { decisionsChain, type AuditEntry, type Event } from '../../src/audit/entry.ts';
import { decodeBundle, tilePath, tilesOf, tileWidth } from '../../src/audit/tiles.ts';
import { leafHash, rootFromInclusion } from '../../src/audit/tree.ts';
import type { RelayClient } from '../../src/client/relay-client.ts';
import { checkReceipt } from '../../src/client/receipts.ts';
import { openLog } from '../../src/store/log.ts';
import { Erasure } from '../../src/relay/erasure.ts';
import { startRetention } from '../../src/relay/retention.ts';
import { eventually, fixturePolicy, startRelayFixture, type RelayFixture } from './fixture.ts';

const policy = fixturePolicy.replace('auditors: [audit]', 'auditors: [audit]\nadministrators: [dba]');
let fixture: RelayFixture;
let people: Record<'operator' | 'engineer' | 'dba' | 'dba2', RelayClient>;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  await meet();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

async function meet(): Promise<void> {
  const [operator, engineer, dba, dba2] = await Promise.all(['operator', 'engineer', 'dba', 'dba2'].map((one) => fixture.clientFor(one)));
  people = { operator, engineer, dba, dba2 } as typeof people;
}

async function work(sql = `select 'a secret'`, isEnded = true): Promise<string> {
  const tunnel = await fixture.connect('engineer');
  const { session, port } = tunnel;
  const pg = await tunnel.client();
  await pg.query(sql);
  await pg.end();
  const has = async (kind: string) => (await collect(people.engineer.entries(session.id))).some(({ event }) => event.kind === kind);
  await eventually('the connection is closed', () => has('connection.close'));
  await port.close();
  if (isEnded) await people.engineer.endSession(session.id);
  return session.id;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function decisions(): Promise<Event[]> {
  return (await collect(people.operator.decisions())).map(({ event }) => event);
}

const ofKind = async (kind: Event['kind']) => (await decisions()).filter((event) => event.kind === kind);

async function textsOf(session: string): Promise<string[]> {
  return (await fixture.entries(session)).flatMap(({ event }) => (event.kind === 'statement' ? [event.sql] : []));
}

const logFile = (name: string) => join(fixture.directory, 'state/log', name);
const keyFile = (session: string) => join(fixture.directory, 'state/keys', `${session}.json`);

async function get(path: string, client: RelayClient = people.operator): Promise<Response> {
  return fetch(`${fixture.relayUrl}${path}`, { headers: { authorization: `Bearer ${await client.accessToken()}` } });
}

async function leafOf(index: number): Promise<Buffer> {
  const { size } = parseCheckpoint(parseNote(await people.operator.logCheckpoint()).text);
  const bundle = Math.floor(index / tileWidth);
  const tile = await people.operator.logTile({ level: 'entries', index: bundle, width: Math.min(tileWidth, size - bundle * tileWidth) });
  return decodeBundle(tile)[index % tileWidth] as Buffer;
}

describe('who may read', () => {
  const paths = ['/v1/log/checkpoint', '/v1/log/tile/0/000', '/v1/log/tile/entries/000', '/v1/log/rotations', '/v1/log/entries?from=0', '/v1/sessions/decisions/sealed'];

  test.each(paths)('%s is for auditors', async (path) => {
    for (const one of ['engineer', 'dba'] as const) {
      const response = await get(path, people[one]);
      expect([response.status, await response.json()]).toMatchObject([403, { error: { code: 'denied', rule: 'auditors' } }]);
    }
    expect((await fetch(`${fixture.relayUrl}${path}`)).status).toBe(401);
  });

  test('the key is for everybody, and public in the description of the relay', async () => {
    const keys = await people.engineer.logKeys();
    expect(keys).toEqual([(await people.engineer.info()).logKey]);
    expect(parseVerifierKey(keys[0] as string).type).toBe('ed25519');
  });

  test('a version of the policy is for auditors and administrators', async () => {
    const digest = createHash('sha256').update(policy).digest('hex');
    for (const one of ['operator', 'dba'] as const) expect(await people[one].policyText(digest)).toBe(policy);
    await expect(people.engineer.policyText(digest)).rejects.toMatchObject({ code: 'denied' });
    await expect(people.dba.policyText('0'.repeat(64))).rejects.toMatchObject({ code: 'not-found' });
    await expect(people.dba.policyText('../policy')).rejects.toMatchObject({ code: 'not-found' });
  });

  test('reading is on record before it begins, once for what belongs together', async () => {
    await collect(people.operator.logEntries({ from: 0, limit: 10 }));
    await collect(people.operator.logEntries({ from: 0, limit: 10 }));
    await collect(people.operator.sealed(decisionsChain));
    const reads = (await ofKind('read')).map((event) => (event.kind === 'read' ? [event.by.name, event.what, event.isOpened] : []));
    const mine = reads.filter(([name, what]) => name === 'operator' && (what === 'export' || what === 'bundle'));
    expect(new Set(mine.map(String))).toEqual(new Set(['operator,export,false', 'operator,bundle,false']));
    expect(mine.length).toBeLessThanOrEqual(3);
  });
});

describe('the tree', () => {
  test('tiles are those on disk, and full ones may be kept for ever', async () => {
    await work();
    // More than a full tile of leaves.
    const tunnel = await fixture.connect('engineer');
    const { session, port } = tunnel;
    const pg = await tunnel.client();
    for (let count = 0; count < 130; count++) await pg.query(`select ${count}`);
    await pg.end();
    await port.close();
    await people.engineer.endSession(session.id);
    const note = await people.operator.logCheckpoint();
    const { size } = parseCheckpoint(parseNote(note).text);
    expect(size).toBeGreaterThan(tileWidth);
    for (const id of tilesOf(size)) expect(await people.operator.logTile(id)).toEqual(await readFile(logFile(tilePath(id))));
    const [full, partial] = [await get('/v1/log/tile/0/000'), await get(`/v1/log/tile/0/001.p/${size - tileWidth}`)];
    expect(full.headers.get('cache-control')).toContain('max-age=31536000, immutable');
    expect(partial.headers.get('cache-control')).not.toContain('31536000');
  });

  test('partial tiles of an older checkpoint stay readable', async () => {
    const { size } = parseCheckpoint(parseNote(await people.operator.logCheckpoint()).text);
    const before = await Promise.all([...tilesOf(size)].map((id) => people.operator.logTile(id)));
    await work();
    await people.operator.logCheckpoint();
    expect(await Promise.all([...tilesOf(size)].map((id) => people.operator.logTile(id)))).toEqual(before);
  });

  test.each(['0/0', '0/000.p/0', '0/000.p/257', '64/000', 'entries/x000/000', '00/000', '0/000.p/5/..', '..%2f..%2flog-key', '0/%2e%2e', '0/999', 'entries/000.p/05'])(
    'there is no tile %s',
    async (path) => expect((await get(`/v1/log/tile/${path}`)).status).toBe(404),
  );

  test('open entries come in order, from any place, and without what is sealed', async () => {
    const secret = 'needle-5512';
    await work(`select '${secret}'`);
    const all = await collect(people.operator.logEntries({ from: 0, limit: 10_000 }));
    expect(all.map(({ index }) => index)).toEqual(all.map((_, index) => index));
    expect(JSON.stringify(all)).not.toContain(secret);
    const some = await collect(people.operator.logEntries({ from: 250, limit: 10 }));
    expect(some).toEqual(all.slice(250, 260));
    for (const query of ['from=-1', 'from=x', 'limit=10001', 'from=99999999']) expect((await get(`/v1/log/entries?${query}`)).status).toBe(400);
  });

  test('a follower gets what comes', async () => {
    const { size } = parseCheckpoint(parseNote(await people.operator.logCheckpoint()).text);
    const following = collect<IndexedEntry>(people.operator.logEntries({ from: size, limit: 100, isFollowing: true }));
    const session = await work();
    expect((await following)[0]).toMatchObject({ index: size });
    expect(session).toBeDefined();
  });

  test('sealed contents are those that the entries name, in order', async () => {
    const session = await work();
    const contents = await collect(people.operator.sealed(session));
    const named = (await fixture.entries(session)).flatMap(({ sealed }) => (sealed ? [sealed.sha256] : []));
    expect(contents.map(({ sha256 }) => sha256)).toEqual(named);
    for (const { sha256, data } of contents) expect(createHash('sha256').update(Buffer.from(data, 'base64')).digest('hex')).toBe(sha256);
  });
});

describe('receipts', () => {
  test('lead from the last entry of the session to the signed root; for its owner and auditors', async () => {
    const session = await work();
    const receipts = await Promise.all([people.engineer, people.operator].map((one) => one.receipt(session)));
    for (const receipt of receipts) {
      const note = parseNote(receipt.checkpoint);
      const { size, root } = parseCheckpoint(note.text);
      const leaf = await leafOf(receipt.index);
      expect(createHash('sha256').update(leaf).digest('hex')).toBe(receipt.entry);
      expect(JSON.parse(leaf.toString())).toMatchObject({ session, event: { kind: 'session.close' } });
      expect(rootFromInclusion(leafHash(leaf), receipt.index, size, receipt.proof.map((hash) => Buffer.from(hash, 'base64')))).toEqual(root);
      expect(isSignedBy(note, parseVerifierKey(receipt.key))).toBe(true);
      expect(checkReceipt(receipt)).toBe(parseVerifierKey(receipt.key).name);
    }
    const foreign = await fixture.connect('dba');
    await expect(people.engineer.receipt(foreign.session.id)).rejects.toMatchObject({ code: 'not-found' });
  });

  test('hold after a restart, with and without the index of the log', async () => {
    const session = await work();
    const { index, entry } = await people.engineer.receipt(session);
    for (const hasIndex of [true, false]) {
      await fixture.stopRelay();
      if (!hasIndex) await rm(join(fixture.directory, 'state/log-index'), { recursive: true });
      await fixture.startRelay();
      expect(await people.engineer.receipt(session)).toMatchObject({ index, entry });
    }
  });
});

describe('erasure', () => {
  test('takes two administrators; then nobody can read it, and the tree is as it was', async () => {
    const session = await work(`select 'erase me'`);
    expect(await textsOf(session)).toContain(`select 'erase me'`);
    const before = await leafOf((await people.operator.receipt(session)).index);
    for (const one of [people.operator, people.engineer]) await expect(one.shred(session, 'x')).rejects.toMatchObject({ code: 'denied', rule: 'administrators' });
    expect(await people.dba.shred(session, 'asked by the customer')).toMatchObject({ state: 'requested', by: { name: 'dba' } });
    await expect(people.dba.shred(session, 'again')).rejects.toMatchObject({ code: 'denied', rule: 'two-people', hint: expect.stringContaining('Another administrator') });
    expect(await textsOf(session)).toContain(`select 'erase me'`);
    expect(await people.dba2.shred(session, 'checked')).toEqual({ state: 'shredded' });
    expect(await people.dba2.shred(session, 'checked')).toEqual({ state: 'shredded' });
    expect(await textsOf(session)).not.toContain(`select 'erase me'`);
    const closed = (await fixture.entries(session)).flatMap(({ sealed }) => (sealed ? [sealed.closed] : []));
    expect(new Set(closed)).toEqual(new Set(['shredded']));
    expect((await ofKind('key.shred')).at(-1)).toMatchObject({
      session, classes: ['content', 'results'], by: [{ name: 'dba' }, { name: 'dba2' }], reason: 'asked by the customer; checked',
    });
    const after = await people.operator.receipt(session);
    expect(await leafOf(after.index)).toEqual(before);
    await fixture.stopRelay();
    await fixture.startRelay();
    expect(await textsOf(session)).not.toContain(`select 'erase me'`);
  });

  test('an open session keeps its keys, and what is no session has none', async () => {
    const session = await work('select 1', false);
    await expect(people.dba.shred(session, 'x')).rejects.toMatchObject({ code: 'usage' });
    await people.engineer.endSession(session);
    for (const id of [decisionsChain, 's_unknown', '..']) await expect(people.dba.shred(id, 'x')).rejects.toMatchObject({ code: expect.stringMatching(/not-found|denied/) });
    await expect(people.dba.shred(session, ' ')).rejects.toMatchObject({ code: 'usage' });
  });

  test('a legal hold stands against it, until it is lifted', async () => {
    const session = await work();
    await expect(people.engineer.hold(session, true, 'x')).rejects.toMatchObject({ code: 'denied' });
    await people.dba.shred(session, 'old');
    await people.operator.hold(session, true, 'court order 7');
    await expect(people.dba2.shred(session, 'old')).rejects.toMatchObject({ code: 'denied', rule: 'legal-hold' });
    await fixture.stopRelay();
    await fixture.startRelay();
    await expect(people.dba2.shred(session, 'old')).rejects.toMatchObject({ code: 'denied', rule: 'legal-hold' });
    await people.dba.hold(session, false, 'over');
    expect(await people.dba2.shred(session, 'old')).toEqual({ state: 'shredded' });
    await expect(people.operator.hold(session, true, 'late')).rejects.toMatchObject({ code: 'usage' });
    expect((await ofKind('legal.hold')).slice(-2)).toMatchObject([{ isSet: true, by: { name: 'operator' } }, { isSet: false, by: { name: 'dba' } }]);
  });

  test('the word of the first counts for a day', async () => {
    const session = await work();
    await people.dba.shred(session, 'old');
    const file = JSON.parse(await readFile(keyFile(session), 'utf8')) as { shredRequest: { at: string } };
    file.shredRequest.at = new Date(Date.now() - 25 * 3_600_000).toISOString();
    await writeFile(keyFile(session), JSON.stringify(file));
    expect(await people.dba2.shred(session, 'old')).toMatchObject({ state: 'requested', by: { name: 'dba2' } });
  });

  test.each(['before', 'after'] as const)('a crash right %s the entry is finished at the next start', async (moment) => {
    const session = await work(`select 'gone ${moment}'`);
    const text = await readFile(keyFile(session), 'utf8');
    if (moment === 'after') {
      await people.dba.shred(session, 'old');
      await people.dba2.shred(session, 'old');
    }
    const count = (await ofKind('key.shred')).length;
    await fixture.stopRelay();
    const by = [{ issuer: 'i', subject: 's', name: 'first', kind: 'human', groups: [] }];
    const file = { ...(JSON.parse(text) as object), shredding: { classes: ['content', 'results'], by, reason: 'old' } };
    await writeFile(`${keyFile(session)}.tmp`, JSON.stringify(file));
    await rename(`${keyFile(session)}.tmp`, keyFile(session));
    await fixture.startRelay();
    expect(await ofKind('key.shred')).toHaveLength(moment === 'after' ? count : count + 1);
    expect(JSON.parse(await readFile(keyFile(session), 'utf8'))).toMatchObject({ wrapped: {}, shredded: ['content', 'results'] });
    expect(await textsOf(session)).not.toContain(`select 'gone ${moment}'`);
  });
});

test('retention passes over what is held and what is open, and shreds by class', async () => {
  const directory = join(fixture.directory, 'retention', 'log');
  const log = await openLog(directory);
  try {
    const who = { issuer: 'i', subject: 's', name: 'n', kind: 'human' as const, groups: [] };
    const open = (grant: string): Event => ({
      kind: 'session.open', who, target: 't', role: 'r', grant, expiresAt: '2030-01-01T00:00:00.000Z', command: 'exec', policy: 'p', relayVersion: '1',
    });
    for (const id of ['s_open', 's_held', 's_old']) await log.record(id, [open(id)]);
    for (const id of ['s_held', 's_old']) await log.record(id, [{ kind: 'session.close', reason: 'done' }]);
    await log.keys.mark('s_held', { hold: { by: who, at: '2026-01-01T00:00:00.000Z', reason: 'x' } });
    const retentionAfter = async (days: number) => {
      const now = new Date(Date.now() + days * 86_400_000);
      const running = startRetention({
        log, keys: log.keys, retention: { contentDays: 30, resultsDays: 7 }, isOpen: (id) => log.openSessions().includes(id), now: () => now,
      });
      await running.check();
      await running.stop();
      const files = await Promise.all(['s_open', 's_held', 's_old'].map((id) => log.keys.load(id)));
      return files.map((file) => file?.shredded);
    };
    await expect(new Erasure(log).shred('s_old', { ...who, kind: 'agent' }, 'x')).rejects.toMatchObject({ code: 'denied', rule: 'two-people' });
    await new Erasure(log).shred('s_old', who, 'x');
    expect(await retentionAfter(6)).toEqual([[], [], []]);
    expect(await retentionAfter(8)).toEqual([[], [], ['results']]);
    expect(await log.keys.load('s_old')).toMatchObject({ shredRequest: { reason: 'x' } });
    expect(await retentionAfter(31)).toEqual([[], [], ['results', 'content']]);
    const entries: AuditEntry[] = await collect(log.entries(decisionsChain));
    expect(entries.map(({ event }) => event)).toEqual([
      { kind: 'shred.request', session: 's_old', by: who, reason: 'x' },
      { kind: 'key.shred', session: 's_old', classes: ['results'], by: [], reason: 'retention of 7 days' },
      { kind: 'key.shred', session: 's_old', classes: ['content'], by: [], reason: 'retention of 30 days' },
    ]);
  } finally {
    await log.close();
  }
});
