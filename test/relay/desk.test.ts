/** The desk of requests on a real state, without a relay around it: record, votes, time, restarts. */
import { ColumnSeal } from '../../src/store/column-seal.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Event } from '../../src/audit/entry.ts';
import { GateError } from '../../src/errors/errors.ts';
import type { AccessRequest, Notice } from '../../src/grant/request.ts';
import { parsePolicy, type Policy } from '../../src/policy/policy.ts';
import type { Principal } from '../../src/principal/principal.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { grantEvent } from '../../src/relay/request-events.ts';
import { pendingPerPrincipalMax, Requests, waitersPerRequestMax } from '../../src/relay/requests.ts';
import { openDatabase, type Database } from '../../src/store/database.ts';
import { SqlitePrincipalStore } from '../../src/store/principals.ts';
import { SqliteRequestStore } from '../../src/store/requests.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { dan, dora, erin, person, rule, statement } from '../grant/fixtures.ts';

const policyText = (groups: string) => `
approvers:
  leads: { groups: [${groups}] }
  erin-alone: { subjects: [erin] }
targets:
  prod-db: { roles: { dba: { groups: [engineering], allow: [read] } } }
`;

let database: Database;
let store: SqliteRequestStore;
let people: SqlitePrincipalStore;
let policy: Policy;
let recorded: Event[];
let notices: Notice[];
let isRecordBroken: boolean;
const opened: Requests[] = [];

beforeEach(async () => {
  const state = await openStateDirectory(await temporaryDirectory());
  database = await openDatabase(state);
  store = new SqliteRequestStore(database, new ColumnSeal(Buffer.alloc(32)));
  people = new SqlitePrincipalStore(database);
  policy = parsePolicy(policyText('dba'), 'policy.yaml');
  [recorded, notices, isRecordBroken] = [[], [], false];
  onTestFinished(async () => {
    for (const desk of opened.splice(0)) desk.stop(stopping);
    await database.destroy();
    await state.close();
  });
});

const stopping = new GateError('relay-stopping', 'the relay is stopping');

async function open(): Promise<Requests> {
  const desk = await Requests.load({
    store,
    people,
    policy: () => policy,
    recorder: {
      isAvailable: true,
      write: () => { throw new Error('not asked for here'); },
      record: async (session, events) => {
        await sleep(1);
        if (isRecordBroken) throw new GateError('record-unavailable', 'the record cannot be written');
        expect(session).toBe('decisions');
        recorded.push(...events);
      },
    },
    notifier: { notify: async (notice) => void notices.push(notice) },
    log: createRelayLog('silent'),
  });
  opened.push(desk);
  return desk;
}

const asked = { requester: erin, target: 'prod-db', role: 'dba', reason: 'why', approval: rule(), rule: 'prod-db/dba/deletes' };
const key = { principal: erin, target: 'prod-db', role: 'dba', fingerprint: 'f'.repeat(64), parameterHash: 'a'.repeat(64) };
const ask = (desk: Requests, more: Partial<typeof asked> = {}, held = statement()) => desk.ask({ ...asked, ...more, statement: held });
const vote = (desk: Requests, { id }: AccessRequest, by: Principal, decision: 'approve' | 'deny' = 'approve', more = {}) =>
  desk.vote(id, { by, decision, at: new Date(), ...more });
const kinds = () => recorded.map(({ kind }) => kind);

test('a statement is asked for, approved, and run once', async () => {
  const desk = await open();
  const request = await ask(desk);
  expect(request).toMatchObject({ kind: 'statement', state: 'pending', requester: erin });
  const decided = desk.decided(request.id, new AbortController().signal);
  expect(await desk.take(key)).toBeUndefined();
  await vote(desk, request, dora);
  expect(await decided).toMatchObject({ id: request.id, state: 'approved' });
  expect(await desk.decided(request.id, new AbortController().signal)).toMatchObject({ state: 'approved' });
  const taken = await Promise.all([desk.take(key), desk.take(key), desk.take({ ...key, parameterHash: 'b' })]);
  expect(taken.filter((one) => one !== undefined)).toEqual([expect.objectContaining({ request: request.id, usesLeft: 0 })]);
  expect((await store.loadRequest(request.id))?.state).toBe('used');
  expect(kinds()).toEqual(['request', 'vote', 'request.end']);
  expect(recorded[0]).toMatchObject({ who: erin, by: ['leads'], count: 1, sql: 'delete from users where note = $1' });
  expect(notices.map(({ kind }) => kind)).toEqual(['created', 'approved']);
});

test('an approval of many runs stands until they are used, on another start as well', async () => {
  const desk = await open();
  const request = await ask(desk);
  const until = new Date(Date.now() + 60_000);
  await vote(desk, request, dora, 'approve', { allows: { uses: 3, until, anyParameters: true } });
  expect(recorded).toContainEqual(expect.objectContaining({ kind: 'vote', uses: 3, until: until.toISOString(), anyParameters: true }));
  expect(await desk.take({ ...key, parameterHash: 'other' })).toMatchObject({ usesLeft: 2 });
  desk.stop(stopping);
  const next = await open();
  expect(await next.take(key)).toMatchObject({ usesLeft: 1 });
  expect(await next.take(key)).toMatchObject({ usesLeft: 0 });
  expect(await next.take(key)).toBeUndefined();
});

describe('no record, no decision:', () => {
  const refused = expect.objectContaining({ code: 'record-unavailable' });
  test.each<[string, (desk: Requests, request: AccessRequest) => Promise<unknown>]>([
    ['a request', (desk) => ask(desk, { requester: person('eve', 'engineering') })],
    ['an approval', (desk, request) => vote(desk, request, dora)],
    ['a denial', (desk, request) => vote(desk, request, dora, 'deny')],
    ['a withdrawal', (desk, request) => desk.cancel(erin, request.id, undefined)],
    ['an end by the client', (desk, request) => desk.withdraw(request.id, 'gone')],
  ])('%s that cannot be recorded has not happened', async (_, act) => {
    const desk = await open();
    const request = await ask(desk);
    isRecordBroken = true;
    await expect(act(desk, request)).rejects.toEqual(refused);
    expect(await store.listRequests({ limit: 10 })).toEqual([request]);
    expect(notices).toHaveLength(1);
    desk.stop(stopping);
  });

  test('an end that cannot be recorded is recorded as soon as it can be', async () => {
    const desk = await open();
    const request = await ask(desk);
    isRecordBroken = true;
    await expect(desk.withdraw(request.id, 'the client has gone')).rejects.toEqual(refused);
    isRecordBroken = false;
    await vi.waitFor(async () => expect((await store.loadRequest(request.id))?.state).toBe('withdrawn'), 5000);
    expect(recorded.at(-1)).toMatchObject({ kind: 'request.end', state: 'withdrawn', reason: 'the client has gone' });
  });

  test('a grant that cannot be recorded leaves its request to be used', async () => {
    const desk = await open();
    const request = await desk.open({ ...asked, kind: 'grant', durationSeconds: 60 });
    await vote(desk, request, dora);
    const grant = { id: 'g_1', principal: erin, target: 'prod-db', role: 'dba', createdAt: new Date(), expiresAt: new Date(Date.now() + 60_000) };
    const make = () => ({ grant, rule: rule(), events: [grantEvent(grant, 'digest')] });
    isRecordBroken = true;
    await expect(desk.collect(request.id, make)).rejects.toEqual(refused);
    expect((await store.loadRequest(request.id))?.state).toBe('approved');
    isRecordBroken = false;
    const twice = await Promise.allSettled([desk.collect(request.id, make), desk.collect(request.id, make)]);
    expect(twice.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(twice[1]).toMatchObject({ reason: { code: 'denied', rule: 'request/used' } });
  });
});

describe('who may vote', () => {
  test('is told to whoever may not', async () => {
    const desk = await open();
    const request = await ask(desk);
    await expect(vote(desk, request, person('otto', 'operations'))).rejects.toMatchObject({
      code: 'denied',
      rule: 'request/approvers',
      requestId: request.id,
      hint: expect.stringContaining('dba'),
    });
    await expect(vote(desk, request, erin)).rejects.toMatchObject({ code: 'denied' });
    await expect(vote(desk, request, { ...erin, groups: ['dba'] })).rejects.toMatchObject({ code: 'denied' });
    expect(kinds()).toEqual(['request']);
  });

  test('is whoever the newest groups say, for votes that were given before as well', async () => {
    const desk = await open();
    const request = await ask(desk, { approval: rule({ count: 2 }) });
    await vote(desk, request, dora);
    await people.see({ ...dora, groups: [] }, new Date());
    expect((await vote(desk, request, dan)).state).toBe('pending');
    await people.see(dora, new Date(Date.now() + 1000));
    expect((await vote(desk, request, person('dee', 'dba'))).state).toBe('approved');
  });

  test.each([
    ['the groups of an approver', async () => people.see({ ...dora, groups: ['sales'] }, new Date()), 'the approval of dora no longer counts'],
    ['the policy', async () => void (policy = parsePolicy(policyText('others'), 'policy.yaml')), 'the approval of dora no longer counts'],
  ])('%s: an approval that no longer counts is not used', async (_, change, why) => {
    const desk = await open();
    const request = await ask(desk);
    await vote(desk, request, dora);
    await change();
    expect(await desk.take(key)).toBeUndefined();
    expect(await store.loadRequest(request.id)).toMatchObject({ state: 'denied', endReason: expect.stringContaining(why) });
    expect(recorded.at(-1)).toMatchObject({ kind: 'request.end', state: 'denied' });
  });

  test('is nobody: that fails at once', async () => {
    const desk = await open();
    await expect(ask(desk, { approval: rule({ by: ['erin-alone'] }) })).rejects.toMatchObject({ code: 'approval-impossible', exitCode: 3 });
    await expect(ask(desk, { approval: rule({ by: ['no-such-set'] }) })).rejects.toMatchObject({ code: 'approval-impossible' });
    expect(recorded).toEqual([]);
  });
});

test(`${pendingPerPrincipalMax} requests of a kind may wait at a time, however fast they come`, async () => {
  const desk = await open();
  const results = await Promise.allSettled(Array.from({ length: pendingPerPrincipalMax + 2 }, () => ask(desk)));
  expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(2);
  expect(results.at(-1)).toMatchObject({ reason: { code: 'too-many' } });
  await desk.open({ ...asked, kind: 'grant' });
  await ask(desk, { requester: person('eve', 'engineering') });
  const [first] = await store.listRequests({ limit: 1, kind: 'statement', requester: erin });
  await desk.cancel(erin, first?.id as string, 'enough');
  await ask(desk);
  await expect(ask(desk)).rejects.toMatchObject({ code: 'too-many' });
});

test('only the requester withdraws, and only what waits', async () => {
  const desk = await open();
  const request = await ask(desk);
  await expect(desk.cancel(dora, request.id, undefined)).rejects.toMatchObject({ code: 'denied', rule: 'request/requester' });
  expect(await desk.cancel(erin, request.id, undefined)).toMatchObject({ state: 'withdrawn', endReason: 'by erin' });
  await expect(desk.cancel(erin, request.id, undefined)).rejects.toMatchObject({ code: 'denied', rule: 'request/state' });
  await desk.withdraw(request.id, 'nothing happens');
  await expect(desk.withdraw('r_none', 'nothing')).rejects.toMatchObject({ code: 'not-found' });
  expect(kinds()).toEqual(['request', 'request.end']);
});

describe('in time', () => {
  test('what waits expires, and those who wait hear of it', async () => {
    const desk = await open();
    const request = await ask(desk, { approval: rule({ withinSeconds: 1 }) });
    expect(await desk.decided(request.id, AbortSignal.timeout(10_000))).toMatchObject({ state: 'expired' });
    expect(recorded.at(-1)).toMatchObject({ kind: 'request.end', state: 'expired' });
    await expect(vote(desk, request, dora)).rejects.toMatchObject({ code: 'denied', rule: 'request/state' });
    expect(notices.map(({ kind }) => kind)).toEqual(['created', 'expired']);
  });

  test('a vote on the last moment is too late, also when the end is not on record yet', async () => {
    const desk = await open();
    const request = await ask(desk, { approval: rule({ withinSeconds: 60 }) });
    await expect(desk.vote(request.id, { by: dora, decision: 'approve', at: request.expiresAt })).rejects.toMatchObject({ code: 'approval-expired' });
  });

  test('a restart withdraws statements that somebody waited for, and goes on with the rest', async () => {
    const desk = await open();
    const [waiting, later, grant] = [
      await ask(desk),
      await ask(desk, { approval: rule({ withinSeconds: 1 }) }, statement({ isWaiting: false })),
      await desk.open({ ...asked, kind: 'grant' }),
    ];
    desk.stop(stopping);
    await open();
    expect(await store.loadRequest(waiting.id)).toMatchObject({ state: 'withdrawn', endReason: 'the relay was restarted while the statement waited' });
    expect((await store.loadRequest(grant.id))?.state).toBe('pending');
    await vi.waitFor(async () => expect((await store.loadRequest(later.id))?.state).toBe('expired'), 5000);
  });

  test(`${waitersPerRequestMax} can wait for one request`, async () => {
    const desk = await open();
    const request = await ask(desk);
    const signal = new AbortController().signal;
    const waits = Array.from({ length: waitersPerRequestMax }, () => desk.decided(request.id, signal));
    await expect(desk.decided(request.id, signal)).rejects.toMatchObject({ code: 'too-many' });
    await vote(desk, request, dora);
    expect((await Promise.all(waits)).every(({ state }) => state === 'approved')).toBe(true);
  });

  test('who waits can stop waiting, and a relay that stops says so', async () => {
    const desk = await open();
    const request = await ask(desk);
    const controller = new AbortController();
    const waits = [desk.decided(request.id, controller.signal), desk.decided(request.id, new AbortController().signal)];
    const settled = Promise.allSettled(waits);
    await sleep(20);
    controller.abort(new Error('the client has gone'));
    await expect(waits[0]).rejects.toThrow('the client has gone');
    desk.stop(stopping);
    expect(await settled).toMatchObject([{ status: 'rejected' }, { reason: { code: 'relay-stopping' } }]);
    await expect(desk.decided('r_none', controller.signal)).rejects.toMatchObject({ code: 'not-found' });
  });
});
