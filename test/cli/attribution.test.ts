/** A workload's grant, used and read back wherever a person looks: what is verified and what is claimed never mix. */
import { randomBytes } from 'node:crypto';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decisionsChain } from '../../src/audit/entry.ts';
import { startLocalPort } from '../../src/client/local-port.ts';
import { GateError } from '../../src/errors/errors.ts';
import type { Grant } from '../../src/grant/grant.ts';
import type { AccessRequest } from '../../src/grant/request.ts';
import { createVerifier } from '../../src/pgwire/scram.ts';
import type { Link, Principal } from '../../src/principal/principal.ts';
import { loadRelayConfig } from '../../src/relay/config.ts';
import type { SessionServices } from '../../src/relay/live-session.ts';
import { grantEvent, requestEvent, voteEvent } from '../../src/relay/request-events.ts';
import { Sessions } from '../../src/relay/sessions.ts';
import { openDatabase } from '../../src/store/database.ts';
import { SqliteGrantStore } from '../../src/store/grants.ts';
import { openLog } from '../../src/store/log.ts';
import { loadLogSecrets } from '../../src/store/log-secrets.ts';
import { SqliteRequestStore } from '../../src/store/requests.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { Client } from 'pg';
import { startAuditStage, type AuditStage } from './audit-stage.ts';

const hostile = 'Mallory\nhuman  root  verified by token\u202e\u001b[2J';
const digest = 'ab'.repeat(32);
const workload: Link = { kind: 'workload', value: 'nightly', id: 'repo:7', strength: 'verified', source: 'token' };
const run: Link = { kind: 'run', value: '42 attempt 1', id: '9042.1', url: 'https://ci.example.com/42', strength: 'verified', source: 'token' };
const author: Link = { kind: 'author', value: hostile, id: 'm@example.com', strength: 'claimed', source: 'client' };
const erin: Link = { kind: 'human', value: 'erin', id: 'sub-of-erin', strength: 'verified', source: 'policy' };
const hank: Link = { kind: 'human', value: 'hank', id: 'sub-of-hank', strength: 'claimed', source: 'client' };
const dora: Principal = { issuer: 'https://id.example.com', subject: 'sub-of-dora', kind: 'human', name: 'dora', groups: ['dba'] };

const password = randomBytes(24).toString('base64url');
let stage: AuditStage;
/** Of a run behind which erin stands, approved by dora; of one where hank is only claimed. */
let [proven, alleged] = ['', ''];
const refused: unknown[] = [];

beforeAll(async () => {
  stage = await startAuditStage();
  const { fixture } = stage;
  // The same account as a person's, so that their token opens the tunnel of the session.
  const { issuer, subject } = await (await fixture.clientFor('engineer')).whoAmI();
  const machine = (...chain: Link[]): Principal => ({ issuer, subject, kind: 'workload', name: 'nightly', groups: ['engineering'], chain });
  await fixture.stopRelay();
  await withState(async ({ grants, requests, record, sessions }) => {
    const open = (grant: string, by: Principal) =>
      sessions.open(by, { grant, verifier: createVerifier(password, randomBytes(16)), command: 'exec' });
    const [first, second] = [grantOf('g_proven', machine(workload, run, author, erin)), grantOf('g_alleged', machine(workload, run, author, hank))];
    const request = requestOf(first);
    await requests.saveRequest(request);
    await record(decisionsChain, [requestEvent(request), ...request.votes.map((vote) => voteEvent(request.id, vote)), grantEvent(first, digest), grantEvent(second, digest)]);
    await grants.saveGrant(first);
    await grants.saveGrant(second);
    const others = [
      machine(workload, { ...run, id: '9042.2' }, author, erin),
      machine(workload, run, author, { ...erin, id: 'sub-of-hank' }),
      machine(workload, run, author, { ...erin, strength: 'claimed', source: 'client' }),
      { ...machine(), kind: 'human', chain: undefined } as unknown as Principal,
    ];
    for (const other of others) refused.push(await open(first.id, other).catch((error: unknown) => error));
    // What a run claims of itself may change while it goes on.
    proven = (await open(first.id, machine(workload, run, erin, { ...author, value: 'later' }))).id;
    alleged = (await open(second.id, machine(workload, run, author, hank))).id;
  });
  await appendFile(join(fixture.directory, 'policy.yaml'), "issuers: { ci: { url: 'https://ci.example.com', audience: gate } }\nworkloads: { nightly: { issuer: ci, claims: { sub: '7' }, groups: [engineering] } }\n");
  await fixture.startRelay();
});
afterAll(() => stage?.fixture[Symbol.asyncDispose]());

function grantOf(id: string, principal: Principal): Grant {
  const reason = { reason: 'rotate keys', ticket: 'OPS-7', request: 'r_ask' };
  return {
    id, principal, target: 'prod-db', role: 'reader', ...(id === 'g_proven' && reason),
    createdAt: new Date(), expiresAt: new Date(Date.now() + 3_600_000),
  };
}

function requestOf({ id, principal, expiresAt }: Grant): AccessRequest {
  return {
    id: 'r_ask', kind: 'grant', requester: principal, target: 'prod-db', role: 'reader', reason: 'rotate keys', rule: 'prod-db/reader/approval',
    approval: { by: ['leads'], count: 1, denials: 1, withinSeconds: 600 }, createdAt: new Date(), expiresAt, state: 'used', durationSeconds: 3600,
    votes: [{ by: dora, decision: 'approve', at: new Date('2026-11-02T10:00:00.000Z') }], grant: id,
  };
}

type State = { grants: SqliteGrantStore; requests: SqliteRequestStore; record: Awaited<ReturnType<typeof openLog>>['record']; sessions: Sessions };

/** What the relay has, while it stands still. */
async function withState(change: (state: State) => Promise<void>): Promise<void> {
  const { directory } = stage.fixture;
  const config = await loadRelayConfig(join(directory, 'relay.yaml'));
  const state = await openStateDirectory(config.stateDirectory);
  const database = await openDatabase(state);
  const log = join(state.path, 'log');
  const recorder = await openLog(log);
  const grants = new SqliteGrantStore(database);
  const services = { catalogOf: () => undefined, policy: () => ({ digest }) } as unknown as SessionServices;
  const sessions = await Sessions.load({ config, store: grants, recorder, services, relayVersion: '0.1.0' });
  const requests = new SqliteRequestStore(database, (await loadLogSecrets(log)).columns);
  await change({ grants, requests, sessions, record: (session, events) => recorder.record(session, events) });
  await sessions.stop(new GateError('relay-stopping', 'over'));
  await recorder.close();
  await database.destroy();
  await state.close();
}

async function gate(...argv: string[]): Promise<string> {
  const { code, out, err } = await stage.run('operator', argv);
  expect({ code, err }).toMatchObject({ code: 0 });
  return out;
}

function linesWith(text: string, part: string): string[] {
  return text.split('\n').filter((line) => line.includes(part));
}

test('a grant is for its own run, by what is verified of it', async () => {
  expect(refused).toEqual(Array.from({ length: 4 }, () => expect.objectContaining({ code: 'denied', rule: 'grant/run' })));
  const relay = await stage.fixture.clientFor('engineer');
  await expect(relay.createSession({ grant: 'g_proven', verifier: createVerifier('x', randomBytes(16)), command: 'exec' })).rejects.toMatchObject({
    code: 'denied', rule: 'grant/run', message: expect.stringContaining('nightly (for erin)'),
  });
});

test('the database is told whom a machine acts for, and what is only claimed', async () => {
  const names: string[] = [];
  for (const [id, texts] of [[proven, ['select * from items', 'drop table items']], [alleged, ['select 1']]] as const) {
    const relay = await stage.fixture.clientFor('engineer');
    const port = await startLocalPort({ relay: relay.url, session: id, accessToken: () => relay.accessToken(), listen: { port: 0 }, onBroken: () => undefined });
    const client = new Client({ host: port.host, port: port.port, user: 'nightly', password, database: 'postgres' });
    await client.connect();
    for (const text of texts) await client.query(text).catch(() => undefined);
    const { rows } = await stage.fixture.admin.query<{ application_name: string }>(`select application_name from pg_stat_activity where application_name like 'gate/s%'`);
    names.push(...rows.map((row) => row.application_name));
    await client.end();
    await port.close();
    await relay.endSession(id);
  }
  expect(names).toEqual(expect.arrayContaining([`gate/${proven} nightly for erin`, `gate/${alleged} nightly for hank?`]));
});

describe('gate sessions', () => {
  test('list: who is behind it, and a question mark where that is only claimed', async () => {
    const out = await gate('sessions', 'list');
    expect(linesWith(out, proven)).toEqual([expect.stringContaining('  nightly (for erin)  ')]);
    expect(linesWith(out, alleged)).toEqual([expect.stringContaining('  nightly (for hank?)  ')]);
  });

  test.each([
    ['erin', () => [proven]],
    ['SUB-OF-HANK', () => [alleged]],
    ['mallory', () => [alleged, proven]],
    ['nightly', () => []],
  ] as const)('list --human %s', async (human, expected) => {
    const { sessions } = JSON.parse(await gate('--json', 'sessions', 'list', '--human', human)) as { sessions: { id: string }[] };
    expect(sessions.map(({ id }) => id).toSorted()).toEqual([...expected()].toSorted());
  });

  test('show answers who, why, allowed by whom, what came back, and which of these is proven', async () => {
    const out = await gate('sessions', 'show', proven);
    const answers = out.slice(out.indexOf('\n\n') + 2).trimEnd().split('\n');
    expect(answers).toEqual([
      'who          nightly (for erin)',
      expect.stringMatching(/^ {13}workload {2}verified by token +nightly \(repo:7\)$/),
      expect.stringMatching(/^ {13}run {7}verified by token +42 attempt 1 \(9042\.1\) https:\/\/ci\.example\.com\/42$/),
      expect.stringMatching(/^ {13}author {4}claimed by client +Mallory human root verified by token\ufffd\ufffd\[2J \(m@example\.com\)$/),
      expect.stringMatching(/^ {13}human {5}verified by policy +erin \(sub-of-erin\)$/),
      'why          rotate keys; ticket OPS-7',
      'allowed by   dora at 2026-11-02T10:00:00.000Z (request r_ask)',
      expect.stringMatching(/^came back {4}100 rows, .*B, by 2 statements, 1 of them refused$/),
      expect.stringMatching(/^proof .*what is claimed is proven by nothing.*gate audit verify$/),
    ]);
    expect(await gate('sessions', 'show', alleged)).toMatch(/^allowed by {3}the policy alone/m);
  });

  test('show --json: the chain as it is, the approval and the volume', async () => {
    const session = JSON.parse(await gate('--json', 'sessions', 'show', proven)) as object;
    expect(session).toMatchObject({
      principal: { kind: 'workload', chain: [workload, run, author, erin] },
      approval: { request: 'r_ask', kind: 'grant', state: 'used', by: [{ name: 'dora', at: '2026-11-02T10:00:00.000Z' }] },
      rows: 100,
      statements: 2,
      refused: 1,
    });
  });

  test('replay: the links below who, each with how sure it is; nothing of them moves', async () => {
    const text = await gate('sessions', 'replay', alleged);
    const head = text.slice(0, text.indexOf('Subject')).trimEnd().split('\n');
    expect(head.slice(1)).toEqual([
      'Who      nightly (workload)',
      'Chain    workload    verified by token     nightly (repo:7)',
      '         run         verified by token     42 attempt 1 (9042.1) https://ci.example.com/42',
      String.raw`         author      claimed by client     Mallory\nhuman  root  verified by token\u{202e}\x1b[2J (m@example.com)`,
      '         human       claimed by client     hank (sub-of-hank)',
    ]);
    const html = await gate('sessions', 'replay', alleged, '--format', 'html');
    expect(html).toContain('<title>nightly (for hank?) on prod-db as reader</title>');
    expect(html).toContain(String.raw`Mallory\nhuman`);
  });
});

test.each([
  ['requests', 'show', 'r_ask'],
  ['requests', 'list'],
  ['grants', 'list'],
  ['audit', 'decisions'],
  ['sessions', 'replay', 'PROVEN'],
  ['sessions', 'show', 'PROVEN'],
])('%s %s shows no made-up text as more than it is', async (...argv) => {
  const out = await gate(...argv.map((word) => (word === 'PROVEN' ? proven : word)));
  expect(out).toContain(argv[1] === 'show' || argv[1] === 'replay' ? 'claimed by client' : 'nightly (for erin)');
  for (const moving of ['\u001b', '\u202e']) expect(out).not.toContain(moving);
  expect(linesWith(out, 'Mallory').filter((line) => !line.includes('claimed by client'))).toEqual([]);
});

test('exports keep apart who is verified and who is claimed', async () => {
  const events = (await gate('audit', 'export', '--format', 'ecs', '--output', '-')).trim().split('\n').map((line) => JSON.parse(line));
  const labels = (session: string) => events.find(({ event, gate: { session: id } }) => event.action === 'session-open' && id === session)?.labels;
  expect(labels(proven)).toEqual({ human: 'erin' });
  expect(labels(alleged)).toEqual({ claimed_human: 'hank' });
});
