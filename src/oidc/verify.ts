/** The relay's half of OpenID Connect: an access token to a Principal, or a refusal that says what is wrong with it. */
import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import { GateError, messageOf } from '../errors/errors.ts';
import type { Principal } from '../principal/principal.ts';

export type IssuerSettings = {
  /** Exactly as in the token's `iss`. */
  readonly url: string;
  readonly audience: string;
  readonly algorithms: readonly string[];
  readonly groupsClaim: string;
  readonly nameClaim: string;
};

export type VerifiedToken = { readonly principal: Principal; readonly expiresAt: Date };

/** Longest token that is looked at. */
export const tokenLengthMax = 16 * 1024;
const clockToleranceSeconds = 30;
/** A token whose key is not known makes the relay fetch the issuer's keys again at most this often. */
const keyRefreshMs = 30_000;
const fetchTimeoutMs = 5000;

/** Verifies tokens of one issuer. Its keys are fetched when first needed and again when an unknown one turns up. */
export class TokenVerifier {
  readonly #settings: IssuerSettings;
  #keys: JWTVerifyGetKey | undefined;
  #discovery: Promise<JWTVerifyGetKey> | undefined;

  constructor(settings: IssuerSettings) {
    this.#settings = settings;
  }

  /** Whether the issuer's metadata could be read; tries again if it could not. */
  async isReady(): Promise<boolean> {
    return this.#loadKeys().then(
      () => true,
      () => false,
    );
  }

  /** Fails with `login-required`, or `issuer-unreachable` when the keys to judge by cannot be had. */
  async verify(token: string): Promise<VerifiedToken> {
    if (token.length > tokenLengthMax) throw refuse(`the token is longer than ${tokenLengthMax} characters`);
    const keys = await this.#loadKeys();
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer: this.#settings.url,
        audience: this.#settings.audience,
        algorithms: [...this.#settings.algorithms],
        requiredClaims: ['exp', 'iat', 'sub'],
        clockTolerance: clockToleranceSeconds,
      });
      return this.#toPrincipal(payload);
    } catch (error) {
      throw explain(error);
    }
  }

  #toPrincipal(payload: JWTPayload): VerifiedToken {
    const { groupsClaim, nameClaim, url } = this.#settings;
    const groups = payload[groupsClaim];
    // An absent claim is not an empty one: Entra leaves it out above 200 groups.
    if (!Array.isArray(groups) || groups.some((group) => typeof group !== 'string')) {
      throw refuse(`the token has no list of groups in its claim "${groupsClaim}"`);
    }
    const issuedAt = payload.iat as number;
    if (issuedAt * 1000 > Date.now() + clockToleranceSeconds * 1000) throw refuse('the token was issued in the future');
    const name = payload[nameClaim];
    return {
      principal: {
        issuer: url,
        subject: payload.sub as string,
        kind: 'human',
        name: typeof name === 'string' && name !== '' ? name : (payload.sub as string),
        groups: groups as string[],
      },
      expiresAt: new Date((payload.exp as number) * 1000),
    };
  }

  #loadKeys(): Promise<JWTVerifyGetKey> {
    if (this.#keys !== undefined) return Promise.resolve(this.#keys);
    this.#discovery ??= this.#discover()
      .then((keys) => (this.#keys = keys))
      .finally(() => (this.#discovery = undefined));
    return this.#discovery;
  }

  /** OpenID Connect Discovery 1.0, section 4; the issuer in the document must be the configured one. */
  async #discover(): Promise<JWTVerifyGetKey> {
    const { url } = this.#settings;
    try {
      const response = await fetch(`${url.replace(/\/$/, '')}/.well-known/openid-configuration`, {
        redirect: 'error',
        signal: AbortSignal.timeout(fetchTimeoutMs),
      });
      if (!response.ok) throw new Error(`it answered ${response.status}`);
      const metadata = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown };
      if (metadata.issuer !== url) throw new Error(`it calls itself ${String(metadata.issuer)}`);
      return createRemoteJWKSet(new URL(String(metadata.jwks_uri)), {
        cooldownDuration: keyRefreshMs,
        timeoutDuration: fetchTimeoutMs,
      });
    } catch (error) {
      throw unreachable(url, error);
    }
  }
}

function explain(error: unknown): unknown {
  if (error instanceof GateError) return error;
  if (error instanceof errors.JWTExpired) return refuse('the token has expired');
  if (error instanceof errors.JWTClaimValidationFailed) return refuse(`the token's claim "${error.claim}" is not what this relay accepts`);
  if (error instanceof errors.JOSEAlgNotAllowed) return refuse('the token is signed with an algorithm that this relay does not accept');
  if (error instanceof errors.JWSSignatureVerificationFailed) return refuse("the token's signature does not verify");
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
    return refuse('the token is signed with a key that the issuer does not publish');
  }
  if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) return unreachable('the issuer', error);
  return refuse('the token is not a signed token of the configured issuer');
}

function refuse(reason: string): GateError {
  return new GateError('login-required', reason, { hint: 'Run gate login.' });
}

function unreachable(issuer: string, cause: unknown): GateError {
  return new GateError('issuer-unreachable', `cannot read the keys of ${issuer}: ${messageOf(cause)}`, {
    cause,
    hint: 'No new grants are given until the issuer answers; running sessions go on.',
  });
}
