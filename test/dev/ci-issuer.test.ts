/** The issuer on loopback is one: its tokens verify by what it publishes, its endpoints ask for what the platforms' ask for. */
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCiIssuer, type CiIssuer } from '../../src/dev/ci-issuer.ts';
import { flattenClaims } from '../../src/workload/claims.ts';
import { presetOf } from '../../src/workload/presets.ts';
import { presetNames } from '../../src/workload/workload.ts';

let issuer: CiIssuer;
beforeAll(async () => {
  issuer = await startCiIssuer({ claims: { 'github-actions': { actor: 'grace' } } });
});
afterAll(async () => await issuer[Symbol.asyncDispose]());

async function verify(token: string, audience: string) {
  const discovery = (await (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json()) as { issuer: string; jwks_uri: string };
  return (await jwtVerify(token, createRemoteJWKSet(new URL(discovery.jwks_uri)), { issuer: discovery.issuer, audience, algorithms: ['RS256'] })).payload;
}

test.each(presetNames)('a token of %s has what its preset asks for', async (preset) => {
  const token = await issuer.token(preset, { aud: 'gate' });
  const payload = await verify(token, 'gate');
  const { requiredClaims, anchors, types, lifetimeSecondsMax, claims } = presetOf({ preset });
  const flat = flattenClaims(payload);
  expect([...requiredClaims, ...anchors.flat(), 'sub'].filter((name) => !flat.has(name))).toEqual([]);
  expect(types).toContain((decodeProtectedHeader(token).typ)?.toLowerCase());
  expect(Number(payload.exp) - Number(payload.iat)).toBeLessThanOrEqual(lifetimeSecondsMax);
  if (preset !== 'generic') expect([...flat.keys()].filter((name) => !['iss', 'aud', 'exp', 'iat', 'nbf', 'jti', ...claims].includes(name))).toEqual([]);
});

test('claims, times and headers can be others, or none', async () => {
  const payload = await verify(await issuer.token('gitlab-ci', { aud: 'x', ref: 'other', jti: undefined }, { typ: 'at+jwt' }), 'x');
  expect([payload['ref'], payload.jti]).toEqual(['other', undefined]);
  const past = await issuer.token('gitlab-ci', { aud: 'x', exp: 1 });
  await expect(verify(past, 'x')).rejects.toThrow(/exp/);
});

test('GitHub hands a token out to the job that has the request token, for the audience it asks for', async () => {
  const { requestUrl, requestToken } = issuer.github;
  const asked = await fetch(`${requestUrl}&audience=gate-relay`, { headers: { authorization: `bearer ${requestToken}` } });
  const { value, count } = (await asked.json()) as { value: string; count: number };
  expect(count).toBe(value.length);
  expect(await verify(value, 'gate-relay')).toMatchObject({ actor: 'grace', repository: 'acme/shop' });
  const refused = await fetch(`${requestUrl}&audience=gate-relay`, { headers: { authorization: 'bearer other' } });
  expect(refused.status).toBe(401);
  expect(issuer.requests).toContain('GET /actions/token?api-version=2.0&audience=gate-relay');
});

test('Google hands a token out to whoever sends its header', async () => {
  const url = `http://${issuer.metadataHost}/computeMetadata/v1/instance/service-accounts/default/identity?audience=gate-relay`;
  const headers = { 'metadata-flavor': 'Google' };
  const full = await fetch(`${url}&format=full`, { headers });
  expect(full.headers.get('metadata-flavor')).toBe('Google');
  expect(await verify(await full.text(), 'gate-relay')).toMatchObject({ email_verified: true, google: { compute_engine: { project_id: 'acme-prod' } } });
  expect(await verify(await (await fetch(url, { headers })).text(), 'gate-relay')).not.toHaveProperty('google');
  expect((await fetch(url)).status).toBe(403);
  expect((await fetch(url.replace('?audience=gate-relay', ''), { headers })).status).toBe(400);
});

test('new keys sign at once, old ones stay until they are forgotten', async () => {
  const before = await issuer.token('generic');
  await issuer.rotate();
  const after = await issuer.token('generic');
  expect(decodeProtectedHeader(after).kid).not.toBe(decodeProtectedHeader(before).kid);
  await Promise.all([before, after].map((token) => verify(token, 'gate-relay')));
  await issuer.rotate({ forget: true });
  await expect(verify(after, 'gate-relay')).rejects.toThrow(/no applicable key/);
});

test('it can be away, and comes back where it was', async () => {
  const token = await issuer.token('generic');
  await issuer.goDown();
  await expect(fetch(issuer.url)).rejects.toThrow();
  await issuer.comeBack();
  expect(await verify(token, 'gate-relay')).toMatchObject({ sub: 'machine-7' });
});
