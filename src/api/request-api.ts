/** What CLI and relay say to each other about requests, votes and grants. Times are RFC 3339 in UTC. */
import * as z from 'zod/mini';
import { Parameter } from '../audit/entry.ts';
import { GrantInfo, PrincipalInfo, reasonLengthMax } from './api.ts';
import { StatementFactsInfo } from './policy-api.ts';

/** Longest time that the relay keeps a long poll open. */
export const waitSecondsMax = 30;

export const RequestState = z.enum(['pending', 'approved', 'denied', 'withdrawn', 'expired', 'used']);
export type RequestState = z.infer<typeof RequestState>;

/** The statement that is asked for: exactly what will run. */
export const HeldStatementInfo = z.object({
  session: z.string(),
  connection: z.number(),
  grant: z.string(),
  sql: z.string(),
  parameters: z.array(Parameter),
  fingerprint: z.string(),
  parameterHash: z.string(),
  facts: z.array(StatementFactsInfo),
  transaction: z.enum(['I', 'T', 'E']),
  locks: z.optional(z.array(z.string())),
  rowEstimate: z.optional(z.number()),
  isWaiting: z.boolean(),
  /** For administrators, who see its shape: no literals, no parameters, no hashes. */
  isClosed: z.optional(z.literal(true)),
});
export type HeldStatementInfo = z.infer<typeof HeldStatementInfo>;

const VoteInfo = z.object({
  by: PrincipalInfo,
  decision: z.enum(['approve', 'deny']),
  reason: z.optional(z.string()),
  at: z.string(),
});

const summary = {
  id: z.string(),
  kind: z.enum(['grant', 'statement', 'review']),
  state: RequestState,
  requester: PrincipalInfo,
  target: z.string(),
  role: z.string(),
  reason: z.optional(z.string()),
  ticket: z.optional(z.string()),
  /** The rule of the policy that asks for approval. */
  rule: z.string(),
  approval: z.object({
    /** Approver sets of the policy, each with who is in it: "leads (group dba)". */
    by: z.array(z.string()),
    count: z.number(),
    denials: z.number(),
  }),
  /** How many of each there are by now. */
  approvals: z.number(),
  denials: z.number(),
  createdAt: z.string(),
  /** When it stops waiting: for votes, or approved for its use. */
  expiresAt: z.string(),
  endReason: z.optional(z.string()),
  /** Of the grant that is asked for. */
  durationSeconds: z.optional(z.number()),
  /** It is for reads only, whatever the role allows. */
  isReadOnly: z.optional(z.literal(true)),
  /** The grant that came of it, or that is under review. */
  grant: z.optional(z.string()),
  /** Whether the caller may still vote on it. */
  mayVote: z.boolean(),
};

/** One row of GET /v1/requests → { requests }, newest first. `sql` may be cut. */
export const RequestSummary = z.object({ ...summary, sql: z.optional(z.string()) });
export type RequestSummary = z.infer<typeof RequestSummary>;
export const RequestList = z.object({ requests: z.array(RequestSummary) });

/** GET /v1/requests/:idPrefix, and the answer to everything that changes a request. */
export const RequestInfo = z.object({
  ...summary,
  votes: z.array(VoteInfo),
  statement: z.optional(HeldStatementInfo),
  /** What is left of an approval of a statement. */
  allowed: z.optional(z.object({ usesLeft: z.number(), until: z.string(), anyParameters: z.boolean() })),
});
export type RequestInfo = z.infer<typeof RequestInfo>;

/** The answer to POST /v1/grants. */
export const GrantAnswer = z.union([z.object({ request: RequestInfo }), GrantInfo]);

/** POST /v1/requests/:id/approve. */
export const Approve = z.strictObject({
  reason: z.optional(z.string().check(z.minLength(1), z.maxLength(reasonLengthMax))),
  /** For one statement: so many runs, for so long, with any parameters. */
  uses: z.optional(z.int().check(z.positive())),
  forSeconds: z.optional(z.int().check(z.positive())),
  anyParameters: z.optional(z.boolean()),
});
export type Approve = z.infer<typeof Approve>;

/** POST /v1/requests/:id/deny, POST /v1/requests/:id/cancel, POST /v1/grants/:id/revoke. */
export const Because = z.strictObject({
  reason: z.optional(z.string().check(z.minLength(1), z.maxLength(reasonLengthMax))),
});
export type Because = z.infer<typeof Because>;

/** One row of GET /v1/grants → { grants }, newest first. */
export const GrantSummary = z.object({
  id: z.string(),
  principal: PrincipalInfo,
  target: z.string(),
  role: z.string(),
  reason: z.optional(z.string()),
  ticket: z.optional(z.string()),
  request: z.optional(z.string()),
  state: z.enum(['live', 'expired', 'revoked']),
  createdAt: z.string(),
  expiresAt: z.string(),
  revokedAt: z.optional(z.string()),
  revokedBy: z.optional(z.string()),
  revokeReason: z.optional(z.string()),
  /** Sessions that are open on it. */
  sessions: z.number(),
});
export type GrantSummary = z.infer<typeof GrantSummary>;
export const GrantList = z.object({ grants: z.array(GrantSummary) });
