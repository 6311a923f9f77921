/** The shapes of the record: every entry that a session can leave, as it stands in the log. */
import * as z from 'zod/mini';

const Who = z.object({
  issuer: z.string(),
  subject: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  name: z.string(),
  groups: z.array(z.string()),
});

const decision = { effect: z.enum(['allow', 'deny']), rule: z.string(), reason: z.string() };

/** A bound value as it is kept: text as it is, binary as base64, large and secret ones by size. */
export const Parameter = z.nullable(
  z.union([z.string(), z.object({ base64: z.string() }), z.object({ bytes: z.number(), sha256: z.optional(z.string()) })]),
);
export type Parameter = z.infer<typeof Parameter>;

/** What people and the policy file decide. They stand in a chain of their own, `decisionsChain`. */
const decisionEvents = [
  z.object({
    kind: z.literal('request'),
    request: z.string(),
    of: z.enum(['grant', 'statement', 'review']),
    who: Who,
    target: z.string(),
    role: z.string(),
    reason: z.optional(z.string()),
    ticket: z.optional(z.string()),
    rule: z.string(),
    /** How many distinct people out of which approver sets it takes. */
    by: z.array(z.string()),
    count: z.number(),
    expiresAt: z.string(),
    durationSeconds: z.optional(z.number()),
    statement: z.optional(
      z.object({ session: z.string(), sql: z.string(), fingerprint: z.string(), parameterHash: z.string() }),
    ),
  }),
  z.object({
    kind: z.literal('vote'),
    request: z.string(),
    by: Who,
    decision: z.enum(['approve', 'deny']),
    reason: z.optional(z.string()),
    /** What the vote allows, where it is more than one run: so many uses until a moment. */
    uses: z.optional(z.number()),
    until: z.optional(z.string()),
    anyParameters: z.optional(z.literal(true)),
  }),
  z.object({ kind: z.literal('request.end'), request: z.string(), state: z.string(), reason: z.optional(z.string()) }),
  z.object({
    kind: z.literal('grant'),
    grant: z.string(),
    who: Who,
    target: z.string(),
    role: z.string(),
    reason: z.optional(z.string()),
    ticket: z.optional(z.string()),
    expiresAt: z.string(),
    request: z.optional(z.string()),
    policy: z.string(),
  }),
  z.object({ kind: z.literal('grant.revoke'), grant: z.string(), by: Who, reason: z.optional(z.string()) }),
  /** The policy in force from here on; with `error`, a file that was not taken and why. */
  z.object({ kind: z.literal('policy'), policy: z.string(), error: z.optional(z.string()) }),
] as const;

/** Stands in place of a session's id for what is decided beside the sessions. */
export const decisionsChain = 'decisions';

/** What happened, without the envelope. `connection` and `statement` count from 1 within the session. */
export const Event = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('session.open'),
    who: Who,
    target: z.string(),
    role: z.string(),
    grant: z.string(),
    reason: z.optional(z.string()),
    ticket: z.optional(z.string()),
    expiresAt: z.string(),
    command: z.enum(['connect', 'exec']),
    /** SHA-256 of the policy text in force, in hex. */
    policy: z.string(),
    relayVersion: z.string(),
  }),
  z.object({ kind: z.literal('session.close'), reason: z.string() }),
  z.object({
    kind: z.literal('connection.open'),
    connection: z.number(),
    /** Where the tunnel came from, as the relay's socket saw it. */
    clientAddress: z.string(),
    applicationName: z.optional(z.string()),
    /** That the client asked for at start-up; one by SET is a statement. */
    settings: z.optional(z.record(z.string(), z.string())),
    backendPid: z.optional(z.number()),
    /** The level of masking, and a hash of the masks that apply to the principal. */
    masking: z.optional(z.object({ level: z.enum(['display', 'proven', 'airtight']), rules: z.string() })),
  }),
  z.object({
    kind: z.literal('connection.close'),
    connection: z.number(),
    reason: z.string(),
    bytesIn: z.number(),
    bytesOut: z.number(),
  }),
  /** Written and durable before the statement is forwarded; or, with `effect: deny`, in place of forwarding it. */
  z.object({
    kind: z.literal('statement'),
    connection: z.number(),
    statement: z.number(),
    protocol: z.enum(['simple', 'extended']),
    /** The client's text. Where it sets a password, the text with every quoted literal and comment replaced, and `redacted`. */
    sql: z.string(),
    redacted: z.optional(z.literal(true)),
    /** Bound in order: text as it is, binary as base64, NULL as null; large ones by size and hash, secrets by size. */
    parameters: z.optional(z.array(Parameter)),
    /** The kinds of all statements in the text, without repetition. */
    kinds: z.array(z.string()),
    ...decision,
    /** The request by which it was approved, or turned down. */
    request: z.optional(z.string()),
    /** SHA-256 of the policy text that decided, in hex, where it is not the one of session.open. */
    policy: z.optional(z.string()),
    /** For a principal with masks: the text that went to the server where it is another, and the columns masked in it. */
    sent: z.optional(z.string()),
    masked: z.optional(z.array(z.object({ column: z.string(), rule: z.string(), kind: z.string() }))),
  }),
  /** The statement waits for approval; a `statement` event with the same request says what became of it. */
  z.object({
    kind: z.literal('hold'),
    connection: z.number(),
    request: z.string(),
    sql: z.string(),
    redacted: z.optional(z.literal(true)),
    parameters: z.optional(z.array(Parameter)),
    kinds: z.array(z.string()),
    rule: z.string(),
    reason: z.string(),
    expiresAt: z.string(),
  }),
  z.object({
    kind: z.literal('outcome'),
    connection: z.number(),
    statement: z.number(),
    /** `skipped`: an earlier error in the pipeline made the server pass over it. `unknown`: the relay or server died. */
    state: z.enum(['ok', 'error', 'suspended', 'skipped', 'unknown']),
    /** Command tags, one per statement of the text. */
    tags: z.array(z.string()),
    rows: z.number(),
    /** Bytes of result (DataRow and CopyData out) and of input (CopyData in). */
    bytesOut: z.number(),
    bytesIn: z.number(),
    sqlstate: z.optional(z.string()),
    durationMs: z.number(),
  }),
  z.object({
    kind: z.literal('cancel'),
    connection: z.number(),
    /** Whether a statement was running, so that the cancel went on to the server. */
    forwarded: z.boolean(),
  }),
  /** Detectors found, and covered, what no mask names. `column`: where the result said that it comes from one. */
  z.object({
    kind: z.literal('masks.detected'),
    connection: z.number(),
    statement: z.number(),
    detector: z.string(),
    column: z.optional(z.string()),
    count: z.number(),
  }),
  /** The server announced raw values of a column with a mask; the connection was cut before any of them was sent on. */
  z.object({ kind: z.literal('masks.breach'), connection: z.number(), statement: z.optional(z.number()), column: z.string() }),
  ...decisionEvents,
]);
export type Event = z.infer<typeof Event>;
export type EventOf<K extends Event['kind']> = Extract<Event, { kind: K }>;

/** The envelope: `seq` counts from 1 in the session, `prev` is the hash of the session's previous line ('' for the first). */
export const Envelope = z.object({
  v: z.literal(1),
  session: z.string(),
  seq: z.number(),
  prev: z.string(),
  /** RFC 3339 in UTC with milliseconds, by the relay's clock. */
  time: z.string(),
});
export type Envelope = z.infer<typeof Envelope>;
export type AuditEntry = Envelope & { readonly event: Event };
export const AuditEntry = z.extend(Envelope, { event: Event });
