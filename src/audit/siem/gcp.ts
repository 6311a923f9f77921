/**
 * Entries as LogEntry of Google Cloud Logging (API v2, JSON). `logName` and `resource` are left to the request of
 * entries.write that carries them, since they name the project of whoever sends.
 */
import type { SiemRecord, Severity } from './context.ts';
import { severityOf } from './context.ts';
import { factsOf } from './facts.ts';

const severityNames: Readonly<Record<Severity, string>> = { info: 'INFO', low: 'NOTICE', medium: 'WARNING', high: 'ERROR', critical: 'CRITICAL' };

export function formatGcp(record: SiemRecord): string {
  const { index, relay, relayVersion, entry } = record;
  const { uid, kind, message, details, timeMs: _time, session, isInSession, ...facts } = factsOf(record);
  return JSON.stringify({
    insertId: uid,
    timestamp: entry.time,
    severity: severityNames[severityOf(entry.event)],
    labels: {
      relay,
      kind,
      outcome: facts.outcome,
      ...(session !== undefined && { session }),
      ...(facts.actor && { user: facts.actor.name }),
      ...(facts.human && { human: facts.human.name }),
      ...(facts.claimedHuman && { claimed_human: facts.claimedHuman.name }),
      ...(facts.target !== undefined && { target: facts.target }),
    },
    ...(isInSession && {
      operation: { id: session, producer: relay, ...(kind === 'session.open' && { first: true }), ...(kind === 'session.close' && { last: true }) },
    }),
    jsonPayload: {
      message,
      kind,
      index,
      seq: entry.seq,
      prev: entry.prev,
      ...(relayVersion !== undefined && { relayVersion }),
      ...(session !== undefined && { session }),
      ...facts,
      details,
    },
  });
}
