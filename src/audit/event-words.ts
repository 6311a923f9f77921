/** Single events in words, for a reader who sees them one by one: in a transcript, or as they happen. */
import { nameOf } from '../principal/behind.ts';
import { describeDecision, isDecision } from './decisions.ts';
import type { Event, EventOf } from './entry.ts';
import { showOnOneLine } from './visible-text.ts';
import { count, describeOutcome, showParameter, traffic, type TextKind } from './words.ts';

type NotedKind = 'connection.open' | 'connection.close' | 'hold' | 'cancel' | 'masks.detected' | 'masks.breach' | 'session.kill';

/** What happens around the statements. */
export function describeNote(event: EventOf<NotedKind>): string {
  switch (event.kind) {
    case 'connection.open': {
      const program = event.applicationName === undefined ? '' : ` by ${showOnOneLine(event.applicationName)}`;
      const server = event.backendPid === undefined ? '' : `, server process ${event.backendPid}`;
      const masks = event.masking === undefined ? '' : `, masked (${event.masking.level})`;
      return `connection ${event.connection} opened from ${showOnOneLine(event.clientAddress)}${program}${server}${masks}`;
    }
    case 'connection.close':
      return `connection ${event.connection} closed: ${showOnOneLine(event.reason)}${traffic(event)}`;
    case 'hold': {
      const why = `${showOnOneLine(event.reason)} (rule ${showOnOneLine(event.rule)}, request ${showOnOneLine(event.request)})`;
      return `held for approval: ${showOnOneLine(event.sql)}: ${why}`;
    }
    case 'cancel': {
      const what = event.forwarded ? 'passed on to the server' : 'nothing was running, so it went no further';
      return `cancel asked for on connection ${event.connection}: ${what}`;
    }
    case 'masks.detected': {
      const where = event.column === undefined ? '' : ` in ${showOnOneLine(event.column)}`;
      return `detector ${showOnOneLine(event.detector)} covered ${count(event.count, 'value')}${where} of statement ${event.statement}`;
    }
    case 'masks.breach':
      return `ALARM: the result would have shown raw values of ${showOnOneLine(event.column)}; the connection was cut`;
    case 'session.kill':
      return showOnOneLine(`ended early by ${nameOf(event.by)}${event.reason === undefined ? '' : `: ${event.reason}`}`);
  }
}

/** Longest text of a statement on one line; the whole stands in its transcript. */
const lineSqlMax = 1000;

/** An event on one line by itself. */
export function describeEvent(event: Event): [TextKind, string] {
  if (isDecision(event)) return ['note', showOnOneLine(describeDecision(event))];
  switch (event.kind) {
    case 'session.open': {
      const why = event.reason === undefined ? '' : `: ${showOnOneLine(event.reason)}`;
      return ['note', `session opened on ${showOnOneLine(event.target)} as ${showOnOneLine(event.role)}, by gate ${event.command}${why}`];
    }
    case 'session.close':
      return ['note', `session ended: ${showOnOneLine(event.reason)}`];
    case 'statement':
      return describeStatement(event);
    case 'outcome': {
      const [kind, text] = describeOutcome(event);
      return [kind, `statement ${event.statement}: ${text}`];
    }
    case 'result':
      return ['note', `statement ${event.statement}: its ${event.isCut === true ? 'first rows are' : 'result is'} on record`];
    case 'hold':
      return ['note', describeNote({ ...event, sql: cut(event.sql) })];
    case 'masks.breach':
    case 'session.kill':
      return ['refused', describeNote(event)];
    case 'connection.open':
    case 'connection.close':
    case 'cancel':
    case 'masks.detected':
      return ['note', describeNote(event)];
  }
}

function describeStatement(event: EventOf<'statement'>): [TextKind, string] {
  const text = `statement ${event.statement}: ${cut(showOnOneLine(event.sql)) || 'its text is sealed'}`;
  const bound = event.parameters?.map((parameter, index) => `$${index + 1} = ${cut(showParameter(parameter))}`).join(', ') ?? '';
  const whole = bound === '' ? text : `${text}  (${bound})`;
  if (event.effect === 'allow') return ['sql', whole];
  return ['refused', `${whole}  REFUSED: ${showOnOneLine(event.reason)} (rule ${showOnOneLine(event.rule)})`];
}

function cut(text: string): string {
  return text.length <= lineSqlMax ? text : `${text.slice(0, lineSqlMax - 1)}…`;
}
