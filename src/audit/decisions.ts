/** What happens beside the sessions, as a sentence each: what people and the policy decided, and what became of the record. */
import { nameOf } from '../principal/behind.ts';
import type { Event } from './entry.ts';

const decisionKinds = ['request', 'vote', 'request.end', 'grant', 'grant.revoke', 'grant.deny', 'policy'] as const;
const relayKinds = ['relay.start', 'relay.stop', 'login', 'login.deny', 'read', 'key.rotate', 'shred.request', 'key.shred', 'legal.hold'] as const;
type DecisionEvent = Extract<Event, { kind: (typeof decisionKinds)[number] }>;
type RelayEvent = Extract<Event, { kind: (typeof relayKinds)[number] }>;

const kinds: ReadonlySet<string> = new Set<string>([...decisionKinds, ...relayKinds]);

function isOfRelay(event: DecisionEvent | RelayEvent): event is RelayEvent {
  return relayKinds.some((kind) => kind === event.kind);
}

export function isDecision(event: Event): event is DecisionEvent | RelayEvent {
  return kinds.has(event.kind);
}

/** One line for a reader; it may hold any character that a person typed, so it is made visible before it is shown. */
export function describeDecision(event: DecisionEvent | RelayEvent): string {
  if (isOfRelay(event)) return describeRelay(event);
  switch (event.kind) {
    case 'request': {
      const what = { grant: 'a grant', statement: 'one statement', review: 'a review' }[event.of];
      const why = event.reason === undefined ? '' : `: ${event.reason}`;
      return `${nameOf(event.who)} asks for ${what} on ${event.target} as ${event.role}${why} (request ${event.request}, rule ${event.rule})`;
    }
    case 'vote': {
      const verb = event.decision === 'approve' ? 'approves' : 'denies';
      return `${nameOf(event.by)} ${verb} request ${event.request}${event.reason === undefined ? '' : `: ${event.reason}`}`;
    }
    case 'request.end':
      return `request ${event.request} is ${event.state}${event.reason === undefined ? '' : `: ${event.reason}`}`;
    case 'grant':
      return `grant ${event.grant} for ${nameOf(event.who)} on ${event.target} as ${event.role} until ${event.expiresAt}`;
    case 'grant.revoke':
      return `${nameOf(event.by)} revokes grant ${event.grant}${event.reason === undefined ? '' : `: ${event.reason}`}`;
    case 'grant.deny':
      return `${nameOf(event.who)} is refused ${event.target}${event.role === undefined ? '' : ` as ${event.role}`}: ${event.reason} (rule ${event.rule})`;
    case 'policy':
      break;
  }
  if (event.error === undefined) return `policy ${event.policy.slice(0, 12)} is in force`;
  return `a policy file was not taken, ${event.policy.slice(0, 12)} stays in force: ${event.error}`;
}

function describeRelay(event: RelayEvent): string {
  switch (event.kind) {
    case 'relay.start': {
      const before = { nothing: 'for the first time', stop: 'after an orderly stop', crash: 'after it had stopped without warning' }[event.after];
      return `relay ${event.relayVersion} starts ${before}`;
    }
    case 'relay.stop':
      return 'the relay stops';
    case 'login':
      return `${nameOf(event.who)} comes with a new token, issued ${event.issuedAt}, good until ${event.expiresAt}`;
    case 'login.deny': {
      const name = event.workload ?? event.subject ?? (event.issuer === undefined ? 'somebody' : `a machine of ${event.issuer}`);
      return `a login of ${name} is refused: ${event.reason} (rule ${event.rule})`;
    }
    case 'read': {
      const what = event.session === undefined ? event.what : `${event.what} of ${event.session}`;
      const how = event.isOpened ? '' : ', without what is sealed';
      return `${nameOf(event.by)} reads the record: ${what}${event.detail === undefined ? '' : ` (${event.detail})`}${how}`;
    }
    case 'key.rotate':
      return `checkpoints are signed with ${event.to} from here on, no longer with ${event.from}`;
    case 'shred.request':
      return `${nameOf(event.by)} asks to shred session ${event.session}: ${event.reason}`;
    case 'key.shred': {
      const by = event.by.length === 0 ? 'because its time was over' : `by ${event.by.map(nameOf).join(' and ')}`;
      return `session ${event.session}: keys of ${event.classes.join(' and ')} shredded ${by}: ${event.reason}`;
    }
    case 'legal.hold':
      return `${nameOf(event.by)} ${event.isSet ? 'sets' : 'lifts'} the legal hold on session ${event.session}: ${event.reason}`;
  }
}
