/** Events to record, each in one line. */
import type { AuditEntry, Event } from '../../src/audit/entry.ts';

export const sessionOpen: Event = {
  kind: 'session.open',
  who: { issuer: 'https://id.example.com', subject: 'u1', kind: 'human', name: 'Erin', groups: ['engineering'] },
  target: 'prod-db',
  role: 'reader',
  grant: 'g1',
  expiresAt: '2026-11-02T11:00:00.000Z',
  command: 'connect',
  policy: 'ab'.repeat(32),
  relayVersion: '0.1.0',
};

export const sessionClose: Event = { kind: 'session.close', reason: 'done' };

export function connectionOpen(connection = 1): Event {
  return { kind: 'connection.open', connection, clientAddress: '127.0.0.1' };
}

export function statement(number: number, sql = `select ${number}`, effect: 'allow' | 'deny' = 'allow'): Event {
  const verdict = { effect, rule: 'r', reason: 'because' };
  return { kind: 'statement', connection: 1, statement: number, protocol: 'simple', sql, kinds: ['read'], ...verdict };
}

export function outcome(number: number): Event {
  const volume = { tags: ['SELECT 1'], rows: 1, bytesOut: 10, bytesIn: 0, durationMs: 1 };
  return { kind: 'outcome', connection: 1, statement: number, state: 'ok', ...volume };
}

export async function collect(entries: AsyncIterable<AuditEntry>): Promise<AuditEntry[]> {
  const list = [];
  for await (const entry of entries) list.push(entry);
  return list;
}

/** The numbers of the statements in a session's record, in order. */
export async function statementsIn(entries: AsyncIterable<AuditEntry>): Promise<number[]> {
  return (await collect(entries)).flatMap(({ event }) => (event.kind === 'statement' ? [event.statement] : []));
}
