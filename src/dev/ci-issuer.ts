/** A real issuer of workloads' tokens on loopback, for tests and the demo: keys over HTTP, and the places where platforms hand their tokens out. */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { GateError } from '../errors/errors.ts';
import type { PresetName } from '../workload/workload.ts';
import { payloadOf, sampleTokens, type TokenClaims } from './ci-tokens.ts';

export type CiIssuerOptions = {
  /** Must be free; without it any free port. */
  readonly port?: number;
  /** What the endpoints of GitHub and Google hand out, on top of the usual claims. */
  readonly claims?: { readonly [name in PresetName]?: TokenClaims };
  /** The clock of new tokens. */
  now?(): Date;
};

export type CiIssuer = {
  /** The `iss` of its tokens. */
  readonly url: string;
  readonly port: number;
  /** Of a run on GitHub: both of its variables, which gate exec reads. */
  readonly github: { readonly requestUrl: string; readonly requestToken: string };
  /** Of a machine at Google: `host:port` of its metadata server. */
  readonly metadataHost: string;
  /** Method and path of each request so far. */
  readonly requests: readonly string[];
  /** A token of the platform as it would issue it; claims that are undefined are left out. */
  token(preset: PresetName, claims?: TokenClaims, header?: TokenClaims): Promise<string>;
  /** A new key signs from now on; the ones before stay published unless told otherwise. */
  rotate(options?: { readonly forget?: boolean }): Promise<void>;
  /** Nothing answers, as if the issuer were away. */
  goDown(): Promise<void>;
  comeBack(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

type Key = { readonly kid: string; readonly privateKey: CryptoKey; readonly jwk: JWK };

const identityPath = '/computeMetadata/v1/instance/service-accounts/default/identity';
const metadataHeader = { 'metadata-flavor': 'Google' };

/** Resolves when it serves. Fails with `usage` when the port is taken. */
export async function startCiIssuer(options: CiIssuerOptions = {}): Promise<CiIssuer> {
  let keys = [await createKey()];
  const requests: string[] = [];
  const requestToken = randomBytes(24).toString('base64url');
  const sign = async (preset: PresetName, claims: TokenClaims = {}, header: TokenClaims = {}) => {
    const [{ kid, privateKey }] = keys as [Key];
    const payload = payloadOf(preset, url, options.now?.() ?? new Date(), claims);
    return await new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid, ...sampleTokens[preset].header, ...header }).sign(privateKey);
  };
  const handOut = async (preset: PresetName, asked: URL, always: TokenClaims = {}) => {
    const aud = asked.searchParams.get('audience') ?? sampleTokens[preset].audience;
    return await sign(preset, { ...always, ...options.claims?.[preset], aud });
  };
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    // Clients that keep connections would meet a dead one after a restart on the same port.
    response.shouldKeepAlive = false;
    serve({ request, response, url, keys, requestToken, handOut }).catch((error: unknown) => answer(response, 500, { error: String(error) }));
  });
  const port = await listen(server, options.port ?? 0);
  const url = `http://127.0.0.1:${port}`;
  const goDown = async () => await close(server);
  return {
    url,
    port,
    github: { requestUrl: `${url}/actions/token?api-version=2.0`, requestToken },
    metadataHost: `127.0.0.1:${port}`,
    requests,
    token: sign,
    async rotate({ forget = false } = {}) {
      keys = [await createKey(), ...(forget ? [] : keys)];
    },
    goDown,
    async comeBack() {
      await listen(server, port);
    },
    [Symbol.asyncDispose]: goDown,
  };
}

type Exchange = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: string;
  readonly keys: readonly Key[];
  readonly requestToken: string;
  readonly handOut: (preset: PresetName, asked: URL, always?: TokenClaims) => Promise<string>;
};

async function serve({ request, response, url, keys, requestToken, handOut }: Exchange): Promise<void> {
  const asked = new URL(request.url ?? '/', url);
  if (request.method !== 'GET') return answer(response, 405, { error: 'only GET' });
  if (asked.pathname === '/.well-known/openid-configuration') {
    return answer(response, 200, {
      issuer: url,
      jwks_uri: `${url}/.well-known/jwks`,
      subject_types_supported: ['public'],
      response_types_supported: ['id_token'],
      id_token_signing_alg_values_supported: ['RS256'],
    });
  }
  if (asked.pathname === '/.well-known/jwks') return answer(response, 200, { keys: keys.map(({ jwk }) => jwk) });
  if (asked.pathname === '/actions/token') {
    if (request.headers.authorization?.replace(/^bearer /i, '') !== requestToken) return answer(response, 401, { message: 'not the token of this job' });
    const value = await handOut('github-actions', asked);
    return answer(response, 200, { count: value.length, value });
  }
  if (asked.pathname === identityPath) {
    if (request.headers['metadata-flavor'] !== 'Google') return answer(response, 403, 'Missing Metadata-Flavor:Google header.');
    if (asked.searchParams.get('audience') === null) return answer(response, 400, 'non-empty audience parameter required', metadataHeader);
    const token = await handOut('google', asked, asked.searchParams.get('format') === 'full' ? {} : { google: undefined, email: undefined, email_verified: undefined });
    return answer(response, 200, token, metadataHeader);
  }
  return answer(response, 404, { error: 'not found' });
}

function answer(response: ServerResponse, status: number, body: string | object, headers: Readonly<Record<string, string>> = {}): void {
  const isText = typeof body === 'string';
  response.writeHead(status, { 'content-type': isText ? 'text/html' : 'application/json', ...headers });
  response.end(isText ? body : JSON.stringify(body));
}

async function createKey(): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  const kid = randomBytes(12).toString('base64url');
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, use: 'sig', alg: 'RS256' } };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => reject(new GateError('usage', `The issuer cannot listen on port ${port}: ${cause.message}`, { cause }));
    server.once('error', fail);
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      server.off('error', fail);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
