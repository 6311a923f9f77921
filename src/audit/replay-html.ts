/** A transcript as one HTML file that needs nothing else: readable as it is, and played by its own script. */
import { hash } from 'node:crypto';
import { nameOf } from '../principal/behind.ts';
import { pageScript, pageStyle } from './replay-page.ts';
import type { TranscriptPiece } from './transcript.ts';
import { showOnOneLine } from './visible-text.ts';
import { markOf, showMoment, type TextKind } from './words.ts';

export type ReplayHtmlOptions = {
  /** What the page cuts pauses to until its reader wishes otherwise. */
  readonly pauseMsMax?: number;
};

const watchedPauseMsMax = 2000;

/**
 * The style to make the pieces with: private characters that no transcript holds, since it shows them as escapes. They
 * become spans after everything is escaped, so that even text that had them could make no other markup.
 */
export function htmlStyle(kind: TextKind, text: string): string {
  return `\ue000${kind}\ue001${text}\ue002`;
}

/** Whatever the recorded text, nothing of it is markup, and nothing on the page may load or run but this script. */
const policy = [
  `default-src 'none'`,
  `script-src 'sha256-${hash('sha256', pageScript, 'base64')}'`,
  `style-src 'sha256-${hash('sha256', pageStyle, 'base64')}'`,
  `base-uri 'none'`,
  `form-action 'none'`,
].join('; ');

/** The page piece by piece: it is never held as a whole. Times that a reader sees are in UTC. */
export async function* formatReplayHtml(
  pieces: Iterable<TranscriptPiece> | AsyncIterable<TranscriptPiece>,
  options: ReplayHtmlOptions = {},
): AsyncGenerator<string> {
  const cut = (options.pauseMsMax ?? watchedPauseMsMax) / 1000;
  let hasHead = false;
  for await (const piece of pieces) {
    if (!hasHead) yield formatHead(piece.entry, cut);
    hasHead = true;
    yield formatPiece(piece);
  }
  if (!hasHead) yield formatHead(undefined, cut);
  yield `</main>\n<script>${pageScript}</script>\n</body>\n</html>\n`;
}

function formatPiece({ delayMs, text, entry }: TranscriptPiece): string {
  const event = entry?.event;
  const mark = event && markOf(event);
  const attributes = [
    `data-ms="${delayMs}"`,
    ...(mark === undefined ? [] : [`data-mark="${mark}"`]),
    ...(event && 'statement' in event && typeof event.statement === 'number' ? [`data-statement="${event.statement}"`] : []),
    ...(event?.kind === 'result' ? ['class="result"'] : []),
  ];
  const spans = escapeHtml(text)
    .replaceAll(/\ue000([a-z]+)\ue001/g, '<span class="$1">')
    .replaceAll('\ue002', '</span>');
  return `<div ${attributes.join(' ')}>${spans}</div>\n`;
}

function formatHead(entry: TranscriptPiece['entry'], cut: number): string {
  const { title, lines } = describe(entry);
  return `<!DOCTYPE html>
<html lang="en" dir="ltr">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(title)}</title>
<style>${pageStyle}</style>
</head>
<body>
<header>
<h1>${escapeHtml(title)}</h1>
${lines.map((line) => `<p>${escapeHtml(line)}</p>\n`).join('')}</header>
<nav id="controls" aria-label="Player" hidden>
<button id="play" type="button">Play</button>
<label>Speed <select id="speed"><option value="1">1×</option><option value="4">4×</option><option value="16">16×</option></select></label>
<label><input id="skip" type="checkbox" checked> Cut pauses to</label>
<label><input id="cut" type="number" min="0" step="any" value="${cut}" aria-label="Longest pause"> s</label>
<button id="next" type="button">Next refused, held or failed</button>
<button id="all" type="button">Show all</button>
<label>Only with <input id="filter" type="search"></label>
<span id="place" role="status"></span>
</nav>
<main>
`;
}

/** Who, where and why; the transcript below says it in full. */
function describe(entry: TranscriptPiece['entry']): { title: string; lines: string[] } {
  if (entry === undefined) return { title: 'Session', lines: [] };
  const { event, session, time } = entry;
  if (event.kind !== 'session.open') return { title: `Session ${showOnOneLine(session)}`, lines: [showMoment(time)] };
  const ticket = event.ticket === undefined ? '' : ` (${showOnOneLine(event.ticket)})`;
  return {
    title: showOnOneLine(`${nameOf(event.who)} on ${event.target} as ${event.role}`),
    lines: [
      `${event.reason === undefined ? 'No reason given' : `Why: ${showOnOneLine(event.reason)}`}${ticket}`,
      `Session ${showOnOneLine(session)}, ${showMoment(time)}, by gate ${event.command}`,
    ],
  };
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? '');
}
