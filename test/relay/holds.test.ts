/** Held statements on a real server: they wait in the client's own session, and exactly what was approved runs, once. */
import type { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { serialize } from 'pg-protocol';
import { noticeIntervalMs } from '../../src/relay/holds.ts';
import { DeskClient } from './desk-client.ts';
import { rawCancel, RawClient } from './raw-client.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';

const policy = `
auditors: [audit]
approvers:
  dbas: { groups: [dba] }
targets:
  prod-db:
    roles:
      engineer:
        groups: [engineering, dba]
        allow: [read]
        maxDuration: 8h
        rules:
          - { name: single-row, effect: allow, kinds: [read, write], maxRows: 1 }
          - { name: deletes, effect: hold, commands: [DELETE], bounded: false, approval: { by: [dbas], count: 2, within: 10m } }
          - { name: many-rows, effect: hold, kinds: [write], reason: it may change many rows, approval: { by: [dbas], within: 10m } }
          - { name: soon, effect: hold, commands: [CREATE TABLE], approval: { by: [dbas], within: 2s } }
`;

let fixture: RelayFixture;
let tunnel: OpenTunnel;
let dba: DeskClient;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  dba = new DeskClient(fixture, 'dba');
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  await fixture.admin.query(`update items set name = 'item ' || id; delete from items where id > 100`);
  await fixture.admin.query('analyze items');
  tunnel = await fixture.connect('engineer', 'engineer');
});

const big = `update items set name = 'x'`;

/** A client that remembers its notices. */
async function clientWithNotices(): Promise<{ client: Client; notices: { message?: string | undefined; hint?: string | undefined }[] }> {
  const client = await tunnel.client();
  const notices: { message?: string | undefined; hint?: string | undefined }[] = [];
  client.on('notice', (notice) => notices.push(notice));
  return { client, notices };
}

const waiting = () => dba.waiting(tunnel.session.id);

async function changed(): Promise<number> {
  return (await fixture.admin.query(`select 1 from items where name = 'x'`)).rowCount as number;
}

async function recorded(sql: string) {
  return (await fixture.entries(tunnel.session.id)).map(({ event }) => event).filter((event) => 'sql' in event && event.sql === sql);
}

describe('approved', () => {
  test.each([
    ['simple', (client: Client) => client.query(big)],
    ['extended', (client: Client) => client.query('update items set name = $1', ['x'])],
    ['prepared', (client: Client) => client.query({ name: 'all', text: 'update items set name = $1', values: ['x'] })],
  ])('%s: waits with a notice, shows the approver what it is, and runs', async (protocol, run) => {
    const { client, notices } = await clientWithNotices();
    const result = run(client);
    const request = await waiting();
    expect(request).toMatchObject({ kind: 'statement', rule: 'prod-db/engineer/many-rows', state: 'pending' });
    expect(request.statement).toMatchObject({ transaction: 'I', sql: protocol === 'simple' ? big : 'update items set name = $1', rowEstimate: 100 });
    expect(request.statement?.parameters).toEqual(protocol === 'simple' ? [] : ['x']);
    await eventually('the client is told', () => notices.length > 0);
    expect(notices[0]?.message).toMatch(`this statement waits for approval by dbas (dba), 10 min left`);
    expect(notices[0]?.hint).toBe(`Ctrl-C withdraws it. An approver runs: gate approve ${request.id}`);
    expect(await changed()).toBe(0);
    await dba.approve(request.id);
    expect((await result).rowCount).toBe(100);
    expect(await changed()).toBe(100);
    const events = await recorded(request.statement?.sql as string);
    expect(events).toMatchObject([{ kind: 'hold', request: request.id }, { kind: 'statement', effect: 'allow', request: request.id, reason: expect.stringMatching(/^approved by dba/) }]);
    expect((await dba.request(request.id)).state).toBe('used');
  });

  test('one approval is one run: the next one waits again', async () => {
    const client = await tunnel.client();
    const first = client.query(big);
    await dba.approve((await waiting()).id);
    await first;
    const second = client.query(big);
    second.catch(() => undefined);
    await dba.deny((await waiting()).id, 'once was enough');
    await expect(second).rejects.toThrow('once was enough');
  });

  test('in a pipeline, what comes before is answered at once and what comes after waits its turn', async () => {
    const client = await RawClient.logIn(tunnel.port, tunnel.session);
    const extended = (text: string) => Buffer.concat([serialize.parse({ text }), serialize.bind({}), serialize.execute({}), serialize.sync()]);
    client.send(extended('select 1'), extended(big), extended('select 2'));
    const request = await waiting();
    expect(await client.upToReady()).toEqual(['1', '2', 'D', 'C:SELECT 1', 'Z:I']);
    await dba.approve(request.id);
    const rest = await client.upToReady(2);
    expect(rest.filter((message) => message !== 'N')).toEqual(['1', '2', 'C:UPDATE 100', 'Z:I', '1', '2', 'D', 'C:SELECT 1', 'Z:I']);
    client.close();
  });

  test('COPY FROM STDIN is asked for its data only then', async () => {
    const client = await RawClient.logIn(tunnel.port, tunnel.session);
    client.send(serialize.query('copy items (id, name) from stdin'));
    await dba.approve((await waiting()).id);
    await client.next('G');
    client.send(serialize.copyData(Buffer.from('201\tcopied\n')), serialize.copyDone());
    expect(await client.upToReady()).toEqual(['C:COPY 1', 'Z:I']);
    client.close();
  });

  test('in a transaction the approver sees the locks that it keeps', async () => {
    const client = await tunnel.client();
    await client.query('begin');
    await client.query(`update items set name = 'mine' where id = 1`);
    const result = client.query(big);
    result.catch(() => undefined);
    const request = await waiting();
    expect(request.statement).toMatchObject({ transaction: 'T', locks: expect.arrayContaining(['RowExclusiveLock on items']) });
    expect(Date.parse(request.expiresAt) - Date.parse(request.createdAt)).toBe(300_000);
    await dba.approve(request.id);
    await result;
    await client.query('rollback');
    expect(await changed()).toBe(0);
  });
});

describe('while it waits', () => {
  test('it is said again and again, also beside the bytes, and others work on', async () => {
    const { client, notices } = await clientWithNotices();
    const result = client.query(big).catch(() => undefined);
    const request = await waiting();
    const other = await tunnel.client();
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await eventually('it is said', () => notices.length === 1 && tunnel.news.length === 1);
    expect(tunnel.news[0]?.requestId).toBe(request.id);
    await new Promise((resolve) => setTimeout(resolve, noticeIntervalMs + 500));
    expect(notices).toHaveLength(2);
    expect(notices[1]?.message).toMatch(/, 10 min left \(request r_\w+\)$/);
    expect(tunnel.news).toHaveLength(2);
    await dba.deny(request.id, 'enough');
    await result;
  });

  test('an approval by two people takes two, and a message of another connection does not end the wait', async () => {
    const client = await tunnel.client();
    const result = client.query('delete from items where id > 0 -- by two');
    result.catch(() => undefined);
    const request = await waiting();
    await dba.approve(request.id);
    expect((await dba.request(request.id)).state).toBe('pending');
    await new DeskClient(fixture, 'dba2').approve(request.id);
    expect((await result).rowCount).toBe(100);
    await fixture.admin.query(`insert into items select n, 'item ' || n from generate_series(1, 100) n`);
    expect(await recorded('delete from items where id > 0 -- by two')).toMatchObject([{ kind: 'hold' }, { effect: 'allow', reason: 'approved by dba and dba2' }]);
  });
});

describe('not approved', () => {
  test('denied: the error says by whom and why, and the session goes on', async () => {
    const client = await tunnel.client();
    const result = client.query(big);
    result.catch(() => undefined);
    const request = await waiting();
    await dba.deny(request.id, 'add a WHERE');
    await expect(result).rejects.toMatchObject({
      code: '42501',
      message: expect.stringMatching(/^dba.* denied the statement: add a WHERE$/),
      detail: `Rule: prod-db/engineer/many-rows\nRequest: ${request.id}`,
    });
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(await recorded(big)).toMatchObject([{ kind: 'hold' }, { kind: 'statement', effect: 'deny', request: request.id }]);
  });

  test('Ctrl-C withdraws it', async () => {
    const client = await tunnel.client();
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
    const result = client.query(big);
    result.catch(() => undefined);
    const request = await waiting();
    await rawCancel(tunnel.port, processID, secretKey);
    await expect(result).rejects.toMatchObject({ code: '57014', message: 'the statement was withdrawn before it was approved; nothing has run' });
    expect((await dba.request(request.id)).state).toBe('withdrawn');
    await expect(dba.approve(request.id)).rejects.toThrow(/withdrawn/);
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  test('the client goes away: the request goes with it', async () => {
    const client = await RawClient.logIn(tunnel.port, tunnel.session);
    client.send(serialize.query(big));
    const request = await waiting();
    client.close();
    await eventually('it is withdrawn', async () => (await dba.request(request.id)).state === 'withdrawn');
  });

  test('nobody answers in time', async () => {
    const client = await tunnel.client();
    await expect(client.query('create table too_late (id int)')).rejects.toMatchObject({ code: '57014', message: expect.stringMatching(/^nobody approved the statement in time/) });
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  test('the grant is revoked meanwhile: the session ends, and the request with it', async () => {
    const client = await tunnel.client();
    const result = client.query(big).catch((error: Error) => error.message);
    const request = await waiting();
    await new DeskClient(fixture, 'engineer').revoke(tunnel.session.grant, 'no longer needed');
    expect(await result).toMatch(/revoked/);
    expect((await dba.request(request.id)).state).toBe('withdrawn');
  });

  test('in a failed transaction nobody is asked', async () => {
    const client = await tunnel.client();
    await client.query('begin');
    await client.query('select 1 / 0').catch(() => undefined);
    await expect(client.query(big)).rejects.toMatchObject({ code: '25P02' });
    await client.query('rollback');
  });
});

describe('drift', () => {
  test('a name that stands for something else by then is held again', async () => {
    const client = await tunnel.client();
    const result = client.query(big);
    result.catch(() => undefined);
    const first = await waiting();
    await fixture.admin.query('create table if not exists children () inherits (items)');
    try {
      await dba.approve(first.id);
      const second = await waiting();
      expect(second.id).not.toBe(first.id);
      expect(second.statement?.fingerprint).not.toBe(first.statement?.fingerprint);
      await dba.deny(second.id, 'no');
      await expect(result).rejects.toMatchObject({ code: '42501' });
    } finally {
      await fixture.admin.query('drop table children');
    }
  });
});
