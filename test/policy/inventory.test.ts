/** What an inventory finds. */
import { describe, expect, test } from 'vitest';
import type { RoleUse, SeenPrincipal } from '../../src/grant/inventory.ts';
import { takeInventory } from '../../src/policy/inventory.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import type { Link, Principal } from '../../src/principal/principal.ts';
import { person } from './some.ts';

const policy = parsePolicy(
  `
issuers: { ci: { url: https://ci.example.com, audience: gate } }
workloads:
  deploy: { issuer: ci, claims: { sub: '1' }, groups: [deployers], owner: ann }
  report: { issuer: ci, claims: { sub: '2' }, groups: [reporters] }
people: { ann: { subject: sub-ann }, eve: { subject: sub-eve } }
offboarded: [{ person: eve, reason: left in May }]
targets:
  shop:
    roles:
      reader: { groups: [g, reporters], allow: [read] }
      writer: { groups: [w], allow: [read], readOnly: false, rules: [{ name: careful, effect: hold, kinds: [write, schema], approval: { by: [all] } }, { name: no, effect: deny, kinds: [admin] }] }
      frozen: { groups: [f], allow: [read, write], readOnly: true }
  other:
    roles:
      deployer: { groups: [deployers], allow: [schema], when: now.getHours() == 3 }
approvers: { all: { groups: [g] } }
`,
  'policy.yaml',
);

const at = (day: number) => new Date(Date.UTC(2026, 4, day));
const times = { since: at(1), dormantSince: at(20) };
const use = (role: string, kinds: RoleUse['kinds'], more: Partial<RoleUse> = {}): RoleUse => ({ target: 'shop', role, grants: 1, sessions: 1, statements: 2, refused: 1, rows: 3, kinds, isPartial: false, ...more });
const seen = (principal: Principal, ...uses: RoleUse[]): SeenPrincipal => ({ principal, firstGrantAt: at(2), firstUsedAt: at(2), lastUsedAt: at(25), uses });
const link = (kind: Link['kind'], value: string, more: Partial<Link> = {}): Link => ({ kind, value, strength: 'verified', source: 'token', ...more });
const machine = (name: string, ...chain: Link[]): Principal => ({ issuer: 'https://ci.example.com', subject: name, kind: 'workload', name, groups: ['stale'], chain: [link('workload', name), ...chain] });

function findings(one: SeenPrincipal): string[] {
  const { principal } = one;
  const entry = takeInventory(policy, [one], times).find(({ subject }) => subject === principal.subject);
  return (entry?.findings ?? []).map(({ finding, detail }) => `${finding}: ${detail}`);
}

describe('findings', () => {
  test.each<[string, SeenPrincipal, string[]]>([
    ['nothing where all that is given is used', seen(person('bob', 'g'), use('reader', ['read'])), []],
    ['nothing where nothing is given', seen(person('bob', 'none')), []],
    ['a role that was not used', seen(person('bob', 'g')), ['over-scoped: the role reader on shop was not used']],
    ['granted, and no session of it', seen(person('bob', 'g'), use('reader', [], { sessions: 0 })), ['over-scoped: the role reader on shop was not used']],
    ['kinds that it could run, also with approval, and did not', seen(person('bob', 'w'), use('writer', ['read', 'write'])), ['over-scoped: the role writer on shop also allows schema, and ran read, write']],
    ['a session that ran nothing', seen(person('bob', 'g'), use('reader', [])), ['over-scoped: the role reader on shop also allows read, and ran nothing']],
    ['not kinds that a read-only role could not run', seen(person('bob', 'f'), use('frozen', ['read'])), []],
    ['not kinds where they were not kept', seen(person('bob', 'w'), use('writer', ['read'], { isPartial: true })), []],
    ['who was not used for long; not each role of theirs as well', { ...seen(person('bob', 'g', 'w')), lastUsedAt: at(19) }, ['dormant: last used at 2026-05-19T00:00:00.000Z']],
    ['who was never used', { principal: person('bob', 'g'), firstGrantAt: at(10), lastLoginAt: at(26), uses: [] }, ['dormant: never used, and known since 2026-05-10T00:00:00.000Z']],
    ['who came by lately for the first time', { principal: person('bob', 'g'), lastLoginAt: at(26), uses: [] }, ['over-scoped: the role reader on shop was not used']],
    ['not dormant where nothing is given', { ...seen(person('bob')), lastUsedAt: at(3) }, []],
    ['who left', seen(person('sub-eve', 'g')), ['offboarded: eve has left: left in May']],
    ['a workload by its groups of now, at whatever hour', seen(machine('deploy')), ['over-scoped: the role deployer on other was not used']],
    ['a workload without an owner', seen(machine('report'), use('reader', ['read'])), ['unowned: nobody answers for report']],
    ['one that the policy no longer has, with the owner of its chain', seen(machine('gone', link('owner', 'ann'))), []],
    ['what a person who left runs', seen(machine('deploy', link('human', 'eve', { id: 'sub-eve' }))), ['offboarded: eve has left: left in May']],
  ])('%s', (_, one, expected) => {
    expect(findings(one)).toEqual(expected);
  });
});

test('sums, people, and the workloads that never came by, in a fixed order', () => {
  const erin = seen(person('erin', 'g'), use('reader', ['read']), use('writer', ['schema', 'write'], { rows: 4 }));
  const run = seen(machine('deploy', link('human', 'cay', { id: 'sub-cay', strength: 'claimed', source: 'client' })));
  const entries = takeInventory(policy, [run, erin], times);
  expect(entries.map(({ kind, name, findings: found }) => [kind, name, found.map(({ finding }) => finding)])).toEqual([
    ['human', 'erin', []],
    ['workload', 'deploy', ['over-scoped']],
    ['workload', 'report', ['unowned', 'never-seen']],
  ]);
  expect(entries[0]).toMatchObject({ subject: 'erin', grants: 2, sessions: 2, statements: 4, refused: 2, rows: 7, kinds: ['read', 'write', 'schema'], roles: [{ target: 'shop', role: 'reader' }], lastUsedAt: '2026-05-25T00:00:00.000Z' });
  expect(entries[1]).toMatchObject({ workload: 'deploy', owner: { name: 'ann', subject: 'sub-ann' }, human: { name: 'cay', subject: 'sub-cay', strength: 'claimed' }, roles: [{ target: 'other', role: 'deployer' }] });
  expect(entries[2]).toMatchObject({ issuer: 'https://ci.example.com', workload: 'report', roles: [{ target: 'shop', role: 'reader' }], sessions: 0 });
  expect(entries[2]).not.toHaveProperty('subject');
  expect(takeInventory(policy, [erin, run], times)).toEqual(entries);
});
