/** From the entries of a record to the tables of evidence: grants, requests, denials, sessions, reads and keys. */
import type { AuditEntry, Event, EventOf } from '../../../audit/entry.ts';
import { nameOf } from '../../../principal/behind.ts';
import type { Cell } from './csv.ts';

export type Period = { readonly since?: Date; readonly until?: Date };

export type EvidenceTable = { readonly head: readonly string[]; readonly rows: (readonly Cell[])[] };

type At = { readonly index: number; readonly time: string };
type Who = EventOf<'login'>['who'];
type Request = At & {
  readonly event: EventOf<'request'>;
  readonly approvals: string[];
  readonly denials: string[];
  end?: { readonly state: string; readonly time: string; readonly reason?: string | undefined };
};
type Grant = At & { readonly event: EventOf<'grant'>; revoked?: { readonly time: string; readonly by: string; readonly reason?: string | undefined } };
type Session = At & {
  readonly id: string;
  readonly event: EventOf<'session.open'>;
  end?: { readonly time: string; readonly reason: string };
  killedBy?: string;
  connections: number;
  statements: number;
  refused: number;
  readonly levels: Set<string>;
  readonly masked: Set<string>;
  readonly shredded: Set<string>;
};
export type PolicyVersion = At & { readonly digest: string };

/** Takes the entries of a log in their order. */
export class EvidenceTables {
  readonly #period: Period;
  readonly #requests = new Map<string, Request>();
  readonly #grants = new Map<string, Grant>();
  readonly #sessions = new Map<string, Session>();
  readonly #denials: Cell[][] = [];
  readonly #reads: Cell[][] = [];
  readonly #keys: Cell[][] = [];
  readonly #policies: PolicyVersion[] = [];
  entries = 0;

  constructor(period: Period) {
    this.#period = period;
  }

  take(index: number, entry: AuditEntry): void {
    const at = { index, time: entry.time };
    this.entries += this.#isWithin(at) ? 1 : 0;
    this.#takeDecision(at, entry.event);
    this.#takeKeeping(at, entry.event);
    this.#takeSession(at, entry.session, entry.event);
  }

  #isWithin({ time }: { readonly time: string }): boolean {
    const { since, until } = this.#period;
    const moment = Date.parse(time);
    return (since === undefined || moment >= since.getTime()) && (until === undefined || moment < until.getTime());
  }

  #takeDecision(at: At, event: Event): void {
    if (event.kind === 'request') this.#requests.set(event.request, { ...at, event, approvals: [], denials: [] });
    if (event.kind === 'vote') {
      const request = this.#requests.get(event.request);
      const said = `${personOf(event.by)}${event.reason === undefined ? '' : `: ${event.reason}`}`;
      request?.[event.decision === 'approve' ? 'approvals' : 'denials'].push(said);
    }
    if (event.kind === 'request.end') {
      const request = this.#requests.get(event.request);
      if (request) request.end = { state: event.state, time: at.time, reason: event.reason };
    }
    if (event.kind === 'grant') this.#grants.set(event.grant, { ...at, event });
    if (event.kind === 'grant.revoke') {
      const grant = this.#grants.get(event.grant);
      if (grant) grant.revoked = { time: at.time, by: personOf(event.by), reason: event.reason };
    }
    if (event.kind === 'grant.deny' && this.#isWithin(at)) {
      this.#denials.push([at.time, at.index, 'grant', personOf(event.who), event.target, event.role, undefined, event.rule, event.reason, undefined]);
    }
    if (event.kind === 'policy' && this.#policies.at(-1)?.digest !== event.policy) this.#policies.push({ ...at, digest: event.policy });
  }

  #takeKeeping(at: At, event: Event): void {
    if (event.kind === 'key.shred') for (const one of event.classes) this.#sessions.get(event.session)?.shredded.add(one);
    if (!this.#isWithin(at)) return;
    const row = (session: string, by: string, reason: string, detail?: string) => this.#keys.push([at.time, at.index, event.kind, session, by, reason, detail]);
    if (event.kind === 'read') this.#reads.push([at.time, at.index, personOf(event.by), event.what, event.session, event.isOpened, event.detail]);
    else if (event.kind === 'key.rotate') row('', '', '', `from ${event.from} to ${event.to}`);
    else if (event.kind === 'shred.request') row(event.session, personOf(event.by), event.reason);
    else if (event.kind === 'key.shred') row(event.session, event.by.map(personOf).join('; '), event.reason, event.classes.join(' '));
    else if (event.kind === 'legal.hold') row(event.session, personOf(event.by), event.reason, event.isSet ? 'set' : 'lifted');
  }

  #takeSession(at: At, id: string, event: Event): void {
    if (event.kind === 'session.open') {
      const sets = { levels: new Set<string>(), masked: new Set<string>(), shredded: new Set<string>() };
      this.#sessions.set(id, { ...at, id, event, connections: 0, statements: 0, refused: 0, ...sets });
      return;
    }
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    if (event.kind === 'session.close') session.end = { time: at.time, reason: event.reason };
    if (event.kind === 'session.kill') session.killedBy = personOf(event.by);
    if (event.kind === 'connection.open') {
      session.connections++;
      if (event.masking) session.levels.add(event.masking.level);
    }
    if (event.kind !== 'statement') return;
    session.statements++;
    for (const { column } of event.masked ?? []) session.masked.add(column);
    if (event.effect === 'allow') return;
    session.refused++;
    const { who, target, role } = session.event;
    if (this.#isWithin(at)) this.#denials.push([at.time, at.index, 'statement', personOf(who), target, role, id, event.rule, event.reason, event.shape]);
  }

  #approversOf(request: string | undefined): string | undefined {
    return request === undefined ? undefined : this.#requests.get(request)?.approvals.join('; ');
  }

  /** All versions of the policy that were in force within the period, oldest first: also the one at its beginning. */
  get policies(): readonly PolicyVersion[] {
    const { since, until } = this.#period;
    return this.#policies.filter(({ time }, index) => {
      const next = this.#policies[index + 1];
      const isOver = since !== undefined && next !== undefined && Date.parse(next.time) <= since.getTime();
      return !isOver && (until === undefined || Date.parse(time) < until.getTime());
    });
  }

  /** By file name without its end. */
  get tables(): Readonly<Record<'grants' | 'requests' | 'denials' | 'sessions' | 'reads' | 'keys', EvidenceTable>> {
    const within = <T extends At>(map: ReadonlyMap<string, T>) => [...map.values()].filter((one) => this.#isWithin(one));
    return {
      grants: {
        head: ['time', 'index', 'grant', 'person', 'target', 'role', 'reason', 'ticket', 'expires', 'request', 'approved by', 'revoked', 'revoked by', 'revoked because', 'policy'],
        rows: within(this.#grants).map(({ time, index, event: e, revoked: r }) => [
          time, index, e.grant, personOf(e.who), e.target, e.role, e.reason, e.ticket, e.expiresAt, e.request, this.#approversOf(e.request), r?.time, r?.by, r?.reason, e.policy,
        ]),
      },
      requests: {
        head: ['time', 'index', 'request', 'for', 'person', 'target', 'role', 'reason', 'ticket', 'rule', 'approvers', 'needed', 'approved by', 'denied by', 'state', 'ended', 'ended because'],
        rows: within(this.#requests).map(({ time, index, event: e, approvals, denials, end }) => [
          time, index, e.request, e.of, personOf(e.who), e.target, e.role, e.reason, e.ticket, e.rule, e.by.join('; '), e.count,
          approvals.join('; '), denials.join('; '), end?.state ?? 'open', end?.time, end?.reason,
        ]),
      },
      denials: { head: ['time', 'index', 'of', 'person', 'target', 'role', 'session', 'rule', 'reason', 'statement without literals'], rows: this.#denials },
      sessions: { head: sessionHead, rows: within(this.#sessions).map((session) => this.#sessionRow(session)) },
      reads: { head: ['time', 'index', 'person', 'what', 'session', 'with what is sealed', 'detail'], rows: this.#reads },
      keys: { head: ['time', 'index', 'event', 'session', 'by', 'reason', 'detail'], rows: this.#keys },
    };
  }

  #sessionRow({ id, time, event: e, end, ...s }: Session): Cell[] {
    const request = this.#grants.get(e.grant)?.event.request;
    return [
      time, s.index, id, personOf(e.who), e.who.kind, e.target, e.role, e.reason, e.ticket, e.grant, this.#approversOf(request),
      e.expiresAt, end?.time, end?.reason, s.killedBy, e.command, s.connections, s.statements, s.refused,
      [...s.levels].join(' '), [...s.masked].join(' '), [...s.shredded].join(' '), e.policy,
    ];
  }
}

const sessionHead = [
  'time', 'index', 'session', 'person', 'kind', 'target', 'role', 'reason', 'ticket', 'grant', 'approved by',
  'grant expires', 'ended', 'ended because', 'ended by', 'command', 'connections', 'statements', 'refused',
  'masking level', 'masked columns', 'shredded', 'policy',
];

/** A name alone may be anybody's. */
function personOf(who: Who): string {
  return `${nameOf(who)} <${who.issuer} ${who.subject}>`;
}
