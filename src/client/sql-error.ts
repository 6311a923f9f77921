/** What the server reports, as people read it and as gate's own errors. */
import { showHidden } from '../audit/visible-text.ts';
import { GateError, isErrorCode, type ErrorDetails } from '../errors/errors.ts';

/** Fields of ErrorResponse and NoticeResponse, section 54.8, as pg-protocol names them. */
export type ServerReport = {
  readonly severity: string | undefined;
  readonly code: string | undefined;
  readonly message: string | undefined;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  /** 1-based, in characters of the text that was sent. */
  readonly position: string | undefined;
  readonly where: string | undefined;
  readonly file: string | undefined;
  readonly routine: string | undefined;
};

/** An error of the database, with its own SQLSTATE. The message is what psql would print, over several lines. */
export class SqlError extends GateError {
  readonly #sqlstate: string;

  constructor(message: string, sqlstate: string, details: ErrorDetails) {
    super('sql-error', message, details);
    this.#sqlstate = sqlstate;
  }

  override get sqlstate(): string {
    return this.#sqlstate;
  }
}

/**
 * An ErrorResponse as a GateError. One that the relay wrote itself names gate's code in its routine, so that a refusal
 * stays a refusal on this side; any other is an SqlError. `sql` is the text that was sent, for the line in question.
 */
export function errorOfReport(report: ServerReport, sql: string): GateError {
  const isOfGate = report.file === 'gate';
  const [, rule, requestId] = (isOfGate && /^(?:Rule: (.*?))?(?:^|\n|$)(?:Request: (r_\w+))?$/s.exec(report.detail ?? '')) || [];
  const details: ErrorDetails = {
    ...(report.hint !== undefined && { hint: showHidden(report.hint) }),
    ...(rule !== undefined && { rule: showHidden(rule) }),
    ...(requestId !== undefined && { requestId }),
  };
  const code = isOfGate ? codeOf(report) : undefined;
  if (code !== undefined && code !== 'sql-error') return new GateError(code, showHidden(report.message ?? ''), details);
  const lines = [
    `${formatHead(report)} (SQLSTATE ${report.code ?? 'unknown'})`,
    ...showPosition(sql, Number(report.position ?? 0)),
    ...(report.detail !== undefined && rule === undefined ? [`DETAIL:  ${report.detail}`] : []),
    ...(report.where !== undefined ? [`CONTEXT:  ${report.where}`] : []),
  ];
  return new SqlError(showHidden(lines.join('\n')), report.code ?? 'XX000', details);
}

/** A NoticeResponse as psql prints it, without a line break at its end. */
export function formatNotice(report: ServerReport): string {
  const { detail, hint } = report;
  const lines = [formatHead(report)];
  if (detail !== undefined) lines.push(`DETAIL:  ${detail}`);
  if (hint !== undefined) lines.push(`HINT:  ${hint}`);
  return showHidden(lines.join('\n'));
}

function formatHead({ severity, message }: ServerReport): string {
  return `${severity ?? 'ERROR'}:  ${message ?? ''}`;
}

/** A code that only a newer relay knows still leads to the right exit code for a refusal. */
function codeOf({ routine, code }: ServerReport) {
  if (routine !== undefined && isErrorCode(routine)) return routine;
  return code === '42501' ? 'denied' : undefined;
}

/** Longest part of a line that is shown on either side of the caret, in characters. */
const besideCaretMax = 60;

/** The line of the text at a 1-based character position with a caret below it, or nothing where there is none. */
function showPosition(sql: string, position: number): string[] {
  const characters = Array.from(sql);
  if (!Number.isInteger(position) || position < 1 || position > characters.length + 1) return [];
  const before = characters.slice(0, position - 1);
  const lineStart = before.lastIndexOf('\n') + 1;
  const lineEnd = characters.indexOf('\n', position - 1);
  const number = before.filter((character) => character === '\n').length + 1;
  const head = before.slice(lineStart);
  const tail = characters.slice(position - 1, lineEnd === -1 ? undefined : lineEnd);
  const shownHead = head.length > besideCaretMax ? ['...', ...head.slice(-besideCaretMax)] : head;
  const shownTail = tail.length > besideCaretMax ? [...tail.slice(0, besideCaretMax), '...'] : tail;
  const label = `LINE ${number}: `;
  const line = [...shownHead, ...shownTail].join('').trimEnd();
  return [`${label}${line}`, `${' '.repeat(label.length)}${blankOf(showHidden(shownHead.join('')))}^`];
}

const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]|\p{Emoji_Presentation}/u;

/** As wide as the text and empty: a wide character becomes the ideographic space, a mark on another nothing. */
function blankOf(text: string): string {
  return text
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^\t]/gu, (character) => (wide.test(character) ? '\u3000' : ' '));
}
