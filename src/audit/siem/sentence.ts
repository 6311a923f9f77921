/** An entry as one sentence for whoever reads it in a SIEM, from what stands in the open alone. */
import { nameOf } from '../../principal/behind.ts';
import { describeDecision, isDecision } from '../decisions.ts';
import type { Event, EventOf } from '../entry.ts';
import type { SessionContext } from './context.ts';

/** May hold any character that a client or a person typed. */
export function describeEvent(event: Event, context: SessionContext | undefined): string {
  if (isDecision(event)) return describeDecision(event);
  const who = context === undefined ? 'somebody' : nameOf(context.who);
  const where = context === undefined ? '' : ` on ${context.target}`;
  switch (event.kind) {
    case 'session.open':
      return `${nameOf(event.who)} opens a session on ${event.target} as ${event.role}${because(event.reason)}`;
    case 'session.close':
      return `the session of ${who}${where} ends${because(event.reason)}`;
    case 'session.kill':
      return `${nameOf(event.by)} ends the session of ${who}${where}${because(event.reason)}`;
    case 'connection.open':
      return `${who} connects${where} from ${event.clientAddress}`;
    case 'connection.close':
      return `connection ${event.connection} of ${who}${where} ends${because(event.reason)}`;
    case 'statement': {
      const verb = event.effect === 'allow' ? 'may run' : 'is refused';
      return `${who} ${verb} statement ${event.statement}${where} (rule ${event.rule})${textOf(event)}`;
    }
    case 'hold':
      return `a statement of ${who}${where} waits for approval (request ${event.request}, rule ${event.rule})${textOf(event)}`;
    case 'outcome':
      return `statement ${event.statement} of ${who}${where} ${describeOutcome(event)}`;
    case 'result':
      return `the result of statement ${event.statement} of ${who}${where} is kept${event.isCut ? ', its first rows only' : ''}`;
    case 'cancel':
      return `${who} cancels what runs${where}${event.forwarded ? '' : ', but nothing does'}`;
    case 'masks.detected':
      return `detector ${event.detector} covered ${event.count} values in the result of statement ${event.statement} of ${who}${where}`;
    case 'masks.breach':
      return `the connection of ${who}${where} was cut before raw values of ${event.column} could pass`;
  }
}

function because(reason: string | undefined): string {
  return reason === undefined ? '' : `: ${reason}`;
}

function textOf({ shape }: { readonly shape?: string | undefined }): string {
  return shape === undefined ? '' : `: ${shape}`;
}

function describeOutcome(event: EventOf<'outcome'>): string {
  switch (event.state) {
    case 'ok':
      return `ends well (${event.tags.join(', ')})`;
    case 'error':
      return `fails${event.sqlstate === undefined ? '' : ` with SQLSTATE ${event.sqlstate}`}`;
    case 'suspended':
      return `pauses after ${event.rows} rows`;
    case 'skipped':
      return 'was passed over after an earlier error';
    case 'unknown':
      return 'has an outcome that nobody knows';
  }
}
