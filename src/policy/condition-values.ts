/** What conditions see: the variables of CEL, made once per decision from what the relay knows. */
import type { Environment } from '@marcbachmann/cel-js';
import type { Grant } from '../grant/grant.ts';
import type { AccessRequest } from '../grant/request.ts';
import { humanBehind, type Principal } from '../principal/principal.ts';
import type { StatementFacts } from '../sql/facts.ts';

/** The target as policy knows it: the relay's configuration holds the rest. */
export type TargetFacts = { readonly name: string; readonly description?: string | undefined };

/**
 * Names of tables and functions, or of settings, that one statement may have for a condition to be evaluated on it: two
 * loops over them are the most that a condition can do.
 */
export const conditionNamesMax = 200;

/** A field that has no value is absent: conditions ask has(…), and reading it is an error. */
const shapes = {
  /** `human`: the subject of the person behind it, where that is verified; `claimedHuman` where it is not. */
  Principal: { issuer: 'string', subject: 'string', kind: 'string', name: 'string', groups: 'list<string>', human: 'string', claimedHuman: 'string' },
  Target: { name: 'string', description: 'string' },
  Grant: {
    id: 'string',
    target: 'string',
    role: 'string',
    reason: 'string',
    ticket: 'string',
    createdAt: 'google.protobuf.Timestamp',
    expiresAt: 'google.protobuf.Timestamp',
  },
  Statement: {
    command: 'string',
    commands: 'list<string>',
    kinds: 'list<string>',
    reads: 'list<string>',
    writes: 'list<string>',
    functions: 'list<string>',
    rowsMax: 'int',
    bounded: 'bool',
    locking: 'bool',
    transaction: 'string',
    settings: 'list<string>',
    changesRole: 'bool',
    runsCode: 'bool',
  },
  Request: { requester: 'Principal', kind: 'string', target: 'string', role: 'string', reason: 'string', ticket: 'string' },
} as const;

/** Every field that a condition can read, for advice on misspelled ones. */
export const shapeFields: ReadonlySet<string> = new Set(Object.values(shapes).flatMap((fields) => Object.keys(fields)));

/** The library reads the fields of an object of a registered class directly, without a copy per evaluation. */
class Fields {
  /** Undefined is absent. */
  readonly [field: string]: unknown;

  constructor(fields: object) {
    Object.assign(this, fields);
  }
}
class PrincipalValue extends Fields {}
class TargetValue extends Fields {}
class GrantValue extends Fields {}
class StatementValue extends Fields {}
class RequestValue extends Fields {}

export function registerShapes(environment: Environment): void {
  environment.registerType('Principal', { ctor: PrincipalValue, fields: shapes.Principal });
  environment.registerType('Target', { ctor: TargetValue, fields: shapes.Target });
  environment.registerType('Grant', { ctor: GrantValue, fields: shapes.Grant });
  environment.registerType('Statement', { ctor: StatementValue, fields: shapes.Statement });
  environment.registerType('Request', { ctor: RequestValue, fields: shapes.Request });
}

export function principalValue(principal: Principal): object {
  const { issuer, subject, kind, name, groups } = principal;
  const { id, strength } = humanBehind(principal) ?? {};
  const human = strength === 'verified' ? id : undefined;
  return new PrincipalValue({ issuer, subject, kind, name, groups, human, claimedHuman: human === undefined ? id : undefined });
}

export function targetValue({ name, description }: TargetFacts): object {
  return new TargetValue({ name, description: description ?? '' });
}

export function grantValue({ id, target, role, reason, ticket, createdAt, expiresAt }: Grant): object {
  return new GrantValue({ id, target, role, reason, ticket, createdAt, expiresAt });
}

export function statementValue({ rowsMax, ...facts }: StatementFacts): object {
  return new StatementValue({ ...facts, bounded: rowsMax !== undefined, rowsMax: rowsMax === undefined ? undefined : BigInt(rowsMax) });
}

export function requestValue({ requester, kind, target, role, reason, ticket }: RequestFacts): object {
  return new RequestValue({ requester: principalValue(requester), kind, target, role, reason, ticket });
}

/** What voting depends on, of a request. */
export type RequestFacts = Pick<AccessRequest, 'requester' | 'kind' | 'target' | 'role' | 'reason' | 'ticket' | 'approval' | 'votes'>;
