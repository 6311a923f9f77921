/** The two decisions: who gets a grant, and which statement runs under it. Pure, total, default deny. */
import { GateError } from '../errors/errors.ts';
import type { Grant } from '../grant/grant.ts';
import type { ApprovalRule } from '../grant/request.ts';
import type { Principal } from '../principal/principal.ts';
import type { StatementKind } from '../sql/kind.ts';
import type { Policy, Role } from './policy.ts';

/** The verdict on a text. What it takes to approve stands with `hold`, what limits the run with `allow` and `hold`. */
export type Decision = {
  readonly effect: 'allow' | 'hold' | 'deny';
  readonly rule: string;
  readonly reason: string;
  readonly approval?: ApprovalRule;
  /** Most rows that the statement may return or change. */
  readonly rowsMax?: number;
};

/** The roles of a target that a principal may take, in the order of the policy file. */
export function rolesFor(policy: Policy, principal: Principal, target: string): readonly Role[] {
  const roles = policy.targets.get(target) ?? [];
  return roles.filter((role) => role.groups.some((group) => principal.groups.includes(group)));
}

/**
 * The role for a new grant. Fails with `target-unknown` when the principal may take no role there: whether the target
 * exists is not told to those who may not reach it. Fails with `denied` or `reason-required` else.
 */
export function admit(
  policy: Policy,
  principal: Principal,
  request: { target: string; role?: string | undefined; reason?: string | undefined; ticket?: string | undefined },
): Role {
  const roles = rolesFor(policy, principal, request.target);
  if (roles.length === 0) {
    throw new GateError('target-unknown', `there is no target "${request.target}", or none of your groups may reach it`, {
      hint: `Your groups: ${principal.groups.join(', ') || 'none'}. See gate targets for what you may reach.`,
    });
  }
  const role = request.role === undefined ? roles[0] : roles.find(({ name }) => name === request.role);
  if (role === undefined) {
    throw new GateError('denied', `you may not take the role "${request.role}" on ${request.target}`, {
      rule: `${request.target}/${request.role}/groups`,
      hint: `You may take: ${roles.map(({ name }) => name).join(', ')}.`,
    });
  }
  if (role.require.includes('reason') && !request.reason?.trim()) {
    throw new GateError('reason-required', `${request.target} asks for a reason`, {
      rule: `${request.target}/${role.name}/require`,
      hint: 'Say why with --reason "…".',
    });
  }
  if (role.require.includes('ticket') && !request.ticket?.trim()) {
    throw new GateError('ticket-required', `${request.target} asks for a ticket`, {
      rule: `${request.target}/${role.name}/require`,
      hint: 'Say which with --ticket ID.',
    });
  }
  return role;
}

/** Whether a statement of these kinds may run under a grant now. Every kind in the text must be allowed. */
export function decide(input: { kinds: readonly StatementKind[]; grant: Grant; policy: Policy; now: Date }): Decision {
  const { kinds, grant, policy, now } = input;
  if (now >= grant.expiresAt) return deny('grant-expired', `grant ${grant.id} expired at ${grant.expiresAt.toISOString()}`);
  const prefix = `${grant.target}/${grant.role}`;
  const role = rolesFor(policy, grant.principal, grant.target).find(({ name }) => name === grant.role);
  if (role === undefined) return deny(`${prefix}/groups`, `the policy no longer gives you the role ${grant.role}`);
  const refused = kinds.find((kind) => !role.allow.includes(kind));
  if (refused !== undefined) {
    return deny(`${prefix}/allow`, `the role ${grant.role} may not run ${describeKind(refused)} on ${grant.target}`);
  }
  return { effect: 'allow', rule: `${prefix}/allow`, reason: `the role ${grant.role} allows ${kinds.join(' and ') || 'empty'} statements` };
}

/** Whether a role could change anything: if not, its database sessions are opened read-only. */
export function isReadOnly(role: Role): boolean {
  return role.allow.every((kind) => kind === 'read');
}

export function isAdministrator(policy: Policy, principal: Principal): boolean {
  return policy.administrators.some((group) => principal.groups.includes(group));
}

export function isAuditor(policy: Policy, principal: Principal): boolean {
  return policy.auditors.some((group) => principal.groups.includes(group));
}

function describeKind(kind: StatementKind): string {
  if (kind === 'unknown') return 'statements whose effect cannot be told from their text (DO, CALL)';
  return kind === 'schema' ? 'schema changes' : `${kind} statements`;
}

function deny(rule: string, reason: string): Decision {
  return { effect: 'deny', rule, reason };
}
