/** Events and entries of a made-up session, for the tests of what is made of a record. */
import type { AuditEntry, Event, EventOf } from '../../src/audit/entry.ts';

export const open: EventOf<'session.open'> = {
  kind: 'session.open',
  who: {
    issuer: 'https://id.example.com',
    subject: 'u-17',
    kind: 'human',
    name: 'Erin Engineer',
    groups: ['engineering', 'on-call'],
  },
  target: 'prod-db',
  role: 'reader',
  grant: 'gr_01',
  reason: 'ticket 4711: order stuck in payment',
  expiresAt: '2026-11-02T11:00:00.000Z',
  command: 'connect',
  policy: 'a3f5'.repeat(16),
  relayVersion: '0.1.0',
};

export function connect(connection: number, applicationName = 'psql'): Event {
  const backendPid = 100 + connection;
  return { kind: 'connection.open', connection, clientAddress: '127.0.0.1', applicationName, backendPid };
}

export function disconnect(connection: number, reason = 'the client left'): Event {
  return { kind: 'connection.close', connection, reason, bytesIn: 1234, bytesOut: 56_789_012 };
}

export function statement(number: number, sql: string, more: Partial<EventOf<'statement'>> = {}): Event {
  return {
    kind: 'statement',
    connection: 1,
    statement: number,
    protocol: 'simple',
    sql,
    kinds: ['read'],
    effect: 'allow',
    rule: 'role reader',
    reason: 'allowed',
    ...more,
  };
}

export function outcome(number: number, more: Partial<EventOf<'outcome'>> = {}): Event {
  return {
    kind: 'outcome',
    connection: 1,
    statement: number,
    state: 'ok',
    tags: ['SELECT 3'],
    rows: 3,
    bytesOut: 214,
    bytesIn: 0,
    durationMs: 1.26,
    ...more,
  };
}

/** One entry for each event, 700 ms apart. */
export function entriesOf(events: readonly Event[], startMs = Date.parse('2026-11-02T10:00:00.000Z')): AuditEntry[] {
  return events.map((event, index) => {
    const time = new Date(startMs + index * 700).toISOString();
    return { v: 1, session: 'se_7f3a', seq: index + 1, prev: '', time, event };
  });
}

/** Every kind of event of a session, with results, a refusal, a hold, an error and pauses of 700 ms and one of a minute. */
export function richSession(): AuditEntry[] {
  const why = { effect: 'deny', rule: 'reader-denies', reason: 'role reader does not allow schema changes' } as const;
  const first = entriesOf([
    { ...open, ticket: 'OPS-4711' },
    connect(1),
    statement(1, 'SELECT id, name\n  FROM orders;'),
    {
      kind: 'result',
      connection: 1,
      statement: 1,
      columns: [{ name: 'id', type: 23 }, { name: 'name', type: 25 }],
      rows: [['1', 'Ä <b>bold</b> & "quoted"'], ['200', null]],
    },
    outcome(1, { tags: ['SELECT 2'], rows: 2 }),
    statement(2, 'DROP TABLE orders', why),
  ]);
  const later = entriesOf(
    [
      {
        kind: 'hold',
        connection: 1,
        request: 'r_1',
        sql: 'DELETE FROM orders',
        kinds: ['write'],
        rule: 'many-rows',
        reason: 'it may change every row',
        expiresAt: '2026-11-02T10:10:00.000Z',
      },
      statement(3, 'SELECT 1/0'),
      outcome(3, { state: 'error', tags: [], rows: 0, bytesOut: 0, sqlstate: '22012', durationMs: 0.4 }),
      { kind: 'session.kill', by: { ...open.who, name: 'Olive Operator' }, reason: 'wrong database' },
      disconnect(1),
      { kind: 'session.close', reason: 'ended by an operator' },
    ],
    Date.parse('2026-11-02T10:01:03.500Z'),
  );
  return [...first, ...later.map((entry) => ({ ...entry, seq: entry.seq + first.length }))];
}

/** Text that would drive a terminal, reorder a line, or be markup. */
export const evilTexts = [
  'a\u001b[2Jb\u009bc\u0007d\re\u202ef\u2066g\u200bh\u2028i\ud800j\u0000k\u007fl\bm\u{e0041}n',
  '</script><script>alert(1)</script>',
  `<img src=x onerror="alert('1')">`,
  `"><svg/onload=alert(1)>`,
  '<!-- </style></main></body> ]]> &lt;b&gt; &amp; &#60;',
  '\ue000sql\ue001x\ue002\ue000"onclick\ue001',
  '${alert(1)} `x` {{x}} javascript:alert(1)',
] as const;

/** A session whose every recorded text is one of `evilTexts`. */
export function evilSession(evil: string): AuditEntry[] {
  const who = { issuer: evil, subject: evil, kind: 'human' as const, name: evil, groups: [evil] };
  const columns = [{ name: evil, type: 25 }];
  const events: Event[] = [
    { ...open, who, target: evil, role: evil, grant: evil, reason: evil, ticket: evil, expiresAt: evil, policy: evil, relayVersion: evil },
    { kind: 'connection.open', connection: 1, clientAddress: evil, applicationName: evil },
    statement(1, evil, { parameters: [evil, { base64: evil }, { bytes: 1, sha256: evil }], sent: evil, masked: [{ column: evil, rule: evil, kind: evil }] }),
    { kind: 'result', connection: 1, statement: 1, columns, rows: [[evil], [{ base64: evil }], [{ bytes: 1, sha256: evil }]] },
    outcome(1, { tags: [evil] }),
    statement(2, evil, { effect: 'deny', rule: evil, reason: evil }),
    { kind: 'hold', connection: 1, request: evil, sql: evil, kinds: [], rule: evil, reason: evil, expiresAt: evil },
    statement(3, 'SELECT 1', { request: evil, reason: evil }),
    { kind: 'result', connection: 1, statement: 3, columns: Array.from({ length: 9 }, () => ({ name: evil, type: 25 })), rows: [Array.from({ length: 9 }, () => evil)] },
    outcome(3, { state: 'error', sqlstate: evil }),
    { kind: 'masks.detected', connection: 1, statement: 3, detector: evil, column: evil, count: 1 },
    { kind: 'masks.breach', connection: 1, column: evil },
    { kind: 'vote', request: evil, by: who, decision: 'deny', reason: evil },
    { kind: 'session.kill', by: who, reason: evil },
    disconnect(1, evil),
    { kind: 'session.close', reason: evil },
  ];
  const last: AuditEntry = { v: 1, session: 's', seq: 17, prev: '', time: `${evil}${evil}`, event: { kind: 'session.close', reason: '' } };
  return [...entriesOf(events).map((entry) => ({ ...entry, session: evil })), last];
}
