import { describe, expect, test } from 'vitest';
import {
  allowanceOf,
  annul,
  approvedSeconds,
  approvedSecondsMax,
  castVote,
  createRequest,
  expire,
  isWaiting,
  refusalOf,
  statementApprovalOf,
  tally,
  use,
  usesMax,
  withdraw,
} from '../../src/grant/life-cycle.ts';
import type { AccessRequest, Approval, RequestState } from '../../src/grant/request.ts';
import { at, dan, dee, dora, erin, person, request, rule, statement, vote } from './fixtures.ts';

const all = () => true;

test('a new request waits as long as its rule says', () => {
  const { createdAt: _, expiresAt: __, state: ___, votes: ____, id: _____, ...asked } = request({ approval: rule({ withinSeconds: 90 }) });
  expect(createRequest(asked, 'r_9', at(5))).toEqual({ ...asked, id: 'r_9', createdAt: at(5), expiresAt: at(95), state: 'pending', votes: [] });
});

describe('what the votes come to', () => {
  const [yes, no] = ['approve', 'deny'] as const;
  test.each<[string, Partial<ReturnType<typeof rule>>, [ReturnType<typeof person>, Approval['decision']][], RequestState]>([
    ['none', {}, [], 'pending'],
    ['one of one', {}, [[dora, yes]], 'approved'],
    ['one of two', { count: 2 }, [[dora, yes]], 'pending'],
    ['two of two', { count: 2 }, [[dora, yes], [dan, yes]], 'approved'],
    ['the same person twice', { count: 2 }, [[dora, yes], [dora, yes]], 'pending'],
    ['the same person by another name', { count: 2 }, [[dora, yes], [{ ...dora, name: 'other', groups: [] }, yes]], 'pending'],
    ['two of one subject at two issuers', { count: 2 }, [[dora, yes], [{ ...dora, issuer: 'https://other' }, yes]], 'approved'],
    ['a no', {}, [[dora, no]], 'denied'],
    ['a no below its threshold', { count: 2, denials: 2 }, [[dora, no], [dan, yes]], 'pending'],
    ['two noes', { count: 2, denials: 2 }, [[dora, no], [dan, no]], 'denied'],
    ['a sufficient no beside a sufficient yes', { count: 1, denials: 1 }, [[dora, yes], [dan, no]], 'denied'],
  ])('%s', (_, more, votes, state) => {
    expect(tally(votes.map(([by, decision], index) => vote(by, decision, index)), rule(more), all)).toBe(state);
  });

  test('votes of people who may not vote any more do not count', () => {
    const votes = [vote(dora, 'approve', 1), vote(dan, 'approve', 2)];
    expect(tally(votes, rule({ count: 2 }), ({ by }) => by !== dora)).toBe('pending');
    expect(tally([vote(dora, 'deny', 1)], rule(), ({ by }) => by !== dora)).toBe('pending');
  });
});

describe('a vote', () => {
  test('that is enough approves, and the approval waits for its use', () => {
    const [first, second] = [vote(dora, 'approve', 10), vote(dan, 'approve', 20, { reason: 'fine' })];
    const half = castVote(request({ approval: rule({ count: 2 }) }), first, all);
    expect(half).toMatchObject({ state: 'pending', votes: [first], expiresAt: at(600) });
    expect(castVote(half, second, all)).toEqual({ ...half, state: 'approved', votes: [first, second], expiresAt: at(20 + approvedSeconds) });
  });

  test('that denies says why', () => {
    expect(castVote(request(), vote(dora, 'deny', 10, { reason: 'not today' }), all)).toMatchObject({ state: 'denied', endReason: 'dora denied it: not today' });
    expect(castVote(request(), vote(dora, 'deny', 10), all)).toMatchObject({ state: 'denied', endReason: 'dora denied it' });
  });

  test('counts itself, whatever is known of its voter from before', () => {
    expect(castVote(request(), vote(dora, 'approve', 10), () => false).state).toBe('approved');
  });

  test('does not bring an earlier one back that no longer counts', () => {
    const before = request({ approval: rule({ count: 2 }), votes: [vote(dora, 'approve', 5)] });
    expect(castVote(before, vote(dan, 'approve', 10), () => false).state).toBe('pending');
    const third = castVote(castVote(before, vote(dan, 'approve', 10), () => false), vote(dee, 'approve', 11), ({ by }) => by !== dora);
    expect(third.state).toBe('approved');
  });

  test('a review that was passed keeps its time', () => {
    expect(castVote(request({ kind: 'review' }), vote(dora, 'approve', 10), all)).toMatchObject({ state: 'approved', expiresAt: at(600) });
  });

  test.each<[string, AccessRequest, Approval, string, string | undefined]>([
    ['of the requester', request(), vote(erin, 'approve', 1), 'denied', 'request/requester'],
    ['of the requester by another name', request(), vote({ ...erin, name: 'x', groups: ['dba'] }, 'deny', 1), 'denied', 'request/requester'],
    ['of a workload', request(), vote({ ...dora, kind: 'workload' }, 'approve', 1), 'denied', 'request/people'],
    ['of an agent', request(), vote({ ...dora, kind: 'agent' }, 'deny', 1), 'denied', 'request/people'],
    ['given twice', request({ approval: rule({ count: 2 }), votes: [vote(dora, 'approve', 1)] }), vote(dora, 'deny', 2), 'denied', 'request/once'],
    ['at the last moment', request(), vote(dora, 'approve', 600), 'approval-expired', undefined],
    ...(['approved', 'denied', 'withdrawn', 'expired', 'used'] as const).map(
      (state): [string, AccessRequest, Approval, string, string] => [
        `on one that is ${state}`,
        request({ state }),
        vote(dora, 'approve', 1),
        'denied',
        'request/state',
      ],
    ),
  ])('%s is refused', (_, before, given, code, rulePath) => {
    const cast = () => castVote(before, given, all);
    expect(cast).toThrow(expect.objectContaining({ code, rule: rulePath, requestId: 'r_1' }));
  });
  test('just before the last moment counts', () => {
    expect(castVote(request(), { ...vote(dora, 'approve', 0), at: new Date(at(600).getTime() - 1) }, all).state).toBe('approved');
  });
});

describe('how far an approval of a statement reaches', () => {
  const held = (more = {}) => request({ kind: 'statement', statement: statement(), ...more });
  const allows = (uses: number, until: number, anyParameters = false) => ({ allows: { uses, until: at(until), anyParameters } });

  test('without a word: this text with these parameters, once, for a while', () => {
    const approved = castVote(held(), vote(dora, 'approve', 10), all);
    expect(statementApprovalOf(approved)).toEqual({
      request: 'r_1',
      principal: { issuer: erin.issuer, subject: erin.subject },
      target: 'prod-db',
      role: 'dba',
      fingerprint: 'f'.repeat(64),
      parameterHash: 'a'.repeat(64),
      usesLeft: 1,
      expiresAt: at(10 + approvedSeconds),
    });
  });

  test('so many times until then, with any parameters', () => {
    const approved = castVote(held(), vote(dora, 'approve', 10, allows(20, 8 * 3600, true)), all);
    expect(approved.expiresAt).toEqual(at(8 * 3600));
    expect(statementApprovalOf(approved)).toMatchObject({ usesLeft: 20, parameterHash: null, expiresAt: at(8 * 3600) });
  });

  test('of several approvers the most careful counts', () => {
    const votes = [vote(dora, 'approve', 1, allows(20, 8000, true)), vote(dan, 'approve', 2, allows(5, 9000, true))];
    expect(allowanceOf(votes, at(3))).toEqual({ uses: 5, until: at(8000), anyParameters: true });
    expect(allowanceOf([...votes, vote(dee, 'approve', 3)], at(3))).toEqual({ uses: 1, until: at(3 + approvedSeconds), anyParameters: false });
  });

  test.each([
    ['no use', allows(0, 100)],
    ['a half', allows(1.5, 100)],
    ['a use too many', allows(usesMax + 1, 100)],
    ['no time', allows(1, 10)],
    ['a second too long', allows(1, 10 + approvedSecondsMax + 1)],
  ])('%s is refused', (_, more) => {
    expect(() => castVote(held(), vote(dora, 'approve', 10, more), all)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
  test.each([
    ['the most uses', allows(usesMax, 100)],
    ['the longest time', allows(1, 10 + approvedSecondsMax)],
  ])('%s is not', (_, more) => {
    expect(castVote(held(), vote(dora, 'approve', 10, more), all).state).toBe('approved');
  });
  test('a denial and a grant have none', () => {
    expect(() => castVote(held(), vote(dora, 'deny', 10, allows(1, 100)), all)).toThrow(expect.objectContaining({ code: 'usage' }));
    expect(() => castVote(request(), vote(dora, 'approve', 10, allows(1, 100)), all)).toThrow(expect.objectContaining({ code: 'usage' }));
    expect(statementApprovalOf(request({ state: 'approved' }))).toBeUndefined();
    expect(statementApprovalOf(held())).toBeUndefined();
  });
});

describe('in time', () => {
  test.each<[string, AccessRequest, number, string | undefined]>([
    ['pending before its end', request(), 599, undefined],
    ['pending at its end', request(), 600, 'not enough people approved it'],
    ['approved and not used', request({ state: 'approved' }), 600, 'it was approved, and not used up'],
    ['a review', request({ kind: 'review' }), 600, 'the review is overdue'],
    ['a review that was passed', request({ kind: 'review', state: 'approved' }), 9000, undefined],
    ...(['denied', 'withdrawn', 'expired', 'used'] as const).map((state): [string, AccessRequest, number, undefined] => [state, request({ state }), 9000, undefined]),
  ])('%s', (_, before, seconds, why) => {
    const after = expire(before, at(seconds));
    if (why === undefined) expect(after).toBeUndefined();
    else expect(after).toEqual({ ...before, state: 'expired', endReason: expect.stringContaining(why) });
  });

  test('only what waits can still lapse', () => {
    const waiting = (['pending', 'approved', 'denied', 'withdrawn', 'expired', 'used'] as const).filter((state) => isWaiting({ kind: 'grant', state }));
    expect(waiting).toEqual(['pending', 'approved']);
    expect(isWaiting({ kind: 'review', state: 'approved' })).toBe(false);
  });
});

test('what is withdrawn says why, and what is decided is not', () => {
  expect(withdraw(request(), 'the client has gone')).toEqual(request({ state: 'withdrawn', endReason: 'the client has gone' }));
  for (const state of ['approved', 'denied', 'withdrawn', 'expired', 'used'] as const) expect(withdraw(request({ state }), 'late')).toBeUndefined();
});

test('an approved request becomes its grant', () => {
  expect(use(request({ state: 'approved' }), 'g_7')).toEqual(request({ state: 'used', grant: 'g_7' }));
});

test('an approval that no longer counts names whose', () => {
  const approved = request({ state: 'approved', approval: rule({ count: 2 }), votes: [vote(dora, 'approve', 1), vote(dan, 'approve', 2)] });
  expect(annul(approved, ({ by }) => by !== dan)).toMatchObject({
    state: 'denied',
    endReason: 'the approval of dan no longer counts, because they may not approve this any more',
  });
  expect(annul(approved, () => true)).toMatchObject({ state: 'denied', endReason: 'the policy asks for more approvals by now' });
});

test.each([
  ['pending', 'approval-pending', 8],
  ['denied', 'approval-rejected', 5],
  ['withdrawn', 'approval-rejected', 5],
  ['expired', 'approval-expired', 5],
  ['used', 'denied', 3],
] as const)('who gets nothing out of a %s request is told %s', (state, code, exitCode) => {
  expect(refusalOf({ id: 'r_1', state, endReason: 'because' })).toMatchObject({ code, exitCode, requestId: 'r_1', message: expect.stringContaining('r_1') });
});
