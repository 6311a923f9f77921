/** What stands in the record of requests, votes and their ends. */
import type { EventOf } from '../audit/entry.ts';
import type { Grant } from '../grant/grant.ts';
import type { AccessRequest, Approval } from '../grant/request.ts';
import type { Principal } from '../principal/principal.ts';
import { shapeOf } from '../sql/shape.ts';

export function requestEvent(request: AccessRequest): EventOf<'request'> {
  const { id, kind, requester, target, role, reason, ticket, rule, approval, expiresAt, durationSeconds, isReadOnly, statement } = request;
  return {
    kind: 'request',
    request: id,
    of: kind,
    who: who(requester),
    target,
    role,
    ...(reason !== undefined && { reason }),
    ...(ticket !== undefined && { ticket }),
    rule,
    by: [...approval.by],
    count: approval.count,
    expiresAt: expiresAt.toISOString(),
    ...(durationSeconds !== undefined && { durationSeconds }),
    ...(isReadOnly && { isReadOnly }),
    ...(statement !== undefined && {
      statement: { session: statement.session },
      fingerprint: statement.fingerprint,
      parameterHash: statement.parameterHash,
      sql: statement.sql,
      shape: shapeOf(statement.sql),
    }),
  };
}

export function voteEvent(request: string, { by, decision, reason, allows }: Approval): EventOf<'vote'> {
  return {
    kind: 'vote',
    request,
    by: who(by),
    decision,
    ...(reason !== undefined && { reason }),
    ...(allows !== undefined && {
      uses: allows.uses,
      until: allows.until.toISOString(),
      ...(allows.anyParameters && { anyParameters: true as const }),
    }),
  };
}

export function endEvent({ id, state, endReason }: AccessRequest): EventOf<'request.end'> {
  return { kind: 'request.end', request: id, state, ...(endReason !== undefined && { reason: endReason }) };
}

export function grantEvent(grant: Grant, policy: string): EventOf<'grant'> {
  const { id, principal, target, role, reason, ticket, expiresAt, request } = grant;
  return {
    kind: 'grant',
    grant: id,
    who: who(principal),
    target,
    role,
    ...(reason !== undefined && { reason }),
    ...(ticket !== undefined && { ticket }),
    expiresAt: expiresAt.toISOString(),
    ...(request !== undefined && { request }),
    policy,
  };
}

export function revokeEvent(grant: string, by: Principal, reason: string | undefined): EventOf<'grant.revoke'> {
  return { kind: 'grant.revoke', grant, by: who(by), ...(reason !== undefined && { reason }) };
}

/** Somebody as the record names them. */
export function who({ issuer, subject, kind, name, groups, chain }: Principal): EventOf<'login'>['who'] {
  return { issuer, subject, kind, name, groups: [...groups], ...(chain && { chain: [...chain] }) };
}
