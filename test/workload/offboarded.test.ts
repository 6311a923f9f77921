/** Who has left, and whom that takes along. */
import { describe, expect, test } from 'vitest';
import type { Link, Principal } from '../../src/principal/principal.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { offboardingOf } from '../../src/workload/offboarded.ts';
import { peopleBehind } from '../../src/workload/people-behind.ts';

const { machines } = parsePolicy(
  `
issuers: { ci: { url: https://ci.example.com, audience: gate } }
workloads:
  deploy: { issuer: ci, claims: { sub: '1' }, groups: [deployers], owner: eve }
  report: { issuer: ci, claims: { sub: '2' }, groups: [reporters], owner: ann }
  nobody: { issuer: ci, claims: { sub: '3' }, groups: [reporters] }
people:
  ann: { subject: sub-ann }
  eve: { subject: sub-eve }
offboarded:
  - { person: eve, reason: left in May }
  - { subject: sub-zoe, reason: contract is over }
targets: {}
`,
  'policy.yaml',
);

const link = (kind: Link['kind'], value: string, more: Partial<Link> = {}): Link => ({ kind, value, strength: 'verified', source: 'policy', ...more });
const human = (subject: string): Principal => ({ issuer: 'https://id', subject, kind: 'human', name: `n-${subject}`, groups: [] });
const machine = (kind: 'workload' | 'agent', ...chain: Link[]): Principal => ({ issuer: 'https://ci', subject: 'w', kind, name: 'ci', groups: [], chain });
const eve = { who: 'eve', reason: 'left in May' };
const zoe = { who: 'n-sub-zoe', reason: 'contract is over' };

describe('offboardingOf', () => {
  test.each<[string, Principal, object | undefined]>([
    ['a person of the list', human('sub-eve'), eve],
    ['a person by the sub of their login', human('sub-zoe'), zoe],
    ['nobody else', human('sub-ann'), undefined],
    ['a person whose sub is the name of somebody who left', human('eve'), undefined],
    ['a workload by its owner, as the policy has it now', machine('workload', link('workload', 'deploy')), eve],
    ['a workload by its owner, as the chain has it', machine('workload', link('workload', 'report'), link('owner', 'eve', { id: 'sub-eve' })), eve],
    ['an owner whose link has no id', machine('workload', link('workload', 'nobody'), link('owner', 'eve')), eve],
    ['not a workload of somebody who is there', machine('workload', link('workload', 'report'), link('owner', 'ann')), undefined],
    ['the verified person behind a run', machine('workload', link('workload', 'report'), link('human', 'Eve', { id: 'sub-eve' })), eve],
    ['by their sub', machine('workload', link('workload', 'nobody'), link('human', 'n-sub-zoe', { id: 'sub-zoe' })), zoe],
    ['not one who is only claimed', machine('workload', link('workload', 'report'), link('human', 'Eve', { id: 'sub-eve', strength: 'claimed', source: 'client' })), undefined],
    ['a claim does not hide the one who is verified', machine('workload', link('human', 'Ann', { id: 'sub-ann', strength: 'claimed' }), link('human', 'Eve', { id: 'sub-eve' })), eve],
    ['not who wrote the commit', machine('workload', link('workload', 'report'), link('author', 'Eve', { id: 'sub-eve' })), undefined],
    ['an agent with the login of a workload, by its owner of now', machine('agent', link('agent', 'claude'), link('workload', 'deploy')), eve],
    ['an agent by its person', machine('agent', link('agent', 'claude'), link('human', 'Eve', { id: 'sub-eve' })), eve],
  ])('%s', (_, principal, expected) => {
    expect(offboardingOf(machines, principal)).toEqual(expected);
  });
});

test('peopleBehind names each once, with the subject that the policy has', () => {
  const chain = [link('workload', 'deploy'), link('owner', 'eve', { id: 'an older sub' }), link('human', 'Ann of CI', { id: 'sub-ann' })];
  expect(peopleBehind(machines, machine('workload', ...chain))).toEqual([
    { name: 'ann', subject: 'sub-ann', as: 'human' },
    { name: 'eve', subject: 'sub-eve', as: 'owner' },
  ]);
  expect(peopleBehind(machines, machine('workload', link('owner', 'gone', { id: 'sub-gone' })))).toEqual([{ name: 'gone', subject: 'sub-gone', as: 'owner' }]);
  expect(peopleBehind(machines, human('sub-ann'))).toEqual([{ name: 'ann', subject: 'sub-ann', as: 'self' }]);
});
