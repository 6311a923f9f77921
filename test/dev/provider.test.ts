/** The demo provider through its real endpoints and pages, with openid-client and jose on the other side. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify, type JWTPayload } from 'jose';
import * as client from 'openid-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEMO_ACCOUNTS } from '../../src/dev/accounts.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startProvider, type Provider } from '../../src/dev/provider.ts';

const SCOPE = 'openid profile email offline_access';
const BASE = { accounts: DEMO_ACCOUNTS, audience: 'gate-relay', clientId: 'gate-cli' };

let provider: Provider;
let config: client.Configuration;

beforeAll(async () => {
  provider = await startProvider(BASE);
  config = await discover(provider);
}, 60_000);

afterAll(() => provider.stop());

function discover({ issuer }: Provider): Promise<client.Configuration> {
  return client.discovery(new URL(issuer), 'gate-cli', undefined, client.None(), {
    execute: [client.allowInsecureRequests],
  });
}

async function begin(): Promise<client.DeviceAuthorizationResponse> {
  return client.initiateDeviceAuthorization(config, { scope: SCOPE });
}

async function logIn(account: string): Promise<client.TokenEndpointResponse & client.TokenEndpointResponseHelpers> {
  const device = await begin();
  const answer = { verificationUri: device.verification_uri, userCode: device.user_code, account };
  await approveDevice({ ...answer, decision: 'approve' });
  return client.pollDeviceAuthorizationGrant(config, { ...device, interval: 0.05 });
}

async function verifyAccessToken(token: string, from: Provider = provider): Promise<JWTPayload> {
  const keys = createRemoteJWKSet(new URL(`${from.issuer}/jwks`));
  const options = { issuer: from.issuer, audience: 'gate-relay', algorithms: ['RS256'], typ: 'at+jwt' };
  return (await jwtVerify(token, keys, options)).payload;
}

describe('device flow', () => {
  test('approved: access token and ID token carry subject, name and groups', async () => {
    const tokens = await logIn('operator');
    const payload = await verifyAccessToken(tokens.access_token);
    const person = { preferred_username: 'operator', groups: ['operations', 'audit'], email: 'oana@example.com' };
    expect(payload).toMatchObject({ ...person, client_id: 'gate-cli' });
    expect(payload.sub).not.toBe('operator');
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(3600);
    expect(tokens.claims()).toMatchObject({ ...person, sub: payload.sub, name: 'Oana Petrescu', aud: 'gate-cli' });
    expect(tokens.refresh_token).toBeTypeOf('string');
  });

  test('denied: the client is told access_denied', async () => {
    const device = await begin();
    expect(device.interval).toBe(1);
    const { verification_uri: verificationUri, user_code: userCode } = device;
    await approveDevice({ verificationUri, userCode, account: 'dba', decision: 'deny' });
    await expect(client.pollDeviceAuthorizationGrant(config, { ...device, interval: 0.05 })).rejects.toMatchObject({
      error: 'access_denied',
    });
  });

  test('verification_uri_complete leads to the same pages', async () => {
    const device = await begin();
    const uri = device.verification_uri_complete ?? '';
    await approveDevice({ verificationUri: uri, userCode: device.user_code, account: 'dba', decision: 'approve' });
    const tokens = await client.pollDeviceAuthorizationGrant(config, { ...device, interval: 0.05 });
    expect(await verifyAccessToken(tokens.access_token)).toMatchObject({ groups: ['dba'] });
  });

  test('an unknown code, a used one and an unknown account are named', async () => {
    const { verification_uri: verificationUri, user_code: userCode } = await begin();
    const answer = { verificationUri, userCode, account: 'dba', decision: 'approve' as const };
    await expect(approveDevice({ ...answer, userCode: 'XXXX-XXXX' })).rejects.toThrow(/code is unknown/);
    await expect(approveDevice({ ...answer, account: 'nobody' })).rejects.toThrow(
      'there is no account nobody, only engineer, dba, dba2, operator',
    );
    const second = await begin();
    await approveDevice({ ...answer, userCode: second.user_code });
    await expect(approveDevice({ ...answer, userCode: second.user_code })).rejects.toThrow(/used already/);
  });

  test('a provider elsewhere is never answered', async () => {
    const answer = { verificationUri: 'https://idp.example.com/device', userCode: 'A', account: 'dba' };
    await expect(approveDevice({ ...answer, decision: 'approve' })).rejects.toMatchObject({ code: 'usage' });
  });

  test('the confirmation page names client, code and caution', async () => {
    const device = await begin();
    const page = await fetch(device.verification_uri);
    const cookie = page.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ');
    const xsrf = /name="xsrf" value="([^"]+)"/.exec(await page.text())?.[1] ?? '';
    const confirm = await fetch(device.verification_uri, {
      method: 'POST',
      headers: { cookie },
      body: new URLSearchParams({ xsrf, user_code: device.user_code }),
    });
    const text = await confirm.text();
    expect(text).toContain('<strong>gate-cli</strong>');
    expect(text).toContain(`<code>${device.user_code}</code>`);
    expect(text).toContain('Continue only if you started this yourself');
    expect(text).toMatch(/name="abort" value="yes">Deny</);
  });
});

describe('tokens', () => {
  test('a refresh rotates, reads the groups again, and the old refresh token then ends the family', async () => {
    const tokens = await logIn('engineer');
    const first = tokens.refresh_token ?? '';
    provider.setGroups('engineer', ['engineering', 'on-call']);
    const next = await client.refreshTokenGrant(config, first);
    provider.setGroups('engineer', ['engineering']);
    expect(next.refresh_token).not.toBe(first);
    expect(await verifyAccessToken(next.access_token)).toMatchObject({ groups: ['engineering', 'on-call'] });
    await expect(client.refreshTokenGrant(config, first)).rejects.toMatchObject({ error: 'invalid_grant' });
    await expect(client.refreshTokenGrant(config, next.refresh_token ?? '')).rejects.toMatchObject({
      error: 'invalid_grant',
    });
  });

  test('a revoked refresh token is refused', async () => {
    const { refresh_token: token = '' } = await logIn('engineer');
    await client.tokenRevocation(config, token);
    await expect(client.refreshTokenGrant(config, token)).rejects.toMatchObject({ error: 'invalid_grant' });
  });

  test('after a rotation the new key signs and tokens of the old one still verify', async () => {
    const before = (await logIn('engineer')).access_token;
    await provider.rotateKeys();
    const after = (await logIn('engineer')).access_token;
    expect(keyIdOf(after)).not.toBe(keyIdOf(before));
    await verifyAccessToken(before);
    await verifyAccessToken(after);
  });
});

test('with a state file, keys and refresh tokens survive a restart, in a file for the owner alone', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gate-test-'));
  const stateFile = join(directory, 'secrets', 'provider.json');
  let own = await startProvider({ ...BASE, stateFile });
  try {
    const shared = config;
    config = await discover(own);
    const tokens = await logIn('dba');
    config = shared;
    await own.stop();
    own = await startProvider({ ...BASE, stateFile, port: own.port });
    await verifyAccessToken(tokens.access_token, own);
    const next = await client.refreshTokenGrant(await discover(own), tokens.refresh_token ?? '');
    expect(await verifyAccessToken(next.access_token, own)).toMatchObject({ groups: ['dba'] });
    expect((await stat(stateFile)).mode & 0o777).toBe(0o600);
    expect((await stat(join(directory, 'secrets'))).mode & 0o777).toBe(0o700);
  } finally {
    await own.stop();
    await rm(directory, { recursive: true });
  }
});

test('a taken port is a clear failure', async () => {
  await expect(startProvider({ ...BASE, port: provider.port })).rejects.toMatchObject({ code: 'usage' });
});

function keyIdOf(token: string): string | undefined {
  return decodeProtectedHeader(token).kid;
}
