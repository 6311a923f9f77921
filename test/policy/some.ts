/** One-line builders of what the policy room takes. */
import { GateError } from '../../src/errors/errors.ts';
import type { Grant } from '../../src/grant/grant.ts';
import { decide, type Decision } from '../../src/policy/decide.ts';
import { parsePolicy, type Policy } from '../../src/policy/policy.ts';
import type { Principal } from '../../src/principal/principal.ts';
import type { StatementFacts } from '../../src/sql/facts.ts';

export const now = new Date('2026-05-04T10:00:00Z');

export function person(subject: string, ...groups: string[]): Principal {
  return { issuer: 'https://id', subject, kind: 'human', name: subject, groups };
}

export function factsOf(some: Partial<StatementFacts> = {}): StatementFacts {
  const base: StatementFacts = {
    command: 'SELECT',
    commands: ['SELECT'],
    kinds: ['read'],
    reads: [],
    writes: [],
    functions: [],
    locking: false,
    settings: [],
    changesRole: false,
    runsCode: false,
  };
  return { ...base, ...(some.command !== undefined && { commands: [some.command] }), ...some };
}

/** A policy of one role `r` on the target `shop`, for the group `g`; fields in YAML flow style. */
export function policyOf(fields: string, more = ''): Policy {
  return parsePolicy(
    `approvers: { dba: { groups: [dba] }, security: { groups: [security] }, both: { groups: [dba, security] } }\n${more}\n` +
      `targets:\n  shop:\n    roles:\n      r: { groups: [g], ${fields} }\n`,
    'policy.yaml',
  );
}

export function grantOf(changes: Partial<Grant> = {}): Grant {
  const expiresAt = new Date('2026-05-04T11:00:00Z');
  return { id: 'g1', principal: person('alice', 'g'), target: 'shop', role: 'r', createdAt: now, expiresAt, ...changes };
}

export function verdictOf(policy: Policy, facts: readonly StatementFacts[], changes: Partial<Grant> = {}): Decision {
  return decide({ facts, grant: grantOf(changes), target: { name: 'shop' }, policy, now });
}

/** The message of a policy file that is refused. */
export function problemOf(text: string): string {
  try {
    parsePolicy(text, 'policy.yaml');
  } catch (error) {
    if (error instanceof GateError && error.code === 'config-invalid') return error.message;
    throw error;
  }
  throw new Error('it was accepted');
}
