/** What a policy file may say of issuers, workloads and people, what becomes of it, and how its mistakes are told. */
import { describe, expect, test } from 'vitest';
import { parsePolicy } from '../../src/policy/policy.ts';
import { presetNames } from '../../src/workload/workload.ts';
import { problemOf } from './some.ts';

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRAcZ8DLMRq2j8PyqY2Bf4mtAXNk0Y2wwYlhYzWyzbv';
const target = '\ntargets: { shop: { roles: { r: { groups: [ci], allow: [read] } } } }';
const machinesOf = (text: string) => parsePolicy(text + target, 'policy.yaml').machines;
const problem = (text: string) => problemOf(text + target);

const github = 'issuers: { gh: { preset: github-actions, audience: gate } }\n';
const pins = 'repository_id: 1, repository_owner_id: 2';
const workload = (fields: string, claims = pins) => `${github}workloads: { w: { issuer: gh, groups: [ci], claims: { ${claims} }, ${fields} } }`;

test('everything it may say', () => {
  const { issuers, workloads, people, offboarded } = machinesOf(`
issuers:
  gh: { preset: github-actions, audience: gate, maxLifetime: 5m, requiredClaims: [environment], algorithms: [RS256, ES256] }
  own: { url: "http://127.0.0.1:9/x", audience: gate, jwksUrl: "http://localhost:9/keys" }
workloads:
  migrate:
    issuer: gh
    claims: { repository_id: 1, repository_owner_id: "2", ref: [refs/heads/main, refs/tags/*], ref_protected: true }
    groups: [ci]
    owner: ada
    session: 30m
    human: { groups: [engineering] }
    untrusted: allow
    reasonFrom: '^(.+)'
    ticketFrom: 'OPS-\\d+'
people:
  ada: { subject: acct-ada, accounts: { gh: [1, "2"], own: x }, emails: [ada@x], keys: ["${key} ada"] }
offboarded:
  - { person: ada, reason: left }
  - { subject: acct-bob, reason: left as well }`);
  expect(issuers.get('gh')).toEqual({ name: 'gh', preset: 'github-actions', url: 'https://token.actions.githubusercontent.com', audience: 'gate', algorithms: ['RS256', 'ES256'], lifetimeSecondsMax: 300, requiredClaims: ['environment'] });
  expect(issuers.get('own')).toMatchObject({ preset: 'generic', jwksUrl: 'http://localhost:9/keys', lifetimeSecondsMax: 900, algorithms: ['RS256'] });
  expect(workloads).toMatchObject([{ name: 'migrate', owner: 'ada', sessionSeconds: 1800, humanGroups: ['engineering'], allowsUntrusted: true }]);
  expect(Object.fromEntries(workloads[0]?.claims ?? [])).toEqual({ repository_id: ['1'], repository_owner_id: ['2'], ref: ['refs/heads/main', 'refs/tags/*'], ref_protected: ['true'] });
  expect([workloads[0]?.reasonFrom?.find('Drop\n\nx'), workloads[0]?.ticketFrom?.find('for OPS-17.')]).toEqual(['Drop', 'OPS-17']);
  expect(people.get('ada')).toMatchObject({ name: 'ada', subject: 'acct-ada', emails: ['ada@x'] });
  expect(Object.fromEntries(people.get('ada')?.accounts ?? [])).toEqual({ gh: ['1', '2'], own: ['x'] });
  expect(offboarded).toEqual([{ person: 'ada', reason: 'left' }, { subject: 'acct-bob', reason: 'left as well' }]);
});

test('nothing of it is needed', () => {
  expect(machinesOf('')).toEqual({ issuers: new Map(), workloads: [], people: new Map(), offboarded: [] });
});

test.each(presetNames.filter((name) => !['kubernetes', 'circleci', 'generic'].includes(name)))('%s knows its issuer', (preset) => {
  expect(machinesOf(`issuers: { ci: { preset: ${preset}, audience: gate } }`).issuers.get('ci')?.url).toMatch(/^https:\/\//);
});

describe('mistakes in issuers', () => {
  test.each([
    ['no url', 'issuers: { ci: { audience: gate } }', /1:16: issuers\.ci\.url: missing, write the issuer as it stands in its tokens/],
    ['no url of CircleCI', 'issuers: { ci: { preset: circleci, audience: gate } }', /as in https:\/\/oidc\.circleci\.com\/org/],
    ['plain http', 'issuers: { ci: { audience: gate, url: "http://issuer.example" } }', /1:39: issuers\.ci\.url: .*write https/],
    ['keys over plain http', 'issuers: { ci: { audience: gate, url: "https://a.example", jwksUrl: "http://a.example/k" } }', /jwksUrl: .*write https/],
    ['a password', 'issuers: { ci: { audience: gate, url: "https://a:b@a.example" } }', /user name or a password/],
    ['a query', 'issuers: { ci: { audience: gate, url: "https://a.example?x" } }', /neither/],
    ['twice the same', 'issuers: { a: { preset: gitlab-ci, audience: x }, b: { audience: y, url: "https://gitlab.com" } }', /issuers\.b\.url: a has the same url/],
    ['a preset that is none', 'issuers: { ci: { preset: github, audience: gate } }', /preset/],
    ['a symmetric algorithm', 'issuers: { ci: { preset: gitlab-ci, audience: gate, algorithms: [HS256] } }', /algorithms/],
  ])('%s', (_name, text, expected) => expect(problem(text)).toMatch(expected));
});

describe('mistakes in workloads', () => {
  const k8s = 'issuers: { k: { preset: kubernetes, audience: gate, url: "https://k.example" } }\nworkloads: { w: { issuer: k, groups: [ci], claims: ';
  test.each([
    ['an issuer that is none', workload('').replace('issuer: gh', 'issuer: hg'), /workloads\.w\.issuer: there is no issuer "hg": did you mean "gh"\?/],
    ['an owner who is nobody', workload('owner: ada'), /workloads\.w\.owner: there is no person "ada": none is defined/],
    ['only a name', workload('', 'repository: acme/shop'), /2:45: workloads\.w\.claims: names can be given to others: pin repository_id and repository_owner_id, with exact values/],
    ['half of the anchor', workload('', 'repository_id: 1'), /pin repository_id and repository_owner_id/],
    ['an anchor with a wildcard', workload('', 'repository_id: "*", repository_owner_id: 2'), /with exact values/],
    ['an anchor with a wildcard among others', workload('', 'repository_id: [1, "*"], repository_owner_id: 2'), /with exact values/],
    ['of Kubernetes, a name', `${k8s}{ sub: "system:serviceaccount:a:b" } } }`, /pin kubernetes\.io\/serviceaccount\/uid and kubernetes\.io\/namespace/],
    ['a slip', workload('', `${pins}, enviroment: prod`), /tokens of github-actions have no such claim: did you mean "environment"\?/],
    ['an audience', workload('', `${pins}, aud: x`), /claims\.aud: leave it out: audience of the issuer/],
    ['a token id', workload('', `${pins}, jti: x`), /another one in each token/],
    ['a number that is too large', workload('', `${pins}, run_id: 104479897743394244856`), /write it in quotes/],
    ['forks of Buildkite', 'issuers: { b: { preset: buildkite, audience: gate } }\nworkloads: { w: { issuer: b, groups: [ci], claims: { organization_id: a, pipeline_id: b } } }', /builds of forks out: pin build_branch as well/],
    ['forks of CircleCI', 'issuers: { c: { preset: circleci, audience: gate, url: "https://oidc.circleci.com/org/a" } }\nworkloads: { w: { issuer: c, groups: [ci], claims: { oidc.circleci.com/project-id: a } } }', /pin oidc\.circleci\.com\/vcs-origin as well/],
    ['a person where none can be', `${k8s}{ kubernetes.io/serviceaccount/uid: a, kubernetes.io/namespace: b }, human: {} } }`, /workloads\.w\.human: tokens of kubernetes name neither a person nor a commit/],
    ['a pattern that is none', workload('reasonFrom: "("'), /workloads\.w\.reasonFrom: this is no RE2 pattern/],
  ])('%s', (_name, text, expected) => expect(problem(text)).toMatch(expected));

  test('a claim that no list knows is taken: platforms add some', () => {
    expect(machinesOf(workload('', `${pins}, repo_property_tier: gold`)).workloads[0]?.claims.get('repo_property_tier')).toEqual(['gold']);
  });
});

describe('mistakes in people', () => {
  const ada = (fields: string, more = '') => `${github}people: { ada: { subject: a, ${fields} }, bob: { subject: b, ${more} } }`;
  test.each([
    ['an issuer that is none', ada('accounts: { gl: 1 }'), /people\.ada\.accounts\.gl: there is no issuer "gl"/],
    ['a name for an id', ada('accounts: { gh: ada }'), /write the number that its tokens have in actor_id, not a name/],
    ['an id that is too large', ada('accounts: { gh: 104479897743394244856 }'), /write it in quotes/],
    ['an account where tokens name nobody', `issuers: { g: { preset: google, audience: gate } }\npeople: { ada: { subject: a, accounts: { g: 1 } } }`, /tokens of google name no person/],
    ['the same account', ada('accounts: { gh: [1, 2] }', 'accounts: { gh: "2" }'), /people\.bob\.accounts\.gh: ada has the same one/],
    ['the same address', ada('emails: [a@x]', 'emails: [A@x]'), /people\.bob\.emails\.0: ada has the same one/],
    ['the same key', ada(`keys: ["${key} one"]`, `keys: ["${key} two"]`), /people\.bob\.keys\.0: ada has the same one/],
    ['the same subject', ada('emails: [a@x]').replace('subject: b', 'subject: a'), /people\.bob\.subject: ada has the same one/],
    ['no key', ada('keys: [ssh-ed25519 AAAA]'), /2:37: people\.ada\.keys\.0: this is no SSH public key: write the line of a \.pub file/],
    ['a private key', ada('keys: ["-----BEGIN OPENSSH PRIVATE KEY-----"]'), /private key: take it out/],
    ['nobody who has left', 'offboarded: [{ reason: x }]', /offboarded\.0: write either person or subject/],
    ['two who have left', `${ada('emails: []')}\noffboarded: [{ person: ada, subject: a, reason: x }]`, /write either person or subject/],
    ['a stranger who has left', `${ada('emails: []')}\noffboarded: [{ person: adam, reason: x }]`, /there is no person "adam": did you mean "ada"\?.*named by subject/],
  ])('%s', (_name, text, expected) => expect(problem(text)).toMatch(expected));
});
