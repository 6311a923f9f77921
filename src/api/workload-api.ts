/** What a machine and the relay say to each other when a platform's token is exchanged for a login. */
import * as z from 'zod/mini';
import { PrincipalInfo } from './api.ts';

/** Longest token of a platform that is looked at, in characters. */
export const workloadTokenLengthMax = 16 * 1024;
/** Largest commit object, in bytes. */
export const commitBytesMax = 64 * 1024;
/** Largest body of POST /v1/token. */
export const exchangeBytesMax = 128 * 1024;

const text = (lengthMax: number) => z.string().check(z.minLength(1), z.maxLength(lengthMax));

/** What the client says of its run where the token does not: never more than a claim. */
export const ClaimedLink = z.strictObject({
  kind: z.enum(['run', 'repository', 'ref', 'commit', 'environment', 'actor']),
  value: text(300),
  id: z.exactOptional(text(300)),
  url: z.exactOptional(text(1000)),
});
export type ClaimedLink = z.infer<typeof ClaimedLink>;

/** POST /v1/token, without an Authorization header: a token of a trusted issuer, which is used up by it. */
export const TokenExchange = z.strictObject({
  token: z.string().check(z.minLength(1, 'is empty'), z.maxLength(workloadTokenLengthMax, `is longer than ${workloadTokenLengthMax} characters`)),
  links: z.optional(z.array(ClaimedLink).check(z.maxLength(10))),
  /** The commit object that runs, as `git cat-file commit HEAD` prints it, in base64. Its hash tells whether it is the one of the token. */
  commit: z.optional(text(Math.ceil(commitBytesMax / 3) * 4)),
});
export type TokenExchange = z.infer<typeof TokenExchange>;

/** The answer, 201: a token for the relay alone, which stands where the access token of a login stands. */
export const TokenAnswer = z.object({
  accessToken: z.string(),
  expiresAt: z.string(),
  principal: PrincipalInfo,
  /** Out of the commit's message, by the patterns of the policy; they are taken where a grant is asked for without. */
  reason: z.optional(z.string()),
  ticket: z.optional(z.string()),
});
export type TokenAnswer = z.infer<typeof TokenAnswer>;

/** The header by which a program says that it acts for the person whose token it carries, as `name/version`. */
export const agentHeader = 'gate-agent';
