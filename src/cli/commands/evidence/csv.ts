/** Tables as CSV (RFC 4180) that no spreadsheet takes for formulas. */

export type Cell = string | number | boolean | undefined;

/** A line per row, each ended by CRLF; the head first. */
export function formatCsv(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  return [head, ...rows].map((row) => `${row.map(formatCell).join(',')}\r\n`).join('');
}

/** A text that a spreadsheet would calculate gets an apostrophe in front, which spreadsheets do not show. */
function formatCell(cell: Cell): string {
  if (cell === undefined) return '';
  if (typeof cell !== 'string') return String(cell);
  const text = /^[\s\p{Cc}\p{Cf}]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/u.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}
