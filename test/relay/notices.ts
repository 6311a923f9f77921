/** Notices about made-up requests, for tests of what is said outside. */
import type { AccessRequest, HeldStatement, Notice } from '../../src/grant/request.ts';
import type { Link, Principal } from '../../src/principal/principal.ts';

export const heldStatement: HeldStatement = {
  session: 's_1',
  connection: 1,
  grant: 'g_1',
  sql: 'delete from items where name = $1',
  parameters: ['parameter-canary-8841', null, { base64: 'AAEC' }, { bytes: 5000 }],
  fingerprint: 'f'.repeat(64),
  parameterHash: 'a'.repeat(64),
  facts: [
    {
      command: 'DELETE',
      commands: ['DELETE', 'SELECT'],
      kinds: ['write'],
      reads: [],
      writes: ['public.items'],
      functions: [],
      locking: false,
      settings: [],
      changesRole: false,
      runsCode: false,
    },
  ],
  transaction: 'I',
  isWaiting: true,
};

/** A workload behind which erin stands, verified or claimed, and an author who is made up. */
export function machine(strength: Link['strength']): Principal {
  const chain: Link[] = [
    { kind: 'workload', value: 'nightly', id: 'repo:7', strength: 'verified', source: 'token' },
    { kind: 'author', value: 'Mallory\n', strength: 'claimed', source: 'client' },
    { kind: 'human', value: 'erin', id: 'u1', strength, source: 'policy' },
  ];
  return { issuer: 'https://ci.example.com', subject: 'repo:7', kind: 'workload', name: 'nightly', groups: [], chain };
}

export function notice(id: string, more: Partial<AccessRequest> = {}, kind: Notice['kind'] = 'created'): Notice {
  return {
    kind,
    at: new Date('2026-11-02T10:00:00.000Z'),
    request: {
      id,
      kind: 'statement',
      requester: { issuer: 'https://id.example.com', subject: 'u1', kind: 'human', name: 'erin', groups: ['group-canary-3301'] },
      target: 'prod-db',
      role: 'engineer',
      reason: 'clean up',
      ticket: 'INC-1',
      approval: { by: ['dba'], count: 2, denials: 1, withinSeconds: 900 },
      rule: 'prod-db/engineer/unbounded',
      createdAt: new Date('2026-11-02T10:00:00.000Z'),
      expiresAt: new Date('2026-11-02T10:15:00.000Z'),
      state: 'pending',
      votes: [],
      statement: heldStatement,
      ...more,
    },
  };
}
