/** gate exec in pipelines: the built program in an empty home with nothing but what a platform gives it, on a real relay. */
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startCiIssuer, type CiIssuer } from '../../src/dev/ci-issuer.ts';
import { startRelayFixture, type RelayFixture } from '../relay/fixture.ts';
import { ended, program, type Ended } from './exec-stage.ts';

const names = ['github', 'gitlab', 'google', 'cluster'] as const;
let issuers: Record<(typeof names)[number], CiIssuer>;
let fixture: RelayFixture;
let scratch: string;
let home: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gate-pipeline-'));
  const started = await Promise.all(names.map(async (name) => [name, await startCiIssuer()] as const));
  issuers = Object.fromEntries(started) as typeof issuers;
  fixture = await startRelayFixture({ policy: policy() });
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
  await Promise.all(Object.values(issuers ?? {}).map((one) => one[Symbol.asyncDispose]()));
  await rm(scratch, { recursive: true, force: true });
});
beforeEach(async () => {
  home = await mkdtemp(join(scratch, 'home-'));
});

const policy = () => `
auditors: [audit]
issuers:
  github: { preset: github-actions, url: '${issuers.github.url}', audience: gate-github }
  gitlab: { preset: gitlab-ci, url: '${issuers.gitlab.url}', audience: gate-gitlab }
  google: { preset: google, url: '${issuers.google.url}', audience: gate-google }
  cluster: { preset: kubernetes, url: '${issuers.cluster.url}', audience: gate-cluster }
workloads:
  shop-migrate: { issuer: github, claims: { repository_id: '4711', repository_owner_id: '9001' }, groups: [ci] }
  shop-nightly: { issuer: gitlab, claims: { project_id: '20' }, groups: [ci] }
  shop-batch: { issuer: google, claims: { sub: '104479897743394244856' }, groups: [ci] }
  shop-pod: { issuer: cluster, claims: { kubernetes.io/namespace: jobs, kubernetes.io/serviceaccount/uid: uid-1 }, groups: [ci] }
people:
  ada: { subject: acct-ada, accounts: { github: '1815', gitlab: '1815' } }
targets:
  prod-db:
    roles:
      ci: { groups: [ci], allow: [read], maxDuration: 1h }
`;

const pod = { 'kubernetes.io': { namespace: 'jobs', pod: { name: 'nightly-1', uid: 'pod-1' }, serviceaccount: { name: 'nightly', uid: 'uid-1' } } };

function gate(words: readonly string[], environment: NodeJS.ProcessEnv, cwd = home): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...words], { cwd, env: { PATH: process.env['PATH'], HOME: home, GATE_RELAY: fixture.relayUrl, CI: 'true', ...environment } });
  child.stdin.end();
  return ended(child);
}
const select = ['exec', 'prod-db', '--output', 'csv', '--sql', 'select 1 as one'];

const github = (): NodeJS.ProcessEnv => ({
  GITHUB_ACTIONS: 'true',
  ACTIONS_ID_TOKEN_REQUEST_URL: issuers.github.github.requestUrl,
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: issuers.github.github.requestToken,
});
async function tokenFile(): Promise<NodeJS.ProcessEnv> {
  const path = join(scratch, 'token');
  await writeFile(path, `${await issuers.cluster.token('kubernetes', { aud: 'gate-cluster', ...pod })}\n`);
  return { GATE_TOKEN_FILE: path };
}

async function newestSession() {
  const [session] = await (await fixture.clientFor('operator')).sessions({ limit: 1 });
  if (session === undefined) throw new Error('no session');
  return session;
}

async function showAsAuditor(id: string): Promise<string> {
  const { code, stdout, stderr } = await gate(['sessions', 'show', id], { GATE_TOKEN: await (await fixture.clientFor('operator')).accessToken() });
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
}

/** Everything that a command left behind. */
async function leftIn(directory: string): Promise<string> {
  const files = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  return (await Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), 'utf8')))).join('\n');
}

describe('from an empty home', () => {
  test.each<[string, string, () => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>, string | undefined]>([
    ['GitHub’s request URL', 'shop-migrate', github, 'ada'],
    ['GitLab’s variable', 'shop-nightly', async () => ({ GITLAB_CI: 'true', GATE_ID_TOKEN: await issuers.gitlab.token('gitlab-ci', { aud: 'gate-gitlab' }) }), 'ada'],
    ['the metadata server', 'shop-batch', () => ({ GCE_METADATA_HOST: issuers.google.metadataHost }), undefined],
    ['a token file', 'shop-pod', tokenFile, undefined],
    ['GATE_TOKEN', 'shop-nightly', async () => ({ GATE_TOKEN: await issuers.gitlab.token('gitlab-ci', { aud: 'gate-gitlab' }) }), 'ada'],
  ])('%s', async (_, workload, environment, human) => {
    const { code, stdout, stderr } = await gate(select, await environment());
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'one\n1\n', stderr: '' });
    const { id, principal } = await newestSession();
    expect(principal).toMatchObject({ kind: 'workload', name: workload });
    const shown = await showAsAuditor(id);
    expect(shown).toMatch(new RegExp(`workload +verified by \\w+ +${workload}`));
    if (workload !== 'shop-batch') expect(shown).toMatch(/run +verified by token +\S/);
    if (human !== undefined) expect(shown).toMatch(new RegExp(`human +verified by policy +${human} `));
    expect(await leftIn(home)).not.toMatch(/gw_|eyJ/);
  });
});

test('the run and the commit go along, and what only the client says is claimed', async () => {
  const checkout = join(scratch, 'checkout');
  await mkdir(checkout);
  const env = { PATH: process.env['PATH'], HOME: home, GIT_AUTHOR_NAME: 'Ann', GIT_AUTHOR_EMAIL: 'ann@x.test', GIT_COMMITTER_NAME: 'Ann', GIT_COMMITTER_EMAIL: 'ann@x.test' };
  const git = (...words: string[]) => promisify(execFile)('git', ['-C', checkout, ...words], { env });
  await git('init', '-q');
  await git('commit', '-q', '--allow-empty', '-m', 'nightly');
  const head = (await git('rev-parse', 'HEAD')).stdout.trim();
  const { code, stderr } = await gate(select, { ...(await tokenFile()), KUBERNETES_SERVICE_HOST: '127.0.0.1', HOSTNAME: 'nightly-1', GITHUB_ACTIONS: 'true', GITHUB_SHA: head, GITHUB_REPOSITORY: 'acme/shop' }, checkout);
  expect([code, stderr]).toEqual([0, '']);
  const shown = await showAsAuditor((await newestSession()).id);
  expect(shown).toMatch(/run +verified by token +pod nightly-1/);
  expect(shown).toMatch(/repository +claimed by client +acme\/shop/);
  expect(shown).toMatch(/author +claimed by client +Ann <ann@x\.test>/);
});

test('whoami and status show the workload and its chain; a job is one person’s', async () => {
  const who = await gate(['whoami'], github());
  expect([who.code, who.stderr]).toEqual([0, '']);
  expect(who.stdout).toMatch(/^name +shop-migrate$/m);
  expect(who.stdout).toMatch(/^kind +workload$/m);
  expect(who.stdout).toMatch(/^groups +ci$/m);
  expect(who.stdout).toMatch(/^kept in +memory only; its token comes from ACTIONS_ID_TOKEN_REQUEST_URL$/m);
  expect(who.stdout).toMatch(/actor +verified by token +ada \(1815\)/m);
  expect(who.stdout).toMatch(/human +verified by policy +ada /m);
  const status = await gate(['status'], github());
  expect([status.code, status.stderr]).toEqual([0, '']);
  expect(status.stdout).toMatch(/^login +shop-migrate \(workload of .+\), in ci; the token expires in /m);
  expect(status.stdout).toMatch(/human +verified by policy +ada /m);
});

test('a token counts once, and a job without one is told what to add', async () => {
  const environment = { GITLAB_CI: 'true', GATE_ID_TOKEN: await issuers.gitlab.token('gitlab-ci', { aud: 'gate-gitlab' }) };
  // The commands of a job share what its token gave, also side by side.
  const sameJob = await Promise.all([gate(select, environment), gate(select, environment), gate(select, environment)]);
  expect(sameJob.map(({ code, stderr }) => [code, stderr])).toEqual(sameJob.map(() => [0, '']));
  expect(await leftIn(home)).not.toMatch(/gw_|eyJ/);
  const again = await gate(select, { ...environment, HOME: await mkdtemp(join(scratch, 'thief-')) });
  expect([again.code, again.stdout]).toEqual([4, '']);
  expect(again.stderr).not.toContain(environment.GATE_ID_TOKEN);
  const without = await gate(select, { GITHUB_ACTIONS: 'true' });
  expect(without).toMatchObject({ code: 4, stdout: '', stderr: expect.stringMatching(/may not ask for a token\n {2}Add to the job: permissions: \{ id-token: write/) });
});
