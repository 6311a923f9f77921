/** Policy as tests: cases of who runs what where, and what the policy must say to it. Pure. */
import * as z from 'zod/mini';
import type { ExplainAnswer } from '../api/policy-api.ts';
import { GateError } from '../errors/errors.ts';
import type { Principal } from '../principal/principal.ts';
import { answer, type MasksAnswer } from './explain.ts';
import type { Examined } from './examined.ts';
import { CatalogFile } from './catalog-file.ts';
import { maskRulesFor } from './masks.ts';
import { masksOf } from './offline-masks.ts';
import type { Policy } from './role.ts';
import type { Syntax } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';

const Text = z.string().check(z.minLength(1));

const Case = z.strictObject({
  name: z.optional(Text),
  who: z.strictObject({
    name: z._default(Text, 'someone'),
    groups: z.array(Text),
    kind: z._default(z.enum(['human', 'workload', 'agent']), 'human'),
  }),
  target: Text,
  /** Without it, the first role that they may take. */
  role: z.optional(Text),
  sql: z.string(),
  /** Of the grant. */
  reason: z.optional(Text),
  ticket: z.optional(Text),
  /** The moment of the statement, for conditions over `now`. */
  at: z.optional(z.iso.datetime({ offset: true, error: 'write a time like 2026-05-04T10:00:00Z' })),
  expect: z.enum(['allow', 'hold', 'deny']),
  /** Its name, or the whole of <target>/<role>/<rule>. */
  rule: z.optional(Text),
  /** How many approvals it takes. */
  approvals: z.optional(z.int().check(z.minimum(1))),
  rowsMax: z.optional(z.int().check(z.minimum(1))),
  /** All columns that are masked, as schema.table.column, or that masks refuse the text. */
  masks: z.optional(z.union([z.array(Text), z.literal('refused')], 'write a list of columns like [public.customers.card], or refused')),
});

export const CaseFile = z.strictObject({
  /** Path of the policy, from this file. */
  policy: z.optional(Text),
  catalog: z.optional(CatalogFile),
  cases: z.array(Case).check(z.minLength(1, 'write at least one case')),
});
export type CaseFile = z.infer<typeof CaseFile>;
export type PolicyCase = z.infer<typeof Case>;

export type CaseResult = {
  readonly name: string;
  readonly ok: boolean;
  /** What differs from what was expected, each in a sentence. */
  readonly problems: readonly string[];
  /** Absent where the case could not be asked: no such target, or no role that they may take. */
  readonly answer?: ExplainAnswer;
};

export type CaseOptions = {
  readonly examined: Examined;
  readonly now: Date;
  readonly names: SessionNames;
  readonly parse: (sql: string) => Syntax | undefined;
};

export function runCase(policy: Policy, one: PolicyCase, options: CaseOptions): CaseResult {
  const name = one.name ?? `${one.who.name} (${one.who.groups.join(', ')}) on ${one.target}: ${one.sql.replaceAll(/\s+/g, ' ').slice(0, 60)}`;
  const { name: subject, kind, groups } = one.who;
  const principal: Principal = { issuer: 'test', subject, kind, name: subject, groups };
  const { target, role, reason, ticket } = one;
  const now = one.at === undefined ? options.now : new Date(one.at);
  try {
    const said = answer({ policy, principal, target: { name: target }, role, examined: options.examined, now, reason, ticket });
    const { names, parse } = options;
    const masks = masksOf({ policy, principal, said, now, sql: one.sql, names, parse });
    const areTold = masks !== undefined || maskRulesFor(policy, { target, role: said.role, principal, now }).rules.length === 0;
    const problems = [...compare(one, said), ...compareMasks(one, areTold ? (masks ?? noMasks) : undefined)];
    return { name, ok: problems.length === 0, problems, answer: { ...said, ...(masks && { masks }) } };
  } catch (error) {
    if (!(error instanceof GateError)) throw error;
    // Who may take no role may run nothing: that is what a case may well expect.
    if (one.expect === 'deny' && one.rule === undefined) return { name, ok: true, problems: [] };
    return { name, ok: false, problems: [error.message] };
  }
}

const noMasks: MasksAnswer = { level: 'proven', columns: [] };

function compareMasks({ masks }: PolicyCase, said: MasksAnswer | undefined): string[] {
  if (masks === undefined) return [];
  if (said === undefined) return ['masks apply, but the catalog of the file says no columns, or the text cannot be parsed'];
  if (masks === 'refused') return said.refusal === undefined ? ['expected that masks refuse it, and they do not'] : [];
  if (said.refusal !== undefined) return [`masks refuse it by ${said.refusal.rule}: ${said.refusal.reason}`];
  const [expected, got] = [masks, said.columns.map(({ column }) => column)].map((list) => list.toSorted().join(', ') || 'none') as [string, string];
  return expected === got ? [] : [`expected the masked columns ${expected}, got ${got}`];
}

function compare(one: PolicyCase, { decision }: ExplainAnswer): string[] {
  const problems: string[] = [];
  if (decision.effect !== one.expect) {
    problems.push(`expected ${one.expect}, got ${decision.effect} by ${decision.rule}: ${decision.reason}`);
  } else if (one.rule !== undefined && decision.rule !== one.rule && !decision.rule.endsWith(`/${one.rule}`)) {
    problems.push(`expected the rule ${one.rule}, got ${decision.rule}`);
  }
  if (one.approvals !== undefined && decision.approval?.count !== one.approvals) {
    problems.push(`expected ${one.approvals} approvals, got ${decision.approval?.count ?? 'none'}`);
  }
  if (one.rowsMax !== undefined && decision.rowsMax !== one.rowsMax) {
    problems.push(`expected at most ${one.rowsMax} rows, got ${decision.rowsMax ?? 'no limit'}`);
  }
  return problems;
}
