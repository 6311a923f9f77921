/** The device grant against a real provider, and against issuers that misbehave in ways a real one will not. */
import { createServer, type ServerResponse } from 'node:http';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEMO_ACCOUNTS } from '../../src/dev/accounts.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startProvider, type Provider } from '../../src/dev/provider.ts';
import { refreshTokens, revokeTokens, startDeviceLogin, type Tokens } from '../../src/oidc/device-login.ts';

const scopes = ['openid', 'profile', 'offline_access'];
const never = new AbortController().signal;
const common = { accounts: DEMO_ACCOUNTS, audience: 'gate-relay', clientId: 'gate-cli' };

async function logIn(provider: Provider): Promise<Tokens> {
  const device = await startDeviceLogin({ issuer: provider.issuer, clientId: 'gate-cli', scopes });
  const waiting = device.wait(never);
  await approveDevice({ ...device, account: 'engineer', decision: 'approve' });
  return waiting;
}

describe('with a real provider', () => {
  let provider: Provider;
  beforeAll(async () => {
    provider = await startProvider(common);
  });
  afterAll(() => provider.stop());
  const client = (): { issuer: string; clientId: string } => ({ issuer: provider.issuer, clientId: 'gate-cli' });

  test('a confirmed code gives tokens for the relay', async () => {
    const device = await startDeviceLogin({ ...client(), scopes });
    expect(device.verificationUri).toBe(`${provider.issuer}/device`);
    expect(device.verificationUriComplete).toContain(device.userCode);
    expect(device.userCode).toMatch(/^[A-Z0-9]{4}-[A-Z0-9]{4}$/);
    expect(Date.parse(device.expiresAt)).toBeGreaterThan(Date.now());
    const waiting = device.wait(never);
    await approveDevice({ ...device, account: 'engineer', decision: 'approve' });
    const tokens = await waiting;
    const claims = decodeJwt(tokens.accessToken);
    expect(claims).toMatchObject({ aud: 'gate-relay', groups: ['engineering'], sub: tokens.subject });
    expect(Math.abs(Date.parse(tokens.expiresAt ?? '') - (claims.exp ?? 0) * 1000)).toBeLessThan(5000);
  });

  test('a refresh token is used once; a second use ends the login', async () => {
    const first = await logIn(provider);
    const second = await refreshTokens(client(), first.refreshToken ?? '');
    expect(second.accessToken).not.toBe(first.accessToken);
    expect(second.refreshToken).not.toBe(first.refreshToken);
    await expect(refreshTokens(client(), first.refreshToken ?? '')).rejects.toMatchObject({
      code: 'login-required',
      hint: 'Run gate login.',
    });
    await expect(refreshTokens(client(), second.refreshToken ?? '')).rejects.toMatchObject({ code: 'login-required' });
  });

  test('a revoked login cannot be renewed', async () => {
    const tokens = await logIn(provider);
    expect(await revokeTokens(client(), tokens)).toBe(true);
    await expect(refreshTokens(client(), tokens.refreshToken ?? '')).rejects.toMatchObject({ code: 'login-required' });
  });

  test('a refusal on the page is told as one', async () => {
    const device = await startDeviceLogin({ ...client(), scopes });
    const waiting = device.wait(never);
    const [outcome] = await Promise.allSettled([
      waiting,
      approveDevice({ ...device, account: 'engineer', decision: 'deny' }),
    ]);
    expect(outcome).toMatchObject({
      status: 'rejected',
      reason: { code: 'login-failed', message: 'the login was refused on its page' },
    });
  });

  test('an unknown client is refused with the issuer’s reason', async () => {
    await expect(startDeviceLogin({ ...client(), clientId: 'somebody', scopes })).rejects.toMatchObject({
      code: 'login-failed',
      message: expect.stringContaining('invalid_client'),
    });
  });

  test('a code that nobody confirms expires', async () => {
    await using hasty = await startProvider({ ...common, deviceCodeSeconds: 2 });
    const device = await startDeviceLogin({ issuer: hasty.issuer, clientId: 'gate-cli', scopes });
    await expect(device.wait(never)).rejects.toMatchObject({
      code: 'login-failed',
      message: 'the code expired before it was confirmed',
    });
  });

  test('an abort ends the wait at once, however long the interval', async () => {
    await using slow = await startProvider({ ...common, pollSeconds: 600 });
    const device = await startDeviceLogin({ issuer: slow.issuer, clientId: 'gate-cli', scopes });
    const controller = new AbortController();
    const waiting = device.wait(controller.signal);
    controller.abort('SIGINT');
    await expect(waiting).rejects.toMatchObject({ code: 'login-failed', message: 'the login was cancelled' });
    await expect(device.wait(controller.signal)).rejects.toThrow('the login was cancelled');
  });
});

type Script = {
  readonly metadata?: (issuer: string) => Record<string, unknown>;
  readonly device?: (issuer: string) => Record<string, unknown>;
  /** One answer per poll, the last for all that follow. */
  readonly polls?: readonly ((response: ServerResponse) => void)[];
};

/** An issuer on loopback that follows a script and notes when it was polled. */
async function startIssuer(script: Script): Promise<{ issuer: string; polledAt: number[] } & AsyncDisposable> {
  const polledAt: number[] = [];
  const server = createServer((request, response) => {
    const metadata = {
      issuer,
      token_endpoint: `${issuer}/token`,
      device_authorization_endpoint: `${issuer}/code`,
      ...script.metadata?.(issuer),
    };
    const device = { device_code: 'd', user_code: 'ABCD', verification_uri: `${issuer}/page`, expires_in: 60, interval: 0.05 };
    request.resume();
    if (request.url === '/.well-known/openid-configuration') return answer(200, metadata)(response);
    if (request.url === '/code') return answer(200, { ...device, ...script.device?.(issuer) })(response);
    if (request.url !== '/token') return answer(404, {})(response);
    const poll = script.polls?.[Math.min(polledAt.length, script.polls.length - 1)];
    polledAt.push(performance.now());
    return poll?.(response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  const issuer = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  return {
    issuer,
    polledAt,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const answer =
  (status: number, body: unknown) =>
  (response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
const pending = answer(400, { error: 'authorization_pending' });
const granted = answer(200, { access_token: 'a', token_type: 'bearer' });

async function waitFor(script: Script): Promise<{ tokens: Tokens; polledAt: number[] }> {
  await using fake = await startIssuer(script);
  const device = await startDeviceLogin({ issuer: fake.issuer, clientId: 'gate-cli', scopes });
  return { tokens: await device.wait(never), polledAt: fake.polledAt };
}

describe('with an issuer that', () => {
  test('names no expiry and no refresh token, the tokens have none', async () => {
    expect((await waitFor({ polls: [pending, granted] })).tokens).toEqual({ accessToken: 'a' });
  });

  test('says slow_down, every later poll waits five seconds more', { timeout: 20_000 }, async () => {
    const { polledAt } = await waitFor({ polls: [pending, answer(400, { error: 'slow_down' }), granted] });
    const [first = 0, second = 0, third = 0] = polledAt;
    expect(second - first).toBeLessThan(third - second);
    expect(third - second).toBeGreaterThan(5000);
  });

  test('is away for a moment, the login goes on', async () => {
    const { polledAt } = await waitFor({
      polls: [(response) => response.destroy(), (response) => response.writeHead(503).end('busy'), pending, granted],
    });
    expect(polledAt).toHaveLength(4);
  });

  test('refuses for a reason of its own, that reason is told in one line', async () => {
    const refused = answer(400, { error: 'server_error', error_description: 'no\u001b[2J way' });
    await expect(waitFor({ polls: [refused] })).rejects.toMatchObject({
      code: 'login-failed',
      message: expect.stringContaining('no [2J way (server_error)'),
    });
  });

  test.each([
    ['has a login page on plain http', { verification_uri: 'http://login.example.com/' }, 'plain http'],
    ['has a login page that is a script', { verification_uri: 'javascript:alert(1)' }, 'neither https nor http'],
    ['fills in the code on plain http', { verification_uri_complete: 'http://login.example.com/' }, 'plain http'],
    ['gives a code that moves the cursor', { user_code: 'AB\u001b[1A' }, 'cannot be shown'],
    ['gives an endless code', { user_code: 'A'.repeat(65) }, 'cannot be shown'],
  ])('%s is not followed', async (_, device, words) => {
    await expect(waitFor({ device: () => device, polls: [granted] })).rejects.toMatchObject({
      code: 'login-failed',
      message: expect.stringContaining(words),
    });
  });

  test('offers no device login is named', async () => {
    await expect(waitFor({ metadata: () => ({ device_authorization_endpoint: undefined }) })).rejects.toMatchObject({
      code: 'login-failed',
      message: expect.stringContaining('offers no device login'),
    });
  });

  test('offers no revocation leaves the tokens as they are', async () => {
    await using fake = await startIssuer({});
    expect(await revokeTokens({ issuer: fake.issuer, clientId: 'gate-cli' }, { accessToken: 'a' })).toBe(false);
  });

  test('calls itself otherwise is not trusted', async () => {
    await expect(waitFor({ metadata: () => ({ issuer: 'https://login.example.com' }) })).rejects.toMatchObject({
      code: 'issuer-unreachable',
      message: expect.stringContaining('is no OpenID Connect issuer'),
    });
  });

  test('is a plain web server is told so', async () => {
    await using fake = await startIssuer({});
    const issuer = `${fake.issuer}/elsewhere`;
    await expect(startDeviceLogin({ issuer, clientId: 'gate-cli', scopes })).rejects.toMatchObject({
      code: 'issuer-unreachable',
      message: expect.stringContaining('it answered 404'),
    });
  });

  test('is not there is unreachable, for a login and for a renewal', async () => {
    const fake = await startIssuer({});
    await fake[Symbol.asyncDispose]();
    const client = { issuer: fake.issuer, clientId: 'gate-cli' };
    const unreachable = { code: 'issuer-unreachable', message: expect.stringContaining('nothing listens there') };
    await expect(startDeviceLogin({ ...client, scopes })).rejects.toMatchObject(unreachable);
    await expect(refreshTokens(client, 'r')).rejects.toMatchObject(unreachable);
    await expect(revokeTokens(client, { accessToken: 'a' })).rejects.toMatchObject(unreachable);
  });

  test('is on plain http elsewhere is refused before anything is sent', async () => {
    const client = { issuer: 'http://login.example.com', clientId: 'gate-cli', scopes };
    await expect(startDeviceLogin(client)).rejects.toMatchObject({
      code: 'login-failed',
      message: expect.stringContaining('plain http'),
    });
  });
});
