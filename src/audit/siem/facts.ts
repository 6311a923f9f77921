/** What every format says of an entry, found once: who did what to what, how it went, and only what the entry has in the open. */
import { hash } from 'node:crypto';
import { humanBehind } from '../../principal/principal.ts';
import { decisionsChain, type Event, type EventOf } from '../entry.ts';
import { splitEvent } from '../seal.ts';
import type { SiemRecord, Who } from './context.ts';
import { describeEvent } from './sentence.ts';
import { parseSource, type Source } from './source.ts';

export type Outcome = 'success' | 'failure' | 'unknown';

/** Fields of the event that stand in the open, by name. */
export type OpenFields = Readonly<Record<string, unknown>>;

export type Behind = { readonly name: string; readonly id?: string };

export type Facts = {
  /** Unique and the same at each export: a hash of the log's origin and the place of the leaf, in hex. */
  readonly uid: string;
  readonly kind: Event['kind'];
  readonly timeMs: number;
  readonly outcome: Outcome;
  /** Why it went so, in words; not the reason that the session was asked for, which is `purpose`. */
  readonly reason?: string;
  readonly rule?: string;
  /** Who did it, and to whom where that is somebody else. */
  readonly actor?: Who;
  readonly affected?: Who;
  /** The person behind the actor, where that is a machine: what is claimed never stands where what is verified does. */
  readonly human?: Behind;
  readonly claimedHuman?: Behind;
  /** The session it belongs to or is about, and whether the actor did it within that session, in its role. */
  readonly session?: string;
  readonly isInSession: boolean;
  readonly target?: string;
  readonly role?: string;
  readonly grant?: string;
  readonly request?: string;
  readonly ticket?: string;
  readonly purpose?: string;
  readonly source?: Source;
  /** The text of a statement, without literals. */
  readonly shape?: string;
  readonly sqlstate?: string;
  readonly durationMs?: number;
  /** A sentence for people. It may hold any character that stands in the open. */
  readonly message: string;
  /** What the event has in the open besides persons, reason and rule. */
  readonly details: OpenFields;
};

const textFields = ['reason', 'rule', 'target', 'role', 'grant', 'request', 'ticket', 'shape', 'sqlstate'] as const;

export function factsOf({ index, relay, entry, context }: SiemRecord): Facts {
  const { event } = entry;
  const { open } = splitEvent(event);
  const texts = Object.fromEntries(textFields.flatMap((name) => (typeof open[name] === 'string' ? [[name, open[name]]] : [])));
  const { who, affected } = personsOf(event, context?.who);
  const address = event.kind === 'connection.open' ? event.clientAddress : context?.clientAddress;
  const session = entry.session === decisionsChain ? open['session'] : entry.session;
  return {
    uid: uidOf(relay, index),
    kind: event.kind,
    timeMs: Date.parse(entry.time),
    outcome: outcomeOf(event),
    ...(context && { target: context.target, role: context.role, grant: context.grant }),
    ...(context?.ticket !== undefined && { ticket: context.ticket }),
    ...(context?.reason !== undefined && { purpose: context.reason }),
    ...texts,
    ...(who && { actor: who, ...behindOf(who) }),
    ...(affected && { affected }),
    ...(typeof session === 'string' && { session }),
    isInSession: entry.session !== decisionsChain && event.kind !== 'session.kill',
    ...(address !== undefined && { source: parseSource(address) }),
    ...(event.kind === 'outcome' && { durationMs: event.durationMs }),
    message: describeEvent(event, context),
    details: detailsOf(open),
  };
}

function uidOf(relay: string, index: number): string {
  return hash('sha256', `${relay}\n${index}\n`, 'hex').slice(0, 32);
}

/** Where nobody is named, whoever opened the session did it. The `by` of a request are approver sets, not persons. */
function personsOf(event: Event, owner: Who | undefined): { who?: Who | undefined; affected?: Who | undefined } {
  if (event.kind === 'session.kill') return { who: event.by, affected: owner };
  if (event.kind === 'key.shred') return { who: event.by[0] };
  if ('who' in event) return { who: event.who };
  return { who: 'by' in event ? event.by : owner };
}

function behindOf(who: Who): Pick<Facts, 'human' | 'claimedHuman'> {
  const human = who.kind === 'human' ? undefined : humanBehind(who);
  if (human === undefined) return {};
  const behind = { name: human.value, ...(human.id !== undefined && { id: human.id }) };
  return human.strength === 'verified' ? { human: behind } : { claimedHuman: behind };
}

function outcomeOf(event: Event): Outcome {
  // The outcome of what was let through is an entry of its own.
  if (event.kind === 'statement') return event.effect === 'deny' ? 'failure' : 'unknown';
  if (event.kind === 'hold') return 'unknown';
  if (event.kind === 'outcome') {
    if (event.state === 'unknown') return 'unknown';
    return event.state === 'ok' || event.state === 'suspended' ? 'success' : 'failure';
  }
  const isFailure = event.kind === 'grant.deny' || event.kind === 'login.deny' || event.kind === 'masks.breach' || (event.kind === 'policy' && event.error !== undefined);
  return isFailure ? 'failure' : 'success';
}

/** Persons are told elsewhere, save that several who decide together stay; settings become a list, as a client chooses their names. */
function detailsOf(open: OpenFields): OpenFields {
  const { kind: _kind, who: _who, reason: _reason, rule: _rule, by, settings, ...rest } = open;
  return {
    ...rest,
    ...(Array.isArray(by) && { by: namesOf(by) }),
    ...(settings !== undefined && { settings: Object.entries(settings as EventOf<'connection.open'>['settings'] & {}).map((pair) => pair.join('=')) }),
  };
}

/** The approver sets of a request are names, those who shredded a key are persons. */
function namesOf(by: readonly unknown[]): unknown[] {
  return by.map((one) => (typeof one === 'string' ? one : `${(one as Who).issuer} ${(one as Who).subject}`));
}
