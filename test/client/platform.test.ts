/** Machine identity in the client: where a platform's token is found, how it is exchanged, and what is said where it is not. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { workloadTokenLengthMax } from '../../src/api/workload-api.ts';
import { isCi } from '../../src/client/ci.ts';
import { readCommitObject } from '../../src/client/commit-object.ts';
import { loadClientConfig } from '../../src/client/config.ts';
import { createCredentialStore } from '../../src/client/credentials.ts';
import { findPlatform } from '../../src/client/platform.ts';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { readRunFacts } from '../../src/client/run-facts.ts';
import { makeScratch, sendJson, startHttp } from './fixtures.ts';

const issuers = [
  { name: 'github', preset: 'github-actions', url: 'https://github.test', audience: 'gate-github' },
  { name: 'gitlab', preset: 'gitlab-ci', url: 'https://gitlab.test', audience: 'gate-gitlab' },
  { name: 'circle', preset: 'circleci', url: 'https://circle.test', audience: 'gate-circle' },
  { name: 'buildkite', preset: 'buildkite', url: 'https://buildkite.test', audience: 'gate-buildkite' },
  { name: 'terraform', preset: 'terraform-cloud', url: 'https://terraform.test', audience: 'gate-terraform' },
  { name: 'google', preset: 'google', url: 'https://google.test', audience: 'gate-google' },
  { name: 'cluster', preset: 'kubernetes', url: 'https://cluster.test', audience: 'gate-cluster' },
  { name: 'own', preset: 'generic', url: 'https://own.test', audience: 'gate-own' },
];

let serial = 0;
function jwt(issuer: string, claims: object = {}): string {
  const { url, audience } = issuers.find(({ name }) => name === issuer) ?? { url: issuer, audience: 'gate-relay' };
  const body = { iss: url, aud: audience, exp: Math.floor(Date.now() / 1000) + 600, jti: `canary-${(serial += 1)}`, ...claims };
  return `e30.${Buffer.from(JSON.stringify(body)).toString('base64url')}.c2ln`;
}

type Exchange = { readonly token: string; readonly links?: { kind: string; value: string; id?: string; url?: string }[]; readonly commit?: string };
let scratch: Awaited<ReturnType<typeof makeScratch>>;
let relay: Awaited<ReturnType<typeof startHttp>>;
let platform: Awaited<ReturnType<typeof startHttp>>;
/** What the relay was sent, and with which tokens it was called. */
let exchanges: Exchange[] = [];
let bearers: (string | undefined)[] = [];
let lifeSeconds = 3600;
let isRefusing: (bearer: string | undefined) => boolean = () => false;
let trusted: typeof issuers | undefined = issuers;
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  scratch = await makeScratch();
  platform = await startHttp((request, response) => answer(request, response));
  relay = await startHttp((request, response, body) => {
    if (request.url === '/.well-known/gate') {
      return sendJson(response, 200, { service: 'gate', version: '0', issuer: 'https://people.test', clientId: 'gate-cli', scopes: [], workloadIssuers: trusted });
    }
    const principal = { issuer: 'github', subject: 's', name: 'deploy', kind: 'workload', groups: ['ci'] };
    if (request.url === '/v1/token') {
      expect(request.headers.authorization).toBeUndefined();
      exchanges.push(JSON.parse(body) as Exchange);
      return sendJson(response, 201, { accessToken: `gw_${exchanges.length}`, expiresAt: new Date(Date.now() + lifeSeconds * 1000).toISOString(), principal });
    }
    const bearer = request.headers.authorization?.slice('Bearer '.length);
    bearers.push(bearer);
    if (isRefusing(bearer)) return sendJson(response, 401, { error: { code: 'login-required', message: 'the login is over' } });
    return sendJson(response, 200, { ...principal, expiresAt: '2030-01-01T00:00:00.000Z' });
  });
});
afterAll(async () => {
  await Promise.all([relay, platform, scratch].map((one) => one?.[Symbol.asyncDispose]()));
});
beforeEach(() => {
  [exchanges, bearers, lifeSeconds, trusted] = [[], [], 3600, issuers];
  isRefusing = () => false;
});

const ownVariables = (): NodeJS.ProcessEnv => ({ GATE_CONFIG_DIR: join(scratch.directory, 'config'), GATE_KEYCHAIN: 'off', GATE_RELAY: relay.url, PATH: process.env['PATH'] });
async function clientIn(environment: NodeJS.ProcessEnv, directory = scratch.directory): Promise<RelayClient> {
  return createRelayClient(await loadClientConfig({}, { ...ownVariables(), ...environment }, directory), { warn: () => undefined });
}
const whoIn = async (environment: NodeJS.ProcessEnv): Promise<unknown> => (await clientIn(environment)).whoAmI();

const file = () => join(scratch.directory, 'token');
const github = (): NodeJS.ProcessEnv => ({
  CI: 'true',
  GITHUB_ACTIONS: 'true',
  ACTIONS_ID_TOKEN_REQUEST_URL: `${platform.url}/token?api-version=2.0`,
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'request-canary',
});
const google = (): NodeJS.ProcessEnv => ({ GCE_METADATA_HOST: platform.url.replace('http://', '') });
/** Each request gives another token, as GitHub's and Google's services do. */
const answerGithub: typeof answer = (request, response) => sendJson(response, 200, { value: jwt('github', { aud: audienceOf(request) }) });
const audienceOf = (request: IncomingMessage) => new URL(request.url ?? '', 'http://platform').searchParams.get('audience');
const answerGoogle: typeof answer = (request, response) => void response.writeHead(200, { 'metadata-flavor': 'Google' }).end(jwt('google', { aud: audienceOf(request) }));

async function withAgent(script: string): Promise<NodeJS.ProcessEnv> {
  const directory = join(scratch.directory, 'bin');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'buildkite-agent'), `#!/bin/sh\n${script}\n`);
  await chmod(join(directory, 'buildkite-agent'), 0o755);
  return { BUILDKITE: 'true', CI: 'true', PATH: `${directory}:${process.env['PATH']}` };
}

describe('each source is found by itself, and its token exchanged', () => {
  test.each<[string, () => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>, string]>([
    ['GATE_TOKEN', () => ({ GATE_TOKEN: jwt('own') }), 'https://own.test'],
    ['GATE_TOKEN_FILE', async () => (await writeFile(file(), `${jwt('own')}\n`), { GATE_TOKEN_FILE: file() }), 'https://own.test'],
    ['GitHub Actions', () => ((answer = answerGithub), github()), 'https://github.test'],
    ['GitLab CI', () => ({ CI: 'true', GITLAB_CI: 'true', GATE_ID_TOKEN: jwt('gitlab') }), 'https://gitlab.test'],
    ['CircleCI', () => ({ CI: 'true', CIRCLECI: 'true', CIRCLE_OIDC_TOKEN_V2: jwt('circle') }), 'https://circle.test'],
    ['CircleCI, first version', () => ({ CI: 'true', CIRCLECI: 'true', CIRCLE_OIDC_TOKEN: jwt('circle') }), 'https://circle.test'],
    ['Buildkite', () => withAgent(`[ "$*" = "oidc request-token --audience gate-buildkite" ] && echo ${jwt('buildkite')}`), 'https://buildkite.test'],
    ['Terraform Cloud', () => ({ TFC_RUN_ID: 'run-1', TFC_WORKLOAD_IDENTITY_TOKEN_GATE: jwt('terraform') }), 'https://terraform.test'],
    ['metadata server', () => ((answer = answerGoogle), google()), 'https://google.test'],
    ['a server of one’s own, as a generic issuer', () => ((answer = (_, response) => sendJson(response, 200, { value: jwt('own') })), github()), 'https://own.test'],
  ])('%s', async (_, environment, issuer) => {
    expect(await whoIn(await environment())).toMatchObject({ name: 'deploy' });
    expect(exchanges.map(({ token }) => claimsOf(token).iss)).toEqual([issuer]);
    expect(bearers).toEqual(['gw_1']);
  });

  test('the projected file of Kubernetes, by convention', async () => {
    await writeFile(file(), jwt('cluster'));
    expect(await findPlatform({}, file())).toMatchObject({ name: 'kubernetes', source: file(), isFirst: false });
    expect(await findPlatform({}, `${file()}.none`)).toBeUndefined();
  });

  test('the audience is that of the issuer that the token turns out to be of', async () => {
    trusted = [{ ...issuers[0], url: 'https://other.test', audience: 'gate-other' } as (typeof issuers)[0], ...issuers];
    const asked: (string | null)[] = [];
    answer = (request, response) => (asked.push(audienceOf(request)), answerGithub(request, response));
    await whoIn(github());
    expect(asked).toEqual(['gate-other', 'gate-github']);
    expect(exchanges.map(({ token }) => claimsOf(token).aud)).toEqual(['gate-github']);
  });
});

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>;
}

describe('the order', () => {
  const given = { GATE_TOKEN: 'given-canary', GATE_TOKEN_FILE: '/none', GITLAB_CI: 'true', GATE_ID_TOKEN: 'x', CIRCLECI: 'true' };
  test.each<[NodeJS.ProcessEnv, string | undefined, boolean?]>([
    [{}, undefined],
    [{ ...given }, 'token-file', true],
    [{ ...given, GATE_TOKEN_FILE: '', GITHUB_ACTIONS: 'true' }, 'github-actions', false],
    [{ ...given, GATE_TOKEN_FILE: '', CI: 'true' }, 'gitlab-ci', true],
    [{ ...given, GATE_TOKEN_FILE: '', GATE_PLATFORM: 'circleci' }, 'circleci', true],
    [{ ...given, GATE_TOKEN_FILE: '', GATE_PLATFORM: 'none' }, undefined],
    [{ BUILD_ID: '7', JENKINS_URL: 'https://jenkins.test' }, undefined],
    [{ BUILD_ID: '7', GOOGLE_CLOUD_PROJECT: 'p' }, 'google', false],
    [{ CLOUD_RUN_JOB: 'nightly' }, 'google', false],
    [{ GATE_PLATFORM: 'google' }, 'google', true],
    [{ GATE_PLATFORM: 'kubernetes' }, 'kubernetes', true],
  ])('%j', async (environment, name, isFirst) => {
    const found = await findPlatform(environment, '/none');
    expect([found?.name, found?.isFirst]).toEqual([name, isFirst]);
  });

  test.each([['true', true], ['1', true], ['woodpecker', true], ['false', false], ['0', false], ['', false], [undefined, false]])('CI=%s', (CI, expected) => {
    expect(isCi({ CI })).toBe(expected);
  });

  test('GATE_TOKEN that no workload issuer made is used as it is: a person’s, one of the relay’s own, or an opaque one', async () => {
    const person = jwt('https://people.test');
    for (const token of [person, 'gw_own', 'opaque']) await whoIn({ ...github(), GATE_TOKEN: token });
    await writeFile(file(), `${person}\n`);
    await whoIn({ GATE_TOKEN_FILE: file() });
    expect(bearers).toEqual([person, 'gw_own', 'opaque', person]);
    expect(exchanges).toEqual([]);
  });

  test('where people and machines have one issuer, the audience tells them apart', async () => {
    trusted = [{ name: 'both', preset: 'generic', url: 'https://people.test', audience: 'gate-machines' }];
    const [person, machine] = [jwt('https://people.test'), jwt('https://people.test', { aud: 'gate-machines' })];
    for (const token of [person, machine]) await whoIn({ GATE_TOKEN: token });
    expect(bearers).toEqual([person, 'gw_1']);
  });

  test('a stored login goes before a platform that is only there, and after it in CI', async () => {
    const config = await loadClientConfig({}, ownVariables(), scratch.directory);
    const store = createCredentialStore(config, { warn: () => undefined });
    const login = { issuer: 'https://people.test', clientId: 'gate-cli', accessToken: 'stored', subject: 'ann' };
    await store.edit((editor) => editor.save(relay.url, login, 'file'));
    answer = answerGoogle;
    await whoIn(google());
    await whoIn({ ...google(), CI: 'true' });
    await whoIn({ ...google(), GATE_PLATFORM: 'google' });
    // There is no token to be had, and so nothing that would go before it.
    await whoIn({ CI: 'true', GITHUB_ACTIONS: 'true' });
    await rm(join(scratch.directory, 'config'), { recursive: true });
    expect(bearers).toEqual(['stored', 'gw_1', 'gw_2', 'stored']);
  });

  test('no token goes to a relay that only a project file names, until its owner says so', async () => {
    const project = join(scratch.directory, 'project');
    await mkdir(project, { recursive: true });
    await writeFile(join(project, '.gate.yaml'), `relay: ${relay.url}\n`);
    await writeFile(file(), jwt('own'));
    answer = answerGithub;
    const sources = [github(), google(), { GATE_TOKEN_FILE: file() }, { GITLAB_CI: 'true', GATE_ID_TOKEN: jwt('gitlab') }];
    for (const source of sources) {
      const client = await clientIn({ ...source, GATE_RELAY: '' }, project);
      await expect(client.whoAmI()).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('.gate.yaml names the relay'), hint: expect.stringContaining('GATE_RELAY=') });
    }
    expect([exchanges, bearers]).toEqual([[], []]);
    await (await clientIn(github(), project)).whoAmI();
    expect(exchanges).toHaveLength(1);
  });
});

describe('one login per process', () => {
  test('calls at the same time share one exchange', async () => {
    answer = answerGithub;
    const client = await clientIn(github());
    await Promise.all(Array.from({ length: 20 }, () => client.whoAmI()));
    expect(exchanges).toHaveLength(1);
    expect(new Set(bearers)).toEqual(new Set(['gw_1']));
  });

  test('a login that ends soon is renewed by another token of the platform', async () => {
    answer = answerGithub;
    lifeSeconds = 30;
    const client = await clientIn(github());
    for (let call = 0; call < 3; call += 1) await client.whoAmI();
    expect(bearers).toEqual(['gw_1', 'gw_2', 'gw_3']);
    expect(new Set(exchanges.map(({ token }) => token)).size).toBe(3);
  });

  test('so is one that the relay no longer takes, once', async () => {
    answer = answerGithub;
    isRefusing = (bearer) => bearer === 'gw_1';
    await (await clientIn(github())).whoAmI();
    expect(bearers).toEqual(['gw_1', 'gw_2']);
    isRefusing = () => true;
    await expect(whoIn(github())).rejects.toMatchObject({ code: 'login-required', message: 'the login is over' });
    expect(bearers).toHaveLength(4);
  });

  test('a token file is read again, since the platform rotates it', async () => {
    lifeSeconds = 30;
    const tokens = [jwt('cluster'), jwt('cluster')] as const;
    await writeFile(file(), tokens[0]);
    const client = await clientIn({ GATE_TOKEN_FILE: file() });
    await client.whoAmI();
    // The old token is used up, and the login still lives.
    await client.whoAmI();
    await writeFile(file(), `${tokens[1]}\n`);
    await client.whoAmI();
    expect(bearers).toEqual(['gw_1', 'gw_1', 'gw_2']);
    expect(exchanges.map(({ token }) => token)).toEqual(tokens);
  });

  test('a token that cannot be had again is not sent again, and the reader is told', async () => {
    isRefusing = () => true;
    await expect(whoIn({ GITLAB_CI: 'true', GATE_ID_TOKEN: jwt('gitlab') })).rejects.toMatchObject({
      code: 'login-required',
      message: 'the token of GATE_ID_TOKEN is used up, and there is no other (the login is over)',
      hint: expect.stringContaining('session:'),
    });
    lifeSeconds = -1;
    const client = await clientIn({ GITLAB_CI: 'true', GATE_ID_TOKEN: jwt('gitlab') });
    await client.accessToken();
    await expect(client.accessToken()).rejects.toMatchObject({ message: 'the token of GATE_ID_TOKEN is used up, and there is no other (its login has ended)' });
    expect(exchanges).toHaveLength(2);
  });
});

describe('what goes wrong is told with its next step, and never with a token', () => {
  type Setup = () => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>;
  const says = (given: typeof answer): Setup => () => ((answer = given), github());
  const saysGoogle = (given: typeof answer): Setup => () => ((answer = given), google());
  const fileOf = (text: string): Setup => async () => (await writeFile(file(), text), { GATE_TOKEN_FILE: file() });
  test.each<[string, Setup, string, RegExp, RegExp]>([
    ['GitHub without the permission', () => ({ GITHUB_ACTIONS: 'true' }), 'login-required', /may not ask for a token/, /permissions: \{ id-token: write/],
    ['GitHub says no', says((_, response) => void response.writeHead(403).end('canary')), 'login-required', /answered 403/, /id-token: write/],
    ['GitHub redirects', says((_, response) => void response.writeHead(302, { location: 'http://127.0.0.1:1/canary' }).end()), 'login-required', /answered 302/, /./],
    ['GitHub answers something else', says((_, response) => sendJson(response, 200, { canary: 1 })), 'protocol-violation', /form that gate does not understand/, /^$/],
    ['GitHub answers without end', says((_, response) => void response.end(Buffer.alloc(70_000))), 'too-large', /more than gate takes in/, /^$/],
    ['GitHub is away', () => ({ ...github(), ACTIONS_ID_TOKEN_REQUEST_URL: 'http://127.0.0.1:9/' }), 'issuer-unreachable', /cannot reach the token service of GitHub/, /GATE_PLATFORM/],
    ['GitHub by plain http', () => ({ ...github(), ACTIONS_ID_TOKEN_REQUEST_URL: 'http://github.test/' }), 'usage', /plain http/, /Use https/],
    ['GitLab without id_tokens', () => ({ GITLAB_CI: 'true' }), 'login-required', /no GATE_ID_TOKEN/, /id_tokens: \{ GATE_ID_TOKEN: \{ aud: gate-gitlab \} \}/],
    ['GitLab with another audience', () => ({ GITLAB_CI: 'true', GATE_ID_TOKEN: jwt('gitlab', { aud: 'vault' }) }), 'login-required', /is for "vault", and the relay takes tokens for gate-gitlab/, /audience gate-gitlab/],
    ['a token that has expired', () => ({ GITLAB_CI: 'true', GATE_ID_TOKEN: jwt('gitlab', { exp: 1 }) }), 'login-required', /has expired/, /nearer to the start/],
    ['CircleCI without a context', () => ({ CIRCLECI: 'true' }), 'login-required', /no CIRCLE_OIDC_TOKEN_V2/, /context/],
    ['CircleCI with another audience', () => ({ CIRCLECI: 'true', CIRCLE_OIDC_TOKEN: jwt('circle', { aud: 'org' }) }), 'login-required', /is for "org"/, /id of the organization/],
    ['Buildkite without its agent', () => ({ BUILDKITE: 'true', PATH: '/none' }), 'login-required', /not on PATH/, /mount-buildkite-agent/],
    ['Buildkite refuses', () => withAgent('echo canary >&2; exit 1'), 'login-required', /gives no token: it refused/, /agent/],
    ['Terraform without a token', () => ({ TFC_RUN_ID: 'run-1' }), 'login-required', /no workload identity token/, /TFC_WORKLOAD_IDENTITY_AUDIENCE_GATE to gate-terraform/],
    ['a file that is not there', () => ({ GATE_TOKEN_FILE: '/none/token' }), 'login-required', /cannot read .*ENOENT/, /mounted/],
    ['a directory', () => ({ GATE_TOKEN_FILE: scratch.directory }), 'login-required', /is no file/, /one token/],
    ['an empty file', fileOf('\n'), 'login-required', /holds nothing/, /one token/],
    ['a file with two', fileOf('canary canary'), 'login-required', /blanks/, /one token/],
    ['a file at the limit + 1', fileOf('x'.repeat(workloadTokenLengthMax + 1)), 'login-required', /longest token/, /one token/],
    ['a metadata server that is none', saysGoogle((_, response) => void response.end(jwt('google'))), 'login-required', /does not answer as Google/, /GATE_PLATFORM/],
    ['a machine without an account', saysGoogle((_, response) => void response.writeHead(404, { 'metadata-flavor': 'Google' }).end('canary')), 'login-required', /no identity token \(404\)/, /service account/],
    ['a metadata host that is none', () => ({ GCE_METADATA_HOST: 'a/b@c' }), 'usage', /no host/, /host:port/],
    ['a platform that is none', () => ({ GATE_PLATFORM: 'jenkins' }), 'usage', /names no platform/, /github-actions, .*none/],
    ['an issuer that the relay does not trust', says((_, response) => sendJson(response, 200, { value: jwt('https://evil.test') })), 'login-required', /does not trust the issuer "https:\/\/evil.test"/, /It trusts: https:\/\/github.test/],
    ['a platform that the relay does not know', () => ((trusted = undefined), { GITLAB_CI: 'true', GATE_ID_TOKEN: 'x' }), 'login-required', /trusts no issuer of GitLab CI/, /preset: gitlab-ci/],
    ['no token at all', () => ({}), 'login-required', /not logged in/, /gate login/],
  ])('%s', async (_, setup, code, message, hint) => {
    const failure = await whoIn(await setup()).then(() => undefined, (error: unknown) => error as Error & { code: string; hint?: string });
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(failure?.hint ?? '').toMatch(hint);
    expect(`${failure?.message} ${failure?.hint}`).not.toMatch(/canary|e30\./);
    expect(exchanges).toEqual([]);
  });

  test('a file with a token at the limit is read whole', async () => {
    const token = 'x'.repeat(workloadTokenLengthMax);
    await writeFile(file(), `${token}\n`);
    expect(await (await clientIn({ GATE_TOKEN_FILE: file() })).accessToken()).toBe(token);
  });

  test('GitHub that fails for a moment is asked again', async () => {
    let asked = 0;
    answer = (request, response) => ((asked += 1) < 3 ? void response.writeHead(503).end() : answerGithub(request, response));
    await whoIn(github());
    expect([asked, exchanges.length]).toEqual([3, 1]);
  });
});

describe('what is told of the run', () => {
  test.each<[string, NodeJS.ProcessEnv, readonly (readonly (string | undefined)[])[]]>([
    [
      'GitHub Actions',
      { GITHUB_ACTIONS: 'true', GITHUB_RUN_ID: '77', GITHUB_RUN_ATTEMPT: '2', GITHUB_SERVER_URL: 'https://github.test', GITHUB_REPOSITORY: 'o/r', GITHUB_REPOSITORY_ID: '5', GITHUB_REF: 'refs/heads/main', GITHUB_SHA: 'a'.repeat(40), GITHUB_ACTOR: 'octocat', GITHUB_ACTOR_ID: '5501' },
      [
        ['run', 'run 77 attempt 2', '77', 'https://github.test/o/r/actions/runs/77/attempts/2'],
        ['repository', 'o/r', '5', 'https://github.test/o/r'],
        ['ref', 'refs/heads/main'],
        ['commit', 'a'.repeat(40)],
        ['actor', 'octocat', '5501'],
      ],
    ],
    [
      'GitLab CI',
      { GITLAB_CI: 'true', CI_JOB_ID: '9', CI_PIPELINE_ID: '8', CI_JOB_URL: 'https://gitlab.test/j/9', CI_PROJECT_PATH: 'g/p', CI_PROJECT_ID: '3', CI_COMMIT_SHA: 'b'.repeat(40), CI_ENVIRONMENT_NAME: 'production', GITLAB_USER_LOGIN: 'ann', GITLAB_USER_ID: '12' },
      [['run', 'job 9 of pipeline 8', '9', 'https://gitlab.test/j/9'], ['repository', 'g/p', '3'], ['commit', 'b'.repeat(40)], ['environment', 'production'], ['actor', 'ann', '12']],
    ],
    [
      'Buildkite, whose clone URL holds a token and whose commit is a word',
      { BUILDKITE: 'true', BUILDKITE_PIPELINE_SLUG: 'p', BUILDKITE_BUILD_NUMBER: '4', BUILDKITE_RETRY_COUNT: '0', BUILDKITE_BUILD_URL: 'https://me:canary@buildkite.test/4', BUILDKITE_REPO: 'https://x:canary@git.test/o/r.git', BUILDKITE_COMMIT: 'HEAD', BUILDKITE_BUILD_CREATOR: 'Ann' },
      [['run', 'p build 4 attempt 1', undefined, 'https://buildkite.test/4'], ['repository', 'https://git.test/o/r.git'], ['actor', 'Ann']],
    ],
    ['CircleCI', { CIRCLECI: 'true', CIRCLE_BUILD_NUM: '3', CIRCLE_PROJECT_USERNAME: 'o', CIRCLE_PROJECT_REPONAME: 'r', CIRCLE_BRANCH: 'main', CIRCLE_USERNAME: 'ann' }, [['run', 'build 3'], ['repository', 'o/r'], ['ref', 'main'], ['actor', 'ann']]],
    ['Kubernetes', { KUBERNETES_SERVICE_HOST: '10.0.0.1', HOSTNAME: 'nightly-28-x', POD_NAMESPACE: 'jobs' }, [['run', 'pod nightly-28-x'], ['environment', 'namespace jobs']]],
    ['Cloud Run', { CLOUD_RUN_JOB: 'nightly', CLOUD_RUN_EXECUTION: 'nightly-x', CLOUD_RUN_TASK_ATTEMPT: '1' }, [['run', 'job nightly attempt 2', 'nightly-x']]],
    ['Cloud Build', { BUILD_ID: 'b1', GOOGLE_CLOUD_PROJECT: 'p', COMMIT_SHA: 'c'.repeat(40) }, [['run', 'build b1', 'b1'], ['commit', 'c'.repeat(40)], ['environment', 'project p']]],
    ['Terraform Cloud', { TFC_RUN_ID: 'run-1', TFC_WORKSPACE_SLUG: 'o/w' }, [['run', 'run-1', 'run-1'], ['environment', 'o/w']]],
    ['nothing on a laptop', { HOSTNAME: 'laptop', USER: 'ann' }, []],
  ])('%s', (_, environment, expected) => {
    const { links } = readRunFacts(environment);
    expect(links.map(({ kind, value, id, url }) => [kind, value, id, url])).toEqual(expected.map(([kind, value, id, url]) => [kind, value, id, url]));
  });

  test('values are cut, and what is too long to be an id is left out', () => {
    const { links } = readRunFacts({ GITHUB_ACTIONS: 'true', GITHUB_ACTOR: 'x'.repeat(400), GITHUB_ACTOR_ID: '1'.repeat(400) });
    expect(links).toEqual([{ kind: 'actor', value: 'x'.repeat(300) }]);
  });

  test('links and the commit object go along; the named commit before HEAD', async () => {
    const directory = join(scratch.directory, 'checkout');
    await mkdir(directory);
    const git = async (...words: string[]) => (await promisify(execFile)('git', ['-C', directory, ...words], { env: gitVariables })).stdout.trim();
    await git('init', '-q');
    await git('commit', '-q', '--allow-empty', '-m', 'first: OPS-1');
    const first = await git('rev-parse', 'HEAD');
    await git('commit', '-q', '--allow-empty', '-m', 'second');
    answer = answerGithub;
    const commitOf = (one: Exchange | undefined) => Buffer.from(one?.commit ?? '', 'base64').toString();
    await (await clientIn({ ...github(), GITHUB_SHA: first, GITHUB_ACTOR: 'octocat' }, directory)).whoAmI();
    expect(exchanges[0]?.links).toEqual([{ kind: 'commit', value: first }, { kind: 'actor', value: 'octocat' }]);
    expect(commitOf(exchanges[0])).toMatch(/^tree [0-9a-f]{40}\nauthor Ann <ann@x\.test> .*\n\nfirst: OPS-1\n$/s);
    await (await clientIn({ ...github(), GITHUB_SHA: 'f'.repeat(40) }, directory)).whoAmI();
    expect(commitOf(exchanges[1])).toMatch(/\n\nsecond\n$/);
  });

  test('what a repository configures is not run, and without one there is nothing', async () => {
    const directory = join(scratch.directory, 'hostile');
    await mkdir(directory);
    const place = { directory, environment: process.env };
    expect(await readCommitObject(place, undefined)).toBeUndefined();
    expect(await readCommitObject({ directory, environment: { PATH: '/none' } }, undefined)).toBeUndefined();
    expect(await readCommitObject({ directory: '/none', environment: process.env }, undefined)).toBeUndefined();
    const git = (...words: string[]) => promisify(execFile)('git', ['-C', directory, ...words], { env: gitVariables });
    await git('init', '-q');
    await git('commit', '-q', '--allow-empty', '-m', 'one');
    const touch = `touch ${join(directory, 'ran')}; #`;
    await git('config', 'remote.origin.url', 'ssh://127.0.0.1:1/x');
    await git('config', 'remote.origin.promisor', 'true');
    await git('config', 'extensions.partialClone', 'origin');
    for (const key of ['core.sshCommand', 'core.pager', 'pager.cat-file', 'core.fsmonitor', 'core.askPass', 'alias.cat-file']) await git('config', key, key.startsWith('alias') ? `!${touch}` : touch);
    expect((await readCommitObject(place, 'e'.repeat(40)))?.toString()).toMatch(/\n\none\n$/);
    await expect(promisify(execFile)('ls', [join(directory, 'ran')])).rejects.toThrow();
    // Without the two that keep it off, the same repository does run its command: the test above could fail.
    await git('cat-file', 'commit', 'e'.repeat(40)).catch(() => undefined);
    await promisify(execFile)('ls', [join(directory, 'ran')]);
  });
});

const gitVariables = { PATH: process.env['PATH'], HOME: '/none', GIT_AUTHOR_NAME: 'Ann', GIT_AUTHOR_EMAIL: 'ann@x.test', GIT_COMMITTER_NAME: 'Ann', GIT_COMMITTER_EMAIL: 'ann@x.test' };
