/** Login, renewal and logout on a real provider, with a relay that checks tokens as the real one does. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClientConfig } from '../../src/client/config.ts';
import { createCredentialStore, type Credential } from '../../src/client/credentials.ts';
import { findLoginPlace, login, logout, type LoginResult } from '../../src/client/login.ts';
import { createRelayClient } from '../../src/client/relay-client.ts';
import { DEMO_ACCOUNTS } from '../../src/dev/accounts.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startProvider, type Provider } from '../../src/dev/provider.ts';
import { refreshTokens, type Tokens } from '../../src/oidc/device-login.ts';
import { configOf, makeScratch, runModule, sendJson, startHttp } from './fixtures.ts';

const never = new AbortController().signal;
const warn = (): undefined => undefined;
const common = { accounts: DEMO_ACCOUNTS, audience: 'gate-relay', clientId: 'gate-cli' };

let provider: Provider;
let relay: Awaited<ReturnType<typeof startRelay>>;
beforeAll(async () => {
  provider = await startProvider(common);
  relay = await startRelay(provider);
});
afterAll(async () => {
  await relay[Symbol.asyncDispose]();
  await provider.stop();
});

/** Answers what a login needs; tokens in `refused` are turned down although they are valid. */
async function startRelay(
  { issuer }: Pick<Provider, 'issuer'>,
  audience = 'gate-relay',
): Promise<{ url: string; requests: string[]; refused: Set<string> } & AsyncDisposable> {
  const refused = new Set<string>();
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
  const server = await startHttp(async (request, response) => {
    if (request.url === '/.well-known/gate') {
      const scopes = ['openid', 'profile', 'offline_access'];
      return sendJson(response, 200, { service: 'gate', version: '1', issuer, clientId: 'gate-cli', scopes });
    }
    const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
    try {
      if (refused.has(token)) throw new Error('refused');
      const { payload } = await jwtVerify(token, keys, { issuer, audience });
      const { sub: subject, name, groups, exp = 0 } = payload;
      const expiresAt = new Date(exp * 1000).toISOString();
      return sendJson(response, 200, { issuer, subject, name, kind: 'human', groups, expiresAt });
    } catch {
      return sendJson(response, 401, { error: { code: 'login-required', message: 'the token is not accepted' } });
    }
  });
  return Object.assign(server, { refused });
}

async function logIn(config: ClientConfig, account = 'engineer'): Promise<LoginResult> {
  const approvals: Promise<void>[] = [];
  const result = await login(config, {
    signal: never,
    warn,
    onPrompt: (prompt) => {
      approvals.push(approveDevice({ ...prompt, account, decision: 'approve' }));
    },
  });
  await Promise.all(approvals);
  return result;
}

async function stored(config: ClientConfig): Promise<Credential> {
  const found = await createCredentialStore(config, { warn }).load(config.relay ?? '');
  if (found === undefined) throw new Error('nothing is stored');
  return found.credential;
}

function renew({ issuer, clientId, refreshToken }: Credential): Promise<Tokens> {
  return refreshTokens({ issuer, clientId }, refreshToken ?? '');
}

/** Makes the stored access token look as if it ran out. */
async function expire(config: ClientConfig, more: Partial<Credential> = {}): Promise<Credential> {
  const expired = { ...(await stored(config)), expiresAt: new Date(Date.now() - 1000).toISOString(), ...more };
  const store = createCredentialStore(config, { warn });
  await store.edit((editor) => editor.save(config.relay ?? '', expired, 'file'));
  return expired;
}

describe('login', () => {
  test('tells who one is, stores the login and remembers the relay', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    const result = await logIn(config);
    expect(result).toMatchObject({
      relay: relay.url,
      issuer: provider.issuer,
      name: 'Erin Castillo',
      groups: ['engineering'],
      isRenewable: true,
      storage: 'file',
    });
    expect(await readFile(join(scratch.directory, 'config.yaml'), 'utf8')).toBe(`relay: ${relay.url}\n`);
    expect(await findLoginPlace(config, { warn })).toEqual({
      storage: 'file',
      path: join(scratch.directory, 'credentials.json'),
    });
    const who = await createRelayClient(config, { warn }).whoAmI();
    expect(who).toMatchObject({ subject: result.subject, name: 'Erin Castillo' });
  });

  test('anew, as somebody else, ends the login before and keeps the new one alive', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    await logIn(config, 'engineer');
    const before = await stored(config);
    expect(await logIn(config, 'dba')).toMatchObject({ name: 'Dario Bianchi', groups: ['dba'] });
    await expect(renew(before)).rejects.toMatchObject({ code: 'login-required' });
    const after = await stored(config);
    expect((await renew(after)).accessToken).not.toBe(after.accessToken);
  });

  test('with a token that the relay does not take stores nothing', async () => {
    await using scratch = await makeScratch();
    await using other = await startRelay(provider, 'another-relay');
    const config = configOf(scratch.directory, other.url);
    await expect(logIn(config)).rejects.toMatchObject({
      code: 'login-required',
      message: 'the token is not accepted',
    });
    expect(await createCredentialStore(config, { warn }).load(other.url)).toBeUndefined();
    expect(await readdir(scratch.directory)).not.toContain('config.yaml');
  });

  test('that is given up stores nothing', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    const controller = new AbortController();
    const onPrompt = (): void => controller.abort('SIGINT');
    await expect(login(config, { onPrompt, signal: controller.signal, warn })).rejects.toMatchObject({
      code: 'login-failed',
      message: 'the login was cancelled',
    });
    expect(await readdir(scratch.directory)).toEqual([]);
  });

  test('never stores GATE_TOKEN, and says that it still goes first', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url, { token: 'token-of-the-environment' });
    const warnings: string[] = [];
    await login(config, {
      signal: never,
      warn: (line) => warnings.push(line),
      onPrompt: async (prompt) => approveDevice({ ...prompt, account: 'engineer', decision: 'approve' }),
    });
    expect(warnings).toEqual([expect.stringContaining('GATE_TOKEN')]);
    expect(await readFile(join(scratch.directory, 'credentials.json'), 'utf8')).not.toContain('of-the-environment');
    expect(await createRelayClient(config, { warn }).accessToken()).toBe('token-of-the-environment');
    expect(await findLoginPlace(config, { warn })).toEqual({ storage: 'environment' });
  });
});

describe('renewal', () => {
  test('of an expired token, by several processes at once, happens once', { timeout: 60_000 }, async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    await logIn(config);
    const old = await expire(config);
    const text = `
      import { createRelayClient } from './src/client/relay-client.ts';
      const client = createRelayClient(${JSON.stringify(config)}, { warn: console.error });
      const tokens = await Promise.all([client.accessToken(), client.accessToken()]);
      console.log(JSON.stringify(tokens));
    `;
    const ended = await Promise.all([1, 2, 3].map(() => runModule(text)));
    expect(ended.map(({ code, stderr }) => `${code}${stderr}`)).toEqual(['0', '0', '0']);
    const tokens = new Set<string>(ended.flatMap(({ stdout }): string[] => JSON.parse(stdout)));
    // One token for all: the rotating refresh token was used once. A second use would have ended the login.
    expect(tokens.size).toBe(1);
    expect(tokens.has(old.accessToken)).toBe(false);
    const now = await stored(config);
    expect(tokens.has(now.accessToken)).toBe(true);
    expect(now.refreshToken).not.toBe(old.refreshToken);
    await expire(config);
    expect(await createRelayClient(config, { warn }).whoAmI()).toMatchObject({ name: 'Erin Castillo' });
  });

  test('follows a refusal by the relay, once', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    await logIn(config);
    const { accessToken } = await stored(config);
    relay.refused.add(accessToken);
    const client = createRelayClient(config, { warn });
    expect(await client.whoAmI()).toMatchObject({ name: 'Erin Castillo' });
    expect((await stored(config)).accessToken).not.toBe(accessToken);
    expect(await client.accessToken()).toBe((await stored(config)).accessToken);
  });

  test('a relay that refuses every token is asked twice', async () => {
    await using scratch = await makeScratch();
    await using picky = await startRelay(provider);
    const config = configOf(scratch.directory, picky.url);
    await logIn(config);
    picky.refused.has = () => true;
    picky.requests.length = 0;
    await expect(createRelayClient(config, { warn }).whoAmI()).rejects.toThrow('the token is not accepted');
    expect(picky.requests).toEqual(['GET /v1/whoami', 'GET /v1/whoami']);
  });

  test('a login that the issuer has ended asks for a new one', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    await logIn(config);
    await expire(config, { refreshToken: 'not-a-token' });
    await expect(createRelayClient(config, { warn }).whoAmI()).rejects.toMatchObject({
      code: 'login-required',
      message: 'your login has ended at the issuer',
      hint: 'Run gate login.',
    });
  });

  test('without a refresh token an expired login asks for a new one', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    await logIn(config);
    const { refreshToken: _, ...credential } = await expire(config);
    const store = createCredentialStore(config, { warn });
    await store.edit((editor) => editor.save(relay.url, credential, 'file'));
    await expect(createRelayClient(config, { warn }).whoAmI()).rejects.toMatchObject({
      code: 'login-required',
      message: 'your login has expired',
    });
  });

  test('while the issuer is away, a token in its last minute still serves', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    await logIn(config);
    const { accessToken } = await stored(config);
    const issuer = 'http://127.0.0.1:1';
    await expire(config, { issuer, expiresAt: new Date(Date.now() + 50_000).toISOString() });
    expect(await createRelayClient(config, { warn }).accessToken()).toBe(accessToken);
    await expire(config, { issuer });
    await expect(createRelayClient(config, { warn }).accessToken()).rejects.toMatchObject({
      code: 'issuer-unreachable',
    });
  });
});

describe('logout', () => {
  test('ends the login at the issuer and forgets it', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay.url);
    await logIn(config);
    const before = await stored(config);
    expect(await logout(config, { warn })).toEqual({ relay: relay.url, wasLoggedIn: true, isRevoked: true });
    await expect(renew(before)).rejects.toMatchObject({ code: 'login-required' });
    await expect(createRelayClient(config, { warn }).whoAmI()).rejects.toMatchObject({ code: 'login-required' });
    expect(await logout(config, { warn })).toEqual({ relay: relay.url, wasLoggedIn: false, isRevoked: false });
  });

  test('forgets it also when the issuer is down, and says so', async () => {
    await using scratch = await makeScratch();
    await using doomed = await startProvider(common);
    await using its = await startRelay(doomed);
    const config = configOf(scratch.directory, its.url);
    await logIn(config);
    await doomed.stop();
    expect(await logout(config, { warn })).toEqual({
      relay: its.url,
      wasLoggedIn: true,
      isRevoked: false,
      reason: expect.stringContaining('nothing listens there'),
    });
    expect(await readFile(join(scratch.directory, 'credentials.json'), 'utf8')).not.toContain('Token');
  });
});
