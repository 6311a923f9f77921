/** The parts of verification that no relay shows: texts read in one way only, limits to the letter, verifiers kept and dropped, keys over time. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { startCiIssuer, type CiIssuer } from '../../src/dev/ci-issuer.ts';
import { keyRefreshMs } from '../../src/oidc/issuer-keys.ts';
import { duplicateName, readToken } from '../../src/oidc/token-parts.ts';
import { WorkloadVerifier, WorkloadVerifiers } from '../../src/oidc/workload-verifier.ts';
import type { TrustedIssuer } from '../../src/workload/workload.ts';

let ci: CiIssuer;
beforeAll(async () => {
  ci = await startCiIssuer();
});
afterEach(() => void vi.useRealTimers());
afterAll(() => ci?.[Symbol.asyncDispose]());

function issuer(changes: Partial<TrustedIssuer> = {}): TrustedIssuer {
  return { name: 'ci', preset: 'generic', url: ci.url, audience: 'gate-relay', algorithms: ['RS256'], lifetimeSecondsMax: 300, requiredClaims: [], ...changes };
}

const seconds = (at = new Date()) => Math.floor(at.getTime() / 1000);

async function verify(claims: Record<string, unknown>, verifier = new WorkloadVerifier(issuer()), now = new Date()) {
  return verifier.verify(readToken(await ci.token('generic', { iat: seconds(), nbf: undefined, ...claims })), now);
}

test.each([
  ['{}', undefined],
  ['{"a":1,"b":{"a":2},"c":[{"a":1},{"a":2}]}', undefined],
  ['{"a":"\\"a\\":","b":"{\\"b\\":"}', undefined],
  ['{"a":1,"A":2}', undefined],
  ['{"__proto__":1,"constructor":2}', undefined],
  ['{"__proto__":1,"__proto__":2}', '__proto__'],
  ['{"a":1 , "a" : 2}', 'a'],
  ['{"a":1,"\\u0061":2}', 'a'],
  ['{"x":[[{"y":{"z":0,"z":0}}]]}', 'z'],
  ['{"a":{"b":1},"a":{}}', 'a'],
])('%s has twice: %s', (json, name) => {
  expect(() => JSON.parse(json)).not.toThrow();
  expect(duplicateName(json)).toBe(name);
});

describe('limits, to the second', () => {
  const now = new Date();
  const at = seconds(now);
  const verified = (claims: Record<string, unknown>) => verify({ iat: at, ...claims }, new WorkloadVerifier(issuer()), new Date(at * 1000)).then(() => 'good', (error: Error) => error.message);

  test.each([
    ['the longest life', { exp: at + 300 }, 'good'],
    ['a second more', { exp: at + 301 }, 'the token is good for 301 s, and one of ci may be for 300 s at most'],
    ['ended within the tolerance', { iat: at - 100, exp: at - 29 }, 'good'],
    ['ended at its edge', { iat: at - 100, exp: at - 30 }, 'the token has expired'],
    ['issued at the edge of the tolerance', { iat: at + 30, exp: at + 100 }, 'good'],
    ['issued behind it', { iat: at + 31, exp: at + 100 }, 'the token was issued in the future, by its claim "iat"'],
    ['good from the edge of the tolerance', { nbf: at + 30, exp: at + 100 }, 'good'],
    ['good from behind it', { nbf: at + 31, exp: at + 100 }, 'the token is not good yet, by its claim "nbf"'],
    ['an audience in a list of one', { aud: ['gate-relay'] }, 'good'],
  ])('%s', async (_name, claims, expected) => {
    expect(await verified({ exp: at + 300, ...claims })).toBe(expected);
  });
});

test('what a token is remembered by is its id and its issuer, and without an id what is signed', async () => {
  const jti = 'one';
  const [first, again, other, bare] = [await verify({ jti }), await verify({ jti, exp: seconds() + 100 }), await verify({ jti: 'two' }), await verify({ jti: undefined, n: 1 })];
  expect(first.once).toBe(again.once);
  expect(new Set([first, other, bare, await verify({ jti: undefined, n: 2 })].map(({ once }) => once)).size).toBe(4);
  expect(first.claims.get('sub')).toBe('machine-7');
});

test('a verifier stays while nothing changes for its issuer, and goes when something does', () => {
  const verifiers = new WorkloadVerifiers();
  const one = verifiers.of(issuer(), [issuer()]);
  expect(verifiers.of(issuer(), [issuer(), issuer({ name: 'two', url: 'https://two.example' })])).toBe(one);
  const changed = issuer({ audience: 'other' });
  expect(verifiers.of(changed, [changed])).not.toBe(one);
  expect(verifiers.of(issuer(), [issuer()])).not.toBe(one);
});

test('keys at a known address need no discovery', async () => {
  const before = ci.requests.length;
  await verify({}, new WorkloadVerifier(issuer({ jwksUrl: `${ci.url}/.well-known/jwks` })));
  expect(ci.requests.slice(before)).toEqual(['GET /.well-known/jwks']);
  await expect(verify({}, new WorkloadVerifier(issuer({ jwksUrl: `${ci.url}/nothing` })))).rejects.toMatchObject({ code: 'issuer-unreachable' });
});

test('a flood of invented keys is asked about once in half a minute, and a key that is new then is found', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const verifier = new WorkloadVerifier(issuer({ lifetimeSecondsMax: 3600 }));
  const flood = () => Promise.allSettled(Array.from({ length: 50 }, async (_, index) => verifier.verify(readToken(await ci.token('generic', {}, { kid: `k${index}` })), new Date())));
  await verify({}, verifier);
  const before = ci.requests.length;
  for (const { status } of [...(await flood()), ...(await flood())]) expect(status).toBe('rejected');
  expect(ci.requests.slice(before)).toEqual(['GET /.well-known/jwks']);
  await verify({}, verifier);
  await ci.rotate();
  await expect(verify({}, verifier)).rejects.toMatchObject({ code: 'login-failed', hint: 'If its keys have changed just now, try again in half a minute.' });
  vi.setSystemTime(Date.now() + keyRefreshMs);
  await verify({}, verifier);
  expect(ci.requests.slice(before)).toHaveLength(2);
});

test('away, nothing is taken on trust once its keys are old; back, all is as before', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const verifier = new WorkloadVerifier(issuer());
  await verify({}, verifier);
  await ci.goDown();
  await verify({}, verifier);
  vi.setSystemTime(Date.now() + 11 * 60_000);
  await expect(verify({}, verifier)).rejects.toMatchObject({ code: 'issuer-unreachable', message: expect.stringContaining('connection refused') });
  await ci.comeBack();
  await verify({}, verifier);
});
