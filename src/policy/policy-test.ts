/** Policy as tests: cases of who runs what where, and what the policy must say to it. Pure. */
import * as z from 'zod/mini';
import type { ExplainAnswer } from '../api/policy-api.ts';
import { GateError } from '../errors/errors.ts';
import type { Principal } from '../principal/principal.ts';
import { answer } from './explain.ts';
import type { Examined } from './examined.ts';
import { CatalogFile } from './catalog-file.ts';
import type { Policy } from './role.ts';

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
  masks: z.optional(z.never('masks are reserved: this version of gate has no masking rules to test')),
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

export function runCase(policy: Policy, one: PolicyCase, options: { examined: Examined; now: Date }): CaseResult {
  const name = one.name ?? `${one.who.name} (${one.who.groups.join(', ')}) on ${one.target}: ${one.sql.replaceAll(/\s+/g, ' ').slice(0, 60)}`;
  const { name: subject, kind, groups } = one.who;
  const principal: Principal = { issuer: 'test', subject, kind, name: subject, groups };
  const { target, role, reason, ticket } = one;
  const now = one.at === undefined ? options.now : new Date(one.at);
  try {
    const said = answer({ policy, principal, target: { name: target }, role, examined: options.examined, now, reason, ticket });
    const problems = compare(one, said);
    return { name, ok: problems.length === 0, problems, answer: said };
  } catch (error) {
    if (!(error instanceof GateError)) throw error;
    // Who may take no role may run nothing: that is what a case may well expect.
    if (one.expect === 'deny' && one.rule === undefined) return { name, ok: true, problems: [] };
    return { name, ok: false, problems: [error.message] };
  }
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
