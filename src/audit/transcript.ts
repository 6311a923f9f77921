/** A session's entries as a transcript for a stranger: who, why, where, each statement, and what came of it. */
import { describeLink, strengthOf } from '../principal/behind.ts';
import { describeDecision, isDecision } from './decisions.ts';
import type { AuditEntry, EventOf, Sealed } from './entry.ts';
import { describeNote } from './event-words.ts';
import { formatResult } from './result-table.ts';
import { showHidden, showOnOneLine } from './visible-text.ts';
import { count, describeClosed, describeOutcome, numbered, showDuration, showMoment, showParameter, type TextKind } from './words.ts';

export type TranscriptOptions = {
  /** Called with text that is safe to print already; must only add to it. */
  readonly style?: (kind: TextKind, text: string) => string;
};

/** Print `text`, which ends with a newline, `delayMs` after the piece before it to play at recorded speed. */
export type TranscriptPiece = {
  readonly delayMs: number;
  readonly text: string;
  /** What the text tells of; none for the note where the record stops. */
  readonly entry?: AuditEntry;
};

/**
 * One piece per entry, in order, and one more where the record stops without an end. Times are in UTC. A statement is
 * named by its number, which an outcome repeats when it does not stand right below its statement.
 */
export async function* formatTranscript(
  entries: Iterable<AuditEntry> | AsyncIterable<AuditEntry>,
  options: TranscriptOptions = {},
): AsyncGenerator<TranscriptPiece> {
  const transcript = new Transcript(options.style ?? ((_kind, text) => text));
  let before: number | undefined;
  for await (const entry of entries) {
    const now = Date.parse(entry.time);
    const delayMs = Math.max(0, now - (before ?? now));
    yield { delayMs: Number.isFinite(delayMs) ? delayMs : 0, text: transcript.add(entry), entry };
    before = Number.isFinite(now) ? now : before;
  }
  const text = transcript.finish();
  if (text !== '') yield { delayMs: 0, text };
}

type StatementEvent = EventOf<'statement'>;
type OutcomeEvent = EventOf<'outcome'>;
type Closed = Sealed['closed'];

/** Under a line's time and statement number. */
const margin = ' '.repeat(20);

class Transcript {
  readonly #style: (kind: TextKind, text: string) => string;
  readonly #pending = new Map<number, StatementEvent>();
  readonly #tally = { connections: 0, statements: 0, refused: 0, failed: 0, unknown: 0 };
  #target = 'session';
  #date = '';
  #startedAt: string | undefined;
  #lastAt: string | undefined;
  /** The statement whose lines were the last to be printed. */
  #above: number | undefined;
  #hasEnded = false;

  constructor(style: (kind: TextKind, text: string) => string) {
    this.#style = style;
  }

  add(entry: AuditEntry): string {
    const { event, time } = entry;
    this.#startedAt ??= time;
    this.#lastAt = time;
    const above = this.#above;
    this.#above = undefined;
    if (isDecision(event)) return this.#note(time, showOnOneLine(describeDecision(event)));
    switch (event.kind) {
      case 'session.open':
        return this.#open(entry, event);
      case 'session.close':
        return this.#close(time, event);
      case 'connection.open':
        return this.#openConnection(time, event);
      case 'statement':
        return this.#statement(time, event, entry.sealed?.closed);
      case 'outcome':
        return this.#outcome(time, event, above);
      case 'hold':
        return this.#note(time, describeNote(event)) + this.#closed('hold', entry.sealed?.closed);
      case 'connection.close':
      case 'cancel':
      case 'masks.detected':
      case 'masks.breach':
      case 'session.kill':
        return this.#note(time, describeNote(event));
      case 'result':
        return this.#result(time, event, above, entry.sealed?.closed);
    }
  }

  /** What to say when the record stops without a `session.close`. */
  finish(): string {
    if (this.#hasEnded || this.#startedAt === undefined) return '';
    const waiting = [...this.#pending.keys()];
    const missing = waiting.length === 0 ? '' : `${margin}no outcome recorded yet for ${numbered(waiting)}\n`;
    const note = this.#style('note', 'the record stops here: the session has not ended');
    return `${missing}\n${note}\n${this.#summary()}`;
  }

  #open(entry: AuditEntry, event: EventOf<'session.open'>): string {
    const { who } = event;
    this.#target = showOnOneLine(event.target);
    this.#date = entry.time.slice(0, 10);
    const kind = who.kind === 'human' ? '' : ` (${who.kind})`;
    const groups = who.groups.length === 0 ? 'none' : who.groups.map(showOnOneLine).join(', ');
    const rows = [
      ['Session', showOnOneLine(entry.session)],
      ['Who', `${showOnOneLine(who.name)}${kind}`],
      // How sure it is stands before what somebody may have made up.
      ...(who.chain ?? []).map((link, index) => [index === 0 ? 'Chain' : '', `${link.kind.padEnd(11)} ${strengthOf(link).padEnd(21)} ${showOnOneLine(describeLink(link))}`]),
      ['Subject', `${showOnOneLine(who.subject)} at ${showOnOneLine(who.issuer)}`],
      ['Groups', groups],
      ['Why', event.reason === undefined ? 'no reason given' : showOnOneLine(event.reason)],
      ...(event.ticket === undefined ? [] : [['Ticket', showOnOneLine(event.ticket)]]),
      ['Grant', showOnOneLine(event.grant)],
      ['Where', `${this.#target} as ${showOnOneLine(event.role)}, by gate ${event.command}`],
      ['When', showMoment(entry.time)],
      ['Until', `${showMoment(event.expiresAt)} at the latest`],
      ['Under', `policy ${showOnOneLine(event.policy).slice(0, 12)}, relay ${showOnOneLine(event.relayVersion)}`],
    ];
    return `${rows.map(([label = '', text]) => `${this.#style('label', label.padEnd(8))} ${text}\n`).join('')}\n`;
  }

  #close(time: string, event: EventOf<'session.close'>): string {
    this.#hasEnded = true;
    const waiting = [...this.#pending.keys()];
    const missing = waiting.length === 0 ? '' : this.#under('unknown', `NO OUTCOME RECORDED for ${numbered(waiting)}`);
    return `${missing}\n${this.#note(time, `session ended: ${showOnOneLine(event.reason)}`)}${this.#summary()}`;
  }

  #openConnection(time: string, event: EventOf<'connection.open'>): string {
    this.#tally.connections = Math.max(this.#tally.connections, event.connection);
    return this.#note(time, describeNote(event));
  }

  #statement(time: string, event: StatementEvent, closed: Closed): string {
    this.#tally.statements += 1;
    const connection = this.#tally.connections > 1 ? `${event.connection}:` : '';
    const prompts = [`${connection}${this.#target}=> `, `${connection}${this.#target}-> `] as const;
    const texts = (event.sql === '' && closed !== undefined ? '…' : showHidden(event.sql)).split('\n');
    const lines = texts.map((line, index) => {
      const prompt = this.#style('prompt', index === 0 ? prompts[0] : prompts[1]);
      return `${index === 0 ? this.#head(time, event.statement) : margin}${prompt}${this.#style('sql', line)}\n`;
    });
    lines.push(this.#closed('statement', closed));
    if (event.redacted) lines.push(this.#under('note', 'its literals were not recorded: it may hold a secret'));
    event.parameters?.forEach((parameter, index) => {
      lines.push(`${margin}${this.#style('label', `$${index + 1} =`)} ${showParameter(parameter)}\n`);
    });
    if (event.masked !== undefined && event.masked.length > 0) {
      lines.push(this.#under('note', `masked: ${event.masked.map(({ column, rule }) => `${showOnOneLine(column)} (rule ${showOnOneLine(rule)})`).join(', ')}`));
    }
    if (event.sent !== undefined) lines.push(this.#under('note', `sent as: ${showOnOneLine(event.sent)}`));
    if (event.effect === 'allow' && event.request !== undefined) {
      lines.push(this.#under('ok', `${showOnOneLine(event.reason)} (request ${showOnOneLine(event.request)})`));
    }
    if (event.effect === 'deny') {
      this.#tally.refused += 1;
      const why = `${showOnOneLine(event.reason)} (rule ${showOnOneLine(event.rule)})`;
      lines.push(this.#under('refused', `REFUSED, not sent to the server: ${why}`));
    } else {
      this.#pending.set(event.statement, event);
      this.#above = event.statement;
    }
    return lines.join('');
  }

  #outcome(time: string, event: OutcomeEvent, above: number | undefined): string {
    this.#pending.delete(event.statement);
    if (event.state === 'error') this.#tally.failed += 1;
    if (event.state === 'unknown') this.#tally.unknown += 1;
    const [kind, text] = describeOutcome(event);
    if (above === event.statement) return this.#under(kind, text);
    return `${this.#head(time, undefined)}${this.#which(event)} ${this.#style(kind, text)}\n`;
  }

  /** The outcome of the statement may follow as if the rows did not stand between them. */
  #result(time: string, event: EventOf<'result'>, above: number | undefined, closed: Closed): string {
    this.#above = event.statement;
    const which = above === event.statement ? '' : `${this.#head(time, undefined)}${this.#which(event)}\n`;
    const lines = formatResult(event, closed).map(([kind, text]) => {
      return kind === undefined ? `${margin}${text}\n` : this.#under(kind, text);
    });
    return which + lines.join('');
  }

  /** For what does not stand right below its statement. */
  #which({ statement, connection }: { readonly statement: number; readonly connection: number }): string {
    const where = this.#tally.connections > 1 ? ` on connection ${connection}` : '';
    return this.#style('note', `statement ${statement}${where}:`);
  }

  #closed(kind: 'statement' | 'hold', closed: Closed): string {
    return closed === undefined ? '' : this.#under(...describeClosed(kind, closed));
  }

  #note(time: string, text: string): string {
    return `${this.#head(time, undefined)}${this.#style('note', text)}\n`;
  }

  #under(kind: TextKind, text: string): string {
    return `${margin}${this.#style(kind, text)}\n`;
  }

  /** Time of day, the date on its own line where it changes, and the statement's number: as wide as `margin`. */
  #head(time: string, statement: number | undefined): string {
    const date = time.slice(0, 10);
    const newDate = date === this.#date ? '' : `${this.#style('time', showOnOneLine(date))}\n`;
    this.#date = date;
    const clock = this.#style('time', showOnOneLine(time.slice(11, 23)).padEnd(12));
    return `${newDate}${clock}${(statement === undefined ? '' : String(statement)).padStart(6)}  `;
  }

  #summary(): string {
    const { connections, statements, refused, failed, unknown } = this.#tally;
    const parts = [count(connections, 'connection'), count(statements, 'statement')];
    if (refused > 0) parts.push(`${refused} refused`);
    if (failed > 0) parts.push(`${failed} failed`);
    if (unknown > 0) parts.push(`${unknown} with unknown outcome`);
    const lasted = Date.parse(this.#lastAt ?? '') - Date.parse(this.#startedAt ?? '');
    if (Number.isFinite(lasted)) parts.push(`${showDuration(Math.max(0, lasted))} in all`);
    return `${margin}${parts.join(', ')}\n`;
  }
}
