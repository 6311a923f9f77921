/** Tokens that must open nothing, each with the sentence that it is refused with. */
import { createHmac, createSecretKey } from 'node:crypto';
import { CompactEncrypt } from 'jose';
import { audience, usual, type Machines } from './machines-stage.ts';

/** Name, how it is made, and what the refusal says; by default with `login-failed`, or `denied` from the policy. */
export type HostileToken = readonly [name: string, make: (machines: Machines) => Promise<string>, reason: string, code?: 'login-failed' | 'denied' | 'usage'];

const encode = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);
const partsOf = (token: string) => token.split('.') as [string, string, string];
const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;

/** A good token with another header, and the signature of the old one. */
async function withHeader(machines: Machines, header: object): Promise<string> {
  const [old, payload, signature] = partsOf(await machines.token('github-actions'));
  return `${encode({ ...decode(old), ...header })}.${payload}.${signature}`;
}

async function withPayload(machines: Machines, change: object): Promise<string> {
  const [header, payload, signature] = partsOf(await machines.token('github-actions'));
  return `${header}.${encode({ ...decode(payload), ...change })}.${signature}`;
}

const github = (claims: object, header = {}) => (machines: Machines) => machines.token('github-actions', claims as Record<string, unknown>, header);
const of = (preset: Parameters<Machines['token']>[0], claims: object) => (machines: Machines) => machines.token(preset, claims as Record<string, unknown>);
const forged = (changes: object, header = {}) => ({ forge }: Machines) => forge.sign(JSON.stringify(forge.claims(changes as Record<string, unknown>)), header);
const raw = (make: (claims: string) => string) => ({ forge }: Machines) => forge.sign(make(JSON.stringify(forge.claims())));

const shapes: readonly HostileToken[] = [
  ['not a token', () => Promise.resolve('hello'), 'three parts with dots between, and this has 1'],
  ['nothing', () => Promise.resolve(''), 'token: is empty', 'usage'],
  ['larger than any token', () => Promise.resolve('e'.repeat(16_385)), 'token: is longer than 16384 characters', 'usage'],
  ['two parts', async (m) => partsOf(await m.token('github-actions')).slice(0, 2).join('.'), 'and this has 2'],
  ['four parts', async (m) => `${await m.token('github-actions')}.x`, 'and this has 4'],
  ['encrypted', async (m) => new CompactEncrypt(Buffer.from(await m.token('github-actions'))).setProtectedHeader({ alg: 'dir', enc: 'A256GCM', cty: 'JWT' }).encrypt(createSecretKey(Buffer.alloc(32))), 'is encrypted (five parts)'],
  ['garbage in three parts', () => Promise.resolve('###.###.###'), 'the header of the token is not base64url'],
  ['garbage that decodes', () => Promise.resolve(`${encode('?')}.${encode('{}')}.AAAA`), 'the header of the token is not JSON'],
  ['a header that is a list', () => Promise.resolve(`${encode([])}.${encode({})}.AAAA`), 'the header of the token is not a JSON object'],
  ['padded base64', async (m) => `${await m.token('github-actions')}==`, 'the signature of the token is not base64url'],
  ['a payload with blanks in its base64', async (m) => { const [h, p, s] = partsOf(await m.token('github-actions')); return `${h}.${p.slice(0, 9)} ${p.slice(9)}.${s}`; }, 'the payload of the token is not base64url'],
  ['a payload that is a text', ({ forge }) => forge.sign('"text"'), 'the payload of the token is not a JSON object'],
  ['a token in a token', async (m) => m.forge.sign(await m.token('github-actions'), { cty: 'JWT' }), 'the payload of the token is not JSON'],
  ['a byte order mark', raw((claims) => `\uFEFF${claims}`), 'the payload of the token is not JSON'],
  ['bytes that are not UTF-8', ({ forge }) => forge.sign(Buffer.concat([Buffer.from(JSON.stringify(forge.claims()).slice(0, -1)), Buffer.from([0x2c, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])])), 'the payload of the token is not JSON'],
  ['a subject twice', raw((claims) => claims.replace('"sub"', '"sub":"machine-1","sub"')), 'the payload of the token has "sub" twice'],
  ['an audience twice, once escaped', raw((claims) => claims.replace('"aud"', '"\\u0061ud":"other","aud"')), 'the payload of the token has "aud" twice'],
  ['a name twice in an object within', raw((claims) => claims.replace('{', '{"context":[{"a:":"}"},{"id":"1","id":"2"}],')), 'the payload of the token has "id" twice'],
  ['an algorithm twice', async (m) => { const [, p, s] = partsOf(await m.forge.sign(JSON.stringify(m.forge.claims()))); return `${encode('{"alg":"RS256","kid":"r1","typ":"JWT","alg":"none"}')}.${p}.${s}`; }, 'the header of the token has "alg" twice'],
  ['more claims than are looked at', forged(Object.fromEntries(Array.from({ length: 320 }, (_, index) => [`c${index}`, 1]))), 'more claims than anybody can look through'],
];

const signatures: readonly HostileToken[] = [
  ['alg none, no signature', async (m) => { const [, p] = partsOf(await m.token('github-actions')); return `${encode({ alg: 'none', typ: 'JWT' })}.${p}.`; }, 'the token carries no signature'],
  ['alg none, with a signature', (m) => withHeader(m, { alg: 'none' }), 'algorithm is "none"'],
  ['alg None', (m) => withHeader(m, { alg: 'None' }), 'algorithm is "None"'],
  ['alg rs256', (m) => withHeader(m, { alg: 'rs256' }), 'algorithm is "rs256"'],
  ['alg missing', (m) => withHeader(m, { alg: undefined }), 'does not say by which algorithm'],
  ['alg a list', (m) => withHeader(m, { alg: ['RS256'] }), 'does not say by which algorithm'],
  ['an algorithm that is not on the list', (m) => withHeader(m, { alg: 'RS512' }), 'algorithm is "RS512"'],
  [
    'HS256 with the public key as its secret',
    async ({ forge }) => {
      const signed = `${encode({ alg: 'HS256', kid: 'r1', typ: 'JWT' })}.${encode(forge.claims())}`;
      return `${signed}.${createHmac('sha256', forge.publicPem).update(signed).digest('base64url')}`;
    },
    'algorithm is "HS256"',
  ],
  ['a key in the header', ({ forge }) => forge.sign(JSON.stringify(forge.claims()), { jwk: forge.rsaJwk }), 'in its header "jwk"'],
  ['the address of keys in the header', forged({}, { jku: 'http://127.0.0.1:9/keys' }), 'in its header "jku"'],
  ['the address of a certificate', forged({}, { x5u: 'http://127.0.0.1:9/cert' }), 'in its header "x5u"'],
  ['a certificate in the header', forged({}, { x5c: ['MIIB'] }), 'in its header "x5c"'],
  ['crit', forged({}, { crit: ['urn:gate:test'], 'urn:gate:test': 1 }), 'must be understood ("crit")'],
  ['b64', forged({}, { b64: true }), '("b64")'],
  ['a key that is not published', forged({}, { kid: 'r9' }), 'a key that forge does not publish'],
  ['a key by a path', forged({}, { kid: '../../keys' }), 'a key that forge does not publish'],
  ['a key by a number', (m) => withHeader(m, { kid: 7 }), 'header "kid" is not a text'],
  ['no kid, and two keys that fit', forged({}, { kid: undefined }), 'does not say which key of forge'],
  ['signed with another key of the issuer', ({ forge }) => forge.sign(JSON.stringify(forge.claims()), { kid: 'r1' }, 'rsa2'), 'signature does not verify'],
  ['signed by another issuer', async (m) => { const [, payload] = partsOf(await m.token('github-actions')); return m.issuers.generic.token('generic', decode(payload)); }, 'a key that github-actions does not publish'],
  ['another subject under the old signature', (m) => withPayload(m, { sub: 'repo:acme@9001/shop@4711:environment:staging' }), 'signature does not verify'],
  ['another header under the old signature', (m) => withHeader(m, { cty: 'x' }), 'signature does not verify'],
  ['a signature cut short', async (m) => { const [h, p, s] = partsOf(await m.token('github-actions')); return `${h}.${p}.${Buffer.from(s, 'base64url').subarray(0, 128).toString('base64url')}`; }, 'signature does not verify'],
  ['a signature with one bit turned', async (m) => { const [h, p, s] = partsOf(await m.token('github-actions')); const bytes = Buffer.from(s, 'base64url'); bytes[7] = (bytes[7] ?? 0) ^ 1; return `${h}.${p}.${bytes.toString('base64url')}`; }, 'signature does not verify'],
  ['an ECDSA signature of zeros', async ({ forge }) => { const [h, p] = partsOf(await forge.sign(JSON.stringify(forge.claims()), {}, 'ec')); return `${h}.${p}.${Buffer.alloc(64).toString('base64url')}`; }, 'signature does not verify'],
  ['an ECDSA signature in DER', async ({ forge }) => { const [h, p, s] = partsOf(await forge.sign(JSON.stringify(forge.claims()), {}, 'ec')); return `${h}.${p}.${derOf(Buffer.from(s, 'base64url')).toString('base64url')}`; }, 'signature does not verify'],
  ['ES256 with a key for RSA', async ({ forge }) => { const [, p, s] = partsOf(await forge.sign(JSON.stringify(forge.claims()), {}, 'ec')); return `${encode({ alg: 'ES256', kid: 'r1', typ: 'JWT' })}.${p}.${s}`; }, 'a key that forge does not publish'],
];

const times: readonly HostileToken[] = [
  ['expired', github({ iat: now() - 400, nbf: now() - 400, exp: now() - 31 }), 'the token has expired'],
  ['no end', github({ exp: undefined }), '"exp" is missing'],
  ['an end as a text', github({ exp: String(now() + 300) }), '"exp" is not a time'],
  ['an end beyond all time', ({ forge }) => forge.sign(JSON.stringify(forge.claims()).replace(/"exp":\d+/, '"exp":1e300')), '"exp" is not a time'],
  ['an end before its start', github({ iat: now() + 20, exp: now() + 10, nbf: undefined }), 'expired before it was issued'],
  ['no start', github({ iat: undefined }), '"iat" is missing'],
  ['a start in the future', github({ iat: now() + 60, exp: now() + 300, nbf: undefined }), 'issued in the future, by its claim "iat"'],
  ['a start as a text', github({ iat: String(now()) }), '"iat" is not a time'],
  ['a start below zero', github({ iat: -1 }), '"iat" is not a time'],
  ['not good yet', github({ nbf: now() + 60 }), 'not good yet, by its claim "nbf"'],
  ['nbf as a text', github({ nbf: 'now' }), '"nbf" is not a time'],
  ['good for too long', github({ exp: now() + 901, iat: now() }), 'and one of github-actions may be for 900 s at most'],
];

const claims: readonly HostileToken[] = [
  ['for another audience', github({ aud: 'https://github.com/acme' }), 'is for "https://github.com/acme", not for gate-relay'],
  ['for an audience in other letters', github({ aud: 'Gate-Relay' }), 'is for "Gate-Relay"'],
  ['for another audience as well', github({ aud: [audience, 'vault'] }), 'is for 2 audiences, "gate-relay, vault"'],
  ['for the same audience twice', github({ aud: [audience, audience] }), 'is for 2 audiences, "gate-relay, gate-relay"'],
  ['for no audience', github({ aud: undefined }), '"aud" is missing'],
  ['for an empty list of audiences', github({ aud: [] }), 'for no audience at all'],
  ['for an object', github({ aud: { [audience]: true } }), '"aud" is neither a text nor texts'],
  ['of nobody', github({ iss: undefined }), 'does not say who issued it'],
  ['of a list of issuers', (m) => m.token('github-actions', { iss: [m.issuers['github-actions'].url] }), '"iss" is not a text'],
  ['of an unknown issuer with the same keys', github({ iss: 'https://token.actions.githubusercontent.com.evil.example' }), 'trusts no issuer "https://token.actions.githubusercontent.com.evil.example"'],
  ['of the issuer with a slash behind', (m) => m.token('github-actions', { iss: `${m.issuers['github-actions'].url}/` }), '/"'],
  ['of the issuer in capitals', (m) => m.token('github-actions', { iss: m.issuers['github-actions'].url.toUpperCase() }), 'trusts no issuer "HTTP://'],
  ['of another trusted issuer by name', (m) => m.token('github-actions', { iss: m.issuers.generic.url }), 'a key that generic does not publish'],
  ['of no subject', github({ sub: undefined }), '"sub" is missing'],
  ['of an empty subject', github({ sub: ' ' }), '"sub" is empty'],
  ['of a subject that is a number', of('generic', { sub: 7 }), '"sub" is not a text'],
  ['with an id that is no text', github({ jti: 7 }), '"jti" is not a text'],
  ['without an id, where the platform has one', github({ jti: undefined }), '"jti" is missing'],
  ['of another type', github({}, { typ: 'at+jwt' }), 'is of type "at+jwt", which github-actions does not issue'],
  ['a security event', github({}, { typ: 'application/secevent+jwt' }), 'is of type "application/secevent+jwt"'],
  ['without a type, where the platform has one', github({}, { typ: undefined }), 'has no type, and tokens of github-actions have one'],
  ['of a login in a browser', of('google', { at_hash: 'x' }), 'a person\'s login (it has the claim "at_hash")'],
  ['of a login that asked for a nonce', of('generic', { nonce: 'x' }), '(it has the claim "nonce")'],
  ['without the number of its repository', github({ repository_id: undefined }), '"repository_id" is missing'],
  ['with a list of repositories', github({ repository_id: ['1', '4711'] }), '"repository_id" is not one text'],
  ['with an object as its repository', github({ repository_id: { id: '4711' } }), '"repository_id" is not one text'],
  ['with an empty event', github({ event_name: '' }), '"event_name" is empty'],
  ['without what the policy asks for', forged({ tenant: undefined }), 'lacks the claim "tenant"'],
];

const runs: readonly HostileToken[] = [
  ['of a pull request', github({ event_name: 'pull_request', ref: 'refs/pull/7/merge', head_ref: 'evil', base_ref: 'main' }), 'ref is "refs/pull/7/merge"', 'denied'],
  ['of a pull request that says main', github({ event_name: 'pull_request' }), 'migrate takes no runs that outsiders can cause: the event is "pull_request"', 'denied'],
  ['of pull_request_target', github({ event_name: 'pull_request_target' }), 'the event is "pull_request_target"', 'denied'],
  ['of workflow_run', github({ event_name: 'workflow_run' }), 'the event is "workflow_run"', 'denied'],
  ['of issue_comment', github({ event_name: 'issue_comment' }), 'the event is "issue_comment"', 'denied'],
  ['of an event that nobody knows yet', github({ event_name: 'PUSH' }), 'the event is "PUSH"', 'denied'],
  ['of the head of a pull request', github({ head_ref: 'evil' }), 'it is of the pull request from "evil"', 'denied'],
  ['of a fork', github({ repository: 'eve/shop', repository_id: '6666', repository_owner: 'eve', repository_owner_id: '7777' }), 'no workload of github-actions is for this token: repository_id is "6666", repository_owner_id is "7777"', 'denied'],
  ['of a new repository under the old name', github({ repository_id: '9999' }), 'repository_id is "9999", repository_owner_id is "9001"', 'denied'],
  ['of a new owner under the old name', github({ repository_owner_id: '9002' }), 'repository_id is "4711", repository_owner_id is "9002"', 'denied'],
  ['of a number written in another way', github({ repository_id: '04711' }), 'repository_id is "04711"', 'denied'],
  ['of another branch', github({ ref: 'refs/heads/evil' }), 'the nearest is migrate, but for ref is "refs/heads/evil"', 'denied'],
  ['of a tag with the name of the branch', github({ ref: 'refs/tags/main', ref_type: 'tag' }), 'ref is "refs/tags/main", ref_type is "tag"', 'denied'],
  ['of the branch in capitals', github({ ref: 'refs/heads/Main' }), 'ref is "refs/heads/Main"', 'denied'],
  ['of the branch with a letter of another alphabet', github({ ref: 'refs/heads/m\u0430in' }), 'ref is "refs/heads/m\u0430in"', 'denied'],
  ['of the branch with a NUL behind', github({ ref: 'refs/heads/main\0' }), 'but for ref is "refs/heads/main"', 'denied'],
  ['of no environment', github({ environment: undefined }), 'but for environment is missing', 'denied'],
  ['of another environment', github({ environment: 'staging' }), 'environment is "staging"', 'denied'],
  ['of a workflow two folders down', github({ job_workflow_ref: 'acme/evil/shop/.github/workflows/migrate.yml@refs/heads/main' }), 'job_workflow_ref is "acme/evil/shop/', 'denied'],
  ['of a workflow of nothing', github({ job_workflow_ref: 'acme//.github/workflows/migrate.yml@refs/heads/main' }), 'job_workflow_ref is "acme//', 'denied'],
  ['of the workflow at another ref', github({ job_workflow_ref: 'acme/shop/.github/workflows/migrate.yml@refs/heads/main2' }), 'migrate.yml@refs/heads/main2"', 'denied'],
  ['GitLab: of a ref that is not protected', of('gitlab-ci', { ref_protected: 'false' }), 'the ref "main" is not protected', 'denied'],
  ['GitLab: of a merge request', of('gitlab-ci', { pipeline_source: 'merge_request_event' }), 'source is "merge_request_event"', 'denied'],
  ['GitLab: of a fork\'s pipeline', of('gitlab-ci', { job_project_id: '66' }), 'of a fork and ran in the project "66"', 'denied'],
  ['GitLab: of another project under the same path', of('gitlab-ci', { project_id: '21' }), 'project_id is "21"', 'denied'],
  ['GitLab: of another instance', of('gitlab-ci', { iss: 'https://gitlab.com' }), 'trusts no issuer "https://gitlab.com"'],
  ['Google: of another account', of('google', { sub: '1', email: 'evil@acme-prod.iam.gserviceaccount.com' }), 'no workload of google is for this token: sub is "1"', 'denied'],
  ['Google: with an address that nobody verified', of('google', { email_verified: false }), 'email is not verified', 'denied'],
  ['Google: with another address', of('google', { email: 'evil@example.com' }), 'email is "evil@example.com"', 'denied'],
  ['Kubernetes: of another namespace', of('kubernetes', { 'kubernetes.io': kubernetes({ namespace: 'default' }) }), 'kubernetes.io/namespace is "default"', 'denied'],
  ['Kubernetes: of an account made again', of('kubernetes', { 'kubernetes.io': kubernetes({ serviceaccount: { name: 'migrate', uid: 'made-again' } }) }), 'kubernetes.io/serviceaccount/uid is "made-again"', 'denied'],
  ['Kubernetes: of no account', of('kubernetes', { 'kubernetes.io': kubernetes({ serviceaccount: undefined }) }), '"kubernetes.io/serviceaccount/uid" is missing'],
  ['Kubernetes: with a claim that looks like one within', of('kubernetes', { 'kubernetes.io/namespace': 'shop' }), '"kubernetes.io/namespace" is not one text'],
  ['CircleCI: started again with SSH', of('circleci', { 'oidc.circleci.com/ssh-rerun': true }), 'started again with SSH', 'denied'],
  ['CircleCI: of a fork', of('circleci', { 'oidc.circleci.com/vcs-origin': 'github.com/eve/shop' }), 'oidc.circleci.com/vcs-origin is "github.com/eve/shop"', 'denied'],
  ['Terraform: of a plan', of('terraform-cloud', { terraform_run_phase: 'plan' }), 'the phase is "plan"', 'denied'],
  ['Terraform: of another workspace', of('terraform-cloud', { terraform_workspace_id: 'ws-other' }), 'terraform_workspace_id is "ws-other"', 'denied'],
  ['Buildkite: of another pipeline', of('buildkite', { pipeline_id: 'p2' }), 'pipeline_id is "p2"', 'denied'],
  ['Buildkite: of a fork', of('buildkite', { build_branch: 'eve:main' }), 'build_branch is "eve:main"', 'denied'],
  ['generic: of a subject that begins like the machine', of('generic', { sub: 'machine-77' }), 'sub is "machine-77"', 'denied'],
];

/** The objects within the claim of Kubernetes, some of them another. */
function kubernetes(changes: object): object {
  return { ...(usual('kubernetes')['kubernetes.io'] as object), ...changes };
}

/** From the two numbers side by side to the structure that X.509 has of them. */
function derOf(signature: Buffer): Buffer {
  const numbers = [signature.subarray(0, 32), signature.subarray(32)].map((bytes) => Buffer.concat([Buffer.from([2, 33, 0]), bytes]));
  return Buffer.concat([Buffer.from([0x30, 70]), ...numbers]);
}

export const hostileTokens: readonly HostileToken[] = [...shapes, ...signatures, ...times, ...claims, ...runs];

/** A token that looks right until its key is looked for. */
export function invented(iss: string, kid: string): string {
  return `${encode({ alg: 'RS256', kid, typ: 'JWT' })}.${encode({ iss })}.${Buffer.alloc(256, 7).toString('base64url')}`;
}
