/** People and requests that the tests of grants and requests share. */
import type { AccessRequest, Approval, ApprovalRule, HeldStatement } from '../../src/grant/request.ts';
import type { Principal } from '../../src/principal/principal.ts';

export function person(subject: string, ...groups: string[]): Principal {
  return { issuer: 'https://id.example.com', subject, kind: 'human', name: subject, groups };
}

export const erin = person('erin', 'engineering');
export const dora = person('dora', 'dba');
export const dan = person('dan', 'dba');
export const dee = person('dee', 'dba');

/** So many seconds past a moment that all tests share. */
export function at(seconds: number): Date {
  return new Date(Date.UTC(2026, 10, 2, 10) + seconds * 1000);
}

export function rule(more: Partial<ApprovalRule> = {}): ApprovalRule {
  return { by: ['leads'], count: 1, denials: 1, withinSeconds: 600, ...more };
}

export function statement(more: Partial<HeldStatement> = {}): HeldStatement {
  return {
    session: 's_1',
    connection: 1,
    grant: 'g_1',
    sql: 'delete from users where note = $1',
    parameters: ['it’s', null, { base64: 'AAE=' }, { bytes: 9, sha256: 'ab' }],
    fingerprint: 'f'.repeat(64),
    parameterHash: 'a'.repeat(64),
    facts: [
      {
        command: 'DELETE',
        commands: ['DELETE'],
        kinds: ['write'],
        reads: ['public.users'],
        writes: ['public.users'],
        functions: [],
        locking: false,
        settings: [],
        changesRole: false,
        runsCode: false,
      },
    ],
    transaction: 'T',
    locks: ['RowExclusiveLock on public.users'],
    rowEstimate: 1200,
    isWaiting: true,
    ...more,
  };
}

export function request(more: Partial<AccessRequest> = {}): AccessRequest {
  return {
    id: 'r_1',
    kind: 'grant',
    requester: erin,
    target: 'prod-db',
    role: 'dba',
    approval: rule(),
    rule: 'prod-db/dba/approval',
    createdAt: at(0),
    expiresAt: at(600),
    state: 'pending',
    votes: [],
    durationSeconds: 3600,
    ...more,
  };
}

export function vote(by: Principal, decision: Approval['decision'], seconds: number, more: Partial<Approval> = {}): Approval {
  return { by, decision, at: at(seconds), ...more };
}
