/** gate doctor with everything in order, and with one real thing broken at a time. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from 'vitest';
import { checkNode } from '../../src/client/check-machine.ts';
import { checkClock } from '../../src/client/check-network.ts';
import { createCredentialStore } from '../../src/client/credentials.ts';
import { startRelayFixture, type RelayFixture } from '../relay/fixture.ts';
import { createAuthority, doctor, doctorProcess, doctorText, listen, startFront, startStoppingRelay, type Authority } from './doctor-stage.ts';

let fixture: RelayFixture;
let token: string;
let authority: Authority;
let directory: string;
let caFile: string;
let environment: NodeJS.ProcessEnv;

beforeAll(async () => {
  fixture = await startRelayFixture();
  token = await (await fixture.clientFor('engineer')).accessToken();
  authority = await createAuthority();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gate-doctor-'));
  caFile = join(directory, 'ca.pem');
  await writeFile(caFile, authority.certificate);
  environment = { GATE_CONFIG_DIR: directory, GATE_RELAY: fixture.relayUrl, GATE_TOKEN: token };
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const local = (port: number, scheme = 'http') => `${scheme}://localhost:${port}`;
const closedPort = async () => {
  await using server = await listen(createServer());
  return server.port;
};

describe('in order', () => {
  test('without a target, every check of the way to the relay', async () => {
    const report = await doctor({ environment });
    expect([report.code, report.ok, report.with('failed')]).toEqual([0, true, []]);
    expect(report.checks.map(({ name }) => name)).toEqual([
      'node', 'settings', 'permissions', 'keychain', 'local-port', 'proxy', 'relay',
      'relay-dns', 'relay-tcp', 'relay-tls', 'relay-http', 'relay-ready', 'relay-websocket',
      'issuer-dns', 'issuer-tcp', 'issuer-tls', 'issuer-http', 'clock', 'login',
    ]);
    expect(report.with('skipped')).toEqual(['relay-tls', 'issuer-tls']);
    expect(report.check('relay').detail).toBe(`${fixture.relayUrl}, from GATE_RELAY`);
    expect(report.check('login').detail).toMatch(/in engineering; the token expires in \d+ min and comes from GATE_TOKEN$/);
    expect(report.check('clock').detail).toBe("this clock agrees with the relay's, this clock agrees with the issuer's");
    expect(report.text).not.toContain(token);
  });

  test('with a target and a reason, a round trip whose session is ended and recorded', async () => {
    const report = await doctor({ environment, target: 'prod-db', flags: { reason: 'checking', role: 'reader' } });
    expect([report.code, report.with('failed')]).toEqual([0, []]);
    expect(report.check('role').detail).toBe('prod-db as reader: refuses write, schema, admin, unknown, requires nothing, at most 480 min');
    const { detail } = report.check('round-trip');
    const id = /session (\S+) is ended$/.exec(detail)?.[1] as string;
    const session = await (await fixture.clientFor('engineer')).session(id);
    expect(session).toMatchObject({ state: 'ended', reason: 'checking', role: 'reader', statements: 1 });
  });

  test('without a reason the round trip is skipped, and the command that makes it is named', async () => {
    const report = await doctor({ environment, target: 'prod-db' });
    expect(report.code).toBe(0);
    expect(report.check('role').detail).toMatch(/^prod-db as engineer: .*requires reason/);
    expect(report.check('round-trip')).toMatchObject({ status: 'skipped', fix: "Run gate doctor prod-db --reason 'checking the way'" });
  });

  test('for people: one line a check, the fix below it', async () => {
    const port = await closedPort();
    const { code, text } = await doctorText({ environment: { ...environment, GATE_RELAY: local(port) } });
    expect(code).toBe(6);
    expect(text).toMatch(/^ok {7}settings {9}no settings file yet/m);
    expect(text).toMatch(new RegExp(`^failed {3}relay-tcp {8}port ${port} of localhost: nothing listens there.*\\n {26}Is the relay running`, 'm'));
    expect(text).toMatch(/^skipped {2}login {12}not tried, because relay-tcp failed$/m);
  });
});

describe('this machine', () => {
  test.each([
    ['20.20.2', 'warning', /end of life \(2026-04-30\)/],
    ['21.1.0', 'warning', /end of life and/],
    ['22.11.0', 'ok', /./],
    ['25.1.0', 'warning', /end of life and/],
    ['26.0.0', 'ok', /./],
    ['31.0.0', 'ok', /./],
  ])('Node %s is %s', (version, status, detail) => {
    expect(checkNode(version, new Date('2026-11-24'))).toMatchObject({ status, detail: expect.stringMatching(detail) });
  });

  test('Node 20 was alive in April 2026', () => {
    expect(checkNode('20.20.2', new Date('2026-04-30T12:00:00Z')).status).toBe('ok');
  });

  test('settings that cannot be read', async () => {
    await writeFile(join(directory, 'config.yaml'), 'relais: https://gate.example.com\n');
    const report = await doctor({ environment });
    expect([report.code, report.ok, report.with('failed')]).toEqual([2, false, ['settings']]);
    expect(report.check('settings').detail).toContain('config.yaml:1:');
    expect(report.check('login')).toEqual({ name: 'login', status: 'skipped', detail: 'not tried, because settings failed' });
    expect(report.check('local-port').status).toBe('ok');
  });

  test('no relay is known', async () => {
    const report = await doctor({ environment: { GATE_CONFIG_DIR: directory } });
    expect([report.code, report.with('failed')]).toEqual([2, ['relay']]);
    expect(report.check('relay').fix).toContain('gate login --relay https://');
  });

  test.skipIf(process.platform === 'win32')('files that others can read or change', async () => {
    const credentials = join(directory, 'credentials.json');
    await writeFile(credentials, '{"version":1,"relays":{}}');
    await chmod(credentials, 0o644);
    const readable = await doctor({ environment });
    expect([readable.code, readable.with('failed')]).toEqual([2, ['permissions']]);
    expect(readable.check('permissions')).toMatchObject({
      detail: expect.stringContaining('is open to other users (mode 0644)'),
      fix: expect.stringContaining(`chmod 600 ${credentials}`),
    });
    await chmod(credentials, 0o600);
    await chmod(directory, 0o770);
    expect((await doctor({ environment })).check('permissions')).toMatchObject({ status: 'failed', fix: `Run chmod go-w ${directory}` });
    await chmod(directory, 0o750);
    expect((await doctor({ environment })).check('permissions')).toMatchObject({ status: 'warning', fix: `Run chmod 700 ${directory}` });
    await chmod(directory, 0o700);
    await mkdir(join(directory, 'passfiles'), { mode: 0o700 });
    await chmod(join(directory, 'passfiles'), 0o777);
    expect((await doctor({ environment })).check('permissions')).toMatchObject({ status: 'failed', detail: expect.stringContaining('passfiles') });
  });

  test('a local port that another program has', async () => {
    await using other = await listen(createServer());
    const report = await doctor({ environment, flags: { port: other.port } });
    expect([report.code, report.with('failed')]).toEqual([2, ['local-port']]);
    expect(report.check('local-port').detail).toBe(`local port ${other.port} cannot be opened on 127.0.0.1: another program has it`);
    expect(report.check('login').status).toBe('ok');
  });

  test('a keychain that is wanted is told apart from one that is switched off', async () => {
    expect((await doctor({ environment })).check('keychain')).toMatchObject({ status: 'ok', detail: expect.stringContaining('switched off') });
    const { status, detail } = (await doctor({ environment: { ...environment, GATE_KEYCHAIN: 'on' } })).check('keychain');
    expect(`${status}: ${detail}`).toMatch(/^ok: the OS keychain answers|^warning: no OS keychain here: .*credentials\.json, which only you can read$/);
  });

  test('proxy variables and certificates that are not checked, without the password in them', async () => {
    const proxied = await doctorProcess({ ...environment, HTTPS_PROXY: 'http://me:canary@127.0.0.1:9' });
    expect(proxied.check('proxy')).toMatchObject({ status: 'warning', detail: expect.stringContaining('HTTPS_PROXY is set, but gate does not use it') });
    expect(proxied.text).not.toContain('canary');
    // That this is true: the relay was reached although nothing listens at the proxy.
    expect([proxied.code, proxied.check('relay-http').status]).toEqual([0, 'ok']);
    const unchecked = await doctorProcess({ ...environment, NODE_TLS_REJECT_UNAUTHORIZED: '0' });
    expect(unchecked.check('proxy')).toMatchObject({ status: 'warning', detail: expect.stringContaining('NODE_TLS_REJECT_UNAUTHORIZED=0') });
  });
});

describe('the network', () => {
  test('a name that nobody knows', async () => {
    const report = await doctor({ environment: { ...environment, GATE_RELAY: 'https://gate.invalid' } });
    expect([report.code, report.with('failed')]).toEqual([6, ['relay-dns']]);
    expect(report.check('relay-dns').detail).toContain('gate.invalid: ');
  });

  test('a server that is no relay', async () => {
    await using server = await listen(createServer((_, response) => response.writeHead(404).end('<h1>lost</h1>')));
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(server.port) } });
    expect([report.code, report.with('failed')]).toEqual([6, ['relay-http']]);
    expect(report.check('relay-http').detail).toContain('404');
  });

  test('plain HTTP where TLS was expected', async () => {
    await using server = await listen(createServer((_, response) => response.end()));
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(server.port, 'https') } });
    expect([report.code, report.with('failed')]).toEqual([6, ['relay-tls']]);
    expect(report.check('relay-tls').detail).toMatch(/no TLS with localhost: .*(does not speak TLS|was cut|wrong version)/);
  });

  test('a certificate of an authority that nobody knows, with its name', async () => {
    await using server = await authority.serve('localhost', 100);
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(server.port, 'https') } });
    expect([report.code, report.with('failed')]).toEqual([6, ['relay-tls']]);
    expect(report.check('relay-tls')).toMatchObject({
      detail: expect.stringContaining('not signed by an authority that this machine knows (issued by "Test Authority" for DNS:localhost'),
      fix: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
    });
  });

  test.each([
    ['has expired', 'localhost', -3, /^its certificate has expired \(issued by "Test Authority"/],
    ['is for another name', 'other.example', 100, /^its certificate is for another host name \(.*DNS:other\.example/],
  ])('a certificate that %s', async (_, name, days, detail) => {
    await using server = await authority.serve(name, days);
    const report = await doctorProcess({ ...environment, GATE_RELAY: local(server.port, 'https'), NODE_EXTRA_CA_CERTS: caFile });
    expect([report.code, report.with('failed')]).toEqual([6, ['relay-tls']]);
    expect(report.check('relay-tls').detail).toMatch(detail);
  });

  test.each([
    [10.5, { status: 'warning', detail: expect.stringMatching(/which is in 10 days$/), fix: expect.stringContaining('renew') }],
    [20, { status: 'ok', detail: expect.stringContaining('issued by "Test Authority" for DNS:localhost, ends 20') }],
  ])('a good certificate that ends in %d days', async (days, expected) => {
    await using server = await authority.serve('localhost', days);
    const report = await doctorProcess({ ...environment, GATE_RELAY: local(server.port, 'https'), NODE_EXTRA_CA_CERTS: caFile });
    expect(report.check('relay-tls')).toMatchObject(expected);
    expect(report.with('failed')).toEqual(['relay-http']);
  });

  test('a proxy on the way that strips upgrades', async () => {
    await using front = await startFront(fixture.relayUrl);
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(front.port) }, target: 'prod-db', flags: { reason: 'x' } });
    expect([report.code, report.with('failed')]).toEqual([6, ['relay-websocket']]);
    expect(report.check('relay-websocket')).toMatchObject({
      detail: expect.stringContaining('strips the upgrade'),
      fix: expect.stringContaining('proxy_set_header Upgrade'),
    });
    expect(report.check('round-trip').detail).toBe('not tried, because relay-websocket failed');
  });

  test('a proxy on the way that answers upgrades itself', async () => {
    await using front = await startFront(fixture.relayUrl, ({ url }, answer) => {
      if (url?.endsWith('/tunnel')) answer.body = '<h1>no</h1>';
    });
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(front.port) } });
    expect(report.with('failed')).toEqual(['relay-websocket']);
    expect(report.check('relay-websocket').detail).toBe('something else than the relay answered the upgrade, with status 404');
  });

  test("a relay whose clock is wrong is told from this machine's", async () => {
    await using front = await startFront(fixture.relayUrl, (_, answer) => {
      answer.headers['date'] = new Date(Date.now() + 90_000).toUTCString();
    });
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(front.port) } });
    expect(report.check('clock')).toMatchObject({
      status: 'failed',
      detail: expect.stringMatching(/this clock is (89|90|91) s behind the relay's, this clock agrees with the issuer's/),
      fix: expect.stringContaining('Tell whoever runs the relay'),
    });
  });

  test.each([
    [[30_000], 'ok'],
    [[30_501], 'failed'],
    [[-30_501], 'failed'],
    [[], 'skipped'],
  ])('clocks ahead by %j ms, known to half a second, are %s', (aheads, status) => {
    expect(checkClock(aheads.map((aheadMs) => ({ server: 'relay', aheadMs, withinMs: 500 }))).status).toBe(status);
  });

  test('both servers disagree with this machine, so its clock is to be set', () => {
    const times = ['relay', 'issuer'].map((server) => ({ server, aheadMs: -120_000, withinMs: 500 }));
    expect(checkClock(times)).toMatchObject({ status: 'failed', code: 'config-invalid', fix: expect.stringContaining('timedatectl') });
  });

  test('a relay that is stopping', async () => {
    await using stopping = await startStoppingRelay(join(fixture.directory, 'relay.yaml'));
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(stopping.port) }, target: 'prod-db', flags: { reason: 'x' } });
    expect([report.code, report.with('failed')]).toEqual([6, ['relay-ready', 'relay-websocket']]);
    expect(report.check('relay-ready').detail).toBe('the relay is stopping');
    expect(report.check('relay-websocket').detail).toBe('the relay is stopping');
    expect(report.check('round-trip').detail).toBe('not tried, because relay-ready failed');
  });

  test('an issuer where nothing listens', async () => {
    const port = await closedPort();
    await using front = await startFront(fixture.relayUrl, ({ url }, answer) => {
      if (url === '/.well-known/gate') answer.body = JSON.stringify({ ...(JSON.parse(answer.body) as object), issuer: local(port) });
    });
    const report = await doctor({ environment: { ...environment, GATE_RELAY: local(front.port) } });
    expect(report.with('failed')).toEqual(['relay-websocket', 'issuer-tcp']);
    expect(report.check('issuer-tcp').detail).toBe(`port ${port} of localhost: nothing listens there (connection refused)`);
    expect(report.check('issuer-http').status).toBe('skipped');
  });
});

describe('the login', () => {
  test('nobody is logged in', async () => {
    const report = await doctor({ environment: { GATE_CONFIG_DIR: directory, GATE_RELAY: fixture.relayUrl }, target: 'prod-db' });
    expect([report.code, report.with('failed')]).toEqual([4, ['login']]);
    expect(report.check('login').fix).toBe('Run gate login.');
    expect(report.check('role').detail).toBe('not tried, because login failed');
  });

  test('a stored login that has expired and cannot be renewed', async () => {
    const store = createCredentialStore({ directory, isKeychainWanted: false }, { warn: () => undefined });
    const login = { issuer: fixture.provider.issuer, clientId: 'gate-cli', subject: 'x', accessToken: token, expiresAt: '2026-01-01T00:00:00Z' };
    await store.edit((editor) => editor.save(fixture.relayUrl, login, 'file'));
    const report = await doctor({ environment: { GATE_CONFIG_DIR: directory, GATE_RELAY: fixture.relayUrl } });
    expect([report.code, report.with('failed')]).toEqual([4, ['login']]);
    expect(report.check('login').detail).toBe('your login has expired');
    expect(report.text).not.toContain(token);
  });

  test('a GATE_TOKEN that the relay does not take', async () => {
    const report = await doctor({ environment: { ...environment, GATE_TOKEN: `${token}canary` } });
    expect([report.code, report.with('failed')]).toEqual([4, ['login']]);
    expect(report.check('login').detail).toContain('the relay does not take GATE_TOKEN');
    expect(report.text).not.toContain('canary');
  });

  test.each([
    ['nowhere', {}, /no target nowhere is open to you \(open: prod-db\)/],
    ['prod-db', { role: 'dba' }, /you have no role dba on prod-db \(yours: engineer, reader\)/],
  ])('%s %j is not open', async (target, flags, detail) => {
    const report = await doctor({ environment, target, flags: { reason: 'x', ...flags } });
    expect([report.code, report.with('failed')]).toEqual([3, ['role']]);
    expect(report.check('role').detail).toMatch(detail);
  });

  test('the first failure decides about the exit code', async () => {
    await using other = await listen(createServer());
    const report = await doctor({ environment: { ...environment, GATE_TOKEN: 'nothing' }, flags: { port: other.port } });
    expect([report.code, report.with('failed')]).toEqual([2, ['local-port', 'login']]);
  });
});
