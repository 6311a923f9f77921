/** The shapes of the record: every entry that a session can leave, as it stands in the log. */
import * as z from 'zod/mini';
import { durabilities } from './durability.ts';
import { linkKinds } from '../principal/principal.ts';

/** One step from a workload or an agent back to a person. */
export const Link = z.object({
  kind: z.enum(linkKinds),
  value: z.string(),
  id: z.exactOptional(z.string()),
  url: z.exactOptional(z.string()),
  strength: z.enum(['verified', 'claimed']),
  source: z.enum(['token', 'signature', 'policy', 'client']),
});

const Who = z.object({
  issuer: z.string(),
  subject: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  name: z.string(),
  groups: z.array(z.string()),
  chain: z.exactOptional(z.readonly(z.array(Link))),
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
    isReadOnly: z.optional(z.literal(true)),
    statement: z.optional(z.object({ session: z.string() })),
    /** That statement. Sealed, with the key of its session, as hashes can be searched for; `shape` is not. */
    sql: z.optional(z.string()),
    fingerprint: z.optional(z.string()),
    parameterHash: z.optional(z.string()),
    shape: z.optional(z.string()),
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
  /** Asked for a grant, and was refused by this rule. */
  z.object({
    kind: z.literal('grant.deny'),
    who: Who,
    target: z.string(),
    role: z.optional(z.string()),
    rule: z.string(),
    reason: z.string(),
  }),
  /** The policy in force from here on; with `error`, a file that was not taken and why. */
  z.object({ kind: z.literal('policy'), policy: z.string(), error: z.optional(z.string()) }),
] as const;

/** What the relay itself, its keys and the readers of its record did. In the same chain. */
const relayEvents = [
  z.object({
    kind: z.literal('relay.start'),
    relayVersion: z.string(),
    /** How the relay before it ended: a `crash` left statements whose outcome nobody knows. */
    after: z.enum(['nothing', 'stop', 'crash']),
  }),
  z.object({ kind: z.literal('relay.stop') }),
  /** A token that the relay had not seen before. Times are those of the token, and of a workload those of its login at the relay. */
  z.object({ kind: z.literal('login'), who: Who, issuedAt: z.string(), expiresAt: z.string() }),
  /** A login that was refused. `issuer` and `workload` are names in the policy, `subject` that of a token that was verified. */
  z.object({
    kind: z.literal('login.deny'),
    issuer: z.optional(z.string()),
    workload: z.optional(z.string()),
    subject: z.optional(z.string()),
    rule: z.string(),
    reason: z.string(),
    /** In a flood: so many more within a minute have no entries of their own. */
    leftOut: z.optional(z.number()),
  }),
  /** Somebody reads the record; written before they get the first byte. */
  z.object({
    kind: z.literal('read'),
    by: Who,
    what: z.enum(['replay', 'tail', 'search', 'decisions', 'export', 'bundle', 'inventory']),
    session: z.optional(z.string()),
    /** With what was sealed. */
    isOpened: z.boolean(),
    detail: z.optional(z.string()),
  }),
  /** The checkpoints that follow are signed with another key. Both are verifier keys of signed notes. */
  z.object({ kind: z.literal('key.rotate'), from: z.string(), to: z.string() }),
  z.object({ kind: z.literal('shred.request'), session: z.string(), by: Who, reason: z.string() }),
  /** The data keys of a session are gone for good: by two people, or because their time was over. */
  z.object({
    kind: z.literal('key.shred'),
    session: z.string(),
    classes: z.array(z.enum(['content', 'results'])),
    by: z.array(Who),
    reason: z.string(),
  }),
  /** While it is set, the keys of the session stay. */
  z.object({ kind: z.literal('legal.hold'), session: z.string(), by: Who, isSet: z.boolean(), reason: z.string() }),
] as const;

/** Stands in place of a session's id for what happens beside the sessions. */
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
    /** How far the record of a statement has to be, and before what; absent: on disk before it is forwarded. */
    durability: z.optional(z.enum(durabilities)),
    /** SHA-256 of the policy text in force, in hex. */
    policy: z.string(),
    relayVersion: z.string(),
  }),
  z.object({ kind: z.literal('session.close'), reason: z.string() }),
  /** Somebody ends the session before its time. */
  z.object({ kind: z.literal('session.kill'), by: Who, reason: z.optional(z.string()) }),
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
    /** The client's text, sealed. Where it sets a password, the text with every quoted literal and comment replaced, and `redacted`. */
    sql: z.string(),
    /** The text without its literals and comments, and cut where it is long. Not sealed. */
    shape: z.optional(z.string()),
    redacted: z.optional(z.literal(true)),
    /** Bound in order: text as it is, binary as base64, NULL as null; large ones by size and hash, secrets by size. */
    parameters: z.optional(z.array(Parameter)),
    /** The kinds of all statements in the text, without repetition. */
    kinds: z.array(z.string()),
    /** The tables that it reads and writes, as far as they are known, and at most `namesMax` of them. */
    tables: z.optional(z.array(z.string())),
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
    shape: z.optional(z.string()),
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
    /** Command tags, one per statement of the text; at most `namesMax` of them. */
    tags: z.array(z.string()),
    rows: z.number(),
    /**
     * Of the SHA-256 of the DataRow and CopyData messages that the client got: its HMAC-SHA-256 under the session's data key
     * of results, in hex, as a hash of few bytes can be searched for. Absent where there were none.
     */
    digest: z.optional(z.string()),
    /** Bytes of result (DataRow and CopyData out) and of input (CopyData in). */
    bytesOut: z.number(),
    bytesIn: z.number(),
    sqlstate: z.optional(z.string()),
    durationMs: z.number(),
  }),
  /** Where policy asks for it, what the client got for a statement, as it got it. Stands before the outcome. */
  z.object({
    kind: z.literal('result'),
    connection: z.number(),
    statement: z.number(),
    columns: z.array(z.object({ name: z.string(), type: z.number() })),
    /** The first rows, sealed: as many as fit into the limits. */
    rows: z.array(z.array(Parameter)),
    /** There were more. */
    isCut: z.optional(z.literal(true)),
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
  ...relayEvents,
]);
export type Event = z.infer<typeof Event>;
export type EventOf<K extends Event['kind']> = Extract<Event, { kind: K }>;

/** Names of one kind that an entry lists: the rest of a longer list is sealed. */
export const namesMax = 100;

/** The envelope: `seq` counts from 1 in the session, `prev` is the hash of the session's previous entry ('' for the first). */
export const Envelope = z.object({
  v: z.literal(1),
  session: z.string(),
  seq: z.number(),
  prev: z.string(),
  /** RFC 3339 in UTC with milliseconds, by the relay's clock. */
  time: z.string(),
});
export type Envelope = z.infer<typeof Envelope>;

/**
 * What an entry has sealed: `sha256` is that of the sealed bytes, in hex, and `key` the class of the data key. Readers
 * who get no more than the entry itself see what stands in its place.
 */
export const Sealed = z.object({
  sha256: z.string(),
  bytes: z.number(),
  key: z.enum(['content', 'results']),
  /** For readers only, and not part of the entry: why what was sealed is not here. */
  closed: z.optional(z.enum(['not-allowed', 'shredded', 'missing'])),
});
export type Sealed = z.infer<typeof Sealed>;
export const AuditEntry = z.extend(Envelope, { event: Event, sealed: z.optional(Sealed) });
export type AuditEntry = Readonly<z.infer<typeof AuditEntry>>;
