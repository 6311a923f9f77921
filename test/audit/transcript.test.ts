import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { AuditEntry, Event, EventOf, Parameter, Sealed } from '../../src/audit/entry.ts';
import { shownRowsMax } from '../../src/audit/result-table.ts';
import { formatTranscript, type TranscriptPiece } from '../../src/audit/transcript.ts';
import { connect, disconnect, entriesOf, evilSession, evilTexts, open, outcome, statement } from './events.ts';

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
    const text = await read(evilSession(evilTexts[0]));
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

describe('recorded results', () => {
  const result = (number: number, names: readonly string[], rows: Parameter[][], more: Partial<EventOf<'result'>> = {}): Event => ({
    kind: 'result',
    connection: 1,
    statement: number,
    columns: names.map((name) => ({ name, type: name === 'id' ? 23 : 25 })),
    rows,
    ...more,
  });
  /** The lines between the statement and its outcome, without their margin. */
  const linesOf = async (event: Event) => {
    const text = await read(entriesOf([open, connect(1), statement(1, 'SELECT'), event, outcome(1)]));
    const lines = text.split('\n').map((line) => line.slice(20));
    return lines.slice(lines.indexOf('prod-db=> SELECT') + 1, lines.indexOf('SELECT 3 · 3 rows · 214 bytes out · 1.3 ms'));
  };

  test('stand under their statement in the form that fits, before its outcome', async () => {
    const wide = Array.from({ length: 12 }, (_, index) => `column_${index + 1}`);
    const events = [
      open,
      connect(1),
      statement(1, 'SELECT * FROM orders'),
      result(1, ['id', 'name', 'photo'], [['1', 'Ada', { base64: 'AAEC' }], ['-20', null, { bytes: 5_000_000, sha256: 'ab'.repeat(32) }], ['300', '两个字\n\u202e', { bytes: 7 }], ['4', '', null]]),
      outcome(1),
      statement(2, 'SELECT * FROM wide'),
      result(2, wide, [wide.map((_, index) => (index === 3 ? null : `value ${index}`))]),
      outcome(2),
      statement(3, 'SELECT a, b, c FROM long'),
      result(3, ['a', 'b', 'c'], [['x'.repeat(200), 'y'.repeat(60), 'z'.repeat(61)], ['1', '2', '3']], { isCut: true }),
      outcome(3),
      statement(4, 'SELECT id FROM t; SELECT 1'),
      statement(5, 'SELECT'),
      result(4, ['id'], [['1']]),
      outcome(4),
      result(5, [], [[], []]),
      { kind: 'cancel', connection: 1, forwarded: false } as const,
      outcome(5),
      statement(6, 'SELECT id FROM t WHERE false'),
      result(6, ['id'], []),
      outcome(6, { digest: 'cd'.repeat(32) }),
      { kind: 'session.kill', by: { ...open.who, name: 'Olive Operator' }, reason: 'wrong\ndatabase' } as const,
    ];
    await expect(await read(entriesOf(events))).toMatchFileSnapshot(golden('results'));
  });

  test(`show at most ${shownRowsMax} rows, and say how many there are`, async () => {
    const rows = (length: number) => Array.from({ length }, (_, index) => [String(index)]);
    expect((await linesOf(result(1, ['id'], rows(shownRowsMax)))).slice(-2)).toEqual([' 49', '(50 rows)']);
    expect((await linesOf(result(1, ['id'], rows(shownRowsMax + 1)))).slice(-3)).toEqual([' 49', '… 1 more row on record', '(51 rows)']);
    expect((await linesOf(result(1, ['id'], rows(60), { isCut: true }))).slice(-2)).toEqual(['… 10 more rows on record', '(the first 60 rows; more were sent)']);
  });

  test('a table of 160 characters is a table, one of 161 is not', async () => {
    const table = await linesOf(result(1, ['a', 'b', 'c'], [['x'.repeat(60), 'y'.repeat(60), 'z'.repeat(32)], ['', '', '']]));
    expect(table[1]).toHaveLength(160);
    const expanded = await linesOf(result(1, ['a', 'b', 'c'], [['x'.repeat(60), 'y'.repeat(60), 'z'.repeat(33)], ['', '', '']]));
    expect(expanded[0]).toBe('-[ row 1 ]-');
  });

  test('a cell of 60 characters is whole, one of 61 is cut, and marks without width make it no longer', async () => {
    expect(await linesOf(result(1, ['a'], [['x'.repeat(60)]]))).toContain(` ${'x'.repeat(60)}`);
    expect(await linesOf(result(1, ['a'], [['x'.repeat(61)]]))).toContain(` ${'x'.repeat(59)}…`);
    const marked = await linesOf(result(1, ['a'], [['\u0301'.repeat(100_000)]]));
    expect(Math.max(...marked.map((line) => line.length))).toBeLessThan(300);
  });
});

describe('what is sealed', () => {
  test.each(['not-allowed', 'shredded', 'missing'] as const)('%s: one line says so', async (closed) => {
    const sealed = (key: Sealed['key']): Sealed => ({ sha256: 'ab'.repeat(32), bytes: 80, key, closed });
    const events: Event[] = [
      open,
      connect(1),
      { kind: 'hold', connection: 1, request: 'r_1', sql: 'UPDATE t SET a = $1', kinds: ['write'], rule: 'r', reason: 'many rows', expiresAt: '' },
      statement(1, 'SELECT a FROM t WHERE b = $1', { protocol: 'extended' }),
      { kind: 'result', connection: 1, statement: 1, columns: [{ name: 'a', type: 25 }], rows: [] },
      outcome(1),
      { kind: 'result', connection: 1, statement: 1, columns: Array.from({ length: 40 }, (_, index) => ({ name: `column ${index}`, type: 25 })), rows: [] },
    ];
    const entries = entriesOf(events).map((entry) => {
      const { kind } = entry.event;
      if (kind === 'result') return { ...entry, sealed: sealed('results') };
      return kind === 'statement' || kind === 'hold' ? { ...entry, sealed: sealed('content') } : entry;
    });
    await expect(await read(entries)).toMatchFileSnapshot(golden(`sealed-${closed}`));
  });
});
