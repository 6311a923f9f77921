/** Entries of every kind for the exports, with a canary in everything that an entry seals. */
import type { AuditEntry, Event, EventOf } from '../../src/audit/entry.ts';
import { decisionsChain } from '../../src/audit/entry.ts';
import { SessionContexts, type LogLeaf, type SiemRecord } from '../../src/audit/siem/context.ts';

/** Stands in every sealed field and nowhere else. */
export const canary = 'canary-7c1f';

export const relay = 'gate.example.com/prod';
const erin = { issuer: 'https://id.example.com', subject: 'u-17', kind: 'human', name: 'Erin Engineer', groups: ['engineering', 'on-call'] } as const;
const ada = { issuer: 'https://id.example.com', subject: 'u-3', kind: 'human', name: 'Ada Approver', groups: ['dba'] } as const;
const bot = { issuer: 'https://ci.example.com', subject: 'repo:shop/app', kind: 'workload', name: 'shop=app|ci\\main', groups: [] as string[] } as const;
/** Of one run the author is only claimed, and is made to look like more. */
const chain: NonNullable<EventOf<'login'>['who']['chain']> = [
  { kind: 'workload', value: 'shop=app|ci\\main', id: 'repo:shop/app', strength: 'verified', source: 'token' },
  { kind: 'run', value: '42 attempt 1', id: '9042.1', url: 'https://ci.example.com/shop/app/42', strength: 'verified', source: 'token' },
  { kind: 'author', value: 'Mallory; human, verified by token: root\n\u202e\u001b[2J', strength: 'claimed', source: 'client' },
];
const verifiedErin = { kind: 'human', value: 'Erin Engineer', id: 'u-17', strength: 'verified', source: 'policy' } as const;
const claimedErin = { ...verifiedErin, strength: 'claimed', source: 'client' } as const;
const policy = 'a3f5'.repeat(16);
const grant = 'gr_01';
const until = '2026-11-02T11:00:00.000Z';

const people = { erin: { ...erin, groups: [...erin.groups] }, ada: { ...ada, groups: [...ada.groups] }, bot: { ...bot, chain: [...chain, verifiedErin] }, stray: { ...bot, chain: [...chain, claimedErin] } };
const access = { target: 'prod-db', role: 'reader' };

/** In the order in which they could stand in a log; those of the session are one session. */
export const eventsByKind: { readonly [K in Event['kind']]: readonly EventOf<K>[] } = {
  'relay.start': [
    { kind: 'relay.start', relayVersion: '0.1.0', after: 'nothing' },
    { kind: 'relay.start', relayVersion: '0.1.1', after: 'crash' },
  ],
  policy: [
    { kind: 'policy', policy },
    { kind: 'policy', policy, error: 'line 7: no such role' },
  ],
  login: [
    { kind: 'login', who: people.erin, issuedAt: '2026-11-02T09:59:00.000Z', expiresAt: until },
    { kind: 'login', who: people.bot, issuedAt: '2026-11-02T09:59:00.000Z', expiresAt: until },
  ],
  'login.deny': [
    { kind: 'login.deny', rule: 'login-failed', reason: 'this relay trusts no issuer "https://id=evil|example.com"' },
    { kind: 'login.deny', issuer: 'github', workload: 'migrate', subject: 'repo:shop/app', rule: 'workloads/migrate/untrusted', reason: 'migrate takes no runs that outsiders can cause' },
    { kind: 'login.deny', rule: 'login/flood', reason: '17 more refusals within a minute are not listed', leftOut: 17 },
  ],
  request: [
    {
      kind: 'request', request: 'rq_1', of: 'grant', who: people.erin, ...access, reason: 'order stuck = paid|unpaid\nsee C:\\notes',
      ticket: 'OPS-4711', rule: 'ask a dba', by: ['group:dba'], count: 1, expiresAt: until, durationSeconds: 3600,
    },
    {
      kind: 'request', request: 'rq_2', of: 'statement', who: people.erin, ...access, rule: 'hold writes', by: ['group:dba'], count: 1, expiresAt: until,
      statement: { session: 'se_7f3a' }, fingerprint: 'f1'.repeat(8), parameterHash: 'b2'.repeat(32), sql: `update orders set paid = '${canary}'`, shape: 'update orders set paid = ?',
    },
  ],
  vote: [
    { kind: 'vote', request: 'rq_1', by: people.ada, decision: 'approve', uses: 3, until },
    { kind: 'vote', request: 'rq_2', by: people.ada, decision: 'deny', reason: 'not during the sale' },
  ],
  'request.end': [{ kind: 'request.end', request: 'rq_1', state: 'approved' }],
  grant: [{ kind: 'grant', grant, who: people.erin, ...access, reason: 'order stuck in payment', ticket: 'OPS-4711', expiresAt: until, request: 'rq_1', policy }],
  'grant.deny': [
    { kind: 'grant.deny', who: people.stray, target: 'prod-db', rule: 'default', reason: 'no rule grants it' },
    { kind: 'grant.deny', who: people.erin, target: 'prod-db', role: 'owner', rule: 'no owners', reason: 'owners are for nobody' },
  ],
  'session.open': [
    { kind: 'session.open', who: people.erin, ...access, grant, reason: 'order stuck in payment', ticket: 'OPS-4711', expiresAt: until, command: 'connect', policy, relayVersion: '0.1.1' },
  ],
  'connection.open': [
    {
      kind: 'connection.open', connection: 1, clientAddress: '::ffff:10.1.2.3:50412', applicationName: 'psql\u202e', settings: { search_path: 'shop', 'a=b': 'c' },
      backendPid: 101, masking: { level: 'airtight', rules: 'c4'.repeat(32) },
    },
    { kind: 'connection.open', connection: 2, clientAddress: '2001:db8::7:50413' },
    { kind: 'connection.open', connection: 3, clientAddress: 'undefined:undefined' },
  ],
  statement: [
    statement(1, { kinds: ['read'], tables: ['shop.orders'], parameters: [canary, null, { base64: canary }], sent: `select mask('${canary}')`, shape: 'select * from orders where id = $1 and note = ?', masked: [{ column: 'shop.orders.email', rule: 'pii', kind: 'partial' }] }),
    statement(2, { kinds: ['write', 'read'], effect: 'deny', rule: 'hold writes', reason: `denied: ${canary}`, request: 'rq_2', shape: 'update orders set note = ?' }),
    statement(3, { kinds: ['admin'], connection: 2, redacted: true, policy, shape: 'alter role a password ?' }),
    statement(4, { kinds: ['schema'], connection: 3 }),
  ],
  hold: [
    {
      kind: 'hold', connection: 1, request: 'rq_2', sql: `update orders set note = '${canary}'`, shape: 'update orders set note = ?', parameters: [canary],
      kinds: ['write'], rule: 'hold writes', reason: 'writes wait for a dba', expiresAt: until,
    },
  ],
  result: [
    { kind: 'result', connection: 1, statement: 1, columns: [{ name: 'id', type: 23 }, { name: 'email', type: 25 }], rows: [[canary, null], ['2', { base64: canary }]], isCut: true },
  ],
  outcome: [
    outcome(1, { digest: 'd5'.repeat(32) }),
    outcome(5, { state: 'error', tags: [], rows: 0, bytesOut: 0, sqlstate: '42P01' }),
    outcome(6, { tags: ['INSERT 0 2'], rows: 0, bytesOut: 0, connection: 2 }),
    outcome(7, { tags: ['UPDATE 1', 'DELETE 4'], rows: 0 }),
    outcome(8, { tags: ['CREATE TABLE'], rows: 0 }),
    outcome(9, { state: 'suspended', tags: [], rows: 50 }),
    outcome(10, { state: 'skipped', tags: [], rows: 0 }),
    outcome(11, { state: 'unknown', tags: [], rows: 0 }),
  ],
  cancel: [{ kind: 'cancel', connection: 1, forwarded: true }],
  'masks.detected': [{ kind: 'masks.detected', connection: 1, statement: 1, detector: 'iban', column: 'shop.orders.note', count: 2 }],
  'masks.breach': [{ kind: 'masks.breach', connection: 1, statement: 1, column: 'shop.orders.email' }],
  'connection.close': [{ kind: 'connection.close', connection: 1, reason: 'raw values of a masked column', bytesIn: 1234, bytesOut: 56_789_012 }],
  'session.kill': [{ kind: 'session.kill', by: people.ada, reason: 'enough' }],
  'session.close': [{ kind: 'session.close', reason: 'killed by Ada Approver' }],
  'grant.revoke': [{ kind: 'grant.revoke', grant, by: people.ada, reason: 'the order is found' }],
  read: [
    { kind: 'read', by: people.ada, what: 'replay', session: 'se_7f3a', isOpened: true },
    { kind: 'read', by: people.ada, what: 'search', isOpened: false, detail: 'orders' },
  ],
  'key.rotate': [{ kind: 'key.rotate', from: 'gate.example.com/prod+11111111+AQ==', to: 'gate.example.com/prod+22222222+AQ==' }],
  'shred.request': [{ kind: 'shred.request', session: 'se_7f3a', by: people.ada, reason: 'erasure request 12' }],
  'key.shred': [
    { kind: 'key.shred', session: 'se_7f3a', classes: ['content', 'results'], by: [people.ada, people.erin], reason: 'erasure request 12' },
    { kind: 'key.shred', session: 'se_0001', classes: ['results'], by: [], reason: 'kept for 90 days' },
  ],
  'legal.hold': [
    { kind: 'legal.hold', session: 'se_7f3a', by: people.ada, isSet: true, reason: 'case 9' },
    { kind: 'legal.hold', session: 'se_7f3a', by: people.ada, isSet: false, reason: 'case 9 is closed' },
  ],
  'relay.stop': [{ kind: 'relay.stop' }],
};

function statement(number: number, more: Partial<EventOf<'statement'>>): EventOf<'statement'> {
  return {
    kind: 'statement', connection: 1, statement: number, protocol: 'extended', sql: `select '${canary}'`, kinds: ['read'],
    effect: 'allow', rule: 'role reader', reason: 'allowed', ...more,
  };
}

function outcome(number: number, more: Partial<EventOf<'outcome'>>): EventOf<'outcome'> {
  return { kind: 'outcome', connection: 1, statement: number, state: 'ok', tags: ['SELECT 3'], rows: 3, bytesOut: 214, bytesIn: 0, durationMs: 1.26, ...more };
}

const sessionKinds: ReadonlySet<Event['kind']> = new Set<Event['kind']>([
  'session.open', 'connection.open', 'statement', 'hold', 'result', 'outcome', 'cancel', 'masks.detected', 'masks.breach',
  'connection.close', 'session.kill', 'session.close',
]);

/** One entry for each event, 700 ms apart, from leaf 40 on. */
export function leavesOf(events: readonly Event[]): LogLeaf[] {
  const seqs = new Map<string, number>();
  return events.map((event, number) => {
    const session = sessionKinds.has(event.kind) ? 'se_7f3a' : decisionsChain;
    const seq = (seqs.get(session) ?? 0) + 1;
    seqs.set(session, seq);
    const time = new Date(Date.parse('2026-11-02T10:00:00.000Z') + number * 700).toISOString();
    const entry: AuditEntry = {
      v: 1, session, seq, prev: seq === 1 ? '' : 'e6'.repeat(32), time, event,
      ...(event.kind === 'statement' && { sealed: { sha256: '77'.repeat(32), bytes: 96, key: 'content', closed: 'not-allowed' } }),
    };
    return { index: 40 + number, relay, entry };
  });
}

export function allRecords(): SiemRecord[] {
  const contexts = new SessionContexts();
  return leavesOf(Object.values(eventsByKind).flat()).map((leaf) => contexts.take(leaf));
}
