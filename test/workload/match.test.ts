/** Which workload a token is, which runs are kept out, and what a refusal says and keeps to itself. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { flattenClaims } from '../../src/workload/claims.ts';
import { matchWorkload } from '../../src/workload/match.ts';
import { presetNames, type PresetName } from '../../src/workload/workload.ts';
import type { TokenClaims } from '../../src/dev/ci-tokens.ts';
import { claimsOf, machinesOf, oneOf } from './some.ts';

function matchOne(preset: PresetName, claims: TokenClaims, more = '') {
  const { machines, issuer } = oneOf(preset, more);
  return matchWorkload(machines, issuer, claimsOf(preset, claims));
}

test.each(presetNames)('the usual run of %s is its workload', (preset) => {
  expect(matchOne(preset, {})).toMatchObject({ ok: true, workload: { name: 'migrate' } });
});

describe('runs from outside', () => {
  const outside: readonly [PresetName, string, TokenClaims][] = [
    ...['pull_request', 'pull_request_target', 'pull_request_review', 'workflow_run', 'issue_comment', 'issues', 'fork', 'watch', 'discussion', 'workflow_call', 'something_new'].map(
      (event): [PresetName, string, TokenClaims] => ['github-actions', event, { event_name: event }],
    ),
    ['github-actions', 'a push that has a head', { head_ref: 'patch-1' }],
    ['github-actions', 'the ref of a pull request', { ref: 'refs/pull/7/merge' }],
    ['github-actions', 'no event', { event_name: undefined }],
    ['gitlab-ci', 'merge request', { pipeline_source: 'merge_request_event' }],
    ['gitlab-ci', 'external pull request', { pipeline_source: 'external_pull_request_event' }],
    ['gitlab-ci', 'unprotected', { ref_protected: 'false' }],
    ['gitlab-ci', 'protection is not said', { ref_protected: undefined }],
    ['gitlab-ci', 'a fork in the project above it', { job_project_id: '19' }],
    ['circleci', 'ssh', { 'oidc.circleci.com/ssh-rerun': true }],
    ['circleci', 'ssh is not said', { 'oidc.circleci.com/ssh-rerun': undefined }],
    ['circleci', 'pull request', { 'oidc.circleci.com/vcs-ref': 'refs/pull/7/head' }],
    ['terraform-cloud', 'plan', { terraform_run_phase: 'plan' }],
    ['terraform-cloud', 'no phase', { terraform_run_phase: undefined }],
  ];
  test.each(outside)('%s: %s', (preset, _name, claims) => {
    expect(matchOne(preset, claims)).toMatchObject({ ok: false, rule: 'workloads/migrate/untrusted', reason: expect.stringContaining('outsiders') });
    expect(matchOne(preset, claims, 'untrusted: allow')).toMatchObject({ ok: true });
  });

  test.each(['push', 'schedule', 'workflow_dispatch', 'repository_dispatch', 'release', 'deployment', 'merge_group'])('GitHub: %s is from inside', (event) => {
    expect(matchOne('github-actions', { event_name: event })).toMatchObject({ ok: true });
  });

  test('a build of a fork at Buildkite has its owner before the branch', () => {
    const machines = machinesOf(`
issuers: { ci: { preset: buildkite, audience: gate } }
workloads: { w: { issuer: ci, groups: [ci], claims: { organization_id: o, pipeline_id: p, build_branch: [main, "eve:main"] } } }`);
    const issuer = machines.issuers.get('ci')!;
    const of = (branch: string) => matchWorkload(machines, issuer, claimsOf('buildkite', { organization_id: 'o', pipeline_id: 'p', build_branch: branch })).ok;
    expect([of('main'), of('eve:main')]).toEqual([true, false]);
  });

  test('they pass over the workload that does not take them, to one that does', () => {
    const pins = 'repository_id: 4711, repository_owner_id: 9001';
    const machines = machinesOf(`
issuers: { ci: { preset: github-actions, audience: gate } }
workloads:
  migrate: { issuer: ci, groups: [ci], claims: { ${pins} } }
  preview: { issuer: ci, groups: [preview], untrusted: allow, claims: { ${pins} } }`);
    const of = (claims: TokenClaims) => matchWorkload(machines, machines.issuers.get('ci')!, claimsOf('github-actions', claims));
    expect(of({})).toMatchObject({ workload: { name: 'migrate' } });
    expect(of({ event_name: 'pull_request' })).toMatchObject({ workload: { name: 'preview' } });
  });
});

describe('values', () => {
  const matches = (pattern: unknown, value: unknown) => {
    const machines = machinesOf(`
issuers: { ci: { audience: gate, url: "https://issuer.example" } }
workloads: { w: { issuer: ci, groups: [ci], claims: { sub: machine-7, c: ${JSON.stringify(pattern)} } } }`);
    return matchWorkload(machines, machines.issuers.get('ci')!, claimsOf('generic', { c: value })).ok;
  };
  test.each([
    ['a', 'a', true],
    ['a', 'A', false],
    ['a', 'ab', false],
    ['a', ' a', false],
    [7, '7', true],
    [7, 7, true],
    [true, 'true', true],
    [['a', 'b'], 'b', true],
    [['a', 'b'], 'c', false],
    ['a', ['x', 'a'], true],
    ['a', ['x'], false],
    ['a', [], false],
    ['a', undefined, false],
    ['a', null, false],
    ['a', { a: 'a' }, false],
    ['refs/heads/*', 'refs/heads/main', true],
    ['refs/heads/*', 'refs/heads/a/b', false],
    ['refs/heads/*', 'refs/heads/', false],
    ['refs/heads/*', 'refs/heads', false],
    ['refs/*/main', 'refs/tags/main', true],
    ['refs/heads/rel-*', 'refs/heads/rel-1', false],
    ['refs/heads/rel-*', 'refs/heads/rel-*', true],
    ['repo:acme/*', 'repo:acme/shop', true],
    ['repo:acme/*', 'repo:acme-evil/shop', false],
    ['*', 'a', true],
    ['*', 'a/b', false],
    ['*', '', false],
    ['a.c', 'abc', false],
  ])('%j against %j: %s', (pattern, value, expected) => {
    expect(matches(pattern, value)).toBe(expected);
  });

  test.each([[true, true], ['true', true], [false, false], [undefined, false], ['yes', false]])('an email with email_verified %j', (verified, expected) => {
    const { machines, issuer } = oneOf('google');
    const strict = { ...machines, workloads: machines.workloads.map((one) => ({ ...one, claims: new Map([...one.claims, ['email', ['a@acme.example']]]) })) };
    expect(matchWorkload(strict, issuer, claimsOf('google', { email: 'a@acme.example', email_verified: verified })).ok).toBe(expected);
  });

  test('no other value than a pinned one gets in', () => {
    const { machines, issuer } = oneOf('github-actions');
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.integer(), fc.array(fc.string()), fc.constant(null)), (value) => {
        fc.pre(String(value) !== '4711' && !(Array.isArray(value) && value.includes('4711')));
        expect(matchWorkload(machines, issuer, claimsOf('github-actions', { repository_id: value })).ok).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});

describe('refusals', () => {
  const machines = machinesOf(`
issuers: { ci: { preset: github-actions, audience: gate }, lab: { preset: gitlab-ci, audience: gate } }
workloads:
  far: { issuer: ci, groups: [ci], claims: { repository_id: 4711, repository_owner_id: 9001, ref: refs/heads/secret, environment: hidden } }
  near: { issuer: ci, groups: [ci], claims: { repository_id: 4711, repository_owner_id: 9001, ref: refs/heads/secret } }
  lab: { issuer: lab, groups: [ci], claims: { project_id: 20 } }`);
  const of = (claims: TokenClaims) => matchWorkload(machines, machines.issuers.get('ci')!, claimsOf('github-actions', claims));

  test('name the nearest workload, and what the token has in place of what fits', () => {
    expect(of({})).toEqual({
      ok: false,
      rule: 'workloads/near/claims',
      reason: 'no workload fits this token; the nearest is near, but for ref is "refs/heads/main"',
      hint: 'See what workloads: says of near in the policy.',
    });
    expect(of({ ref: undefined })).toMatchObject({ reason: expect.stringContaining('ref is missing') });
  });

  test('tell a stranger nothing of what there is', () => {
    const refusal = of({ repository_id: '1', ref: 'refs/heads/secret' });
    expect(refusal).toMatchObject({ ok: false, rule: 'issuers/ci', reason: 'no workload of ci is for this token: repository_id is "1", repository_owner_id is "9001"' });
    expect(JSON.stringify(refusal)).not.toMatch(/near|far|4711/);
  });

  test('never repeat control characters or more than a line of a claim', () => {
    const refusal = of({ ref: `\u001b[2J\u202e${'x'.repeat(5000)}` });
    if (refusal.ok) throw new Error('it fits');
    expect(refusal.reason).not.toMatch(/\p{C}/u);
    expect(refusal.reason.length).toBeLessThan(300);
  });

  test('a workload of another issuer does not count', () => {
    expect(matchWorkload(machines, machines.issuers.get('ci')!, claimsOf('gitlab-ci')).ok).toBe(false);
  });
});

describe('flattened claims', () => {
  test('are text, or lists of texts, under the path of their names', () => {
    const claims = flattenClaims({ a: 'x', n: 7, t: true, list: ['p', 'q'], empty: [], mixed: ['p', 1], none: null, o: { i: { z: 'deep' } }, big: 2 ** 64 });
    expect(Object.fromEntries(claims)).toEqual({ a: 'x', n: '7', t: 'true', list: ['p', 'q'], empty: [], 'o/i/z': 'deep' });
  });

  test.each<[string, TokenClaims]>([
    ['inner after outer', { 'k/ns': 'evil', k: { ns: 'good' } }],
    ['outer after inner', { k: { ns: 'good' }, 'k/ns': 'evil' }],
    ['with one that is no claim', { k: { ns: 'good' }, 'k/ns': null }],
    ['with an object', { 'k/ns': { x: 1 }, k: { ns: 'good' } }],
    ['three times', { k: { 'a/b': '1', a: { b: '2' } }, 'k/a/b': '3', 'k/a': { b: '4' } }],
  ])('that come out twice are gone: %s', (_name, payload) => {
    const claims = flattenClaims(payload);
    expect([claims.get('k/ns'), claims.get('k/a/b')]).toEqual([undefined, undefined]);
  });

  test('stop at a depth, and take nothing of a payload with too many names', () => {
    expect([...flattenClaims({ a: { b: { c: { d: { e: 'in', f: { g: 'out' } } } } } }).keys()]).toEqual(['a/b/c/d/e']);
    const many = (count: number) => flattenClaims(Object.fromEntries(Array.from({ length: count }, (_, index) => [`c${index}`, 'x'])));
    expect([many(300).size, many(301).size]).toEqual([300, 0]);
    expect(flattenClaims({ a: Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`c${index}`, 'x'])) }).size).toBe(0);
  });

  test('of any payload: every claim is in it at the path that its name says', () => {
    const key = fc.constantFrom('a', 'b', 'a/b', '__proto__', 'constructor');
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof({ depthSize: 'small' }, fc.string(), fc.integer(), fc.boolean(), fc.dictionary(key, tie('value'), { maxKeys: 4 })),
    }));
    fc.assert(
      fc.property(fc.dictionary(key, value), (payload) => {
        for (const [name, claim] of flattenClaims(payload)) expect(at(payload, name)).toEqual([claim]);
      }),
      { numRuns: 300 },
    );
  });
});

/** Everything that stands in an object under this name, with names cut at each slash or not. */
function at(object: unknown, name: string): unknown[] {
  if (typeof object !== 'object' || object === null) return [];
  return Object.entries(object).flatMap(([key, value]) => {
    if (key === name) return [typeof value === 'object' ? value : String(value)];
    return name.startsWith(`${key}/`) ? at(value, name.slice(key.length + 1)) : [];
  });
}
