/** What a formatter gets to see of an entry: the entry, the session that it belongs to, and how grave it is. */
import type { AuditEntry, Event, EventOf } from '../entry.ts';

export type Who = EventOf<'login'>['who'];

/** What session.open said, and where the entry's connection came from (address and port) when that is known. */
export type SessionContext = Pick<EventOf<'session.open'>, 'who' | 'target' | 'role' | 'grant' | 'reason' | 'ticket'> & {
  readonly clientAddress?: string;
};

/** One entry as it comes out of the log. `index` is the place of its leaf, `relay` the origin of the log. */
export type LogLeaf = { readonly index: number; readonly relay: string; readonly entry: AuditEntry };
export type SiemRecord = LogLeaf & { readonly context?: SessionContext; readonly relayVersion?: string };

/** Sessions that are remembered at once; past that the one that opened first is forgotten. */
export const sessionsMax = 10_000;
/** Open connections of one session whose address is remembered, likewise. */
export const connectionsMax = 100;

type OpenSession = { readonly opened: EventOf<'session.open'>; readonly addresses: Map<number, string> };

/** Remembers the open sessions of one log, whose entries it has to get in their order. */
export class SessionContexts {
  readonly #sessions = new Map<string, OpenSession>();
  #relayVersion: string | undefined;

  /** Sessions that are remembered now. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Adds to the next entry what is known of its session, the closing entry included. */
  take(leaf: LogLeaf): SiemRecord {
    const { session, event } = leaf.entry;
    if (event.kind === 'session.open' || event.kind === 'relay.start') this.#relayVersion = event.relayVersion;
    if (event.kind === 'session.open') keep(this.#sessions, session, { opened: event, addresses: new Map() }, sessionsMax);
    const known = this.#sessions.get(session);
    if (event.kind === 'connection.open' && known) keep(known.addresses, event.connection, event.clientAddress, connectionsMax);
    const record: SiemRecord = {
      ...leaf,
      ...(known && { context: contextOf(known, event) }),
      ...(this.#relayVersion !== undefined && { relayVersion: this.#relayVersion }),
    };
    if (event.kind === 'connection.close') known?.addresses.delete(event.connection);
    if (event.kind === 'session.close') this.#sessions.delete(session);
    return record;
  }
}

function keep<K, V>(map: Map<K, V>, key: K, value: V, max: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= max) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}

function contextOf({ opened, addresses }: OpenSession, event: Event): SessionContext {
  const { who, target, role, grant, reason, ticket } = opened;
  const clientAddress = 'connection' in event ? addresses.get(event.connection) : undefined;
  return {
    who,
    target,
    role,
    grant,
    ...(reason !== undefined && { reason }),
    ...(ticket !== undefined && { ticket }),
    ...(clientAddress !== undefined && { clientAddress }),
  };
}

/** `info` is the daily course of things, `critical` what somebody has to look at now. */
export const severities = ['info', 'low', 'medium', 'high', 'critical'] as const;
export type Severity = (typeof severities)[number];

export function severityOf(event: Event): Severity {
  switch (event.kind) {
    case 'statement':
      return event.effect === 'deny' ? 'medium' : statementSeverity(event.kinds);
    case 'outcome':
      return { ok: 'info', suspended: 'info', skipped: 'low', error: 'low', unknown: 'medium' }[event.state] as Severity;
    case 'read':
      return event.isOpened ? 'medium' : 'low';
    case 'legal.hold':
      return event.isSet ? 'low' : 'medium';
    case 'policy':
      return event.error === undefined ? 'low' : 'high';
    case 'relay.start':
      return event.after === 'crash' ? 'high' : 'low';
    case 'masks.breach':
      return 'critical';
    case 'key.shred':
      return 'high';
    case 'grant.deny':
    case 'login.deny':
    case 'session.kill':
    case 'masks.detected':
    case 'key.rotate':
    case 'shred.request':
      return 'medium';
    case 'hold':
    case 'vote':
    case 'grant':
    case 'grant.revoke':
    case 'relay.stop':
      return 'low';
    case 'session.open':
    case 'session.close':
    case 'connection.open':
    case 'connection.close':
    case 'result':
    case 'cancel':
    case 'request':
    case 'request.end':
    case 'login':
      return 'info';
  }
}

function statementSeverity(kinds: readonly string[]): Severity {
  if (kinds.includes('admin')) return 'medium';
  return kinds.includes('schema') || kinds.includes('unknown') ? 'low' : 'info';
}
