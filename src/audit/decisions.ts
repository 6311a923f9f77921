/** What people and the policy file decided, as a sentence each. */
import type { Event } from './entry.ts';

type DecisionEvent = Extract<Event, { kind: 'request' | 'vote' | 'request.end' | 'grant' | 'grant.revoke' | 'policy' }>;

const kinds: ReadonlySet<string> = new Set<DecisionEvent['kind']>(['request', 'vote', 'request.end', 'grant', 'grant.revoke', 'policy']);

export function isDecision(event: Event): event is DecisionEvent {
  return kinds.has(event.kind);
}

/** One line for a reader; it may hold any character that a person typed, so it is made visible before it is shown. */
export function describeDecision(event: DecisionEvent): string {
  switch (event.kind) {
    case 'request': {
      const what = { grant: 'a grant', statement: 'one statement', review: 'a review' }[event.of];
      const why = event.reason === undefined ? '' : `: ${event.reason}`;
      return `${event.who.name} asks for ${what} on ${event.target} as ${event.role}${why} (request ${event.request}, rule ${event.rule})`;
    }
    case 'vote': {
      const verb = event.decision === 'approve' ? 'approves' : 'denies';
      return `${event.by.name} ${verb} request ${event.request}${event.reason === undefined ? '' : `: ${event.reason}`}`;
    }
    case 'request.end':
      return `request ${event.request} is ${event.state}${event.reason === undefined ? '' : `: ${event.reason}`}`;
    case 'grant':
      return `grant ${event.grant} for ${event.who.name} on ${event.target} as ${event.role} until ${event.expiresAt}`;
    case 'grant.revoke':
      return `${event.by.name} revokes grant ${event.grant}${event.reason === undefined ? '' : `: ${event.reason}`}`;
    case 'policy':
      break;
  }
  if (event.error === undefined) return `policy ${event.policy.slice(0, 12)} is in force`;
  return `a policy file was not taken, ${event.policy.slice(0, 12)} stays in force: ${event.error}`;
}
