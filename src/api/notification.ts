/** What a webhook is told: the body of every notification, with the schema that checks it. Additive only within `v: 1`. */
import * as z from 'zod/mini';
import { Link } from '../audit/entry.ts';
import { StatementKind } from './api.ts';

export const notificationEvents = ['created', 'approved', 'denied', 'withdrawn', 'expired', 'opened-for-review'] as const;
export type NotificationEvent = (typeof notificationEvents)[number];

const Person = z.object({
  name: z.string(),
  subject: z.string(),
  issuer: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  /** Of a workload or an agent, from itself to a person: what each step is known by. The beginning of a long one. */
  chain: z.exactOptional(z.readonly(z.array(Link))),
});

/** Text as it is; what is cut is marked; NULL as null; what the record keeps by size alone, by its size. */
const Parameter = z.nullable(
  z.union([
    z.string(),
    z.object({ text: z.string(), cut: z.literal(true) }),
    z.object({ base64: z.string() }),
    z.object({ bytes: z.number() }),
  ]),
);

export const NotificationBody = z.object({
  v: z.literal(1),
  /** The same in every attempt, and in the header gate-delivery: whoever has seen it has seen this notification. */
  delivery: z.string(),
  event: z.enum(notificationEvents),
  /** When it happened. Times are RFC 3339 in UTC with milliseconds. */
  at: z.string(),
  request: z.object({
    id: z.string(),
    kind: z.enum(['grant', 'statement', 'review']),
    requester: Person,
    target: z.string(),
    role: z.string(),
    reason: z.optional(z.string()),
    ticket: z.optional(z.string()),
    /** Of the policy, that asks for approval. */
    rule: z.string(),
    state: z.enum(['pending', 'approved', 'denied', 'withdrawn', 'expired', 'used']),
    /** So many distinct people, out of these approver sets of the policy. */
    approve: z.object({ by: z.array(z.string()), count: z.number() }),
    expiresAt: z.string(),
    endReason: z.optional(z.string()),
    /** Of the grant that is asked for. */
    durationSeconds: z.optional(z.number()),
    votes: z.array(
      z.object({ by: Person, decision: z.enum(['approve', 'deny']), reason: z.optional(z.string()), at: z.string() }),
    ),
    statement: z.optional(
      z.object({
        session: z.string(),
        /** As recorded, so with secrets replaced. Absent where the sink says `includeSql: false`. */
        sql: z.optional(z.string()),
        /** The text goes on behind what `sql` holds. */
        sqlCut: z.optional(z.literal(true)),
        kinds: z.array(StatementKind),
        commands: z.array(z.string()),
        /** Only where the sink says `includeParameters: true`. */
        parameters: z.optional(z.array(Parameter)),
        /** There are more than `parameters` holds. */
        parametersCut: z.optional(z.literal(true)),
      }),
    ),
  }),
});
export type NotificationBody = z.infer<typeof NotificationBody>;
