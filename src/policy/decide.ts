/** The two decisions: who gets a grant, and which statement runs under it. Pure, total, default deny. */
import { GateError } from '../errors/errors.ts';
import type { Grant } from '../grant/grant.ts';
import { humanBehind, type Principal } from '../principal/principal.ts';
import type { StatementFacts } from '../sql/facts.ts';
import { grantValue, principalValue, statementValue, targetValue, type TargetFacts } from './condition-values.ts';
import type { Policy, Role } from './role.ts';
import { combine, judge, type Decision } from './verdict.ts';

export type { TargetFacts } from './condition-values.ts';
export type { Decision } from './verdict.ts';

/** The roles of a target that a principal may take now, in the order of the policy file. */
export function rolesFor(policy: Policy, principal: Principal, target: string | TargetFacts, now: Date): readonly Role[] {
  const facts = typeof target === 'string' ? { name: target } : target;
  const roles = policy.targets.get(facts.name) ?? [];
  return roles.filter((role) => isMember(role, principal) && meetsCondition(role, { principal, target: facts, now }));
}

function isMember(role: Role, principal: Principal): boolean {
  return role.groups.some((group) => principal.groups.includes(group));
}

/** A condition that cannot be evaluated gives nothing. */
function meetsCondition({ when }: Role, scope: { principal: Principal; target: TargetFacts; now: Date }): boolean {
  if (when === undefined) return true;
  const { principal, target, now } = scope;
  return when.test({ principal: principalValue(principal), target: targetValue(target), now }).holds;
}

export type AdmissionRequest = {
  readonly target: string | TargetFacts;
  readonly role?: string | undefined;
  readonly reason?: string | undefined;
  readonly ticket?: string | undefined;
};

/**
 * The role for a new grant. Fails with `target-unknown` when the principal may take no role there: whether the target
 * exists is not told to those who may not reach it. Fails with `denied`, `reason-required` or `ticket-required` else. Whether the role needs
 * approval first, or a review afterwards, stands in the role.
 */
export function admit(policy: Policy, principal: Principal, request: AdmissionRequest, now: Date): Role {
  const target = typeof request.target === 'string' ? request.target : request.target.name;
  const roles = rolesFor(policy, principal, request.target, now);
  if (roles.length === 0) {
    throw new GateError('target-unknown', `there is no target "${target}", or none of your groups may reach it`, {
      hint: `Your groups: ${principal.groups.join(', ') || 'none'}. See gate targets for what you may reach.`,
    });
  }
  const role = request.role === undefined ? roles[0] : roles.find(({ name }) => name === request.role);
  if (role === undefined) {
    const isOnlyNow = policy.targets.get(target)?.some((one) => one.name === request.role && isMember(one, principal));
    throw new GateError('denied', `you may not take the role "${request.role}" on ${target}${isOnlyNow ? ' now' : ''}`, {
      rule: `${target}/${request.role}/${isOnlyNow ? 'when' : 'groups'}`,
      hint: `You may take: ${roles.map(({ name }) => name).join(', ')}.`,
    });
  }
  checkSaid(role, principal, target, request);
  return role;
}

function checkSaid(role: Role, principal: Principal, target: string, { reason, ticket }: AdmissionRequest): void {
  const rule = `${target}/${role.name}/require`;
  if (role.require.includes('reason') && !reason?.trim()) {
    throw new GateError('reason-required', `${target} asks for a reason`, { rule, hint: 'Say why with --reason "…".' });
  }
  if (role.require.includes('ticket') && !ticket?.trim()) {
    throw new GateError('ticket-required', `${target} asks for a ticket`, { rule, hint: 'Say which with --ticket ID.' });
  }
  if (role.require.includes('human') && humanBehind(principal)?.strength !== 'verified') {
    throw new GateError('denied', `${target} as ${role.name} asks for a person behind ${principal.name}, and none is verified`, {
      rule,
      hint: 'The token must name an account that stands under people: in the policy. See gate whoami for the chain.',
    });
  }
  if (ticket !== undefined && role.ticketPattern?.matches(ticket) === false) {
    throw new GateError('ticket-required', `"${ticket}" does not look like a ticket for ${target}`, {
      rule: `${target}/${role.name}/ticket`,
      hint: `It must match ${role.ticketPattern.source}.`,
    });
  }
}

export type DecisionInput = {
  /** Of each statement of the text; none for a text without a statement. */
  readonly facts: readonly StatementFacts[];
  readonly grant: Grant;
  readonly target: TargetFacts;
  readonly policy: Policy;
  readonly now: Date;
};

/** The decision on a whole text, and the one on each of its statements. */
export type Explanation = { readonly decision: Decision; readonly statements: readonly Decision[] };

/** Whether a text may run under a grant now. */
export function decide(input: DecisionInput): Decision {
  return explain(input).decision;
}

/** The same, with what it came from. */
export function explain(input: DecisionInput): Explanation {
  const turns = explainInTurns(input);
  let step = turns.next();
  while (step.done !== true) step = turns.next();
  return step.value;
}

/** The same, letting go between two statements. */
export function* explainInTurns({ facts, grant, target, policy, now }: DecisionInput): Generator<undefined, Explanation, undefined> {
  const all = (decision: Decision): Explanation => ({ decision, statements: facts.map(() => decision) });
  if (now >= grant.expiresAt) return all(deny('grant-expired', `grant ${grant.id} expired at ${grant.expiresAt.toISOString()}`));
  const { principal } = grant;
  const prefix = `${grant.target}/${grant.role}`;
  const role = policy.targets.get(grant.target)?.find(({ name }) => name === grant.role);
  if (role === undefined || target.name !== grant.target || !isMember(role, principal)) {
    return all(deny(`${prefix}/groups`, `the policy no longer gives you the role ${grant.role}`));
  }
  if (!meetsCondition(role, { principal, target, now })) {
    return all(deny(`${prefix}/when`, `the policy does not give you the role ${grant.role} now`));
  }
  if (grant.isReadOnly && facts.some(({ kinds }) => kinds.some((kind) => kind !== 'read'))) {
    return all(deny(`${prefix}/read-only`, 'the grant was asked for as read-only'));
  }
  if (facts.length === 0) return all({ effect: 'allow', rule: `${prefix}/allow`, reason: `the text holds no statement` });
  let fixed: object | undefined;
  const scope = (one: StatementFacts) => {
    fixed ??= { principal: principalValue(principal), grant: grantValue(grant), target: targetValue(target), now };
    return { ...fixed, statement: statementValue(one) };
  };
  // Statements that come to the same may share their facts.
  const judged = new Map<StatementFacts, Decision>();
  for (const one of facts) {
    if (judged.has(one)) continue;
    judged.set(one, judge({ role, grant, scope }, one));
    yield undefined;
  }
  const statements = facts.map((one) => judged.get(one) as Decision);
  return { decision: combine(statements), statements };
}

/** Whether a role could change anything: if not, its database sessions are opened read-only. */
export function isReadOnly(role: Role): boolean {
  return role.isReadOnly;
}

/** Never an agent, whatever the groups of its person. */
export function isAuditor(policy: Policy, principal: Principal): boolean {
  return principal.kind !== 'agent' && policy.auditors.some((group) => principal.groups.includes(group));
}

/** Never an agent, whatever the groups of its person. */
export function isAdministrator(policy: Policy, principal: Principal): boolean {
  return principal.kind !== 'agent' && policy.administrators.some((group) => principal.groups.includes(group));
}

function deny(rule: string, reason: string): Decision {
  return { effect: 'deny', rule, reason };
}
