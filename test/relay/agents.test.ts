/** Agents at the relay: a person's token with the header Gate-Agent, which is only ever a restriction. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { openSession } from '../../src/client/session.ts';
import { runSql } from '../../src/client/sql-session.ts';
import type { SqlRow } from '../../src/client/sql-text.ts';
import type { GateError } from '../../src/errors/errors.ts';
import { createRoutes, type RoutesOptions } from '../../src/relay/routes.ts';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

const subjectOf = (name: string) => `acct-${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;

const policy = `
auditors: [audit, engineering]
administrators: [operations, engineering]
approvers:
  leads: { groups: [dba] }
targets:
  prod-db:
    masks:
      rules:
        - { name: contact, columns: [public.customers.email], mask: email }
        - { name: word, columns: [public.customers.word], mask: { constant: hidden-word } }
        - { name: rest, columns: ["public.customers.*"], mask: clear }
    roles:
      engineer: { groups: [engineering, dba], allow: [read, write], maxDuration: 8h }
      people: { groups: [engineering], when: 'principal.kind != "agent"', allow: [read, write] }
      robots: { groups: [engineering], when: 'principal.kind == "agent"', allow: [read] }
      admin: { groups: [engineering, dba], allow: [read, write], approval: { by: [leads] } }
      held:
        groups: [engineering]
        rules:
          - { name: writes, effect: hold, kinds: [write], approval: { by: [leads] } }
          - { name: reads, effect: allow, kinds: [read] }
  shown-db:
    masks:
      level: display
      rules:
        - { name: word, columns: [public.customers.word], mask: { constant: hidden-word } }
        - { name: rest, columns: ["public.customers.*"], mask: clear }
    roles:
      engineer: { groups: [engineering], allow: [read, write] }
`;

let fixture: RelayFixture;
let engineer: RelayClient;
let dba: RelayClient;
let agent: RelayClient;

async function agentOf(account: string, name = 'claude/1.2'): Promise<RelayClient> {
  const token = await (await fixture.clientFor(account)).accessToken();
  return createRelayClient({ directory: fixture.directory, relay: fixture.relayUrl, isKeychainWanted: false, token }, { agent: name, warn: () => undefined });
}

beforeAll(async () => {
  fixture = await startRelayFixture({
    policy,
    targets: '  shown-db: { host: 127.0.0.1, port: @PORT@, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable }\n',
  });
  await fixture.admin.query(`
    create table customers (id int primary key, email text, word text);
    insert into customers values (1, 'ann@mail.test', 'open');
    create table notes (id int primary key, text text)`);
  engineer = await fixture.clientFor('engineer');
  dba = await fixture.clientFor('dba');
  agent = await agentOf('engineer');
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

async function run(relay: RelayClient, sql: string, wish: { target?: string; role?: string; agent?: string; parameters?: string[] } = {}): Promise<SqlRow[]> {
  const { target = 'prod-db', role = 'engineer', agent: name = relay === engineer ? undefined : 'claude/1.2', parameters = [] } = wish;
  const session = await openSession(relay, 'exec', { target, role, reason: 'testing' }, 0);
  const rows: SqlRow[] = [];
  const nothing = async () => undefined;
  const handlers = { fields: nothing, rows: async (more: readonly SqlRow[]) => void rows.push(...more), copy: nothing, copyData: nothing, complete: nothing, notice: () => undefined };
  const signal = new AbortController().signal;
  await runSql({ relay: relay.url, session, accessToken: () => relay.accessToken(), texts: [{ sql, parameters: parameters.map((value) => ({ typeOid: 0, value })) }], rowsMax: 100_000, handlers, signal, ...(name !== undefined && { agent: name }) });
  await relay.endSession(session.id);
  return rows;
}

const refused = async (work: Promise<unknown>): Promise<GateError> => work.then(() => expect.fail('it was not refused'), (error: unknown) => error as GateError);

describe('who an agent is', () => {
  test('it is itself, on behalf of the person whose token it carries', async () => {
    expect(await agent.whoAmI()).toMatchObject({
      kind: 'agent',
      name: 'claude',
      subject: subjectOf('engineer'),
      groups: ['engineering'],
      chain: [
        { kind: 'agent', value: 'claude/1.2', strength: 'claimed', source: 'client' },
        { kind: 'human', id: subjectOf('engineer'), strength: 'verified', source: 'token' },
      ],
    });
    expect(await engineer.whoAmI()).toMatchObject({ kind: 'human' });
  });

  test.each(['', 'a b', '/1', 'x/', 'Erin Castillo', '-x', 'a'.repeat(65), `a/${'1'.repeat(33)}`, 'a/1/2', 'é'])('the name %j is refused', async (name) => {
    const token = await engineer.accessToken();
    const response = await fetch(`${fixture.relayUrl}/v1/whoami`, { headers: { authorization: `Bearer ${token}`, 'gate-agent': Buffer.from(name).toString('latin1') } });
    expect(response.status).toBe(400);
  });

  test('policy sees it: roles can be for people only, or for agents', async () => {
    const roles = async (relay: RelayClient) => (await relay.targets()).find(({ name }) => name === 'prod-db')?.roles.map(({ name }) => name);
    expect(await roles(agent)).toEqual(['engineer', 'robots', 'admin', 'held']);
    expect(await roles(engineer)).toEqual(['engineer', 'people', 'admin', 'held']);
    expect((await refused(agent.createGrant({ target: 'prod-db', role: 'people' }))).code).toBe('denied');
    expect((await refused(engineer.createGrant({ target: 'prod-db', role: 'robots' }))).code).toBe('denied');
  });

  test('the record of a session names agent and person', async () => {
    const session = await openSession(agent, 'exec', { target: 'prod-db', role: 'engineer', reason: 'testing' }, 0);
    await agent.endSession(session.id);
    const [first] = await fixture.entries(session.id);
    expect(first?.event).toMatchObject({ kind: 'session.open', who: { kind: 'agent', name: 'claude', chain: [{ kind: 'agent' }, { kind: 'human', strength: 'verified' }] } });
  });
});

describe('what an agent may call', () => {
  const allowed = new Set([
    'POST /v1/token', 'GET /v1/whoami', 'GET /v1/targets', 'POST /v1/grants', 'GET /v1/grants', 'POST /v1/requests', 'GET /v1/requests', 'GET /v1/requests/:id',
    'GET /v1/requests/:id/wait', 'POST /v1/requests/:id/cancel', 'POST /v1/sessions', 'POST /v1/sessions/:id/end', 'POST /v1/policy/explain',
  ]);
  /** All that the relay serves, as it is registered; nothing of the options is used for that. */
  const routes = () => {
    const nothing = new Proxy(() => undefined, { get: (_, name) => (name === 'stateDirectory' ? '/' : name === Symbol.toPrimitive ? () => '/' : nothing), apply: () => nothing }) as unknown;
    return createRoutes(nothing as RoutesOptions).routes.filter(({ method, path }) => method !== 'ALL' && path.startsWith('/v1/'));
  };

  test('every other route is refused before it looks at anything', async () => {
    const token = await engineer.accessToken();
    const seen: string[] = [];
    for (const { method, path } of routes()) {
      const call = `${method} ${path}`;
      if (allowed.has(call)) continue;
      seen.push(call);
      const response = await fetch(`${fixture.relayUrl}${path.replaceAll(/:\w+/g, 'x').replace('*', 'x')}`, { method, headers: { authorization: `Bearer ${token}`, 'gate-agent': 'claude/1.2' }, ...(method === 'POST' && { body: '{}' }) });
      expect([call, response.status, ((await response.json()) as { error: { rule?: string } }).error.rule]).toEqual([call, 403, 'agents']);
    }
    expect(seen).toEqual(expect.arrayContaining(['POST /v1/requests/:id/approve', 'POST /v1/requests/:id/deny', 'POST /v1/grants/:id/revoke', 'POST /v1/sessions/:id/kill', 'GET /v1/sessions/:id/entries', 'GET /v1/decisions', 'POST /v1/sessions/:id/shred']));
  });

  test('a HEAD or an odd spelling of a path is no way around', async () => {
    const headers = { authorization: `Bearer ${await engineer.accessToken()}`, 'gate-agent': 'claude/1.2' };
    for (const [method, path] of [['HEAD', '/v1/decisions'], ['GET', '/v1/decisions/'], ['GET', '/v1/requests/../decisions'], ['GET', '/v1/requests%2F..%2Fdecisions'], ['GET', '//v1/decisions'], ['GET', '/V1/decisions']] as const) {
      const response = await fetch(`${fixture.relayUrl}${path}`, { method, headers });
      expect([path, response.status]).toEqual([path, expect.toSatisfy((status: number) => status === 403 || status === 404)]);
    }
  });

  test('groups of auditors and administrators give an agent nothing', async () => {
    const { id } = await dba.createGrant({ target: 'prod-db', role: 'engineer', reason: 'mine' });
    const asked = await dba.createRequest({ target: 'prod-db', role: 'admin', reason: 'mine' });
    expect((await engineer.grants()).map((grant) => grant.id)).toContain(id);
    expect((await agent.grants()).map((grant) => grant.id)).not.toContain(id);
    expect((await engineer.requests()).map((request) => request.id)).toContain(asked.id);
    expect(await agent.requests()).toEqual([]);
    expect((await refused(agent.request(asked.id))).code).toBe('not-found');
    expect((await refused(agent.explain({ target: 'prod-db', sql: 'select 1', as: { name: 'x', groups: ['dba'] } }))).code).toBe('denied');
    await dba.cancelRequest(asked.id);
  });

  test('what its person approves is not for an agent to see', async () => {
    const asked = await engineer.createRequest({ target: 'prod-db', role: 'admin', reason: 'for dba' });
    const dbaAgent = await agentOf('dba');
    expect((await dba.request(asked.id)).mayVote).toBe(true);
    expect((await refused(dbaAgent.request(asked.id))).code).toBe('not-found');
    await engineer.cancelRequest(asked.id);
  });
});

describe('an agent and its person are two', () => {
  test('neither opens a session on a grant of the other, nor does another agent', async () => {
    const ofPerson = await engineer.createGrant({ target: 'prod-db', role: 'engineer', reason: 'mine' });
    const ofAgent = await agent.createGrant({ target: 'prod-db', role: 'engineer', reason: 'mine' });
    const open = (relay: RelayClient, grant: string) => refused(relay.createSession({ grant, verifier: 'x', command: 'exec' }));
    const other = await agentOf('engineer', 'other/1');
    for (const attempt of [open(agent, ofPerson.id), open(engineer, ofAgent.id), open(other, ofAgent.id)]) expect((await attempt).code).toBe('not-found');
  });

  test('neither takes the approved request of the other; its person may withdraw it, it not theirs', async () => {
    const ofPerson = await engineer.createRequest({ target: 'prod-db', role: 'admin', reason: 'mine' });
    const ofAgent = await agent.createRequest({ target: 'prod-db', role: 'admin', reason: 'mine' });
    expect((await refused(agent.cancelRequest(ofPerson.id))).code).toBe('denied');
    for (const { id } of [ofPerson, ofAgent]) await dba.approve(id, {});
    expect((await refused(agent.createGrant({ target: 'prod-db', request: ofPerson.id }))).code).toBe('not-found');
    expect((await refused(engineer.createGrant({ target: 'prod-db', request: ofAgent.id }))).code).toBe('not-found');
    expect(await agent.createGrant({ target: 'prod-db', request: ofAgent.id })).toMatchObject({ role: 'admin' });
    await engineer.cancelRequest(ofPerson.id).catch(() => undefined);
  });

  test('a statement that was approved for the person is held again for the agent', async () => {
    const sql = `insert into notes values (1, 'approved')`;
    const held = await refused(run(engineer, sql, { role: 'held' }));
    expect(held.code).toBe('approval-pending');
    await dba.approve(held.requestId as string, {});
    const again = await refused(run(agent, sql, { role: 'held' }));
    expect(again).toMatchObject({ code: 'approval-pending' });
    expect(again.requestId).not.toBe(held.requestId);
    await run(engineer, sql, { role: 'held' });
    expect((await fixture.admin.query('select text from notes where id = 1')).rows).toEqual([{ text: 'approved' }]);
  });

  test('a tunnel without the header does not reach the session of an agent', async () => {
    const session = await openSession(agent, 'exec', { target: 'prod-db', role: 'engineer', reason: 'testing' }, 0);
    const nothing = async () => undefined;
    const handlers = { fields: nothing, rows: nothing, copy: nothing, copyData: nothing, complete: nothing, notice: () => undefined };
    const ask = runSql({ relay: agent.url, session, accessToken: () => agent.accessToken(), texts: [{ sql: 'select 1' }], handlers, signal: new AbortController().signal });
    expect((await refused(ask)).code).toBe('not-found');
  });
});

describe('what a mask shows is not written back', () => {
  test.each([
    ['as it is', `insert into notes values (9, '***@mail.test')`],
    ['inside of a longer text', `insert into notes values (9, 'ann is ***@mail.test, and so on')`],
    ['in an expression', `insert into notes values (9, 'to: ' || '***@mail.test')`],
    ['a constant of the policy', `insert into notes values (9, 'it was hidden-word')`],
    ['stars', `insert into notes values (9, 'card ************1111')`],
    ['a hash', `insert into notes values (9, 'gm_0123456789abcdef0123456789abcdef')`],
  ])('%s', async (_, sql) => {
    expect(await refused(run(agent, sql))).toMatchObject({ code: 'denied', rule: 'masks/value' });
  });

  test('as a parameter', async () => {
    expect(await refused(run(agent, 'insert into notes values (9, $1)', { parameters: ['see [redacted] there'] }))).toMatchObject({ code: 'denied', rule: 'masks/value' });
  });

  test('ordinary writes and reads of the same words go through', async () => {
    expect(await run(agent, `select id from customers where email = '***@mail.test'`)).toEqual([['1']]);
    await run(agent, `insert into notes values (7, 'ordinary * text @ home')`);
    expect((await fixture.admin.query('select id from notes where id in (7, 9)')).rows).toEqual([{ id: 7 }]);
  });

  test('where masks are only displayed, an agent writes no table with masked columns', async () => {
    const wish = { target: 'shown-db' };
    expect(await run(agent, 'select word from customers', wish)).toEqual([['hidden-word']]);
    expect(await refused(run(agent, `update customers set word = 'x' where id = 1`, wish))).toMatchObject({ code: 'denied', rule: 'masks/agent' });
    await run(engineer, `update customers set word = 'open' where id = 1`, wish);
    await run(agent, `insert into notes values (8, 'fine')`, wish);
  });
});
