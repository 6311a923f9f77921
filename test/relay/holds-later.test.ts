/** Held statements whose answer comes later, or under another policy; and the policy file while it changes. */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DeskClient } from './desk-client.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';

const policyWith = (rules: string) => `
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
${rules}
`;
const holding = `
          - { name: many-rows, effect: hold, kinds: [write], bounded: false, approval: { by: [dbas], within: 10m } }
          - { name: single, effect: allow, kinds: [read, write], maxRows: 1 }`;
const denying = `
          - { name: freeze, effect: deny, kinds: [write], reason: nothing is written today }`;

let fixture: RelayFixture;
let dba: DeskClient;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy: policyWith(holding) });
  dba = new DeskClient(fixture, 'dba');
  await fixture.admin.query('create schema other create table items (id int primary key, name text)');
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
beforeEach(async () => void (await fixture.admin.query(`update items set name = 'item ' || id`)));

const big = `update items set name = 'x'`;

/** As editors and configuration management do it: written beside, and renamed. */
async function replacePolicy(rules: string): Promise<void> {
  const file = join(fixture.directory, 'policy.yaml');
  await writeFile(`${file}.new`, policyWith(rules));
  await rename(`${file}.new`, file);
}

async function readiness(): Promise<{ ready: boolean; checks: { policy: boolean }; policyError?: string }> {
  return (await fetch(`${fixture.relayUrl}/readyz`)).json() as Promise<{ ready: boolean; checks: { policy: boolean }; policyError?: string }>;
}

/** What policy says to the big statement now. */
async function explained() {
  return (await fixture.clientFor('engineer')).explain({ target: 'prod-db', sql: big });
}

describe('a session that does not wait', () => {
  let tunnel: OpenTunnel;
  let client: Client;
  beforeEach(async () => {
    tunnel = await fixture.connect('engineer', 'engineer', undefined, undefined, 0);
    client = await tunnel.client();
  });

  async function refusedId(sql = big, values: unknown[] = []): Promise<string> {
    const error = await client.query(sql, values).then(() => undefined, (reason: { code: string; message: string; detail: string }) => reason);
    expect(error).toMatchObject({ code: '42501', message: 'the statement needs approval by dbas (dba); nothing has run' });
    return /Request: (r_\w+)/.exec(error?.detail ?? '')?.[1] as string;
  }

  test('is told the request, and later runs the very statement that was approved, once', async () => {
    const id = await refusedId();
    await dba.approve(id);
    expect((await client.query(big)).rowCount).toBe(100);
    expect((await dba.request(id)).state).toBe('used');
    const next = await refusedId();
    expect(next).not.toBe(id);
    // Trying again asks nobody a second time.
    expect(await refusedId()).toBe(next);
  });

  test('another session of the same person may use it; another text, other parameters and other people may not', async () => {
    const sql = 'update items set name = $1';
    await dba.approve(await refusedId(sql, ['a']));
    await refusedId(sql, ['b']);
    await refusedId('update items set name = $1 ', ['a']);
    const other = await (await fixture.connect('dba', 'engineer', undefined, undefined, 0)).client();
    await expect(other.query(sql, ['a'])).rejects.toMatchObject({ code: '42501' });
    const later = await (await fixture.connect('engineer', 'engineer', undefined, undefined, 0)).client();
    expect((await later.query(sql, ['a'])).rowCount).toBe(100);
  });

  test('so many uses, with any parameters, are counted; a name that means something else is another statement', async () => {
    const sql = 'update items set name = $1';
    await dba.approve(await refusedId(sql, ['a']), { uses: 3, anyParameters: true });
    for (const value of ['c', 'd']) expect((await client.query(sql, [value])).rowCount).toBe(100);
    // From here on the relay does not know which of two tables is meant.
    await client.query('set search_path = public');
    await refusedId(sql, ['e']);
    const fresh = await (await fixture.connect('engineer', 'engineer', undefined, undefined, 0)).client();
    expect((await fresh.query(sql, ['f'])).rowCount).toBe(100);
    await expect(fresh.query(sql, ['g'])).rejects.toMatchObject({ code: '42501' });
  });

  test('one that waits for some seconds leaves its request open', async () => {
    const brief = await (await fixture.connect('engineer', 'engineer', undefined, undefined, 1)).client();
    const error = await brief.query(`${big} -- brief`).then(() => undefined, (reason: { detail: string }) => reason);
    const id = /Request: (r_\w+)/.exec(error?.detail ?? '')?.[1] as string;
    expect((await dba.request(id)).state).toBe('pending');
    await dba.approve(id);
    expect((await brief.query(`${big} -- brief`)).rowCount).toBe(100);
  });
});

describe('the policy file changes', () => {
  test('a bad one changes nothing and is seen; a good one is in force at once, for statements that wait, too', async () => {
    const before = (await explained()).policy;
    const tunnel = await fixture.connect('engineer', 'engineer');
    const client = await tunnel.client();
    const result = client.query(big).then(() => 'ran', (error: Error & { detail?: string }) => `${error.message} (${error.detail})`);
    const request = await dba.waiting(tunnel.session.id);

    await replacePolicy(`
          - { name: broken, efect: deny }`);
    await eventually('the bad file is seen', async () => (await readiness()).policyError !== undefined);
    const seen = await readiness();
    expect(seen).toMatchObject({ ready: true, checks: { policy: false }, policyError: expect.stringMatching(/policy\.yaml.*14.*effect/s) });
    expect((await explained()).policy).toBe(before);

    await replacePolicy(denying);
    await eventually('the good file is in force', async () => (await explained()).policy !== before);
    expect(await readiness()).toEqual({ ready: true, checks: { policy: true, issuer: true, record: true, checkpoints: true, serving: true } });
    expect((await explained()).decision).toMatchObject({ effect: 'deny', rule: 'prod-db/engineer/freeze' });
    await dba.approve(request.id).catch(() => undefined);
    expect(await result).toBe('nothing is written today (Rule: prod-db/engineer/freeze)');
    const statement = (await fixture.entries(tunnel.session.id)).map(({ event }) => event).find((event) => event.kind === 'statement');
    expect(statement).toMatchObject({ effect: 'deny', policy: (await explained()).policy });

    await replacePolicy(holding);
    await eventually('the first is back', async () => (await explained()).policy === before);
    expect((await explained()).decision).toMatchObject({ effect: 'hold', approval: { by: ['dbas'], count: 1 } });
  });
});

describe('the record', () => {
  test('holds all that was decided, by whom, and each policy, in a chain of its own', async () => {
    const kinds = new Map<string, number>();
    const errors: string[] = [];
    for await (const { event } of (await fixture.clientFor('operator')).decisions()) {
      kinds.set(event.kind, (kinds.get(event.kind) ?? 0) + 1);
      if (event.kind === 'policy' && event.error !== undefined) errors.push(event.error);
    }
    await expect((await fixture.clientFor('engineer')).decisions()[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'denied' });
    expect([...kinds.keys()].toSorted()).toEqual(['grant', 'login', 'policy', 'read', 'relay.start', 'request', 'request.end', 'vote']);
    expect(kinds.get('policy')).toBe(4);
    expect(errors).toEqual([expect.stringContaining('policy.yaml')]);
  });
});
