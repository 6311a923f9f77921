/** Token verification against a real key server and a real provider: every hostile token is refused for its own reason. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CompactSign, exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT, type JWK, type JWTPayload } from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { DEMO_ACCOUNTS } from '../../src/dev/accounts.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startProvider, type Provider } from '../../src/dev/provider.ts';
import { GateError } from '../../src/errors/errors.ts';
import { keyRefreshMs } from '../../src/oidc/issuer-keys.ts';
import { clockToleranceSeconds, tokenLengthMax, TokenVerifier, verifiedMax, verifiedMs, type IssuerSettings } from '../../src/oidc/verify.ts';

type Pair = Awaited<ReturnType<typeof generateKeyPair>>;
type Key = { readonly kid: string; readonly alg: string; readonly jwk: JWK } & Pair;

async function makeKey(kid: string, alg = 'ES256'): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

type Answer = (request: IncomingMessage, response: ServerResponse) => boolean;

/** An issuer that publishes what it is told to, and counts what it is asked for. */
class Issuer {
  keys: JWK[] = [];
  metadata: Record<string, unknown> = {};
  readonly asked = { metadata: 0, keys: 0 };
  answer: Answer | undefined;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<Issuer> {
    const server = createServer();
    const issuer = new Issuer(server);
    server.on('request', (request, response) => issuer.#serve(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    issuer.metadata = { issuer: issuer.url, jwks_uri: `${issuer.url}/keys` };
    return issuer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    response.shouldKeepAlive = false;
    const isMetadata = request.url === '/.well-known/openid-configuration';
    this.asked[isMetadata ? 'metadata' : 'keys']++;
    if (this.answer?.(request, response)) return;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(isMetadata ? this.metadata : { keys: this.keys }));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

let issuer: Issuer;
let key: Key;
let stranger: Key;
let rsa: Key;
let hmacKey: Uint8Array;

beforeAll(async () => {
  [key, stranger, rsa] = await Promise.all([makeKey('k1'), makeKey('k1'), makeKey('r1', 'RS256')]);
  hmacKey = new TextEncoder().encode(await exportSPKI(rsa.publicKey));
});

beforeEach(async () => {
  issuer = await Issuer.start();
  issuer.keys = [key.jwk, rsa.jwk];
});

afterEach(async () => {
  vi.useRealTimers();
  await issuer.stop();
});

function settings(changes: Partial<IssuerSettings> = {}): IssuerSettings {
  const algorithms = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];
  return { url: issuer.url, audience: 'gate-relay', algorithms, groupsClaim: 'groups', nameClaim: 'preferred_username', ...changes };
}

const seconds = () => Math.floor(Date.now() / 1000);

function claims(changes: JWTPayload = {}): JWTPayload {
  const base = { iss: issuer.url, aud: 'gate-relay', sub: 'u1', iat: seconds(), exp: seconds() + 600, groups: ['engineering'] };
  return { ...base, ...changes };
}

function without(...names: string[]): JWTPayload {
  return Object.fromEntries(Object.entries(claims()).filter(([name]) => !names.includes(name)));
}

function sign(payload: JWTPayload, header: Record<string, unknown> = {}, by: Key = key): Promise<string> {
  return new SignJWT(payload).setProtectedHeader({ alg: by.alg, kid: by.kid, typ: 'at+jwt', ...header }).sign(by.privateKey);
}

async function refusal(token: string, verifier = new TokenVerifier(settings())): Promise<GateError> {
  const result = await verifier.verify(token).catch((error: unknown) => error);
  if (result instanceof GateError) return result;
  throw new Error(`not refused: ${JSON.stringify(result)}`);
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a good token', () => {
  test.each([
    ['at+jwt', {}, {}],
    ['application/at+jwt', { typ: 'application/AT+JWT' }, {}],
    ['JWT with a scope', { typ: 'JWT' }, { scope: 'openid' }],
    ['JWT of Keycloak', { typ: 'JWT' }, { typ: 'Bearer' }],
    ['no type, with a client', { typ: undefined }, { client_id: 'gate-cli' }],
    ['two audiences', {}, { aud: ['account', 'gate-relay'] }],
    ['no groups at all', {}, { groups: [] }],
    ['expired within the tolerance', {}, { iat: 1, exp: 20 }],
    ['issued in the near future', {}, { iat: -20 }],
    ['valid from soon', {}, { nbf: -20 }],
  ])('%s', async (_name, header, changes: JWTPayload) => {
    const { iat, exp, nbf, ...rest } = changes;
    const times = {
      ...(iat !== undefined && { iat: seconds() - iat }),
      ...(exp !== undefined && { exp: seconds() - exp }),
      ...(nbf !== undefined && { nbf: seconds() - nbf }),
    };
    const { principal } = await new TokenVerifier(settings()).verify(await sign(claims({ ...rest, ...times }), header));
    expect(principal).toEqual({ issuer: issuer.url, subject: 'u1', kind: 'human', name: 'u1', groups: rest['groups'] ?? ['engineering'] });
  });

  test('the name is what people read; the end is the token’s own', async () => {
    const exp = seconds() + 77;
    const verified = await new TokenVerifier(settings()).verify(await sign(claims({ preferred_username: 'ada', exp })));
    expect(verified).toMatchObject({ principal: { name: 'ada', subject: 'u1' }, expiresAt: new Date(exp * 1000) });
  });
});

type Hostile = readonly [string, () => string | Promise<string>, string | RegExp];

const hostile: readonly Hostile[] = [
  // Not signed, or not by whom it should be.
  ['alg none', () => new UnsecuredJWT(claims()).encode(), /malformed|algorithm/],
  ['alg none with a type', () => `${encode({ alg: 'none', typ: 'at+jwt' })}.${encode(claims())}.`, /algorithm/],
  ['alg nOnE', () => `${encode({ alg: 'nOnE' })}.${encode(claims())}.AA`, /algorithm/],
  ['alg missing', () => `${encode({ kid: 'k1' })}.${encode(claims())}.AA`, 'the token is malformed'],
  ['alg a number', () => `${encode({ alg: 5 })}.${encode(claims())}.AA`, 'the token is malformed'],
  ['HS256 with the public key as the secret', () => new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', kid: 'r1' }).sign(hmacKey), /algorithm/],
  ['an algorithm off the list', async () => {
    const es512 = await makeKey('k5', 'ES512');
    issuer.keys.push(es512.jwk);
    return sign(claims(), {}, es512);
  }, /algorithm/],
  ['another key under a known id', () => sign(claims(), {}, stranger), "the token's signature does not verify"],
  ['a key in the header', async () => sign(claims(), { jwk: stranger.jwk }, stranger), "the token's signature does not verify"],
  ['a key in the header under an id of its own', () => sign(claims(), { jwk: stranger.jwk, kid: 'own' }, stranger), /does not publish/],
  ['a key address in the header', () => sign(claims(), { jku: 'http://127.0.0.1:9/keys', kid: 'own' }, stranger), /does not publish/],
  ['a certificate address in the header', () => sign(claims(), { x5u: 'http://127.0.0.1:9/x', kid: 'own' }, stranger), /does not publish/],
  ['an unknown key id', () => sign(claims(), { kid: 'k2' }), /does not publish/],
  ['a path as key id', () => sign(claims(), { kid: '../../etc/passwd' }), /does not publish/],
  ['SQL as key id', () => sign(claims(), { kid: "k1' or '1'='1" }), /does not publish/],
  ['__proto__ as key id', () => sign(claims(), { kid: '__proto__' }), /does not publish/],
  ['the key id of a key for another algorithm', () => sign(claims(), { kid: 'r1' }), /does not publish/],
  ['no key id where two keys fit', async () => {
    issuer.keys.push((await makeKey('k9')).jwk);
    return sign(claims(), { kid: undefined });
  }, /which key/],
  ['an unknown critical extension', () => sign(claims(), {}).then((token) => {
    const [, payload, signature] = token.split('.');
    return `${encode({ alg: 'ES256', kid: 'k1', crit: ['x'], x: 1 })}.${payload}.${signature}`;
  }), /extension/],
  ['an unencoded payload', () => sign(claims()).then((token) => {
    const [, payload, signature] = token.split('.');
    return `${encode({ alg: 'ES256', kid: 'k1', crit: ['b64'], b64: false })}.${payload}.${signature}`;
  }), /malformed|signature/],
  ['a changed payload', () => sign(claims()).then((token) => {
    const [header, , signature] = token.split('.');
    return `${header}.${encode(claims({ groups: ['dba'] }))}.${signature}`;
  }), "the token's signature does not verify"],
  ['a signature of zeroes (CVE-2022-21449)', () => sign(claims()).then((token) => {
    return `${token.slice(0, token.lastIndexOf('.'))}.${Buffer.alloc(64).toString('base64url')}`;
  }), "the token's signature does not verify"],
  ['no signature', () => sign(claims()).then((token) => token.slice(0, token.lastIndexOf('.') + 1)), /signature/],
  // Not a token at all.
  ['nothing', () => '', 'the token is malformed'],
  ['words', () => 'please let me in', 'the token is malformed'],
  ['dots', () => '...', 'the token is malformed'],
  ['five parts, as encrypted ones have', () => 'a.b.c.d.e', 'the token is malformed'],
  ['zero bytes', () => '\0.\0.\0', 'the token is malformed'],
  ['a list as payload', () => new CompactSign(Buffer.from('[]')).setProtectedHeader({ alg: 'ES256', kid: 'k1' }).sign(key.privateKey), 'the token is malformed'],
  ['too long', () => sign(claims({ pad: 'x'.repeat(tokenLengthMax) })), `the token is longer than ${tokenLengthMax} characters`],
  // For someone else.
  ['another issuer', () => sign(claims({ iss: 'https://evil.example' })), `the token's claim "iss" is not what this relay accepts`],
  ['the issuer with a slash', () => sign(claims({ iss: `${issuer.url}/` })), `the token's claim "iss" is not what this relay accepts`],
  ['no issuer', () => sign(without('iss')), `the token's claim "iss" is missing`],
  ['another audience', () => sign(claims({ aud: 'other' })), `the token's claim "aud" is not what this relay accepts`],
  ['an audience that begins alike', () => sign(claims({ aud: 'gate-relay-2' })), `the token's claim "aud" is not what this relay accepts`],
  ['no audience', () => sign(without('aud')), `the token's claim "aud" is missing`],
  ['an empty list of audiences', () => sign(claims({ aud: [] })), `the token's claim "aud" is not what this relay accepts`],
  // Not now.
  ['expired beyond the tolerance', () => sign(claims({ iat: seconds() - 99, exp: seconds() - 31 })), 'the token has expired'],
  ['no end', () => sign(without('exp')), `the token's claim "exp" is missing`],
  ['an end in words', () => sign(claims({ exp: 'never' as unknown as number })), /"exp"|malformed/],
  ['an end in a thousand years', () => sign(claims({ exp: seconds() + 3e10 })), 'the token is valid for longer than 24 hours'],
  ['an end one second too late', () => sign(claims({ iat: seconds(), exp: seconds() + 86_402 })), 'the token is valid for longer than 24 hours'],
  ['no beginning', () => sign(without('iat')), `the token's claim "iat" is missing`],
  ['issued in the future', () => sign(claims({ iat: seconds() + 90 })), 'the token was issued in the future'],
  ['not valid yet', () => sign(claims({ nbf: seconds() + 90 })), `the token's claim "nbf" is not what this relay accepts`],
  // Nobody.
  ['no subject', () => sign(without('sub')), `the token's claim "sub" is missing`],
  ['an empty subject', () => sign(claims({ sub: '' })), /names nobody/],
  ['a number as subject', () => sign(claims({ sub: 7 as unknown as string })), /names nobody/],
  // Groups that are not there.
  ['no groups', () => sign(without('groups')), 'the token has no list of groups in its claim "groups"'],
  ['groups in one text', () => sign(claims({ groups: 'dba,engineering' })), 'the token has no list of groups in its claim "groups"'],
  ['groups as an object', () => sign(claims({ groups: { 0: 'dba', length: 1 } })), 'the token has no list of groups in its claim "groups"'],
  ['a group that is no text', () => sign(claims({ groups: ['dba', 7] })), 'the token has no list of groups in its claim "groups"'],
  ['groups elsewhere, as Entra does above 200', () => sign({ ...without('groups'), _claim_names: { groups: 'src1' } }), 'the token has no list of groups in its claim "groups"'],
  // Tokens of another kind, signed by the same key.
  ['an ID token', () => sign(claims({ at_hash: 'x' }), { typ: 'JWT' }), /is an ID token/],
  ['an ID token without a type', () => sign(claims({ nonce: 'x' }), { typ: undefined }), /is an ID token/],
  ['an ID token of Keycloak', () => sign(claims({ typ: 'ID' }), { typ: 'JWT' }), 'a token of type "ID" is not an access token'],
  ['a token of type JWT that says nothing', () => sign(claims(), { typ: 'JWT' }), /does not say that it is an access token/],
  ['a refresh token of Keycloak', () => sign(claims({ typ: 'Refresh' }), { typ: 'JWT' }), 'a token of type "Refresh" is not an access token'],
  ['a logout token', () => sign(claims(), { typ: 'logout+jwt' }), 'a token of type "logout+jwt" is not an access token'],
  ['a security event', () => sign(claims(), { typ: 'secevent+jwt' }), 'a token of type "secevent+jwt" is not an access token'],
  ['a proof of possession', () => sign(claims(), { typ: 'dpop+jwt' }), 'a token of type "dpop+jwt" is not an access token'],
];

describe('a hostile token', () => {
  test.each(hostile)('%s', async (_name, make, reason) => {
    const error = await refusal(await make());
    expect(error.code).toBe('login-required');
    if (typeof reason === 'string') expect(error.message).toBe(reason);
    else expect(error.message).toMatch(reason);
  });

  test('where the issuer follows RFC 9068, anything but at+jwt is refused', async () => {
    const verifier = new TokenVerifier(settings({ tokenType: 'at+jwt' }));
    await expect(verifier.verify(await sign(claims()))).resolves.toBeDefined();
    for (const typ of ['JWT', undefined]) {
      expect((await refusal(await sign(claims(), { typ }), verifier)).message).toContain('at+jwt');
    }
  });

  test('no refusal repeats the token', async () => {
    const token = await sign(claims(), {}, stranger);
    expect(JSON.stringify(await refusal(token))).not.toContain(token.slice(-20));
  });
});

describe('a token that was verified before', () => {
  test('is refused once its key is withdrawn and the keys are fetched again', async () => {
    const verifier = new TokenVerifier(settings());
    const token = await sign(claims());
    const first = await verifier.verify(token);
    expect(await verifier.verify(token)).toBe(first);
    const next = await makeKey('k2');
    issuer.keys = [next.jwk];
    await verifier.verify(await sign(claims(), {}, next));
    expect((await refusal(token, verifier)).message).toMatch(/does not publish/);
  });

  test('is refused once it has expired, or was issued in the future of a clock set back', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const verifier = new TokenVerifier(settings());
    const start = Date.now();
    const token = await sign(claims({ exp: seconds() + 60 }));
    await verifier.verify(token);
    vi.setSystemTime(start - 60_000);
    expect((await refusal(token, verifier)).message).toMatch(/future/);
    vi.setSystemTime(start);
    await verifier.verify(token);
    vi.setSystemTime(start + 60_000 + clockToleranceSeconds * 1000 + 1000);
    expect((await refusal(token, verifier)).message).toMatch(/expired/);
  });

  test('is looked at in full again after a time, and is one of a number', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const verifier = new TokenVerifier(settings());
    const token = await sign(claims());
    const first = await verifier.verify(token);
    vi.advanceTimersByTime(verifiedMs - 1);
    expect(await verifier.verify(token)).toBe(first);
    vi.advanceTimersByTime(1);
    const second = await verifier.verify(token);
    expect(second).not.toBe(first);
    const others = await Promise.all(Array.from({ length: verifiedMax }, (_, n) => sign(claims({ sub: `other-${n}` }))));
    for (const other of others.slice(1)) await verifier.verify(other);
    expect(await verifier.verify(token)).toBe(second);
    await verifier.verify(others[0] as string);
    expect(await verifier.verify(token)).not.toBe(second);
  });

  test('another token with the same claims is another token', async () => {
    const verifier = new TokenVerifier(settings());
    const payload = claims();
    await verifier.verify(await sign(payload));
    expect((await refusal(await sign(payload, {}, stranger), verifier)).message).toMatch(/signature/);
  });
});

describe('key rotation', () => {
  test('a key that is new since the first fetch is accepted at once, and a withdrawn one no longer', async () => {
    const verifier = new TokenVerifier(settings());
    await verifier.verify(await sign(claims()));
    const next = await makeKey('k2');
    issuer.keys = [next.jwk];
    await expect(verifier.verify(await sign(claims(), {}, next))).resolves.toBeDefined();
    expect((await refusal(await sign(claims()), verifier)).message).toMatch(/does not publish/);
    expect(issuer.asked).toEqual({ metadata: 1, keys: 2 });
  });

  test('many tokens of a new key at once cause one fetch, and all are accepted', async () => {
    const verifier = new TokenVerifier(settings());
    await verifier.isReady();
    const next = await makeKey('k2');
    issuer.keys = [key.jwk, next.jwk];
    const tokens = await Promise.all(Array.from({ length: 50 }, () => sign(claims(), {}, next)));
    await Promise.all(tokens.map((token) => verifier.verify(token)));
    expect(issuer.asked.keys).toBe(2);
  });

  test('a flood of invented key ids fetches once in 30 seconds', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const verifier = new TokenVerifier(settings());
    await verifier.verify(await sign(claims()));
    const flood = async () => {
      for (let round = 0; round < 5; round++) {
        const tokens = await Promise.all(Array.from({ length: 20 }, (_, n) => sign(claims(), { kid: `no-${round}-${n}` })));
        await Promise.all(tokens.map((token) => refusal(token, verifier)));
      }
    };
    await flood();
    expect(issuer.asked.keys).toBe(2);
    vi.setSystemTime(Date.now() + keyRefreshMs - 1);
    await flood();
    expect(issuer.asked.keys).toBe(2);
    vi.setSystemTime(Date.now() + 1);
    await flood();
    expect(issuer.asked.keys).toBe(3);
    // Good tokens are not disturbed.
    await expect(verifier.verify(await sign(claims()))).resolves.toBeDefined();
    expect(issuer.asked.metadata).toBe(1);
  });
});

describe('an issuer in trouble', () => {
  async function trouble(answer: Answer | undefined, url = issuer.url): Promise<GateError> {
    issuer.answer = answer;
    const verifier = new TokenVerifier(settings({ url }));
    const error = await refusal(await sign(claims()), verifier);
    expect(await verifier.isReady()).toBe(false);
    return error;
  }
  const send = (response: ServerResponse, body: string, status = 200): boolean => {
    response.writeHead(status).end(body);
    return true;
  };
  const redirect = (response: ServerResponse): boolean => {
    response.writeHead(302, { location: '/x' }).end();
    return true;
  };
  const cut = (response: ServerResponse): boolean => {
    response.destroy();
    return true;
  };
  const isMetadata = (request: IncomingMessage): boolean => request.url?.startsWith('/.well-known') === true;

  test('nobody listens', async () => {
    const { url } = issuer;
    const token = await sign(claims());
    const verifier = new TokenVerifier(settings());
    await issuer.stop();
    const error = await refusal(token, verifier);
    expect(error).toMatchObject({ code: 'issuer-unreachable' });
    expect(error.message).toContain(`cannot read the keys of ${url}: nothing listens there`);
    issuer = await Issuer.start();
  });

  test.each([
    ['the metadata are an error', (q: IncomingMessage, r: ServerResponse) => isMetadata(q) && send(r, 'no', 500), /it answered 500/],
    ['the metadata are no JSON', (q: IncomingMessage, r: ServerResponse) => isMetadata(q) && send(r, '<html>'), /not JSON/],
    ['the metadata are null', (q: IncomingMessage, r: ServerResponse) => isMetadata(q) && send(r, 'null'), /not an object/],
    ['the metadata never end', (q: IncomingMessage, r: ServerResponse) => isMetadata(q) && send(r, ' '.repeat(300_000)), /too long/],
    ['the metadata redirect', (q: IncomingMessage, r: ServerResponse) => isMetadata(q) && redirect(r), /redirect/],
    ['the keys are an error', (q: IncomingMessage, r: ServerResponse) => !isMetadata(q) && send(r, 'no', 503), /200/],
    ['the keys are no JSON', (q: IncomingMessage, r: ServerResponse) => !isMetadata(q) && send(r, 'x'), /JSON/],
    ['the keys are no key set', (q: IncomingMessage, r: ServerResponse) => !isMetadata(q) && send(r, '{"keys":"x"}'), /malformed/i],
    ['the keys redirect', (q: IncomingMessage, r: ServerResponse) => !isMetadata(q) && redirect(r), /200/],
    ['the connection is cut', (_q: IncomingMessage, r: ServerResponse) => cut(r), /cut/],
  ] as const)('%s', async (_name, answer, reason) => {
    const error = await trouble(answer);
    expect(error.code).toBe('issuer-unreachable');
    expect(error.message).toMatch(reason);
  });

  test.each([
    ['another issuer', { issuer: 'https://evil.example' }, /it calls itself "https:\/\/evil\.example"/],
    ['no issuer', { issuer: undefined }, /it calls itself undefined/],
    ['no keys', { jwks_uri: undefined }, /names no jwks_uri/],
    ['keys in a file', { jwks_uri: 'file:///etc/passwd' }, /neither https nor http/],
    ['keys over plain http', { jwks_uri: 'http://keys.example/jwks' }, /plain http/],
    ['keys with a password', { jwks_uri: 'https://a:b@keys.example/jwks' }, /user name or a password/],
    ['keys at no address', { jwks_uri: 'keys' }, /not a URL/],
  ])('metadata that lie: %s', async (_name, changes, reason) => {
    issuer.metadata = { ...issuer.metadata, ...changes };
    const error = await trouble(undefined);
    expect(error.code).toBe('issuer-unreachable');
    expect(error.message).toMatch(reason);
    expect(issuer.asked.keys).toBe(0);
  });

  test('it recovers without a restart', async () => {
    issuer.answer = (_request, response) => send(response, 'no', 500);
    const verifier = new TokenVerifier(settings());
    expect(await verifier.isReady()).toBe(false);
    issuer.answer = undefined;
    await expect(verifier.verify(await sign(claims()))).resolves.toBeDefined();
    expect(await verifier.isReady()).toBe(true);
  });
});

describe('the provider of gate dev', () => {
  let provider: Provider;
  beforeAll(async () => {
    provider = await startProvider({ accounts: DEMO_ACCOUNTS, audience: 'gate-relay', clientId: 'gate-cli' });
  });
  afterAll(() => provider.stop());

  /** The tokens of a device login, straight from the endpoints. */
  async function logIn(account: string): Promise<{ access_token: string; id_token: string }> {
    const post = async (path: string, body: Record<string, string>) => {
      const answer = await fetch(`${provider.issuer}${path}`, { method: 'POST', body: new URLSearchParams(body) });
      return (await answer.json()) as Record<string, string>;
    };
    const metadata = (await (await fetch(`${provider.issuer}/.well-known/openid-configuration`)).json()) as Record<string, string>;
    const pathOf = (name: string) => new URL(metadata[name] as string).pathname;
    const device = await post(pathOf('device_authorization_endpoint'), { client_id: 'gate-cli', scope: 'openid profile email' });
    await approveDevice({
      verificationUri: device['verification_uri'] as string,
      userCode: device['user_code'] as string,
      account,
      decision: 'approve',
    });
    const tokens = await post(pathOf('token_endpoint'), {
      client_id: 'gate-cli',
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      device_code: device['device_code'] as string,
    });
    return tokens as { access_token: string; id_token: string };
  }

  test('its access token is accepted, its ID token is not, even for the same audience', async () => {
    const tokens = await logIn('engineer');
    const own = settings({ url: provider.issuer });
    const { principal } = await new TokenVerifier({ ...own, tokenType: 'at+jwt' }).verify(tokens.access_token);
    expect(principal).toMatchObject({ name: 'engineer', groups: ['engineering'], issuer: provider.issuer });
    expect((await refusal(tokens.id_token, new TokenVerifier(own))).message).toBe(`the token's claim "aud" is not what this relay accepts`);
    const sameAudience = { ...own, audience: 'gate-cli' };
    expect((await refusal(tokens.id_token, new TokenVerifier(sameAudience))).message).toMatch(/does not say that it is an access token/);
  });

  test('tokens of the old and the new key are accepted over a rotation', async () => {
    const verifier = new TokenVerifier(settings({ url: provider.issuer }));
    const before = await logIn('dba');
    await verifier.verify(before.access_token);
    await provider.rotateKeys();
    const after = await logIn('operator');
    expect((await verifier.verify(after.access_token)).principal.name).toBe('operator');
    expect((await verifier.verify(before.access_token)).principal.name).toBe('dba');
  });
});
