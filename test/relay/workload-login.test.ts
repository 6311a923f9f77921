/** Logins of machines through a real relay: over a hundred hostile tokens, single use, issuers that change or are away, and policies that do. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AuditEntry, Event, EventOf } from '../../src/audit/entry.ts';
import { RelayInfo } from '../../src/api/api.ts';
import { startLocalPort } from '../../src/client/local-port.ts';
import { openSession } from '../../src/client/session.ts';
import { loadRelayConfig } from '../../src/relay/config.ts';
import { refusalsPerMinuteMax } from '../../src/relay/login-refusals.ts';
import { presetNames } from '../../src/workload/workload.ts';
import { Client } from 'pg';
import { hostileTokens, invented, type HostileToken } from './hostile-tokens.ts';
import { machinesPolicy, startMachines, subjectOf, type Machines } from './machines-stage.ts';

let machines: Machines;
const strict = `
  checked: { issuer: generic, groups: [engineering], claims: { sub: machine-8 }, human: { } }
  staffed: { issuer: github-actions, groups: [engineering], claims: { repository_id: 4712, repository_owner_id: 9001 }, human: { groups: [engineering] } }`;

beforeAll(async () => {
  machines = await startMachines((issuers, forge) => machinesPolicy(issuers, forge, strict));
}, 60_000);
afterAll(() => machines?.[Symbol.asyncDispose]());

async function accessTokenOf(token: string): Promise<string> {
  const { status, body } = await machines.exchange(token);
  expect(body).toMatchObject({ accessToken: expect.any(String) });
  expect(status).toBe(201);
  return body.accessToken;
}

async function decisions(): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for await (const entry of (await machines.fixture.clientFor('operator')).decisions()) entries.push(entry);
  return entries;
}

async function setPolicy(more = strict, rest = '', change = (text: string) => text): Promise<void> {
  await writeFile(join(machines.fixture.directory, 'policy.yaml'), change(machinesPolicy(machines.issuers, machines.forge, more, rest)));
  await machines.reload();
}

function eventsOf<K extends Event['kind']>(entries: readonly AuditEntry[], kind: K): EventOf<K>[] {
  return entries.flatMap(({ event }) => (event.kind === kind ? [event as EventOf<K>] : []));
}

test.each(presetNames)('the usual token of %s gives a login with a chain', async (preset) => {
  const { body } = await machines.exchange(await machines.token(preset));
  expect(body).toMatchObject({ accessToken: expect.stringMatching(/^gw_[\w-]{43}$/), principal: { kind: 'workload', issuer: machines.issuers[preset].url, groups: ['engineering'] } });
  expect(body.principal.chain?.[0]).toMatchObject({ kind: 'workload', strength: 'verified' });
  const { body: me } = await machines.get('/v1/whoami', body.accessToken);
  expect(me).toMatchObject({ subject: body.principal.subject, chain: body.principal.chain });
});

test('a good token of the issuer that is written by hand gives one as well, so what follows is refused for its own reason', async () => {
  const { forge } = machines;
  for (const key of ['rsa', 'rsa2', 'ec'] as const) await accessTokenOf(await forge.sign(JSON.stringify(forge.claims()), {}, key));
  await accessTokenOf(await forge.sign(JSON.stringify(forge.claims({ aud: ['gate-relay'] })), { typ: 'application/jwt' }));
});

describe('hostile tokens', () => {
  test('are many, and refused for many reasons', () => expect(new Set(hostileTokens.map(([, , reason]) => reason)).size).toBeGreaterThan(90));

  test.each(hostileTokens)('%s', async (...row) => {
    const [, make, reason, code = 'login-failed'] = row as unknown as HostileToken;
    const { status, body } = await machines.exchange(await make(machines));
    expect(body).toMatchObject({ error: { code, message: expect.stringContaining(reason) } });
    expect(status).toBe({ 'login-failed': 401, denied: 403, usage: 400 }[code]);
    if (code === 'denied') expect(body.error.rule).toMatch(/^(?:issuers|workloads)\//);
  });

  test('an issuer that nobody trusts is never asked for anything', async () => {
    const { requests } = machines.issuers['gitlab-ci'];
    const before = requests.length;
    await machines.exchange(await machines.token('gitlab-ci', { iss: `${machines.issuers['gitlab-ci'].url}/other` }));
    await machines.exchange(await machines.token('gitlab-ci', {}, { jku: `${machines.issuers['gitlab-ci'].url}/jku` }));
    expect(requests.slice(before)).toEqual([]);
  });

  test('are on record as far as they do not fill it, with a count of the rest', async () => {
    const entries = await decisions();
    const denied = eventsOf(entries, 'login.deny');
    expect(denied).toContainEqual(expect.objectContaining({ issuer: 'github-actions', subject: expect.stringContaining('repo:'), rule: 'workloads/migrate/claims' }));
    expect(denied.filter((event) => event.subject === undefined)).toHaveLength(refusalsPerMinuteMax);
    expect(eventsOf(entries, 'login')).toContainEqual(expect.objectContaining({ who: expect.objectContaining({ kind: 'workload', chain: expect.any(Array) }) }));
  });
});

describe('single use', () => {
  const used = { code: 'login-failed', message: expect.stringContaining('was used already') };

  test.each([
    ['again', (token: string) => token],
    ['without what a reader may add to base64', (token: string) => token.replace(/=*$/, '')],
  ])('a token %s', async (_name, again) => {
    const token = await machines.token('github-actions');
    await accessTokenOf(token);
    expect((await machines.exchange(again(token))).body).toMatchObject({ error: used });
  });

  test('an id again in another token', async () => {
    const jti = crypto.randomUUID();
    await accessTokenOf(await machines.token('generic', { jti }));
    expect((await machines.exchange(await machines.token('generic', { jti, exp: Math.floor(Date.now() / 1000) + 200 }))).body).toMatchObject({ error: used });
    await accessTokenOf(await machines.token('buildkite', { jti }));
  });

  test('a token without an id under the other signature that ECDSA allows', async () => {
    const { forge } = machines;
    const [header, payload, signature] = (await forge.sign(JSON.stringify(forge.claims({ sub: 'machine-9', n: 1 })), {}, 'ec')).split('.') as [string, string, string];
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const bytes = Buffer.from(signature, 'base64url');
    const other = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`);
    const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(other.toString(16).padStart(64, '0'), 'hex')]).toString('base64url');
    await accessTokenOf(`${header}.${payload}.${signature}`);
    expect((await machines.exchange(`${header}.${payload}.${twin}`)).body).toMatchObject({ error: used });
  });

  test('of twenty at once one wins', async () => {
    const token = await machines.token('kubernetes');
    const answers = await Promise.all(Array.from({ length: 20 }, () => machines.exchange(token)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ body }) => body.error?.message.includes('was used already'))).toHaveLength(19);
  });

  test('also over a restart of the relay, and the login goes on', async () => {
    const token = await machines.token('github-actions');
    const login = await accessTokenOf(token);
    await machines.fixture.stopRelay();
    await machines.fixture.startRelay();
    expect((await machines.exchange(token)).body).toMatchObject({ error: used });
    expect(await machines.get('/v1/whoami', login)).toMatchObject({ status: 200, body: { kind: 'workload' } });
    // What the flood of before left out was counted when the relay stopped.
    expect(eventsOf(await decisions(), 'login.deny')).toContainEqual(expect.objectContaining({ rule: 'login/flood', leftOut: expect.any(Number) }));
  });
});

describe('access tokens of the relay', () => {
  test('an invented one is nobody\'s', async () => {
    const { status, body } = await machines.get('/v1/whoami', `gw_${'a'.repeat(43)}`);
    expect({ status, body }).toMatchObject({ status: 401, body: { error: { code: 'login-required', message: expect.stringContaining('does not know this login') } } });
  });

  test('a platform\'s own token is told to be exchanged', async () => {
    const { body } = await machines.get('/v1/whoami', await machines.token('github-actions'));
    expect(body).toMatchObject({ error: { code: 'login-required', message: 'a token of github-actions must be exchanged for a login first', hint: expect.stringContaining('POST /v1/token') } });
  });

  test('the relay says which issuers it trusts', async () => {
    const info = RelayInfo.parse(await (await fetch(`${machines.fixture.relayUrl}/.well-known/gate`)).json());
    expect(info.workloadIssuers).toContainEqual({ name: 'generic', preset: 'generic', url: machines.issuers.generic.url, audience: 'gate-relay' });
  });

  test('gate relay check warns of an issuer that is not used or not protected', async () => {
    await setPolicy(strict, '', (text) => text.replace(/ {2}batch:.*\n/, ''));
    const { warnings } = await loadRelayConfig(join(machines.fixture.directory, 'relay.yaml'));
    await setPolicy();
    expect(warnings).toContain('no workload of the trusted issuer "google": its tokens open nothing');
    expect(warnings).toContain('the trusted issuer "forge" is reached by plain http, on this machine only');
  });

  test('too large a body, and a commit that is no base64', async () => {
    expect((await machines.exchange('x', { commit: 'A'.repeat(140_000) })).status).toBe(413);
    const token = await machines.token('generic');
    expect((await machines.exchange(token, { commit: 'A*' })).body).toMatchObject({ error: { code: 'usage', message: 'commit: is not base64' } });
    // It was not used up by that.
    await accessTokenOf(token);
  });

  test('reason and ticket come out of the commit where the grant is asked for without, and never in place of what is said', async () => {
    const person = 'Ada <ada@acme.example> 1767225600 +0000';
    const commit = Buffer.from(`tree ${'a'.repeat(40)}\nauthor ${person}\ncommitter ${person}\n\nAdd a column (OPS-77)\n`).toString('base64');
    const { body } = await machines.exchange(await machines.token('github-actions', { sha: undefined }), { commit });
    expect(body).toMatchObject({ reason: 'Add a column (OPS-77)', ticket: 'OPS-77' });
    const client = await machines.clientOf(body.accessToken);
    expect(await client.createGrant({ target: 'prod-db' })).toMatchObject({ reason: 'Add a column (OPS-77)', ticket: 'OPS-77' });
    expect(await client.createGrant({ target: 'prod-db', reason: 'another' })).toMatchObject({ reason: 'another', ticket: 'OPS-77' });
  });

  test('no run takes the grant of another, which may have another person behind it', async () => {
    const [first, second] = await Promise.all(['1', '2'].map(async (run_id) => machines.clientOf(await accessTokenOf(await machines.token('github-actions', { run_id })))));
    const grant = await first?.createGrant({ target: 'prod-db', reason: 'mine' });
    const verifier = `SCRAM-SHA-256$4096:${Buffer.alloc(16).toString('base64')}$${Buffer.alloc(32).toString('base64')}:${Buffer.alloc(32).toString('base64')}`;
    await expect(second?.createSession({ grant: grant?.id ?? '', verifier, command: 'exec' })).rejects.toMatchObject({ code: 'denied', rule: 'grant/run' });
  });
});

describe('issuers', () => {
  test('a key that is new is fetched once, and no good token is refused for it', async () => {
    const issuer = machines.issuers['terraform-cloud'];
    await accessTokenOf(await machines.token('terraform-cloud'));
    const old = await machines.token('terraform-cloud');
    await issuer.rotate();
    const before = issuer.requests.length;
    const tokens = await Promise.all(Array.from({ length: 5 }, () => machines.token('terraform-cloud')));
    await Promise.all([...tokens, old].map(accessTokenOf));
    expect(issuer.requests.slice(before)).toEqual(['GET /.well-known/jwks']);
  });

  test('a flood of invented keys makes the relay ask once', async () => {
    const issuer = machines.issuers.buildkite;
    await accessTokenOf(await machines.token('buildkite'));
    const before = issuer.requests.length;
    const flood = Array.from({ length: 60 }, (_, index) => invented(issuer.url, `k${index}`));
    const answers = await Promise.all(flood.map((token) => machines.exchange(token)));
    expect(new Set(answers.map(({ body }) => body.error.message))).toEqual(new Set(['the token is signed with a key that buildkite does not publish']));
    expect(issuer.requests.length - before).toBeLessThanOrEqual(1);
    await accessTokenOf(await machines.token('buildkite'));
  });

  test('away: no new login, and a session that is open goes on', async () => {
    const issuer = machines.issuers.generic;
    const client = await machines.clientOf(await accessTokenOf(await machines.token('generic')));
    const session = await openSession(client, 'exec', { target: 'prod-db', reason: 'nightly' });
    const port = await startLocalPort({ relay: client.url, session: session.id, accessToken: () => client.accessToken(), listen: { port: 0 }, onBroken: () => undefined });
    const pg = new Client({ host: port.host, port: port.port, user: session.user, password: session.password, database: session.database });
    await pg.connect();
    try {
      const token = await machines.token('generic');
      await issuer.goDown();
      // A verifier that has no keys yet.
      await setPolicy(strict, '', (text) => text.replace(`preset: generic,`, 'preset: generic, maxLifetime: 10m,'));
      expect(await machines.exchange(token)).toMatchObject({ status: 503, body: { error: { code: 'issuer-unreachable', hint: expect.stringContaining('running sessions go on') } } });
      expect((await pg.query('select count(*) from items')).rows).toEqual([{ count: '100' }]);
      await issuer.comeBack();
      await accessTokenOf(token);
    } finally {
      await pg.end();
      await port.close();
      await setPolicy();
    }
    const [opened] = eventsOf(await machines.fixture.entries(session.id), 'session.open');
    expect(opened).toMatchObject({ who: { kind: 'workload', name: 'machine', chain: [{ kind: 'workload', value: 'machine', strength: 'verified' }] } });
  });
});

describe('the policy of now', () => {
  test('a person must stand behind, whom the token names and the relay knows to be of the group', async () => {
    const behind = { repository_id: '4712' };
    expect((await machines.exchange(await machines.token('generic', { sub: 'machine-8' }))).body).toMatchObject({ error: { rule: 'workloads/checked/human', message: expect.stringContaining('nobody is known to stand behind this one') } });
    expect((await machines.exchange(await machines.token('github-actions', { ...behind, actor_id: '4' }))).body).toMatchObject({ error: { code: 'denied', rule: 'workloads/staffed/human' } });
    const unseen = await machines.exchange(await machines.token('github-actions', behind));
    expect(unseen.body).toMatchObject({ error: { message: expect.stringContaining('ada has never logged in here') } });
    await (await machines.fixture.logInAgain('engineer')).whoAmI();
    const login = await accessTokenOf(await machines.token('github-actions', behind));
    machines.fixture.provider.setGroups('engineer', ['sales']);
    // Tokens are told apart by the second.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await (await machines.fixture.logInAgain('engineer')).whoAmI();
    const refused = { error: { code: 'denied', rule: 'workloads/staffed/human', message: expect.stringContaining('ada was in none of these at their last login') } };
    expect((await machines.exchange(await machines.token('github-actions', behind))).body).toMatchObject(refused);
    expect((await machines.get('/v1/targets', login)).body).toMatchObject(refused);
    machines.fixture.provider.setGroups('engineer', ['engineering']);
  });

  test('groups count at once; a workload that is gone, or asks for more, ends its logins', async () => {
    const login = await accessTokenOf(await machines.token('google'));
    await setPolicy(strict, '', (text) => text.replace('batch: { issuer: google, groups: [engineering]', 'batch: { issuer: google, groups: [sales]'));
    expect((await machines.get('/v1/whoami', login)).body).toMatchObject({ groups: ['sales'] });
    await setPolicy(strict, '', (text) => text.replace("sub: '104479897743394244856', email", "sub: '104479897743394244856', google/compute_engine/zone: mars, email"));
    expect(await machines.get('/v1/whoami', login)).toMatchObject({ status: 403, body: { error: { rule: 'workloads/batch/claims', message: expect.stringContaining('google/compute_engine/zone is "europe-west10-a"') } } });
    await setPolicy(strict, '', (text) => text.replace(/ {2}batch:.*\n/, ''));
    expect(await machines.get('/v1/whoami', login)).toMatchObject({ status: 403, body: { error: { rule: 'issuers/google' } } });
    await setPolicy(strict, '', (text) => text.replace('preset: google,', 'preset: google, requiredClaims: [zone],'));
    expect(await machines.get('/v1/whoami', login)).toMatchObject({ status: 401, body: { error: { message: expect.stringContaining('has changed since this login') } } });
    await setPolicy(strict, '', (text) => text.replace('batch: { issuer: google,', 'batch: { issuer: google, session: 1s,'));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(await machines.get('/v1/whoami', login)).toMatchObject({ status: 401, body: { error: { message: 'this login of a machine is over' } } });
    await setPolicy();
    expect((await machines.get('/v1/whoami', login)).body).toMatchObject({ groups: ['engineering'] });
  });

  test('who has left gets nothing, nor does what they own or have started', async () => {
    const login = await accessTokenOf(await machines.token('github-actions'));
    const engineer = await machines.fixture.clientFor('engineer');
    const fresh = () => machines.token('github-actions');
    await setPolicy(strict, 'offboarded: [{ person: olga, reason: left in May }]');
    const owner = { status: 403, body: { error: { code: 'denied', rule: 'offboarded/olga', message: 'olga has left: left in May' } } };
    expect(await machines.get('/v1/whoami', login)).toMatchObject(owner);
    expect(await machines.exchange(await fresh())).toMatchObject(owner);
    await engineer.whoAmI();
    await setPolicy(strict, `offboarded: [{ subject: ${subjectOf('engineer')}, reason: left in June }]`);
    expect(await machines.exchange(await fresh())).toMatchObject({ body: { error: { rule: 'offboarded/ada', message: 'ada has left: left in June' } } });
    await expect(engineer.whoAmI()).rejects.toMatchObject({ code: 'denied', rule: 'offboarded/ada', message: 'ada has left: left in June' });
    await setPolicy();
    expect(await machines.get('/v1/whoami', login)).toMatchObject({ status: 200 });
    await engineer.whoAmI();
  });
});
