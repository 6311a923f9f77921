/** Requests, votes and grants over the API, with real logins, through to sessions on a real database. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseSegmentName } from '../../src/audit/segment.ts';
import { waitForApproval } from '../../src/client/approval.ts';
import type { RelayClient } from '../../src/client/relay-client.ts';
import { openSession } from '../../src/client/session.ts';
import { eventually, startRelayFixture, type RelayFixture } from './fixture.ts';

const subjectOf = (name: string) => `acct-${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;

const policy = `
auditors: [audit]
administrators: [operations]
approvers:
  leads: { groups: [dba] }
  erin-alone: { subjects: ['${subjectOf('engineer')}'] }
targets:
  prod-db:
    roles:
      engineer: { groups: [engineering], allow: [read, write], maxDuration: 8h }
      admin: { groups: [engineering, dba], allow: [read, write, schema], require: [reason], approval: { by: [leads] }, maxDuration: 2h }
      double: { groups: [engineering], allow: [read], approval: { by: [leads], count: 2, denials: 2 } }
      hasty: { groups: [engineering], allow: [read], approval: { by: [leads], within: 2s } }
      lonely: { groups: [engineering], allow: [read], approval: { by: [erin-alone] } }
      ticketed: { groups: [engineering], allow: [read], require: [ticket] }
      glass: { groups: [engineering], allow: [read, write], review: { by: [leads], within: 4s } }
`;

let fixture: RelayFixture;
let engineer: RelayClient;
let dba: RelayClient;
let dba2: RelayClient;
let operator: RelayClient;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  engineer = await fixture.clientFor('engineer');
  dba = await fixture.clientFor('dba');
  dba2 = await fixture.clientFor('dba2');
  operator = await fixture.clientFor('operator');
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
afterEach(async () => {
  for (const { id } of await engineer.requests({ states: ['pending'], isMine: true })) await engineer.cancelRequest(id);
});

const wish = { target: 'prod-db', role: 'admin', reason: 'add a column' };

/** What stands in the record beside the sessions. */
async function decisions(): Promise<Record<string, unknown>[]> {
  const directory = join(fixture.directory, 'state', 'log');
  const names = (await readdir(directory)).filter((name) => parseSegmentName(name) !== undefined).toSorted();
  const lines = (await Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')))).join('').split('\n');
  return lines.flatMap((line) => {
    const at = line.indexOf('{');
    const entry = at === -1 ? {} : (JSON.parse(line.slice(at)) as { session?: string; event?: Record<string, unknown> });
    return entry.session === 'decisions' && entry.event !== undefined ? [entry.event] : [];
  });
}

async function pendingId(request: Promise<unknown>): Promise<string> {
  const error = await request.then(
    () => undefined,
    (failure: unknown) => failure as { code: string; requestId: string },
  );
  expect(error).toMatchObject({ code: 'approval-pending', exitCode: 8 });
  return error?.requestId as string;
}

describe('a grant that needs approval', () => {
  test('is asked for, approved, given once, and on record all the way', async () => {
    const id = await pendingId(engineer.createGrant({ ...wish, ticket: 'OPS-7', durationSeconds: 600 }));
    expect(await engineer.request(id)).toMatchObject({
      kind: 'grant',
      state: 'pending',
      requester: { name: 'engineer', groups: ['engineering'] },
      target: 'prod-db',
      role: 'admin',
      reason: 'add a column',
      ticket: 'OPS-7',
      rule: 'prod-db/admin/approval',
      approval: { by: ['leads (dba)'], count: 1, denials: 1 },
      durationSeconds: 600,
      mayVote: false,
    });
    expect(await pendingId(engineer.createGrant({ ...wish, request: id }))).toBe(id);
    expect((await dba.requests({ isToApprove: true })).map((one) => one.id)).toEqual([id]);
    const waited = waitForApproval(engineer, id, { signal: new AbortController().signal, onVotes: () => undefined, onAway: () => undefined });
    expect(await dba.approve(id.slice(0, 8), { reason: 'looks fine' })).toMatchObject({ id, state: 'approved', approvals: 1 });
    expect(await waited).toMatchObject({ id, state: 'approved', votes: [{ by: { name: 'dba' }, decision: 'approve', reason: 'looks fine' }] });

    const session = await openSession(engineer, 'connect', { target: 'prod-db', request: id });
    expect(session).toMatchObject({ role: 'admin' });
    expect(await engineer.session(session.id)).toMatchObject({ reason: 'add a column', ticket: 'OPS-7' });
    expect(await engineer.request(id)).toMatchObject({ state: 'used', grant: session.grant });
    await expect(engineer.createGrant({ target: 'prod-db', request: id })).rejects.toMatchObject({ code: 'denied', rule: 'request/used' });
    const [grant] = await engineer.grants();
    expect(grant).toMatchObject({ id: session.grant, request: id, state: 'live', sessions: 1, reason: 'add a column', ticket: 'OPS-7' });
    expect(Date.parse(grant?.expiresAt ?? '') - Date.parse(grant?.createdAt ?? '')).toBe(600_000);

    const events = (await decisions()).filter(({ request }) => request === id);
    expect(events.map(({ kind }) => kind)).toEqual(['request', 'vote', 'request.end', 'grant']);
    expect(events[3]).toMatchObject({ grant: session.grant, who: { name: 'engineer' }, ticket: 'OPS-7', policy: expect.stringMatching(/^[0-9a-f]{64}$/) });
    await engineer.endSession(session.id);
  });

  test('is nobody else’s, and of no other target or role', async () => {
    const { id } = await engineer.createRequest(wish);
    await dba.approve(id, {});
    await expect(dba.createGrant({ target: 'prod-db', request: id })).rejects.toMatchObject({ code: 'not-found' });
    for (const other of [{ target: 'prod-db', role: 'engineer' }, { target: 'other-db' }]) {
      await expect(engineer.createGrant({ ...other, request: id })).rejects.toMatchObject({ code: 'denied', rule: 'request/target' });
    }
    await expect(engineer.createGrant({ target: 'prod-db', request: 'r_none' })).rejects.toMatchObject({ code: 'not-found' });
    const answers = await Promise.allSettled([1, 2, 3].map(() => engineer.createGrant({ target: 'prod-db', request: id })));
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('takes distinct people, as many as the rule says', async () => {
    const { id } = await engineer.createRequest({ ...wish, role: 'double' });
    const votes: number[] = [];
    const waited = waitForApproval(engineer, id, { signal: new AbortController().signal, onVotes: ({ approvals }) => votes.push(approvals), onAway: () => undefined });
    expect(await dba.approve(id, {})).toMatchObject({ state: 'pending', approvals: 1, mayVote: false });
    await expect(dba.approve(id, {})).rejects.toMatchObject({ code: 'denied', message: expect.stringContaining('already') });
    await eventually('the first vote is heard of', () => votes.includes(1));
    expect(await dba2.approve(id, {})).toMatchObject({ state: 'approved', approvals: 2 });
    await waited;
    expect(votes).toEqual([0, 1, 2]);
  });

  test('is not approved by whoever asked, by administrators, or by auditors', async () => {
    const { id } = await engineer.createRequest(wish);
    for (const one of [engineer, operator]) await expect(one.approve(id, {})).rejects.toMatchObject({ code: 'denied', requestId: id });
    const own = await dba.createRequest({ ...wish, reason: 'mine' });
    await expect(dba.approve(own.id, {})).rejects.toMatchObject({ code: 'denied' });
    expect(await dba2.approve(own.id, {})).toMatchObject({ state: 'approved' });
    await dba.createGrant({ ...wish, request: own.id });
  });

  test('is turned down with a reason that the requester is told', async () => {
    const { id } = await engineer.createRequest(wish);
    const waited = waitForApproval(engineer, id, { signal: new AbortController().signal, onVotes: () => undefined, onAway: () => undefined });
    waited.catch(() => undefined);
    await dba.deny(id, 'use the replica');
    await expect(waited).rejects.toMatchObject({ code: 'approval-rejected', exitCode: 5, message: expect.stringContaining('use the replica') });
    await expect(engineer.createGrant({ ...wish, request: id })).rejects.toMatchObject({ code: 'approval-rejected', requestId: id });
    await expect(dba2.approve(id, {})).rejects.toMatchObject({ code: 'denied', rule: 'request/state' });
  });

  test('is turned down by as many as it takes', async () => {
    const { id } = await engineer.createRequest({ ...wish, role: 'double' });
    expect(await dba.deny(id, 'no')).toMatchObject({ state: 'pending', denials: 1 });
    expect(await dba2.deny(id)).toMatchObject({ state: 'denied' });
  });

  test('expires, and says so', async () => {
    const { id } = await engineer.createRequest({ ...wish, role: 'hasty' });
    const options = { signal: new AbortController().signal, onVotes: () => undefined, onAway: () => undefined };
    await expect(waitForApproval(engineer, id, options)).rejects.toMatchObject({ code: 'approval-expired', exitCode: 5 });
    await expect(dba.approve(id, {})).rejects.toMatchObject({ code: 'denied' });
    await expect(engineer.createGrant({ target: 'prod-db', request: id })).rejects.toMatchObject({ code: 'approval-expired' });
  });

  test('is taken back by whoever asked', async () => {
    const { id } = await engineer.createRequest(wish);
    await expect(dba.cancelRequest(id)).rejects.toMatchObject({ code: 'denied' });
    expect(await engineer.cancelRequest(id, 'not needed')).toMatchObject({ state: 'withdrawn', endReason: 'not needed' });
    await expect(dba.approve(id, {})).rejects.toMatchObject({ code: 'denied' });
  });

  test('that nobody can approve fails at once', async () => {
    await expect(engineer.createGrant({ ...wish, role: 'lonely' })).rejects.toMatchObject({ code: 'approval-impossible', exitCode: 3 });
  });

  test('asks for what the role requires, and is not asked for where none is needed', async () => {
    await expect(engineer.createRequest({ target: 'prod-db', role: 'admin' })).rejects.toMatchObject({ code: 'reason-required' });
    await expect(engineer.createGrant({ target: 'prod-db', role: 'ticketed' })).rejects.toMatchObject({ code: 'ticket-required', exitCode: 2 });
    expect(await engineer.createGrant({ target: 'prod-db', role: 'ticketed', ticket: 'OPS-1' })).toMatchObject({ ticket: 'OPS-1' });
    await expect(engineer.createRequest({ target: 'prod-db', role: 'engineer' })).rejects.toMatchObject({ code: 'usage' });
    await expect(engineer.createRequest({ ...wish, durationSeconds: 3 * 3600 })).rejects.toMatchObject({ code: 'denied' });
    expect((await engineer.targets())[0]?.roles.find(({ name }) => name === 'double')).toMatchObject({ approval: { by: ['leads (dba)'], count: 2 } });
  });
});

describe('groups of now', () => {
  afterEach(async () => {
    fixture.provider.setGroups('dba', ['dba']);
    fixture.provider.setGroups('engineer', ['engineering']);
    dba = await fixture.logInAgain('dba');
    engineer = await fixture.logInAgain('engineer');
    await Promise.all([dba.whoAmI(), engineer.whoAmI()]);
  });
  const leave = async (account: string) => {
    // Tokens say when they were issued by the second.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    fixture.provider.setGroups(account, ['sales']);
    await (await fixture.logInAgain(account)).whoAmI();
  };

  test('an approver who has left is not counted when the grant is taken', async () => {
    const { id } = await engineer.createRequest(wish);
    await dba.approve(id, {});
    await leave('dba');
    await expect(engineer.createGrant({ ...wish, request: id })).rejects.toMatchObject({
      code: 'approval-rejected',
      message: expect.stringContaining('the approval of dba no longer counts'),
    });
    expect(await engineer.request(id)).toMatchObject({ state: 'denied' });
  });

  test('a requester who has left gets nothing', async () => {
    const { id } = await engineer.createRequest(wish);
    await dba.approve(id, {});
    await leave('engineer');
    const changed = await fixture.clientFor('engineer');
    await expect(changed.createGrant({ ...wish, request: id })).rejects.toMatchObject({ code: 'target-unknown' });
    expect((await dba.request(id)).state).toBe('approved');
  });
});

describe('who sees what', () => {
  test('requester, approvers, auditors; nobody else', async () => {
    const { id } = await engineer.createRequest({ ...wish, role: 'double' });
    for (const one of [engineer, dba, dba2, operator]) expect(await one.request(id)).toMatchObject({ id });
    const own = await dba.createRequest({ ...wish, reason: 'mine' });
    await expect(engineer.request(own.id)).rejects.toMatchObject({ code: 'not-found' });
    expect((await engineer.requests()).some((one) => one.id === own.id)).toBe(false);
    expect((await engineer.requests({ isToApprove: true }))).toEqual([]);
    expect((await dba2.requests({ isToApprove: true })).map((one) => one.id)).toEqual([own.id, id]);
    await expect(dba2.request('r_')).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('more than one') });
    await dba.cancelRequest(own.id);
  });

  test('odd questions are refused as such', async () => {
    const get = async (path: string) => (await fetch(`${fixture.relayUrl}${path}`, { headers: { authorization: `Bearer ${await engineer.accessToken()}` } })).status;
    expect(await get('/v1/requests?state=odd')).toBe(400);
    expect(await get('/v1/requests?mine=perhaps')).toBe(400);
    expect(await get('/v1/requests?limit=0')).toBe(400);
    expect(await get('/v1/grants?limit=-1')).toBe(400);
    expect(await get('/v1/requests/r_none/wait')).toBe(404);
    expect(await get('/v1/requests?state=pending,used&mine=true&to-approve=false')).toBe(200);
  });
});

describe('break-glass', () => {
  test('opens at once, and is reviewed by somebody else', async () => {
    const grant = await engineer.createGrant({ target: 'prod-db', role: 'glass', reason: 'fire' });
    const [summary] = await engineer.grants();
    const id = summary?.request as string;
    expect(await dba.request(id)).toMatchObject({ kind: 'review', state: 'pending', grant: grant.id, mayVote: true, reason: 'fire' });
    await expect(engineer.approve(id, {})).rejects.toMatchObject({ code: 'denied' });
    expect((await dba.grants()).map((one) => one.id)).toContain(grant.id);
    expect(await dba.approve(id, { reason: 'seen' })).toMatchObject({ state: 'approved' });
    await new Promise((resolve) => setTimeout(resolve, 4200));
    expect((await dba.request(id)).state).toBe('approved');
  });

  test('is overdue when nobody looks', async () => {
    await engineer.createGrant({ target: 'prod-db', role: 'glass' });
    const id = (await engineer.grants())[0]?.request as string;
    await eventually('the review is overdue', async () => (await dba.request(id)).state === 'expired');
    expect(await dba.request(id)).toMatchObject({ endReason: expect.stringContaining('overdue') });
  });

  test('ends when the review turns it down', async () => {
    const session = await openSession(engineer, 'exec', { target: 'prod-db', role: 'glass' });
    const id = (await engineer.grants())[0]?.request as string;
    await dba.deny(id, 'there was no fire');
    expect(await engineer.session(session.id)).toMatchObject({ state: 'ended', endReason: expect.stringContaining('there was no fire') });
    expect((await engineer.grants())[0]).toMatchObject({ id: session.grant, state: 'revoked', revokedBy: 'dba' });
  });
});

describe('revocation', () => {
  test.each<[string, () => RelayClient]>([
    ['its owner', () => engineer],
    ['an administrator', () => operator],
    ['who approved it', () => dba],
  ])('by %s ends sessions and lets no new one in', async (_, who) => {
    const { id } = await engineer.createRequest(wish);
    await dba.approve(id, {});
    const session = await openSession(engineer, 'exec', { ...wish, request: id });
    expect(await who().revokeGrant(session.grant, 'enough')).toMatchObject({ state: 'revoked', revokeReason: 'enough', sessions: 0 });
    expect(await engineer.session(session.id)).toMatchObject({ state: 'ended', endReason: expect.stringContaining('enough') });
    await expect(engineer.createSession({ grant: session.grant, command: 'exec', verifier: 'x' })).rejects.toMatchObject({ code: 'grant-revoked', exitCode: 3 });
    await expect(who().revokeGrant(session.grant, 'again')).rejects.toMatchObject({ code: 'grant-revoked' });
    expect(await decisions()).toContainEqual(expect.objectContaining({ kind: 'grant.revoke', grant: session.grant, reason: 'enough' }));
  });

  test('is not for others', async () => {
    const grant = await engineer.createGrant({ target: 'prod-db', role: 'engineer' });
    for (const one of [dba, dba2]) await expect(one.revokeGrant(grant.id, 'no')).rejects.toMatchObject({ code: 'not-found' });
    expect((await engineer.grants())[0]).toMatchObject({ id: grant.id, state: 'live' });
  });

  test('outlives a restart', async () => {
    const tunnel = await fixture.connect('engineer', 'engineer');
    await engineer.revokeGrant(tunnel.session.grant, 'before the restart');
    await fixture.stopRelay();
    await fixture.startRelay();
    await expect(tunnel.client()).rejects.toMatchObject({ code: '57P01', message: expect.stringContaining('before the restart') });
  });
});

test('requests go on waiting through a restart of the relay, and so do those who wait', async () => {
  const { id } = await engineer.createRequest(wish);
  let [isWaiting, isAway] = [false, false];
  const waited = waitForApproval(engineer, id, {
    signal: new AbortController().signal,
    onVotes: () => (isWaiting = true),
    onAway: () => (isAway = true),
  });
  await eventually('it is waited for', () => isWaiting);
  await fixture.stopRelay();
  await eventually('the relay is missed', () => isAway);
  await fixture.startRelay();
  await dba.approve(id, {});
  expect(await waited).toMatchObject({ state: 'approved' });
});
