/** Plain tables and times for people. */

/** Columns padded with two blanks between them, one line per row, as kubectl prints them. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((row) => row.map(oneLine));
  const widths = head.map((_, column) => Math.max(...lines.map((line) => displayWidth(line[column] ?? ''))));
  return lines
    .map((line) => line.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - displayWidth(cell))))
    .map((cells) => `${cells.join('  ').trimEnd()}\n`)
    .join('');
}

/** Nothing that a stored text holds may move the cursor or forge another row. */
export function oneLine(text: string): string {
  return text.replace(/\s+/gu, ' ').replace(/[\p{Cc}\p{Cf}]/gu, '\u{FFFD}');
}

/** Terminal columns of a text: wide East Asian and emoji characters take two. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const { segment } of new Intl.Segmenter(undefined, { granularity: 'grapheme' }).segment(text)) {
    width += /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u.test(segment) ? 2 : 1;
  }
  return width;
}

/** Cut to this many columns, with an ellipsis where something is missing. */
export function shorten(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = '';
  let left = width - 1;
  for (const { segment } of new Intl.Segmenter(undefined, { granularity: 'grapheme' }).segment(text)) {
    left -= displayWidth(segment);
    if (left < 0) break;
    kept += segment;
  }
  return `${kept.trimEnd()}…`;
}

/** "in 59 min", "3 h ago", for a time relative to now. */
export function formatRelative(time: string, now: Date): string {
  const seconds = Math.round((Date.parse(time) - now.getTime()) / 1000);
  const magnitude = Math.abs(seconds);
  const text =
    magnitude < 120 ? `${magnitude} s` : magnitude < 7200 ? `${Math.round(magnitude / 60)} min` : `${Math.round(magnitude / 3600)} h`;
  return seconds <= 0 ? `${text} ago` : `in ${text}`;
}

/** A length of time: "45 s", "14 min 30 s", "8 h", "1 h 30 min". */
export function formatSpan(seconds: number): string {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  const parts = [hours > 0 && `${hours} h`, minutes > 0 && `${minutes} min`, hours === 0 && (rest > 0 || minutes === 0) && `${rest} s`];
  return parts.filter(Boolean).join(' ');
}
