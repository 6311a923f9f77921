/** A platform's token to its claims, for one trusted issuer; or a refusal that names the one thing that is wrong with it. */
import { createHash } from 'node:crypto';
import { compactVerify, errors } from 'jose';
import { GateError } from '../errors/errors.ts';
import { flattenClaims, textOf } from '../workload/claims.ts';
import { oneLine } from '../workload/one-line.ts';
import { presetOf } from '../workload/presets.ts';
import type { Claims, TrustedIssuer } from '../workload/workload.ts';
import { IssuerKeys } from './issuer-keys.ts';
import { refuseToken as refuse, type TokenParts } from './token-parts.ts';
import { clockToleranceSeconds } from './verify.ts';

export type VerifiedClaims = {
  readonly claims: Claims;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
  /** The same for every way of writing this token, and of no other: SHA-256 in hex. */
  readonly once: string;
};

/** By which a token would bring along the key that it is to be checked with (RFC 7515, section 4.1). */
const keyHeaders = ['jku', 'jwk', 'x5u', 'x5c'] as const;
/** Claims of tokens that a person got by a login in a browser (OpenID Connect Core, sections 2 and 3.3.2.11). */
const personClaims = ['nonce', 'at_hash', 'c_hash', 's_hash'] as const;

/** Verifiers of the issuers of now: one stays, with the keys that it knows, until what the policy says of its issuer changes. */
export class WorkloadVerifiers {
  readonly #verifiers = new Map<string, WorkloadVerifier>();

  of(issuer: TrustedIssuer, all: Iterable<TrustedIssuer>): WorkloadVerifier {
    const wanted = new Map([...all].map((one) => [settingsOf(one), one]));
    for (const settings of this.#verifiers.keys()) if (!wanted.has(settings)) this.#verifiers.delete(settings);
    const settings = settingsOf(issuer);
    const verifier = this.#verifiers.get(settings) ?? new WorkloadVerifier(issuer);
    this.#verifiers.set(settings, verifier);
    return verifier;
  }
}

/** All that the policy says of an issuer, as one text. */
export function settingsOf({ name, preset, url, audience, algorithms, lifetimeSecondsMax, requiredClaims, jwksUrl }: TrustedIssuer): string {
  return JSON.stringify([name, preset, url, audience, algorithms, lifetimeSecondsMax, requiredClaims, jwksUrl ?? null]);
}

export class WorkloadVerifier {
  readonly #issuer: TrustedIssuer;
  readonly #keys: IssuerKeys;

  constructor(issuer: TrustedIssuer) {
    this.#issuer = issuer;
    this.#keys = new IssuerKeys(issuer.url, issuer.jwksUrl);
  }

  /** Fails with `login-failed`, or `issuer-unreachable` when the keys to judge by cannot be had. */
  async verify(token: TokenParts, now: Date): Promise<VerifiedClaims> {
    // Nothing is asked of the issuer for a token that says of itself that it does not count.
    this.#checkHeader(token.header);
    if (token.payload['iss'] !== this.#issuer.url) throw refuse(`the token is not of ${this.#issuer.name}`);
    try {
      await compactVerify(token.text, this.#keys.get, { algorithms: [...this.#issuer.algorithms] });
    } catch (error) {
      throw this.#explain(error);
    }
    return this.#check(token, now.getTime() / 1000);
  }

  #checkHeader(header: TokenParts['header']): void {
    const { name, algorithms, preset } = this.#issuer;
    const { alg, typ } = header;
    if (typeof alg !== 'string') throw refuse('the token does not say by which algorithm it is signed');
    if (!algorithms.includes(alg)) throw refuse(`the token's algorithm is ${quote(alg)}, and of ${name} only ${algorithms.join(', ')} counts`);
    const ownKey = keyHeaders.find((one) => header[one] !== undefined);
    if (ownKey !== undefined) throw refuse(`the token brings its own key along, in its header "${ownKey}"`);
    if (header['crit'] !== undefined) throw refuse('the token asks for extensions that must be understood ("crit"), and there are none');
    if (header['b64'] !== undefined) throw refuse('the token says how its payload is encoded ("b64"), which no platform does');
    const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ;
    if (!presetOf(this.#issuer).types.some((one) => one === type)) {
      throw refuse(typ === undefined ? `the token has no type, and tokens of ${preset} have one` : `the token is of type ${quote(typ)}, which ${preset} does not issue`);
    }
    const { kid } = header;
    if (kid !== undefined && typeof kid !== 'string') throw refuse(`the token's header "kid" is not a text`);
  }

  #check({ payload, signedHash }: TokenParts, nowSeconds: number): VerifiedClaims {
    const [issuedAt, expiresAt] = this.#checkTimes(payload, nowSeconds);
    this.#checkAudience(payload['aud']);
    const { sub, jti } = payload;
    if (sub === undefined) throw missing('sub');
    if (typeof sub !== 'string') throw refuse(`the token's claim "sub" is not a text`);
    if (sub.trim() === '') throw refuse(`the token's claim "sub" is empty`);
    if (jti !== undefined && (typeof jti !== 'string' || jti === '')) throw refuse(`the token's claim "jti" is not a text`);
    const ofPerson = personClaims.find((claim) => payload[claim] !== undefined);
    if (ofPerson !== undefined) throw refuse(`the token comes of a person's login (it has the claim "${ofPerson}") and is not a machine's`);
    const claims = flattenClaims(payload);
    if (claims.size === 0) throw refuse('the token has more claims than anybody can look through');
    for (const claim of presetOf(this.#issuer).requiredClaims) {
      // The flat form may leave out what the payload has: then it is not what the platform writes there.
      const isThere = claims.has(claim) || Object.hasOwn(payload, claim);
      if (!isThere) throw missing(claim);
      if (claims.get(claim) !== '' && textOf(claims, claim) === undefined) throw refuse(`the token's claim "${claim}" is not one text`);
      if (textOf(claims, claim) === undefined) throw refuse(`the token's claim "${claim}" is empty`);
    }
    const lacking = this.#issuer.requiredClaims.find((claim) => !claims.has(claim));
    if (lacking !== undefined) throw refuse(`the token lacks the claim "${lacking}", which the policy asks for`);
    return { claims, issuedAt: new Date(issuedAt * 1000), expiresAt: new Date(expiresAt * 1000), once: onceOf(this.#issuer.url, jti, signedHash) };
  }

  #checkTimes({ iat, exp, nbf }: TokenParts['payload'], now: number): [issuedAt: number, expiresAt: number] {
    const { name, lifetimeSecondsMax } = this.#issuer;
    const [issuedAt, expiresAt] = [numberOf('iat', iat), numberOf('exp', exp)];
    if (nbf !== undefined && numberOf('nbf', nbf) > now + clockToleranceSeconds) throw refuse('the token is not good yet, by its claim "nbf"', clockHint);
    if (issuedAt > now + clockToleranceSeconds) throw refuse('the token was issued in the future, by its claim "iat"', clockHint);
    if (expiresAt <= now - clockToleranceSeconds) throw refuse('the token has expired');
    if (expiresAt <= issuedAt) throw refuse('the token expired before it was issued');
    const lifetime = expiresAt - issuedAt;
    if (lifetime <= lifetimeSecondsMax) return [issuedAt, expiresAt];
    throw refuse(
      `the token is good for ${Math.ceil(lifetime)} s, and one of ${name} may be for ${lifetimeSecondsMax} s at most`,
      'Ask the platform for a token with a shorter life, or change maxLifetime of the issuer in the policy.',
    );
  }

  /** A token that is for others as well could be shown here by any of them. */
  #checkAudience(aud: unknown): void {
    const { audience } = this.#issuer;
    if (aud === undefined) throw missing('aud');
    const audiences: unknown[] = Array.isArray(aud) ? aud : [aud];
    const hint = `Ask the platform for a token with the audience ${audience} alone; gate exec does so by itself.`;
    if (audiences.length === 0) throw refuse('the token is for no audience at all', hint);
    if (audiences.some((one) => typeof one !== 'string')) throw refuse(`the token's claim "aud" is neither a text nor texts`, hint);
    if (audiences.length > 1) throw refuse(`the token is for ${audiences.length} audiences, ${quote(audiences.join(', '))}, and may be for ${audience} alone`, hint);
    if (audiences[0] !== audience) throw refuse(`the token is for ${quote(audiences[0])}, not for ${audience}`, hint);
  }

  #explain(error: unknown): GateError {
    if (error instanceof GateError) return error;
    const { name } = this.#issuer;
    if (error instanceof errors.JWSSignatureVerificationFailed) return refuse("the token's signature does not verify");
    if (error instanceof errors.JWKSNoMatchingKey) {
      return refuse(`the token is signed with a key that ${name} does not publish`, 'If its keys have changed just now, try again in half a minute.');
    }
    if (error instanceof errors.JWKSMultipleMatchingKeys) return refuse(`the token does not say which key of ${name} signed it`);
    if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) return refuse('the token asks for what this relay does not do');
    return refuse('the token cannot be checked', undefined, error);
  }
}

const clockHint = 'Is the clock of the relay right?';

function onceOf(issuer: string, jti: string | undefined, signedHash: string): string {
  return createHash('sha256').update(JSON.stringify(jti === undefined ? [issuer, null, signedHash] : [issuer, jti])).digest('hex');
}

function numberOf(claim: string, value: unknown): number {
  if (value === undefined) throw missing(claim);
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || value > timeMax) throw refuse(`the token's claim "${claim}" is not a time in seconds`);
  return value;
}

/** The year 9999, as RFC 3339 writes no later one. */
const timeMax = 253_402_300_799;

function missing(claim: string): GateError {
  return refuse(`the token's claim "${claim}" is missing`);
}

function quote(value: unknown): string {
  return JSON.stringify(oneLine(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''), 100) ?? '');
}
