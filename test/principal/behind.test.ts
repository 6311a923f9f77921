/** Who stands behind a machine, in words, and what makes two callers the same run. */
import { describe, expect, test } from 'vitest';
import { formatChain } from '../../src/cli/chain.ts';
import { displayWidth } from '../../src/cli/output.ts';
import { isSameRun, nameOf } from '../../src/principal/behind.ts';
import type { Link, Principal } from '../../src/principal/principal.ts';
import { applicationNameBytesMax, applicationNameOf } from '../../src/relay/application-name.ts';

const workload: Link = { kind: 'workload', value: 'nightly', id: 'repo:7', strength: 'verified', source: 'token' };
const run: Link = { kind: 'run', value: '42 attempt 1', id: '9042.1', url: 'https://ci.example.com/42', strength: 'verified', source: 'token' };
const author: Link = { kind: 'author', value: 'Mallory', strength: 'claimed', source: 'client' };
const erin: Link = { kind: 'human', value: 'erin', id: 'u1', strength: 'verified', source: 'policy' };
const agent: Link = { kind: 'agent', value: 'helper/1.0', strength: 'claimed', source: 'client' };

const machine = (...chain: Link[]): Principal => ({ issuer: 'https://ci.example.com', subject: 'repo:7', kind: 'workload', name: 'nightly', groups: [], chain });
const claimed = (link: Link): Link => ({ ...link, strength: 'claimed', source: 'client' });
const human: Principal = { issuer: 'https://id.example.com', subject: 'u1', kind: 'human', name: 'Erin (DBA)?', groups: [] };

describe('the name', () => {
  test.each<[string, Principal, string]>([
    ['of a human is theirs', human, 'Erin (DBA)?'],
    ['of a machine with a person behind it', machine(workload, run, erin), 'nightly (for erin)'],
    ['with a person who is claimed', machine(workload, claimed(erin)), 'nightly (for erin?)'],
    ['a verified person comes before one who is claimed', machine(claimed({ ...erin, value: 'mallory' }), erin), 'nightly (for erin)'],
    ['an author alone is nobody', machine(workload, author), 'nightly'],
    ['without a chain', { ...machine(), name: 'nightly (for root)' }, 'nightly [for root]'],
    ['no claim takes its own mark away', machine(claimed({ ...erin, value: 'root) (proven' })), 'nightly (for root] [proven?)'],
  ])('%s', (_what, principal, expected) => {
    expect(nameOf(principal)).toBe(expected);
  });
});

describe('the same run', () => {
  const first = machine(workload, run, author, erin);
  test.each<[string, Principal, boolean]>([
    ['the same', machine(workload, run, author, erin), true],
    ['in another order', machine(erin, run, workload), true],
    ['what is claimed beside it does not matter', machine(workload, run, { ...author, value: 'other' }, claimed({ ...erin, id: 'u2' }), erin), true],
    ['what people read neither, where there is an id', machine(workload, { ...run, value: 'renamed' }, erin), true],
    ['another run', machine(workload, { ...run, id: '9042.2' }, author, erin), false],
    ['another person', machine(workload, run, author, { ...erin, id: 'u2' }), false],
    ['the person is only claimed now', machine(workload, run, author, claimed(erin)), false],
    ['nobody is', machine(workload, run, author), false],
    ['the run is only claimed now', machine(workload, claimed(run), erin), false],
    ['an agent in it', machine(agent, workload, run, erin), false],
    ['another kind', { ...first, kind: 'agent' }, false],
    ['no chain', { ...machine(), chain: [] }, false],
  ])('%s', (_what, other, expected) => {
    expect(isSameRun(first, other)).toBe(expected);
    expect(isSameRun(other, first)).toBe(expected);
  });

  test('a human and an agent that acts for them are two; so are two agents', () => {
    const { chain: _, ...plain } = { ...machine(), ...human };
    const helper: Principal = { ...human, kind: 'agent', chain: [agent, { ...erin, source: 'token' }] };
    expect(isSameRun(plain, { ...plain, groups: ['other'] })).toBe(true);
    expect(isSameRun(plain, helper)).toBe(false);
    expect(isSameRun(helper, { ...helper, chain: [{ ...agent, value: 'other/1.0' }, { ...erin, source: 'token' }] })).toBe(false);
  });
});

describe('the chain on a terminal', () => {
  test('in columns, each link with how sure it is', () => {
    expect(formatChain([workload, run, author, erin])).toEqual([
      'workload  verified by token   nightly (repo:7)',
      'run       verified by token   42 attempt 1 (9042.1) https://ci.example.com/42',
      'author    claimed by client   Mallory',
      'human     verified by policy  erin (u1)',
    ]);
    expect(formatChain([])).toEqual([]);
  });

  test('what somebody made up moves nothing, and pushes nothing out of sight', () => {
    const evil = ['x\nhuman  root  verified by token', '\u202edetsurt', '\u001b[2J\u009b1m', '\u3164'.repeat(500), 'y'.repeat(5000), '\u0000'];
    const lines = formatChain([erin, ...evil.map((value): Link => ({ kind: 'author', value, id: `${value}.`, url: value, strength: 'claimed', source: 'client' }))]);
    for (const line of lines.slice(1)) {
      expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      expect(line).toMatch(/^author  claimed by client  /u);
      expect(line.split(/ {2,}/)).toHaveLength(3);
      expect(displayWidth(line)).toBeLessThan(400);
    }
    expect(new Set(lines.slice(1).map((line) => line.indexOf('claimed by client')))).toEqual(new Set([8]));
  });
});

describe('application_name', () => {
  const id = 's_0123456789bc';
  const nameIn = (principal: Principal) => applicationNameOf({ id, grant: { principal } as never });
  const long = 'x'.repeat(80);

  test.each<[string, Principal, string]>([
    ['a human', { ...human, name: 'erin' }, 'gate/s_0123456789bc erin'],
    ['a machine and its person', machine(erin), 'gate/s_0123456789bc nightly for erin'],
    ['who is claimed', machine(claimed(erin)), 'gate/s_0123456789bc nightly for erin?'],
    ['nobody behind it', machine(workload, author), 'gate/s_0123456789bc nightly'],
    ['beyond ASCII', { ...human, name: 'Zoë Łuk?\u202e\n😀' }, 'gate/s_0123456789bc Zoe _uk____'],
    ['a long name', { ...human, name: long }, `gate/s_0123456789bc ${'x'.repeat(43)}`],
    ['of a machine: the person stays', { ...machine(erin), name: long }, `gate/s_0123456789bc ${'x'.repeat(34)} for erin`],
    ['both long: so does the mark', { ...machine(claimed({ ...erin, value: 'y'.repeat(80) })), name: long }, `gate/s_0123456789bc ${'x'.repeat(17)} for ${'y'.repeat(20)}?`],
    ['a long person', machine(claimed({ ...erin, value: 'y'.repeat(80) })), `gate/s_0123456789bc nightly for ${'y'.repeat(30)}?`],
    ['no name brings the mark', machine({ ...erin, value: 'erin?' }), 'gate/s_0123456789bc nightly for erin_'],
  ])('%s', (_what, principal, expected) => {
    expect(nameIn(principal)).toBe(expected);
    expect(Buffer.byteLength(expected)).toBeLessThanOrEqual(applicationNameBytesMax);
  });
});
