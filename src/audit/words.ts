/** The words of a transcript: outcomes, bound values, sizes, lengths of time, and why something is not shown. */
import type { Event, EventOf, Parameter, Sealed } from './entry.ts';
import { showOnOneLine } from './visible-text.ts';

/** What a piece of text is, for whoever adds colour. */
export type TextKind = 'label' | 'time' | 'prompt' | 'sql' | 'ok' | 'error' | 'refused' | 'unknown' | 'note';

/** What a reader looks for in a long record. */
export type Mark = 'refused' | 'held' | 'failed' | 'alarm';

export function markOf(event: Event): Mark | undefined {
  if (event.kind === 'statement') return event.effect === 'deny' ? 'refused' : undefined;
  if (event.kind === 'hold') return 'held';
  if (event.kind === 'outcome') return event.state === 'error' || event.state === 'unknown' ? 'failed' : undefined;
  return event.kind === 'masks.breach' ? 'alarm' : undefined;
}

type Closed = NonNullable<Sealed['closed']>;

/** Why what was sealed is not there; a whole sentence without its end. */
export function describeClosed(kind: 'statement' | 'hold' | 'result', closed: Closed): [TextKind, string] {
  const [what, where] = kind === 'result' ? ['rows', 'result'] : ['literals', 'content'];
  const why = { 'not-allowed': `the ${where} is sealed`, shredded: `the ${where} was shredded`, missing: `the sealed ${where} is missing` };
  return [closed === 'missing' ? 'unknown' : 'note', `${what} are not shown: ${why[closed]}`];
}

export function describeOutcome(event: EventOf<'outcome'>): [TextKind, string] {
  const duration = showDuration(event.durationMs);
  const tags = event.tags.map(showOnOneLine).join(', ');
  switch (event.state) {
    case 'ok':
      return ['ok', [tags || 'done', ...volume(event), duration].join(' · ')];
    case 'error': {
      const done = tags === '' ? [] : [`after ${tags}`];
      const code = showOnOneLine(event.sqlstate ?? 'without SQLSTATE');
      return ['error', [`ERROR ${code}`, ...done, ...volume(event), duration].join(' · ')];
    }
    case 'suspended':
      return ['ok', ['stopped where the client asked, with more to come', ...volume(event), duration].join(' · ')];
    case 'skipped':
      return ['note', 'skipped by the server: an earlier statement of the same batch failed'];
    case 'unknown':
      break;
  }
  return ['unknown', 'OUTCOME UNKNOWN: it may have been sent, and nobody was left to hear the answer'];
}

function volume(event: EventOf<'outcome'>): string[] {
  const parts = [];
  if (event.rows > 0 || event.bytesOut > 0) parts.push(count(event.rows, 'row'));
  if (event.bytesOut > 0) parts.push(`${showBytes(event.bytesOut)} out`);
  if (event.bytesIn > 0) parts.push(`${showBytes(event.bytesIn)} in`);
  return parts;
}

export function traffic(event: EventOf<'connection.close'>): string {
  if (event.bytesIn === 0 && event.bytesOut === 0) return '';
  return ` (${showBytes(event.bytesIn)} in, ${showBytes(event.bytesOut)} out)`;
}

/** One bound value on one line: text as an SQL literal, with what does not show made visible. */
export function showParameter(parameter: Parameter): string {
  if (parameter === null) return 'NULL';
  if (typeof parameter === 'string') return `'${showOnOneLine(parameter.replaceAll("'", "''"))}'`;
  if ('base64' in parameter) return `binary ${showOnOneLine(parameter.base64)} (base64)`;
  const size = `${count(parameter.bytes, 'byte')}, not kept`;
  return parameter.sha256 === undefined ? size : `${size}, SHA-256 ${showOnOneLine(parameter.sha256)}`;
}

export function numbered(statements: readonly number[]): string {
  return `${statements.length === 1 ? 'statement' : 'statements'} ${statements.join(', ')}`;
}

export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

/** `2026-11-02T10:00:00.000Z` as `2026-11-02 10:00:00 UTC`. */
export function showMoment(time: string): string {
  return showOnOneLine(time).replace(/^([-\d]+)T([:\d]+)(\.\d+)?Z$/, '$1 $2 UTC');
}

export function showDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms * 10) / 10} ms`;
  if (ms < 60_000) return `${Math.round(ms / 100) / 10} s`;
  const seconds = Math.round(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const rest = `${minutes % 60} min ${seconds % 60} s`;
  return minutes < 60 ? rest : `${Math.floor(minutes / 60)} h ${rest}`;
}

export function showBytes(bytes: number): string {
  if (bytes < 1000) return count(bytes, 'byte');
  const units = ['kB', 'MB', 'GB', 'TB'] as const;
  const step = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
  return `${Math.round(bytes / 10 ** (step * 3 - 1)) / 10} ${units[step - 1]}`;
}
