/** What the CLI and the relay say to each other over HTTP: one schema per body, which is also its type. */
import * as z from 'zod/mini';
import { Link } from '../audit/entry.ts';
import { statementKinds } from '../sql/kind.ts';

const text = (lengthMax: number) => z.string().check(z.minLength(1), z.maxLength(lengthMax));

/** Longest reason that is stored and shown. */
export const reasonLengthMax = 1000;
/** Longest ticket id. */
export const ticketLengthMax = 200;
/** Largest request body that the relay reads. */
export const requestBytesMax = 16 * 1024;

/** GET /.well-known/gate: what `gate login` needs to know. Public. */
export const RelayInfo = z.object({
  service: z.literal('gate'),
  version: z.string(),
  issuer: z.url(),
  clientId: z.string(),
  /** RFC 8707 `resource` to ask for, where the issuer needs it to mint tokens for the relay. */
  resource: z.optional(z.string()),
  scopes: z.array(z.string()),
  /** The key that its record is verified with (C2SP signed-note); its name is that of the log. */
  logKey: z.optional(z.string()),
  /** Issuers of workloads' tokens that it trusts, and the audience that such a token must be for. */
  workloadIssuers: z.optional(z.array(z.object({ name: z.string(), preset: z.string(), url: z.string(), audience: z.string() }))),
});
export type RelayInfo = z.infer<typeof RelayInfo>;

/** GET /v1/whoami: the caller as the relay sees it. Times are RFC 3339 in UTC. */
export const WhoAmI = z.object({
  issuer: z.string(),
  subject: z.string(),
  name: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  groups: z.array(z.string()),
  /** Of a workload or an agent: what leads back to a person. */
  chain: z.exactOptional(z.readonly(z.array(Link))),
  expiresAt: z.string(),
});
export type WhoAmI = z.infer<typeof WhoAmI>;

export const PrincipalInfo = z.object({
  issuer: z.string(),
  subject: z.string(),
  name: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  groups: z.array(z.string()),
  chain: z.exactOptional(z.readonly(z.array(Link))),
});
export type PrincipalInfo = z.infer<typeof PrincipalInfo>;

export const StatementKind = z.enum(statementKinds);

/** A role of a target that the caller may take. */
export const RoleInfo = z.object({
  name: z.string(),
  /** Statement kinds that this role refuses. */
  denies: z.array(StatementKind),
  requires: z.array(z.enum(['reason', 'ticket', 'human'])),
  durationMaxSeconds: z.number(),
  /** Whose approval a grant needs, before it is given or (`review`) afterwards. */
  approval: z.optional(z.object({ by: z.array(z.string()), count: z.number() })),
  review: z.optional(z.object({ by: z.array(z.string()), count: z.number() })),
  /** Columns are masked for the caller in this role, and how surely. */
  masking: z.optional(z.object({ level: z.enum(['display', 'proven', 'airtight']) })),
});

/** GET /v1/targets → { targets }: only what the caller may reach. */
export const TargetInfo = z.object({
  name: z.string(),
  description: z.optional(z.string()),
  database: z.string(),
  roles: z.array(RoleInfo),
});
export type TargetInfo = z.infer<typeof TargetInfo>;
export const TargetList = z.object({ targets: z.array(TargetInfo) });

/**
 * POST /v1/grants. Without `role`, the first role that the caller may take. With `request`, the approved request that
 * gives the grant, as it was asked for. Answers 201 with a GrantInfo, or 202 with `{ request }` while it waits for approval.
 */
export const GrantRequest = z.strictObject({
  target: text(100),
  role: z.optional(text(100)),
  reason: z.optional(text(reasonLengthMax)),
  ticket: z.optional(text(ticketLengthMax)),
  durationSeconds: z.optional(z.int().check(z.positive())),
  request: z.optional(text(100)),
  /** Nothing but reads under this grant, whatever the role allows. */
  readOnly: z.optional(z.boolean()),
});
export type GrantRequest = z.infer<typeof GrantRequest>;

export const GrantInfo = z.object({
  id: z.string(),
  target: z.string(),
  role: z.string(),
  reason: z.optional(z.string()),
  ticket: z.optional(z.string()),
  createdAt: z.string(),
  expiresAt: z.string(),
});
export type GrantInfo = z.infer<typeof GrantInfo>;

/**
 * POST /v1/sessions. `verifier` is the SCRAM-SHA-256 verifier of a password that the client made up, in the format
 * of pg_authid.rolpassword; the password itself never leaves the client's machine.
 */
export const SessionRequest = z.strictObject({
  grant: text(100),
  verifier: text(400),
  command: z.enum(['connect', 'exec']),
  /** How long held statements may wait for approval, at most as long as policy lets them; 0: they fail at once. */
  waitSeconds: z.optional(z.int().check(z.nonnegative())),
});
export type SessionRequest = z.infer<typeof SessionRequest>;

/** The answer to POST /v1/sessions: how to log in through the tunnel at GET /v1/sessions/:id/tunnel. */
export const SessionInfo = z.object({
  id: z.string(),
  grant: z.string(),
  target: z.string(),
  role: z.string(),
  user: z.string(),
  database: z.string(),
  expiresAt: z.string(),
});
export type SessionInfo = z.infer<typeof SessionInfo>;

/** A text message in a tunnel, beside the bytes of the connection: a statement waits, and what to do about it. */
export const TunnelNews = z.object({
  event: z.literal('held'),
  requestId: z.string(),
  message: z.string(),
  hint: z.string(),
  expiresAt: z.string(),
});
export type TunnelNews = z.infer<typeof TunnelNews>;

/** What a text message says; undefined for one of a newer relay. */
export function parseTunnelNews(message: string): TunnelNews | undefined {
  try {
    return TunnelNews.safeParse(JSON.parse(message)).data;
  } catch {
    return undefined;
  }
}

/** One row of GET /v1/sessions → { sessions }, newest first. */
export const SessionSummary = z.object({
  id: z.string(),
  grant: z.string(),
  target: z.string(),
  role: z.string(),
  command: z.enum(['connect', 'exec']),
  principal: PrincipalInfo,
  reason: z.optional(z.string()),
  ticket: z.optional(z.string()),
  state: z.enum(['open', 'ended']),
  startedAt: z.string(),
  expiresAt: z.string(),
  endedAt: z.optional(z.string()),
  endReason: z.optional(z.string()),
  connections: z.number(),
  statements: z.number(),
  refused: z.number(),
  /** What came back by all that ended until now, as far as it is on record. */
  rows: z.optional(z.number()),
  bytesOut: z.optional(z.number()),
  /** How many of them meet the query, where it asks for statements. */
  matches: z.optional(z.number()),
});
export type SessionSummary = z.infer<typeof SessionSummary>;

const Approver = z.object({ name: z.string(), subject: z.string(), at: z.string() });

/** GET /v1/sessions/:id. */
export const SessionDetails = z.extend(SessionSummary, {
  /** Of its grant, where that took or takes people: the request, and who said yes to it until now. */
  approval: z.optional(
    z.object({
      request: z.string(),
      /** `review`: the grant was given first, and is looked at afterwards. */
      kind: z.enum(['grant', 'review']),
      state: z.enum(['pending', 'approved', 'denied', 'withdrawn', 'expired', 'used']),
      by: z.array(Approver),
    }),
  ),
  /** Of its statements that were held and ran: the requests, and who said yes. */
  statementApprovals: z.optional(z.array(z.object({ request: z.string(), by: z.array(Approver) }))),
});
export type SessionDetails = z.infer<typeof SessionDetails>;
export const SessionList = z.object({
  sessions: z.array(SessionSummary),
  /** The search came to its bounds before it came to the end. */
  isCut: z.optional(z.literal(true)),
  /** In the sessions of others the text was looked for in the statements without their literals. */
  isShapesOnly: z.optional(z.literal(true)),
});
export type SessionList = z.infer<typeof SessionList>;

/** POST /v1/sessions/:id/kill → the SessionSummary of the session, which has ended. */
export const SessionKill = z.strictObject({ reason: z.optional(text(reasonLengthMax)) });

/** Every answer that is not 2xx, and the last line of an NDJSON answer that cannot go on. `code` is a key of ERRORS. */
export const ErrorBody = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    hint: z.optional(z.string()),
    rule: z.optional(z.string()),
    /** The access request that the failure is about. */
    requestId: z.optional(z.string()),
  }),
});
export type ErrorBody = z.infer<typeof ErrorBody>;
