/** What CLI and relay say to each other about decisions that are asked for, not made: POST /v1/policy/explain. */
import * as z from 'zod/mini';
import { StatementKind } from './api.ts';

const text = (lengthMax: number) => z.string().check(z.minLength(1), z.maxLength(lengthMax));

/** Longest SQL text that is explained; the whole request must fit into `requestBytesMax`. */
export const explainSqlLengthMax = 12 * 1024;

/** Without `role`, the first that the principal may take. `as`: somebody else, which only auditors and administrators may ask. */
export const ExplainRequest = z.strictObject({
  target: text(100),
  role: z.optional(text(100)),
  sql: z.string().check(z.maxLength(explainSqlLengthMax)),
  as: z.optional(z.strictObject({ name: text(200), groups: z.array(text(200)).check(z.maxLength(1000)) })),
});
export type ExplainRequest = z.infer<typeof ExplainRequest>;

/** Facts of one statement as src/sql/facts.ts describes them. */
export const StatementFactsInfo = z.object({
  command: z.string(),
  commands: z.array(z.string()),
  kinds: z.array(StatementKind),
  reads: z.array(z.string()),
  writes: z.array(z.string()),
  functions: z.array(z.string()),
  rowsMax: z.optional(z.number()),
  locking: z.boolean(),
  transaction: z.optional(z.string()),
  settings: z.array(z.string()),
  changesRole: z.boolean(),
  runsCode: z.boolean(),
});

export const DecisionInfo = z.object({
  effect: z.enum(['allow', 'hold', 'deny']),
  rule: z.string(),
  reason: z.string(),
  /** With `hold`: who must approve, how many of them, and for how long it waits. */
  approval: z.optional(
    z.object({ by: z.array(z.string()), count: z.number(), denials: z.number(), withinSeconds: z.number() }),
  ),
  rowsMax: z.optional(z.number()),
  statementTimeoutMs: z.optional(z.number()),
  recordRows: z.optional(z.literal(true)),
});
export type DecisionInfo = z.infer<typeof DecisionInfo>;

/** `decision` is that on the whole text; `statements` has facts and verdict of each, in order. */
export const ExplainAnswer = z.object({
  target: z.string(),
  role: z.string(),
  principal: z.object({ name: z.string(), groups: z.array(z.string()) }),
  /** SHA-256 of the policy text, in hex. */
  policy: z.string(),
  decision: DecisionInfo,
  statements: z.array(z.object({ facts: StatementFactsInfo, decision: DecisionInfo })),
  /** For a principal with masks, from a relay only: the columns that are masked and the text that would be sent, or why it would be refused. */
  masks: z.optional(
    z.object({
      level: z.enum(['display', 'proven', 'airtight']),
      columns: z.array(z.object({ column: z.string(), rule: z.string(), kind: z.string() })),
      sent: z.optional(z.string()),
      refusal: z.optional(z.object({ rule: z.string(), reason: z.string(), hint: z.string() })),
    }),
  ),
});
export type ExplainAnswer = z.infer<typeof ExplainAnswer>;
