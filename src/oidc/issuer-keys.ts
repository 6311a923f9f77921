/** The public keys of one issuer: found by discovery or at a known address, kept, and fetched again when a new one turns up. */
import { createRemoteJWKSet, errors, jwksCache, type JWKSCacheInput, type JWTVerifyGetKey } from 'jose';
import { GateError } from '../errors/errors.ts';
import { describeNetworkFailure } from './network-failure.ts';
import { parseSecureUrl } from './secure-url.ts';

/** A token whose key is not known makes the relay fetch the issuer's keys again at most this often. */
export const keyRefreshMs = 30_000;
const fetchTimeoutMs = 5000;
/** Larger metadata is not read. */
const metadataBytesMax = 256 * 1024;

type RemoteKeys = ReturnType<typeof createRemoteJWKSet>;

export class IssuerKeys {
  readonly #issuer: string;
  readonly #jwksUrl: string | undefined;
  readonly #fetched: JWKSCacheInput = {};
  #remote: RemoteKeys | undefined;
  #discovery: Promise<RemoteKeys> | undefined;
  #refresh: Promise<void> | undefined;
  #refreshedAtMs = Number.NEGATIVE_INFINITY;

  /** `jwksUrl`: where they are, instead of where the issuer's metadata says. */
  constructor(issuer: string, jwksUrl?: string) {
    this.#issuer = issuer;
    this.#jwksUrl = jwksUrl;
  }

  /** Fails with `issuer-unreachable`. A failed attempt is not remembered; the next call tries again. */
  async load(): Promise<void> {
    const remote = await this.#find();
    if (remote.fresh) return;
    await remote.reload().catch((error: unknown) => {
      throw this.#unreachable(error);
    });
  }

  /** The keys as they were fetched last: another object each time, and undefined when they are too old to judge by. */
  get current(): object | undefined {
    return this.#remote?.fresh === true ? this.#fetched.jwks : undefined;
  }

  /**
   * The key for a token, as `jwtVerify` asks for it. One that is not known is looked for at the issuer, for all tokens
   * that wait together and not again for a while: otherwise invented key ids would make the relay flood the issuer.
   */
  readonly get: JWTVerifyGetKey = async (header, token) => {
    await this.load();
    const remote = await this.#find();
    try {
      return await remote(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || !(await this.#reload(remote))) throw error;
      return remote(header, token);
    }
  };

  /** Whether the keys were fetched again. */
  async #reload(remote: RemoteKeys): Promise<boolean> {
    if (this.#refresh === undefined) {
      const now = Date.now();
      // A clock that was set back must not stop the refreshes.
      const sinceMs = Math.abs(now - this.#refreshedAtMs);
      if (sinceMs < keyRefreshMs) return false;
      this.#refreshedAtMs = now;
      this.#refresh = remote.reload().finally(() => (this.#refresh = undefined));
    }
    await this.#refresh.catch((error: unknown) => {
      throw this.#unreachable(error);
    });
    return true;
  }

  #find(): Promise<RemoteKeys> {
    if (this.#remote !== undefined) return Promise.resolve(this.#remote);
    this.#discovery ??= this.#discover()
      .then((remote) => (this.#remote = remote))
      .finally(() => (this.#discovery = undefined));
    return this.#discovery;
  }

  async #discover(): Promise<RemoteKeys> {
    try {
      const url = this.#jwksUrl === undefined ? await this.#readAddress() : parseSecureUrl(this.#jwksUrl, 'its jwksUrl', 'issuer-unreachable');
      // Its own refresh would count from the first fetch and refuse the tokens of a key that is new since then.
      return createRemoteJWKSet(url, { cooldownDuration: Number.POSITIVE_INFINITY, timeoutDuration: fetchTimeoutMs, [jwksCache]: this.#fetched });
    } catch (error) {
      throw this.#unreachable(error);
    }
  }

  /** OpenID Connect Discovery 1.0, section 4; the issuer in the document must be the configured one. */
  async #readAddress(): Promise<URL> {
    const response = await fetch(`${this.#issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, {
      redirect: 'error',
      signal: AbortSignal.timeout(fetchTimeoutMs),
    });
    if (!response.ok) throw new Error(`it answered ${response.status}`);
    const metadata = await readMetadata(response);
    if (metadata.issuer !== this.#issuer) throw new Error(`it calls itself ${JSON.stringify(metadata.issuer)}`);
    if (typeof metadata.jwks_uri !== 'string') throw new Error('its metadata names no jwks_uri');
    const url = parseSecureUrl(metadata.jwks_uri, 'its jwks_uri', 'issuer-unreachable');
    if (url.protocol === 'http:' && this.#issuer.startsWith('https:')) {
      throw new Error('its jwks_uri is plain http although the issuer is https');
    }
    return url;
  }

  #unreachable(cause: unknown): GateError {
    if (cause instanceof GateError && cause.message.startsWith('cannot read the keys')) return cause;
    const { reason, hint } = describeNetworkFailure(cause);
    return new GateError('issuer-unreachable', `cannot read the keys of ${this.#issuer}: ${reason}`, {
      cause,
      hint: `${hint === undefined ? '' : `${hint} `}No new grants are given until the issuer answers; running sessions go on.`,
    });
  }
}

async function readMetadata(response: Response): Promise<{ issuer?: unknown; jwks_uri?: unknown }> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > metadataBytesMax) throw new Error('its metadata is too long');
    chunks.push(chunk);
  }
  let metadata: unknown;
  try {
    metadata = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Error('its metadata is not JSON');
  }
  if (typeof metadata !== 'object' || metadata === null) throw new Error('its metadata is not an object');
  return metadata;
}
