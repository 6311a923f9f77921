/** A transcript as a recording that terminals play: asciicast v2, https://docs.asciinema.org/manual/asciicast/v2/. */
import { nameOf } from '../principal/behind.ts';
import type { TranscriptPiece } from './transcript.ts';
import { showOnOneLine } from './visible-text.ts';
import { markOf, type TextKind } from './words.ts';

export type CastOptions = {
  /** No pause is longer. The header tells players the same. */
  readonly pauseMsMax?: number;
};

const width = 100;
const height = 30;

/** SGR parameters, ECMA-48 section 8.3.117: 1 bold, 2 faint, 31 to 36 colours. */
const sgr: Readonly<Record<TextKind, string>> = {
  label: '1',
  time: '2',
  prompt: '36',
  sql: '1',
  ok: '32',
  error: '31',
  refused: '1;31',
  unknown: '1;33',
  note: '2',
};

/** The style to make the pieces with. */
export function castStyle(kind: TextKind, text: string): string {
  return text === '' ? '' : `\u001b[${sgr[kind]}m${text}\u001b[0m`;
}

/**
 * Lines of NDJSON: the header, then one output event per piece, and before it a marker where something was refused,
 * held or failed, so that players can jump there. Times are in seconds from the start of the session.
 */
export async function* formatCast(
  pieces: Iterable<TranscriptPiece> | AsyncIterable<TranscriptPiece>,
  options: CastOptions = {},
): AsyncGenerator<string> {
  const { pauseMsMax = Infinity } = options;
  let hasHeader = false;
  let atMs = 0;
  for await (const { delayMs, text, entry } of pieces) {
    if (!hasHeader) yield `${JSON.stringify(headerOf(entry, pauseMsMax))}\n`;
    hasHeader = true;
    atMs += Math.min(delayMs, pauseMsMax);
    const at = Math.round(atMs) / 1000;
    const mark = entry && markOf(entry.event);
    if (mark !== undefined) yield `${JSON.stringify([at, 'm', mark])}\n`;
    yield `${JSON.stringify([at, 'o', text.replaceAll('\n', '\r\n')])}\n`;
  }
  if (!hasHeader) yield `${JSON.stringify(headerOf(undefined, pauseMsMax))}\n`;
}

function headerOf(entry: TranscriptPiece['entry'], pauseMsMax: number): Record<string, unknown> {
  const timestamp = Math.floor(Date.parse(entry?.time ?? '') / 1000);
  return {
    version: 2,
    width,
    height,
    ...(Number.isFinite(timestamp) && { timestamp }),
    ...(entry && { title: titleOf(entry) }),
    ...(pauseMsMax < Infinity && { idle_time_limit: pauseMsMax / 1000 }),
    env: { TERM: 'xterm-256color' },
  };
}

function titleOf({ session, event }: NonNullable<TranscriptPiece['entry']>): string {
  if (event.kind !== 'session.open') return showOnOneLine(session);
  const why = event.reason === undefined ? '' : `: ${event.reason}`;
  return showOnOneLine(`${session}, ${nameOf(event.who)} on ${event.target}${why}`);
}
