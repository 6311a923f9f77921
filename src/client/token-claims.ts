/** What a token says of itself, unverified: good for choosing what to do with it, never for trusting it. */

export type TokenClaims = {
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** Milliseconds since 1970. */
  readonly expiresAtMs?: number;
};

/** Undefined where the text is no JWT. */
export function readTokenClaims(token: string): TokenClaims | undefined {
  const parts = token.split('.');
  if (parts.length !== 3) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(parts[1] ?? '', 'base64url').toString('utf8'));
    if (typeof claims !== 'object' || claims === null) return undefined;
    const { iss, aud, exp } = claims as { iss?: unknown; aud?: unknown; exp?: unknown };
    if (typeof iss !== 'string') return undefined;
    const audiences = [aud].flat().filter((one): one is string => typeof one === 'string');
    return { issuer: iss, audiences, ...(typeof exp === 'number' && { expiresAtMs: exp * 1000 }) };
  } catch {
    return undefined;
  }
}
