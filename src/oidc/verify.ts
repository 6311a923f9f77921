/** The relay's half of OpenID Connect: an access token to a Principal, or a refusal that says what is wrong with it. */
import { createHash } from 'node:crypto';
import { errors, jwtVerify, type JWTPayload } from 'jose';
import { GateError } from '../errors/errors.ts';
import type { Principal } from '../principal/principal.ts';
import { IssuerKeys } from './issuer-keys.ts';

export type IssuerSettings = {
  /** Exactly as in the token's `iss`. */
  readonly url: string;
  readonly audience: string;
  readonly algorithms: readonly string[];
  readonly groupsClaim: string;
  readonly nameClaim: string;
  /**
   * `at+jwt`: only tokens that say by RFC 9068 that they are access tokens. Without it, also such of type JWT that bear
   * the marks of an access token and none of an ID token; some providers do not follow the RFC.
   */
  readonly tokenType?: 'at+jwt' | undefined;
};

export type VerifiedToken = {
  readonly principal: Principal;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
  /** Taken where a grant is asked for without: what the commit of a workload says. */
  readonly said?: { readonly reason?: string; readonly ticket?: string };
};

/** Longest token that is looked at. */
export const tokenLengthMax = 16 * 1024;
export const clockToleranceSeconds = 30;
/** Tokens of which is kept what they were found to say. */
export const verifiedMax = 1000;
/** For so long, and no longer than the issuer's keys by which it was found. */
export const verifiedMs = 60_000;
/** From `iat` to `exp`. Whoever steals a token should not have it for ever. */
export const tokenLifetimeSecondsMax = 24 * 3600;

/** Claims that OpenID Connect Core puts into ID tokens only (sections 2 and 3.3.2.11). */
const idTokenClaims = ['nonce', 'at_hash', 'c_hash', 's_hash'] as const;
/** Claims that access tokens have and ID tokens do not: RFC 9068, Entra, Okta. Keycloak has `scope` and a type. */
const accessTokenClaims = ['client_id', 'scope', 'scp', 'cid'] as const;

/** Verifies tokens of one issuer. Its keys are fetched when first needed and again when an unknown one turns up. */
export class TokenVerifier {
  readonly #settings: IssuerSettings;
  readonly #keys: IssuerKeys;
  /** By the hash of the token: tokens themselves are not kept. */
  readonly #verified = new Map<string, { readonly verified: VerifiedToken; readonly keys: object | undefined; readonly atMs: number }>();

  constructor(settings: IssuerSettings) {
    this.#settings = settings;
    this.#keys = new IssuerKeys(settings.url);
  }

  /** Whether the issuer's metadata and keys could be read; tries again if they could not. */
  async isReady(): Promise<boolean> {
    return this.#keys.load().then(
      () => true,
      () => false,
    );
  }

  /** Fails with `login-required`, or `issuer-unreachable` when the keys to judge by cannot be had. */
  async verify(token: string): Promise<VerifiedToken> {
    if (token.length > tokenLengthMax) throw refuse(`the token is longer than ${tokenLengthMax} characters`);
    const hash = createHash('sha256').update(token).digest('base64');
    const known = this.#recall(hash);
    if (known !== undefined) return known;
    try {
      const { payload, protectedHeader } = await jwtVerify(token, this.#keys.get, {
        issuer: this.#settings.url,
        audience: this.#settings.audience,
        algorithms: [...this.#settings.algorithms],
        requiredClaims: ['exp', 'iat', 'sub'],
        clockTolerance: clockToleranceSeconds,
      });
      this.#checkType(protectedHeader.typ, payload);
      const verified = this.#toPrincipal(payload);
      this.#keep(hash, verified);
      return verified;
    } catch (error) {
      throw explain(error);
    }
  }

  /** A tunnel for each connection means the same token again and again; whatever is not as it was is looked at in full. */
  #recall(hash: string): VerifiedToken | undefined {
    const found = this.#verified.get(hash);
    if (found === undefined) return undefined;
    const { verified, keys, atMs } = found;
    const ageMs = performance.now() - atMs;
    const isExpired = Date.now() >= verified.expiresAt.getTime() || Date.now() < verified.issuedAt.getTime();
    if (!isExpired && ageMs < verifiedMs && keys === this.#keys.current) return verified;
    this.#verified.delete(hash);
    return undefined;
  }

  #keep(hash: string, verified: VerifiedToken): void {
    const keys = this.#keys.current;
    if (keys === undefined) return;
    // The oldest goes: maps keep the order in which they were filled.
    for (const [oldest] of this.#verified) {
      if (this.#verified.size < verifiedMax) break;
      this.#verified.delete(oldest);
    }
    this.#verified.set(hash, { verified, keys, atMs: performance.now() });
  }

  /** An ID token is for the client that asked for it, and must open nothing here even if the audiences are the same. */
  #checkType(typ: unknown, payload: JWTPayload): void {
    const type = String(typ ?? 'JWT').toLowerCase().replace(/^application\//, '');
    if (type === 'at+jwt') return;
    if (type !== 'jwt') throw refuse(`a token of type ${JSON.stringify(typ)} is not an access token`);
    if (this.#settings.tokenType === 'at+jwt') throw refuse('the token does not say that it is an access token (at+jwt)');
    const mark = idTokenClaims.find((claim) => payload[claim] !== undefined);
    if (mark !== undefined) throw refuse(`the token is an ID token (it has the claim "${mark}"), not an access token`);
    // Keycloak says Bearer, ID, Refresh or Offline here, each signed with the same key.
    const inner = payload['typ'];
    if (inner !== undefined && inner !== 'Bearer') throw refuse(`a token of type ${JSON.stringify(inner)} is not an access token`);
    if (inner === undefined && accessTokenClaims.every((claim) => payload[claim] === undefined)) {
      throw refuse('the token does not say that it is an access token, by its type or a claim like "scope"');
    }
  }

  #toPrincipal(payload: JWTPayload): VerifiedToken {
    const { groupsClaim, nameClaim, url } = this.#settings;
    const { sub, iat = 0, exp = 0 } = payload;
    if (typeof sub !== 'string' || sub === '') throw refuse('the token names nobody: its claim "sub" is not a text');
    if (iat * 1000 > Date.now() + clockToleranceSeconds * 1000) throw refuse('the token was issued in the future');
    if (exp - iat > tokenLifetimeSecondsMax) {
      throw refuse(`the token is valid for longer than ${tokenLifetimeSecondsMax / 3600} hours`);
    }
    const groups = payload[groupsClaim];
    // An absent claim is not an empty one: Entra leaves it out above 200 groups.
    if (!Array.isArray(groups) || groups.some((group) => typeof group !== 'string')) {
      throw refuse(`the token has no list of groups in its claim "${groupsClaim}"`);
    }
    const name = payload[nameClaim];
    return {
      principal: {
        issuer: url,
        subject: sub,
        kind: 'human',
        name: typeof name === 'string' && name !== '' ? name : sub,
        groups: groups as string[],
      },
      issuedAt: new Date(iat * 1000),
      expiresAt: new Date(exp * 1000),
    };
  }
}

function explain(error: unknown): unknown {
  if (error instanceof GateError) return error;
  if (error instanceof errors.JWTExpired) return refuse('the token has expired');
  if (error instanceof errors.JWTClaimValidationFailed) {
    const problem = error.reason === 'missing' ? 'is missing' : 'is not what this relay accepts';
    return refuse(`the token's claim "${error.claim}" ${problem}`);
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return refuse('the token is signed with an algorithm that this relay does not accept');
  if (error instanceof errors.JWSSignatureVerificationFailed) return refuse("the token's signature does not verify");
  if (error instanceof errors.JWKSNoMatchingKey) return refuse('the token is signed with a key that the issuer does not publish');
  if (error instanceof errors.JWKSMultipleMatchingKeys) return refuse('the token does not say which key of the issuer signed it');
  if (error instanceof errors.JOSENotSupported) return refuse('the token asks for an extension that this relay does not know');
  return refuse('the token is malformed', error);
}

function refuse(reason: string, cause?: unknown): GateError {
  return new GateError('login-required', reason, { hint: 'Run gate login.', cause });
}
