/** The record of a session held against the server's own log: the same statements, in the same order, with true outcomes. */
import type { AuditEntry } from '../../src/audit/entry.ts';

export function equal(what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`${what}: the relay has ${String(actual)}, the server ${String(expected)}`);
}

type Recorded = { readonly sql: string; readonly state: string; readonly hasRun: boolean };

/** Fails where the record of a session and the server's log of the same connections differ. */
export function checkRecord(entries: readonly AuditEntry[], log: string): void {
  const outcomes = new Map<number, { state: string; tags: readonly string[] }[]>();
  for (const { event } of entries) {
    if (event.kind === 'outcome') outcomes.set(event.statement, [...(outcomes.get(event.statement) ?? []), event]);
  }
  const byConnection = new Map<number, Recorded[]>();
  const pids = new Map<number, number>();
  for (const { event } of entries) {
    if (event.kind === 'connection.open' && event.backendPid !== undefined) pids.set(event.connection, event.backendPid);
    if (event.kind !== 'statement') continue;
    const own = outcomes.get(event.statement) ?? [];
    equal(`outcomes of statement ${event.statement} (${event.sql}), ${event.effect}`, own.length, event.effect === 'allow' ? 1 : 0);
    const outcome = own[0];
    const recorded = byConnection.get(event.connection) ?? [];
    byConnection.set(event.connection, recorded);
    const hasRun = outcome !== undefined && (outcome.state === 'suspended' || outcome.tags.length > 0);
    recorded.push({ sql: event.sql, state: outcome?.state ?? 'refused', hasRun });
  }
  for (const [connection, recorded] of byConnection) {
    const pid = pids.get(connection);
    const logged = [...log.matchAll(new RegExp(`\\[${pid}\\] LOG:  (?:statement|execute [^:]*): (.*)$`, 'gm'))].map(([, sql]) => sql as string);
    matchInParts(recorded, logged);
  }
}

/** Every conversation begins with a text of its own, at which both lists can be cut. */
function matchInParts(recorded: readonly Recorded[], logged: readonly string[]): void {
  const cut = <T>(list: readonly T[], textOf: (item: T) => string) => {
    const parts: T[][] = [[]];
    for (const item of list) {
      if (textOf(item).startsWith(`select 'start of mark`)) parts.push([]);
      parts.at(-1)?.push(item);
    }
    return parts;
  };
  const parts = cut(recorded, ({ sql }) => sql);
  const loggedParts = cut(logged, (sql) => sql);
  equal('parts of the record', parts.length, loggedParts.length);
  for (const [index, part] of parts.entries()) {
    const texts = loggedParts[index] as string[];
    if (!isMatch(part, texts)) {
      const list = part.map(({ sql, state, hasRun }) => `${state}${hasRun ? '' : ', may be missing in the log'}: ${sql}`).join('\n  ');
      throw new Error(`record and server log differ\nrecord:\n  ${list}\nlog:\n  ${texts.map((text) => `> ${text}`).join('\n  ')}`);
    }
  }
}

/**
 * Whether the log is the record without some of the statements that may be missing in it: those that failed before
 * they ran (in Bind, or for want of their portal) and empty ones.
 */
function isMatch(recorded: readonly Recorded[], logged: readonly string[]): boolean {
  let reachable = new Set([0]);
  for (const { sql, state, hasRun } of recorded) {
    const next = new Set<number>();
    for (const at of reachable) {
      const isSame = logged[at] === sql && state !== 'skipped' && state !== 'refused';
      // Execute of the portal that a failed Query has left behind is logged without a text, and fails.
      const isDead = logged[at] === '' && state === 'error' && !hasRun;
      if (isSame || isDead) next.add(at + 1);
      if (!hasRun) next.add(at);
    }
    reachable = next;
  }
  return reachable.has(logged.length);
}
