/** The summary of an exec for a job of GitHub Actions, in its Markdown: who, where, why, and what became of each text. */
import { showHidden, showOnOneLine } from '../../../audit/visible-text.ts';
import { GateError } from '../../../errors/errors.ts';
import { ExitCode } from '../../exit-code.ts';
import type { RunRecord, TextRecord } from './run-record.ts';

/** GitHub takes a MiB for all commands of a step. */
export const summaryBytesMax = 1024 * 1024;
const sqlLengthMax = 4000;
const textsMax = 50;
const resultsMax = 20;
const valueLengthMax = 1000;

export type Summary = {
  readonly target: string;
  readonly role: string | undefined;
  readonly reason: string | undefined;
  readonly ticket: string | undefined;
  readonly session: string | undefined;
  readonly record: RunRecord;
  /** Undefined when all of it ran. */
  readonly failure: unknown;
  readonly exitCode: number;
};

/** Holds no value of a row and no parameter; of an error of the database only its SQLSTATE, since its text may quote one. */
export function formatSummary(summary: Summary): string {
  const { target, role, record, failure, exitCode } = summary;
  const facts = [
    ['reason', summary.reason],
    ['ticket', summary.ticket],
    ['session', summary.session],
  ].flatMap(([name, value]) => (value === undefined ? [] : [`| ${name} | ${plain(value)} |`]));
  const lines = [
    `### gate exec: ${plain(target)}${role === undefined ? '' : ` as ${plain(role)}`}: ${exitCode === 0 ? 'done' : `failed (exit ${exitCode})`}`,
    '',
    ...(facts.length === 0 ? [] : ['| | |', '|---|---|', ...facts, '']),
    ...(failure === undefined ? [] : [...failureLines(failure), '']),
    ...(record.stopLine === undefined ? [] : [plain(record.stopLine), '']),
    ...record.texts.slice(0, textsMax).flatMap((text, index) => textLines(text, index, record.texts.length)),
    ...(record.texts.length > textsMax ? [`… and ${record.texts.length - textsMax} more.`, ''] : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** One line about the failure for a remark beside the log. */
export function failureSentence(failure: unknown): string {
  if (failure instanceof ExitCode) return 'it was ended by a signal';
  if (!(failure instanceof GateError)) return 'it failed; the log of this step says why';
  if (failure.code === 'sql-error') return `the database answered with SQLSTATE ${failure.sqlstate}; its message is in the log of this step`;
  const { message, rule, requestId } = failure;
  return [message, rule && `rule: ${rule}`, requestId && `request: ${requestId}`].filter(Boolean).join('; ');
}

function failureLines(failure: unknown): string[] {
  if (!(failure instanceof GateError)) return [`**${failureSentence(failure)}**`];
  const { code, rule, requestId, hint } = failure;
  const isSql = code === 'sql-error';
  const items = [rule && `- rule: ${plain(rule)}`, requestId && `- request: ${plain(requestId)}`, !isSql && hint && `- ${plain(hint)}`];
  const sentence = isSql ? failureSentence(failure) : failure.message;
  return [`**${code}**: ${plain(sentence)}`, '', ...items.filter((item) => typeof item === 'string' && item !== '').map(String)];
}

function textLines({ name, sql, parameters, state, milliseconds, results }: TextRecord, index: number, count: number): string[] {
  const number = count === 1 ? '' : ` ${index + 1}`;
  const withParameters = parameters === 0 ? '' : `, ${parameters} ${parameters === 1 ? 'parameter' : 'parameters'} (values not shown)`;
  const took = milliseconds === undefined ? '' : `, ${milliseconds} ms`;
  const whole = showHidden(sql);
  const shown = whole.length > sqlLengthMax ? `${whole.slice(0, sqlLengthMax)}\n… (${whole.length - sqlLengthMax} more characters)` : whole;
  return [
    `**SQL${number}** (${plain(name)}${withParameters}): ${state}${took}`,
    '',
    fenced(shown),
    '',
    ...results.slice(0, resultsMax).map(({ tag, rows }) => `- ${tag === undefined ? `first ${rows ?? 0} rows` : plain(tag)}${rowsOf(tag, rows)}`),
    ...(results.length > resultsMax ? [`- … and ${results.length - resultsMax} more`] : []),
    '',
  ];
}

/** The tag of a query says it already. */
function rowsOf(tag: string | undefined, rows: number | undefined): string {
  return tag === undefined || rows === undefined || /^SELECT \d/.test(tag) ? '' : `, ${rows} ${rows === 1 ? 'row' : 'rows'} returned`;
}

/** Longer than any run of backticks in it, so that nothing in it can end it. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}sql\n${text}\n${fence}`;
}

/** On one line, and nothing in it is Markdown or HTML. */
function plain(value: string): string {
  const text = value.length > valueLengthMax ? `${value.slice(0, valueLengthMax)}…` : value;
  return showOnOneLine(text).replaceAll(/[!-/:-@[-`{-~]/g, String.raw`\$&`);
}
