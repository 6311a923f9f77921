/** Finding sessions: every filter against real sessions, what each reader gets to know, and the bounds of a search. */
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SessionQuery } from '../../src/api/session-query.ts';
import type { EventOf } from '../../src/audit/entry.ts';
import { fixturePolicy, startRelayFixture, type RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
/** Engineer, ended; engineer, open; dba, open; auditor, open. */
let [worked, open, changed, looked] = ['', '', '', ''];
/** Between the first session and the second. */
let between = '';

beforeAll(async () => {
  fixture = await startRelayFixture({
    policy: fixturePolicy.replace('auditors: [audit]', 'auditors: [audit]\nadministrators: [dba]'),
    targets: '  other-db: { host: 127.0.0.1, port: @PORT@, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable }\n',
  });
  const first = await fixture.connect('engineer');
  const pg = await first.client();
  await pg.query("select name from items where name = 'Needle 100%'");
  await pg.query("select name from public.items where name = 'needle 200'");
  await pg.query('select 1 / 0').catch(() => undefined);
  await pg.query('drop table items').catch(() => undefined);
  await pg.end();
  await (await fixture.clientFor('engineer')).endSession(first.session.id);
  await new Promise((resolve) => setTimeout(resolve, 20));
  between = new Date().toISOString();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const second = await fixture.connect('engineer', 'reader');
  await (await second.client()).query('select 2');
  const third = await fixture.connect('dba');
  await (await third.client()).query("insert into items values (1001, 'Needle of the dba')");
  const fourth = await fixture.connect('operator');
  [worked, open, changed, looked] = [first.session.id, second.session.id, third.session.id, fourth.session.id];
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

async function find(account: string, query: SessionQuery): Promise<string[]> {
  const { sessions } = await (await fixture.clientFor(account)).findSessions(query);
  return sessions.map(({ id }) => id);
}

async function readings(): Promise<EventOf<'read'>[]> {
  const events: EventOf<'read'>[] = [];
  for await (const { event } of (await fixture.clientFor('operator')).decisions()) if (event.kind === 'read') events.push(event);
  return events;
}

describe('by what is known of a session', () => {
  test('auditors and administrators see all, others their own', async () => {
    const all = [looked, changed, open, worked];
    expect(await find('operator', {})).toEqual(all);
    expect(await find('dba', {})).toEqual(all);
    expect(await find('engineer', {})).toEqual([open, worked]);
    expect(await find('engineer', { user: 'dba' })).toEqual([]);
  });

  test.each<[SessionQuery, () => string[]]>([
    [{ user: 'GINE' }, () => [open, worked]],
    [{ user: 'gine%' }, () => []],
    [{ user: '_____' }, () => []],
    [{ user: 'é' }, () => []],
    [{ human: 'dba' }, () => [changed]],
    [{ user: 'd', human: 'dba' }, () => [changed]],
    [{ target: 'prod-db' }, () => [looked, changed, open, worked]],
    [{ target: 'other-db' }, () => []],
    [{ target: 'prod' }, () => []],
    [{ role: 'reader' }, () => [looked, open]],
    [{ state: 'ended' }, () => [worked]],
    [{ state: 'open', role: 'reader' }, () => [looked, open]],
    [{ since: '2020-01-01T00:00:00+02:00' }, () => [looked, changed, open, worked]],
    [{ until: '2020-01-01T00:00:00Z' }, () => []],
    [{ limit: 2 }, () => [looked, changed]],
  ])('%j', async (query, expected) => {
    expect(await find('operator', query)).toEqual(expected());
  });

  test('since: what was over by then is not there; until: nor what had not begun', async () => {
    expect(await find('operator', { since: between })).toEqual([looked, changed, open]);
    expect(await find('operator', { until: between })).toEqual([worked]);
  });

  test('and nothing of that is a reading of the record', async () => {
    const before = (await readings()).filter(({ what }) => what === 'search').length;
    await find('operator', { user: 'engineer', state: 'ended' });
    expect((await readings()).filter(({ what }) => what === 'search')).toHaveLength(before);
  });
});

describe('by what its statements were', () => {
  const matches = async (account: string, query: SessionQuery) => {
    const { sessions } = await (await fixture.clientFor(account)).findSessions(query);
    return Object.fromEntries(sessions.map((session) => [session.id, session.matches]));
  };

  test.each<[SessionQuery, () => Record<string, number>]>([
    [{ text: 'NEEDLE' }, () => ({ [worked]: 2, [changed]: 1 })],
    [{ text: 'needle 100%' }, () => ({ [worked]: 1 })],
    [{ text: 'needle', role: 'dba' }, () => ({ [changed]: 1 })],
    [{ text: 'needle', kind: 'write' }, () => ({ [changed]: 1 })],
    [{ text: 'nothing of it' }, () => ({})],
    [{ kind: 'schema' }, () => ({ [worked]: 1 })],
    [{ kind: 'read', user: 'engineer' }, () => ({ [open]: 1, [worked]: 3 })],
    [{ effect: 'deny' }, () => ({ [worked]: 1 })],
    [{ effect: 'deny', kind: 'read' }, () => ({})],
    [{ effect: 'hold' }, () => ({})],
    [{ sqlstate: '22012' }, () => ({ [worked]: 1 })],
    [{ sqlstate: '22012', text: 'needle' }, () => ({})],
    [{ text: 'needle', since: '2020-01-01T00:00:00Z', limit: 1 }, () => ({ [changed]: 1 })],
  ])('%j', async (query, expected) => {
    expect(await matches('operator', query)).toEqual(expected());
  });

  test('within the time that is asked about', async () => {
    expect(await matches('operator', { text: 'needle', until: between })).toEqual({ [worked]: 2 });
    expect(await matches('operator', { text: 'needle', since: between })).toEqual({ [changed]: 1 });
  });

  test('by tables, as far as they are recorded', async () => {
    const tables = (await fixture.entries(changed)).flatMap(({ event }) => (event.kind === 'statement' ? (event.tables ?? []) : []));
    const expected = tables.length === 0 ? {} : { [changed]: 1 };
    expect(await matches('operator', { table: '*.items', kind: 'write' })).toEqual(expected);
    expect(await matches('operator', { table: 'public.orders' })).toEqual({});
  });

  test('owners find their own text, administrators only the shape of what others wrote', async () => {
    const owner = await (await fixture.clientFor('engineer')).findSessions({ text: 'needle' });
    expect(owner.sessions.map(({ id, matches: count }) => [id, count])).toEqual([[worked, 2]]);
    expect(owner).not.toHaveProperty('isShapesOnly');
    const administrator = await (await fixture.clientFor('dba')).findSessions({ text: 'needle' });
    expect(administrator.sessions.map(({ id }) => id)).toEqual([changed]);
    expect(administrator.isShapesOnly).toBe(true);
    const shape = await (await fixture.clientFor('dba')).findSessions({ text: 'from items where name = ?' });
    expect(shape.sessions.map(({ id, matches: count }) => [id, count])).toEqual([[worked, 1]]);
    expect(await matches('dba', { sqlstate: '22012' })).toEqual({ [worked]: 1 });
  });

  test('is on record, with what was looked for but not the text itself', async () => {
    await find('operator', { text: 'a person', kind: 'read', user: 'engineer' });
    await find('dba', { text: 'a person' });
    // Keyed: a short text could be found out by its hash.
    const sealingKey = Buffer.from((await readFile(join(fixture.directory, 'state', 'sealing-key'), 'utf8')).trim(), 'hex');
    const digest = createHmac('sha256', sealingKey).update('gate/digest/v1\na person').digest('hex');
    const read = (await readings()).filter(({ what }) => what === 'search');
    expect(read.at(-2)).toMatchObject({ by: { name: 'operator' }, isOpened: true, detail: `text of HMAC-SHA-256 ${digest}, kind read, user engineer` });
    expect(read.at(-1)).toMatchObject({ by: { name: 'dba' }, isOpened: false, detail: `text of HMAC-SHA-256 ${digest}` });
    expect(JSON.stringify(read)).not.toContain('a person');
  });
});

test('replays and the decisions are on record before they are read, and administrators get them closed', async () => {
  const entries = [];
  for await (const entry of (await fixture.clientFor('dba')).entries(worked)) entries.push(entry);
  expect(JSON.stringify(entries).toLowerCase()).not.toContain('needle');
  expect(entries.find(({ event }) => event.kind === 'statement')?.sealed).toMatchObject({ closed: 'not-allowed' });
  for await (const _ of (await fixture.clientFor('engineer')).entries(worked));
  const read = await readings();
  expect(read.filter(({ what, session }) => what === 'replay' && session === worked).map(({ by, isOpened }) => [by.name, isOpened])).toEqual([
    ['dba', false],
    ['engineer', true],
  ]);
  expect(read.at(-1)).toMatchObject({ what: 'decisions', by: { name: 'operator' } });
  await expect((await fixture.clientFor('engineer')).entries(changed)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'not-found' });
});

test.each([
  'who=me',
  'user=',
  'user=a&user=b',
  `user=${'a'.repeat(201)}`,
  'since=yesterday',
  'since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z',
  'state=running',
  'kind=delete',
  'effect=allowed',
  'sqlstate=42',
  'sqlstate=42p01',
  'table=items',
  'table=a.b.c',
  'limit=0',
  'isOpened=true',
])('?%s is refused', async (query) => {
  const token = await (await fixture.clientFor('operator')).accessToken();
  const response = await fetch(`${fixture.relayUrl}/v1/sessions?${query}`, { headers: { authorization: `Bearer ${token}` } });
  expect([response.status, await response.json()]).toEqual([400, { error: expect.objectContaining({ code: 'usage' }) }]);
});
