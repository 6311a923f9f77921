/** Who may vote, and what nobody could ever approve. */
import { describe, expect, test } from 'vitest';
import type { Approval, ApprovalRule } from '../../src/grant/request.ts';
import { isAdministrator } from '../../src/policy/decide.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { canVote, describeApprovers, isApprovable } from '../../src/policy/vote.ts';
import type { Principal } from '../../src/principal/principal.ts';
import { now, person } from './some.ts';

const policy = parsePolicy(
  `
administrators: [admins]
people: { gus: { subject: gus } }
offboarded: [{ person: gus, reason: left in May }]
approvers:
  dba: { groups: [dba] }
  named: { subjects: [ann, bob] }
  mixed: { groups: [leads], subjects: [eve] }
  filter: { when: request.kind == "statement" && "oncall" in approver.groups }
  narrow: { groups: [dba], when: request.target != "prod" }
  broken: { groups: [dba], when: request.ticket == "x" }
targets: {}
`,
  'policy.yaml',
);

function requestOf(by: readonly string[], changes: { requester?: Principal; votes?: readonly Approval[]; target?: string; kind?: 'grant' | 'statement' } = {}) {
  const approval: ApprovalRule = { by, count: 1, denials: 1, withinSeconds: 60 };
  return { requester: person('alice', 'engineering', 'dba', 'admins'), kind: 'statement', target: 'shop', role: 'r', approval, votes: [], ...changes } as const;
}

const voted = (by: Principal): Approval => ({ by, decision: 'deny', at: now });

describe('canVote', () => {
  test.each<[string, Principal, Parameters<typeof requestOf>, true | string]>([
    ['a member of the set', person('bob', 'dba'), [['dba']], true],
    ['nobody else', person('bob', 'other'), [['dba']], 'you are not in dba (dba: its groups are dba)'],
    ['not the requester, whatever their groups', person('alice', 'dba', 'admins'), [['dba']], 'own request'],
    ['not the requester under another name', { ...person('alice', 'dba'), name: 'Bob' }, [['dba']], 'own request'],
    ['the same subject of another issuer is somebody else', { ...person('alice', 'dba'), issuer: 'https://other' }, [['dba']], true],
    ['not an administrator by that', person('root', 'admins'), [['dba']], 'not in dba'],
    ['not twice, also not after a denial', person('bob', 'dba'), [['dba'], { votes: [voted(person('bob', 'dba'))] }], 'voted on this request already'],
    ['nobody who has left', person('gus', 'dba'), [['dba']], 'gus has left'],
    ['after somebody else', person('bob', 'dba'), [['dba'], { votes: [voted(person('eve', 'dba'))] }], true],
    ['a named person', person('ann'), [['named']], true],
    ['another person', person('eve'), [['named']], 'it names other people'],
    ['by group or by name', person('eve'), [['mixed']], true],
    ['by group or by name, too', person('zoe', 'leads'), [['mixed']], true],
    ['in any of the sets', person('ann'), [['dba', 'named']], true],
    ['in none of the sets', person('zoe'), [['dba', 'named']], 'not in dba or named'],
    ['whom a filter alone lets in', person('zoe', 'oncall'), [['filter']], true],
    ['whom it does not', person('zoe'), [['filter']], 'its condition does not let you in'],
    ['a filter sees the request', person('zoe', 'oncall'), [['filter'], { kind: 'grant' }], 'does not let you in'],
    ['a filter narrows the groups', person('bob', 'dba'), [['narrow'], { target: 'prod' }], 'does not let you in'],
    ['and adds nobody to them', person('bob', 'other'), [['narrow']], 'not in narrow'],
    ['a filter that fails lets nobody in', person('bob', 'dba'), [['broken']], 'could not be evaluated: No such key: ticket'],
    ['a set that the policy no longer has', person('bob', 'dba'), [['gone']], 'no longer has this set'],
    ['no sets at all', person('bob', 'dba'), [[]], 'not in any approver set'],
    ['no workload', { ...person('bot', 'dba'), kind: 'workload' }, [['dba']], 'only people vote, and bot is a workload'],
    ['no agent', { ...person('bot', 'dba'), kind: 'agent' }, [['dba']], 'bot is an agent'],
  ])('%s', (_, voter, request, expected) => {
    const answer = canVote({ policy, request: requestOf(...request), voter });
    if (expected === true) expect(answer).toEqual({ ok: true });
    else expect(answer).toMatchObject({ ok: false, reason: expect.stringContaining(expected) as string });
  });
});

describe('isApprovable', () => {
  test.each<[readonly string[], number, string, boolean]>([
    [['dba'], 5, 'alice', true],
    [['named'], 2, 'alice', true],
    [['named'], 3, 'alice', false],
    [['named'], 2, 'ann', false],
    [['named'], 1, 'ann', true],
    [['named', 'mixed'], 9, 'ann', true],
    [['filter'], 9, 'alice', true],
    [['gone'], 1, 'alice', false],
    [['gone', 'dba'], 1, 'alice', true],
    [[], 1, 'alice', false],
  ])('%j, %d votes, asked by %s: %j', (by, count, requester, expected) => {
    const approval = { by, count, denials: 1, withinSeconds: 60 };
    expect(isApprovable(policy, { requester: person(requester), approval })).toBe(expected);
  });
});

test('administrators are named by group', () => {
  expect(isAdministrator(policy, person('x', 'admins'))).toBe(true);
  expect(isAdministrator(policy, person('x', 'dba'))).toBe(false);
});

test('who may approve, in words', () => {
  expect(describeApprovers(policy, ['dba', 'mixed', 'named'])).toBe('dba or mixed (leads, one person by name) or named (2 people by name)');
});
