/** What policy would say: the decision on a text for a principal and a role, as if they had the grant. Pure. */
import type { ExplainAnswer } from '../api/policy-api.ts';
import { GateError } from '../errors/errors.ts';
import type { Grant } from '../grant/grant.ts';
import type { Masked } from '../mask/masked.ts';
import type { Principal } from '../principal/principal.ts';
import type { StatementFacts } from '../sql/facts.ts';
import { explain, isAdministrator, isAuditor, rolesFor, type Decision, type TargetFacts } from './decide.ts';
import type { Examined } from './examined.ts';
import type { Policy, Role } from './role.ts';

export type Question = {
  readonly policy: Policy;
  readonly principal: Principal;
  readonly target: TargetFacts;
  /** Without it, the first that the principal may take. */
  readonly role?: string | undefined;
  readonly examined: Examined;
  readonly now: Date;
  /** Of the grant that is supposed; what the role requires is taken as said. */
  readonly reason?: string | undefined;
  readonly ticket?: string | undefined;
};

/**
 * Answers without any effect. A role that the principal may not take is part of the answer: a refusal by its rule. Fails
 * with `target-unknown` where there is no role at all to speak of.
 */
export function answer(question: Question): ExplainAnswer {
  const { policy, principal, target, examined, now } = question;
  const role = question.role ?? rolesFor(policy, principal, target, now)[0]?.name;
  if (role === undefined) {
    throw new GateError('target-unknown', `there is no target "${target.name}", or none of the groups may reach it`, {
      hint: `The groups: ${principal.groups.join(', ') || 'none'}.`,
    });
  }
  const grant = supposeGrant(question, role);
  const base = { target: target.name, role, principal: { name: principal.name, groups: [...principal.groups] }, policy: policy.digest };
  if (!examined.ok) {
    const { rule, reason } = examined;
    return { ...base, decision: { effect: 'deny', rule, reason }, statements: [] };
  }
  const { decision, statements } = explain({ facts: examined.facts, grant, target, policy, now });
  return {
    ...base,
    decision: decisionInfo(decision),
    statements: examined.facts.map((facts, index) => ({
      facts: factsInfo(facts),
      decision: decisionInfo(statements[index] ?? decision),
    })),
  };
}

/** Whom an explanation may be about. Fails with `denied` for somebody else than the caller, who is neither auditor nor administrator. */
export function explainedPrincipal(policy: Policy, caller: Principal, as: { name: string; groups: readonly string[] } | undefined): Principal {
  if (as === undefined) return caller;
  if (!isAuditor(policy, caller) && !isAdministrator(policy, caller)) {
    throw new GateError('denied', 'only auditors and administrators may ask what others may do', {
      rule: 'auditors',
      hint: 'Leave --as away to ask for yourself.',
    });
  }
  return { issuer: caller.issuer, subject: as.name, kind: 'human', name: as.name, groups: as.groups };
}

const supposed = 'supposed for an explanation';

function supposeGrant({ policy, principal, target, now, reason, ticket }: Question, role: string): Grant {
  const found: Role | undefined = policy.targets.get(target.name)?.find(({ name }) => name === role);
  const said = {
    reason: reason ?? (found?.require.includes('reason') ? supposed : undefined),
    ticket: ticket ?? (found?.require.includes('ticket') ? supposed : undefined),
  };
  return {
    id: 'supposed',
    principal,
    target: target.name,
    role,
    createdAt: now,
    expiresAt: new Date(now.getTime() + (found?.maxDuration ?? 3600) * 1000),
    ...(said.reason !== undefined && { reason: said.reason }),
    ...(said.ticket !== undefined && { ticket: said.ticket }),
  };
}

function decisionInfo({ approval, ...decision }: Decision): ExplainAnswer['decision'] {
  return { ...decision, ...(approval && { approval: { ...approval, by: [...approval.by] } }) };
}

function factsInfo(facts: StatementFacts): ExplainAnswer['statements'][number]['facts'] {
  return {
    ...facts,
    commands: [...facts.commands],
    kinds: [...facts.kinds],
    reads: [...facts.reads],
    writes: [...facts.writes],
    functions: [...facts.functions],
    settings: [...facts.settings],
  };
}

export type MasksAnswer = NonNullable<ExplainAnswer['masks']>;

/** What masks make of a text, as an explanation shows it. */
export function masksInfo(level: MasksAnswer['level'], masked: Masked): MasksAnswer {
  if (masked.ok) return { level, columns: [...masked.columns], sent: masked.sql };
  const { rule, reason, hint } = masked;
  return { level, columns: [], refusal: { rule, reason, hint } };
}
