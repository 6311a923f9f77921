/** Entries in the Elastic Common Schema, version 8; what it has no field for stands under `gate`. */
import { describeLink } from '../../principal/behind.ts';
import type { Link } from '../../principal/principal.ts';
import type { Event } from '../entry.ts';
import { severities, severityOf, type SiemRecord, type Who } from './context.ts';
import { factsOf, type Behind, type Facts } from './facts.ts';

const ecsVersion = '8.11.0';

export function formatEcs(record: SiemRecord): string {
  const { index, relay, relayVersion, entry } = record;
  const facts = factsOf(record);
  const { kind, source, actor, affected } = facts;
  const people = [actor, affected].flatMap((one) => (one ? [one.name, one.subject] : [])).concat(namesOf(facts.human));
  return JSON.stringify({
    '@timestamp': entry.time,
    message: facts.message,
    ecs: { version: ecsVersion },
    event: {
      ...categorise(entry.event),
      action: actionOf(entry.event),
      outcome: facts.outcome,
      id: facts.uid,
      sequence: index,
      // From 1, as the event's own scale.
      severity: severities.indexOf(severityOf(entry.event)) + 1,
      module: 'gate',
      dataset: 'gate.audit',
      ...(facts.reason !== undefined && { reason: facts.reason }),
      ...(facts.durationMs !== undefined && { duration: Math.round(facts.durationMs * 1_000_000) }),
    },
    ...labelsOf(facts),
    ...(actor && { user: userOf(actor, facts.isInSession ? facts.role : undefined, affected) }),
    ...(people.length > 0 || source?.ip !== undefined ? { related: relatedOf(people, source?.ip) } : {}),
    ...(source && { source }),
    ...(facts.rule !== undefined && { rule: { name: facts.rule } }),
    ...(facts.sqlstate !== undefined && { error: { code: facts.sqlstate } }),
    service: { type: 'gate', name: relay, ...(relayVersion !== undefined && { version: relayVersion }) },
    gate: gateOf(entry, facts, kind),
  });
}

function userOf(actor: Who, role: string | undefined, affected: Who | undefined): object {
  return {
    id: actor.subject,
    name: actor.name,
    domain: actor.issuer,
    ...(role !== undefined && { roles: [role] }),
    ...(affected && { target: { id: affected.subject, name: affected.name, domain: affected.issuer } }),
  };
}

/** What is only claimed is no related user: whoever looks for somebody's deeds would find what another said. */
function labelsOf({ human, claimedHuman }: Facts): object {
  if (human === undefined && claimedHuman === undefined) return {};
  return { labels: { ...(human && { human: human.name }), ...(claimedHuman && { claimed_human: claimedHuman.name }) } };
}

function namesOf(behind: Behind | undefined): string[] {
  return behind === undefined ? [] : [behind.name, ...(behind.id === undefined ? [] : [behind.id])];
}

/** As texts, and apart: an index takes a list of objects to pieces, and would no longer know which of them is verified. */
function chainOf({ chain }: Who): object {
  if (chain === undefined) return {};
  const texts = (wanted: Link['strength']) => chain.filter(({ strength }) => strength === wanted).map((link) => `${link.kind}: ${describeLink(link)} (by ${link.source})`);
  return { chain: { verified: texts('verified'), claimed: texts('claimed') } };
}

function relatedOf(people: readonly string[], ip: string | undefined): object {
  return { ...(people.length > 0 && { user: [...new Set(people)] }), ...(ip !== undefined && { ip: [ip] }) };
}

/** Each kind has its details under its own name: what two kinds call the same may be a number here and a text there. */
function gateOf(entry: SiemRecord['entry'], facts: Facts, kind: string): object {
  const { actor, session, target, role, grant, request, ticket, purpose, shape, details } = facts;
  const common = { session, target, role, grant, request, ticket, purpose, shape };
  return {
    kind,
    chain: { id: entry.session, seq: entry.seq, prev: entry.prev },
    ...common,
    ...(actor && { user: { kind: actor.kind, groups: actor.groups, ...chainOf(actor), human: facts.human, claimed_human: facts.claimedHuman } }),
    event: { [kind.replaceAll('.', '_')]: details },
  };
}

/** The kind of the event, and what became of it where that makes another action of it. */
function actionOf(event: Event): string {
  if (event.kind === 'statement') return `statement-${event.effect}`;
  if (event.kind === 'outcome') return `outcome-${event.state}`;
  if (event.kind === 'vote') return `vote-${event.decision}`;
  if (event.kind === 'legal.hold') return `legal-hold-${event.isSet ? 'set' : 'lift'}`;
  return event.kind.replaceAll('.', '-');
}

type Categories = { readonly kind: 'event' | 'alert'; readonly category: readonly string[]; readonly type: readonly string[] };

function categorise(event: Event): Categories {
  if (event.kind === 'masks.breach') return { kind: 'alert', category: ['intrusion_detection', 'database'], type: ['denied', 'error'] };
  const [category, type] = event.kind === 'statement' || event.kind === 'outcome' ? ofStatement(event) : byKind[event.kind];
  return { kind: 'event', category, type: event.kind === 'policy' && event.error !== undefined ? ['info'] : type };
}

type Pair = readonly [category: readonly string[], type: readonly string[]];

/** What came over the wire is of the network too: the database category knows neither `allowed` nor `denied`. */
function ofStatement(event: Extract<Event, { kind: 'statement' | 'outcome' }>): Pair {
  if (event.kind === 'statement') {
    const type = event.kinds.every((kind) => kind === 'read') ? 'access' : 'change';
    return [['database', 'network'], [type, event.effect === 'allow' ? 'allowed' : 'denied']];
  }
  if (event.state === 'error') return [['database'], ['error']];
  if (event.state === 'unknown' || event.state === 'skipped') return [['database'], ['info']];
  return [['database'], [event.tags.every((tag) => /^(?:SELECT|SHOW|FETCH|EXPLAIN)\b/.test(tag)) ? 'access' : 'change']];
}

const byKind: Readonly<Record<Exclude<Event['kind'], 'statement' | 'outcome' | 'masks.breach'>, Pair>> = {
  'session.open': [['session'], ['start']],
  'session.close': [['session'], ['end']],
  'session.kill': [['session'], ['end']],
  'connection.open': [['network'], ['connection', 'start']],
  'connection.close': [['network'], ['connection', 'end']],
  hold: [['database'], ['info']],
  result: [['database'], ['access']],
  cancel: [['database'], ['info']],
  'masks.detected': [['database'], ['info']],
  request: [['iam'], ['user', 'info']],
  vote: [['iam'], ['admin', 'change']],
  'request.end': [['iam'], ['info']],
  grant: [['iam'], ['user', 'creation']],
  'grant.revoke': [['iam'], ['user', 'deletion']],
  'grant.deny': [['iam'], ['user', 'info']],
  policy: [['configuration'], ['change']],
  'relay.start': [['process'], ['start']],
  'relay.stop': [['process'], ['end']],
  login: [['authentication'], ['start']],
  'login.deny': [['authentication'], ['start']],
  read: [['api'], ['access']],
  'key.rotate': [['configuration'], ['change']],
  'shred.request': [['configuration'], ['info']],
  'key.shred': [['configuration'], ['deletion']],
  'legal.hold': [['configuration'], ['change']],
};
