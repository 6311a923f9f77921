import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { AuditEntry, Event, EventOf } from '../../src/audit/entry.ts';
import { formatTranscript, type TranscriptPiece } from '../../src/audit/transcript.ts';

const open: EventOf<'session.open'> = {
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

function connect(connection: number, applicationName = 'psql'): Event {
  const backendPid = 100 + connection;
  return { kind: 'connection.open', connection, clientAddress: '127.0.0.1', applicationName, backendPid };
}

function disconnect(connection: number, reason = 'the client left'): Event {
  return { kind: 'connection.close', connection, reason, bytesIn: 1234, bytesOut: 56_789_012 };
}

function statement(number: number, sql: string, more: Partial<EventOf<'statement'>> = {}): Event {
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

function outcome(number: number, more: Partial<EventOf<'outcome'>> = {}): Event {
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
function entriesOf(events: readonly Event[], startMs = Date.parse('2026-11-02T10:00:00.000Z')): AuditEntry[] {
  return events.map((event, index) => {
    const time = new Date(startMs + index * 700).toISOString();
    return { v: 1, session: 'se_7f3a', seq: index + 1, prev: '', time, event };
  });
}

async function play(entries: Iterable<AuditEntry>): Promise<TranscriptPiece[]> {
  const pieces = [];
  for await (const piece of formatTranscript(entries)) pieces.push(piece);
  return pieces;
}

async function read(entries: Iterable<AuditEntry>): Promise<string> {
  return (await play(entries)).map((piece) => piece.text).join('');
}

function golden(name: string): string {
  return join(import.meta.dirname, 'golden', `${name}.txt`);
}

describe('a transcript', () => {
  test('of one connection, with every kind of outcome', async () => {
    const why = 'role reader does not allow schema changes';
    const refused = { effect: 'deny', rule: 'reader-denies', reason: why } as const;
    const events = [
      open,
      connect(1),
      statement(1, 'SELECT id, total\n  FROM orders\n\tWHERE id = 17;'),
      outcome(1),
      statement(2, 'SELECT * FROM customers WHERE name = $1 AND note = $2 AND photo = $3 AND scan = $4', {
        protocol: 'extended',
        parameters: ["O'Hara\n", null, { base64: 'AAEC' }, { bytes: 5_000_000, sha256: 'ab'.repeat(32) }],
      }),
      outcome(2, { state: 'suspended', tags: [], rows: 1, bytesOut: 1000 }),
      statement(3, 'DROP TABLE orders', refused),
      statement(4, 'SELECT 1/0'),
      outcome(4, { state: 'error', tags: [], rows: 0, bytesOut: 0, sqlstate: '22012', durationMs: 0.4 }),
      statement(5, 'BEGIN; UPDATE orders SET total = 0; COMMIT'),
      outcome(5, { tags: ['BEGIN', 'UPDATE 2', 'COMMIT'], rows: 0, bytesOut: 0, durationMs: 61_000 }),
      statement(6, 'COPY orders FROM STDIN'),
      outcome(6, { tags: ['COPY 5000'], rows: 0, bytesOut: 0, bytesIn: 1_500_000, durationMs: 2345 }),
      statement(7, "ALTER ROLE x PASSWORD '?'", { redacted: true }),
      outcome(7, { tags: ['ALTER ROLE'], rows: 0, bytesOut: 0 }),
      statement(8, 'SELECT pg_sleep(600)'),
      { kind: 'cancel', connection: 1, forwarded: true } as const,
      outcome(8, { state: 'error', tags: [], rows: 0, bytesOut: 0, sqlstate: '57014', durationMs: 1400 }),
      { kind: 'cancel', connection: 1, forwarded: false } as const,
      statement(9, 'DELETE FROM orders'),
      outcome(9, { state: 'unknown', tags: [], rows: 0, bytesOut: 0, durationMs: 0 }),
      disconnect(1),
      { kind: 'session.close', reason: 'the grant expired' } as const,
    ];
    await expect(await read(entriesOf(events))).toMatchFileSnapshot(golden('one-connection'));
  });

  test('of a pipeline and two connections, over midnight', async () => {
    const events = [
      open,
      connect(1),
      statement(1, 'INSERT INTO t VALUES ($1)', { protocol: 'extended', parameters: ['1'] }),
      statement(2, 'INSERT INTO nowhere VALUES ($1)', { protocol: 'extended', parameters: ['2'] }),
      statement(3, 'INSERT INTO t VALUES ($1)', { protocol: 'extended', parameters: ['3'] }),
      outcome(1, { tags: ['INSERT 0 1'], rows: 0, bytesOut: 0 }),
      outcome(2, { state: 'error', tags: [], rows: 0, bytesOut: 0, sqlstate: '42P01' }),
      outcome(3, { state: 'skipped', tags: [], rows: 0, bytesOut: 0 }),
      connect(2, 'DBeaver'),
      statement(4, 'SELECT 1', { connection: 2 }),
      statement(5, 'SELECT 2'),
      outcome(5, { tags: ['SELECT 1'], rows: 1, bytesOut: 12 }),
      outcome(4, { connection: 2, tags: ['SELECT 1'], rows: 1, bytesOut: 12 }),
      statement(6, 'SELECT 3', { connection: 2 }),
    ];
    const entries = entriesOf(events, Date.parse('2026-11-02T23:59:54.000Z'));
    await expect(await read(entries)).toMatchFileSnapshot(golden('two-connections'));
  });

  test('of statements that were held: approved, denied, withdrawn; and of what was decided beside the sessions', async () => {
    const held = (request: string, sql: string): Event => ({
      kind: 'hold',
      connection: 1,
      request,
      sql,
      kinds: ['write'],
      rule: 'prod-db/engineer/many-rows',
      reason: 'it may change every row',
      expiresAt: '2026-11-02T10:10:00.000Z',
    });
    const { who } = open;
    const events: Event[] = [
      { ...open, ticket: 'OPS-4711' },
      connect(1),
      held('r_1', 'UPDATE t SET a = 1'),
      statement(1, 'UPDATE t SET a = 1', { kinds: ['write'], rule: 'prod-db/engineer/many-rows', reason: 'approved by dba', request: 'r_1' }),
      outcome(1, { tags: ['UPDATE 7'], rows: 0, bytesOut: 0 }),
      held('r_2', 'DELETE FROM t'),
      statement(2, 'DELETE FROM t', { kinds: ['write'], effect: 'deny', rule: 'prod-db/engineer/many-rows', reason: 'dba denied the statement: no', request: 'r_2' }),
      held('r_3', 'DELETE\nFROM t'),
      { kind: 'request', request: 'r_3', of: 'statement', who, target: 'prod-db', role: 'reader', rule: 'many-rows', by: ['dbas'], count: 1, expiresAt: '2026-11-02T10:10:00.000Z' },
      { kind: 'vote', request: 'r_3', by: who, decision: 'deny', reason: 'no' },
      { kind: 'request.end', request: 'r_3', state: 'denied', reason: 'no' },
      { kind: 'grant', grant: 'g_1', who, target: 'prod-db', role: 'reader', expiresAt: '2026-11-02T11:00:00.000Z', policy: 'a3f5' },
      { kind: 'grant.revoke', grant: 'g_1', by: who, reason: 'done' },
      { kind: 'policy', policy: 'a3f5'.repeat(16) },
      { kind: 'policy', policy: 'a3f5'.repeat(16), error: 'policy.yaml:3:1: no' },
    ];
    await expect(await read(entriesOf(events))).toMatchFileSnapshot(golden('held'));
  });

  test('of a workload without a reason that did nothing', async () => {
    const { reason: _reason, ...rest } = open;
    const who = { ...rest.who, kind: 'workload' as const, name: 'ci: shop/deploy', groups: [] };
    const events: Event[] = [{ ...rest, who, command: 'exec' }, { kind: 'session.close', reason: 'done' }];
    await expect(await read(entriesOf(events))).toMatchFileSnapshot(golden('workload'));
  });

  test('shows what would drive the terminal, in every field that holds recorded text', async () => {
    const evil = 'a\u001b[2Jb\u009bc\u0007d\re\u202ef\u2066g\u200bh\u2028i\ud800j\u0000k\u007fl\bm\u{e0041}n';
    const who = { issuer: evil, subject: evil, kind: 'human' as const, name: evil, groups: [evil] };
    const text = await read([
      ...entriesOf([
        {
          ...open,
          who,
          target: evil,
          role: evil,
          grant: evil,
          reason: evil,
          expiresAt: evil,
          policy: evil,
          relayVersion: evil,
        },
        { kind: 'connection.open', connection: 1, clientAddress: evil, applicationName: evil },
        statement(1, evil, { parameters: [evil, { base64: evil }, { bytes: 1, sha256: evil }] }),
        outcome(1, { tags: [evil] }),
        statement(2, evil, { effect: 'deny', rule: evil, reason: evil }),
        statement(3, 'SELECT 1'),
        outcome(3, { state: 'error', sqlstate: evil }),
        disconnect(1, evil),
        { kind: 'session.close', reason: evil },
      ]).map((entry) => ({ ...entry, session: evil })),
      { v: 1, session: 's', seq: 10, prev: '', time: `${evil}${evil}`, event: { kind: 'session.close', reason: '' } },
    ]);
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{C}\u2028\u2029]/u);
    expect(text).toContain(
      String.raw`a\x1b[2Jb\x9bc\x07d\x0de\u{202e}f\u{2066}g\u{200b}h\u{2028}i\u{d800}j\x00k\x7fl\x08m\u{e0041}n`,
    );
  });

  test('gives no recorded line break the look of a line of its own', async () => {
    const forged = 'x\n10:00:09.000     session ended: all is well';
    const sql = 'SELECT 1\n10:00:09.000     session ended';
    const text = await read(entriesOf([open, connect(1, forged), statement(1, sql)]));
    expect(text).toContain(String.raw`by x\n10:00:09.000`);
    expect(text.split('\n').filter((line) => line.startsWith('10:00:09'))).toEqual([]);
  });

  test('plays at recorded speed', async () => {
    const entries = entriesOf([open, connect(1), statement(1, 'SELECT 1')]);
    const backwards = entriesOf([outcome(1)], Date.parse('2026-11-02T09:00:00.000Z'));
    const pieces = await play([...entries, ...backwards]);
    expect(pieces.map((piece) => piece.delayMs)).toEqual([0, 700, 700, 0, 0]);
    expect(pieces.every((piece) => piece.text.endsWith('\n'))).toBe(true);
  });

  test('hands every piece to the style', async () => {
    const kinds = new Set<string>();
    const style = (kind: string, text: string) => (kinds.add(kind), `<${kind}>${text}</>`);
    let text = '';
    for await (const piece of formatTranscript(entriesOf([open, statement(1, 'SELECT 1'), outcome(1)]), { style })) {
      text += piece.text;
    }
    expect(text).toContain('<prompt>prod-db=> </><sql>SELECT 1</>');
    expect([...kinds].toSorted()).toEqual(['label', 'note', 'ok', 'prompt', 'sql', 'time']);
  });

  test('of nothing is nothing', async () => {
    expect(await play([])).toEqual([]);
  });
});
