/** Recorded rows as psql shows them: an aligned table, or a line per value where that would be too wide. */
import type { EventOf, Parameter, Sealed } from './entry.ts';
import { showOnOneLine } from './visible-text.ts';
import { count, describeClosed, showParameter, type TextKind } from './words.ts';

type Result = EventOf<'result'>;

/** One line without its end. What has no kind is as the client got it. */
export type ResultLine = readonly [kind: TextKind | undefined, text: string];

/** Rows that are shown; the record may hold more. */
export const shownRowsMax = 50;
/** A wider table is shown with a line per value. */
export const tableWidthMax = 160;
export const cellWidthMax = 60;
/** A value that has a line for itself. */
export const lineWidthMax = 120;
/** A single row of more columns is shown with a line per value. */
const columnsOfOneRowMax = 8;

/** int8, int2, int4, oid, float4, float8, money and numeric. */
const rightAligned: ReadonlySet<number> = new Set([20, 21, 23, 26, 700, 701, 790, 1700]);

export function formatResult(event: Result, closed?: Sealed['closed']): ResultLine[] {
  const { columns, rows } = event;
  if (closed !== undefined) {
    const head = formatTable(columns, []);
    const names: ResultLine[] = isTooWide(head) ? [['label', count(columns.length, 'column')]] : head;
    return [...names, describeClosed('result', closed)];
  }
  const shown = rows.slice(0, shownRowsMax);
  const isLong = rows.length === 1 && columns.length > columnsOfOneRowMax;
  const table = isLong ? undefined : formatTable(columns, shown);
  const lines = table === undefined || isTooWide(table) ? formatExpanded(columns, shown) : table;
  if (rows.length > shown.length) lines.push(['note', `… ${count(rows.length - shown.length, 'more row')} on record`]);
  lines.push(['note', event.isCut ? `(the first ${count(rows.length, 'row')}; more were sent)` : `(${count(rows.length, 'row')})`]);
  return lines;
}

function isTooWide(lines: readonly ResultLine[]): boolean {
  return lines.some(([, text]) => widthOf(text) > tableWidthMax);
}

function formatTable(columns: Result['columns'], rows: Result['rows']): ResultLine[] {
  if (columns.length === 0) return [['note', '--']];
  const heads = columns.map(({ name }) => cut(showOnOneLine(name), cellWidthMax));
  const cells = rows.map((row) => columns.map((_, index) => cut(showValue(row[index]), cellWidthMax)));
  const widths = heads.map((head, index) => Math.max(widthOf(head), ...cells.map((row) => widthOf(row[index] ?? ''))));
  const blanks = (text: string, index: number) => ' '.repeat(Math.max(0, (widths[index] ?? 0) - widthOf(text)));
  const head = heads.map((text, index) => {
    const all = blanks(text, index);
    const left = all.slice(0, Math.floor(all.length / 2));
    return ` ${left}${text}${all.slice(left.length)} `;
  });
  const lines = cells.map((row): ResultLine => {
    const parts = row.map((text, index) => {
      if (rightAligned.has(columns[index]?.type ?? 0)) return ` ${blanks(text, index)}${text}`;
      return index === row.length - 1 ? ` ${text}` : ` ${text}${blanks(text, index)}`;
    });
    return [undefined, parts.join(' |')];
  });
  return [['label', head.join('|').trimEnd()], ['note', widths.map((width) => '-'.repeat(width + 2)).join('+')], ...lines];
}

function formatExpanded(columns: Result['columns'], rows: Result['rows']): ResultLine[] {
  const names = columns.map(({ name }) => cut(showOnOneLine(name), cellWidthMax));
  const width = Math.max(0, ...names.map(widthOf));
  return rows.flatMap((row, number): ResultLine[] => [
    ['note', `-[ row ${number + 1} ]-`],
    ...names.map((name, index): ResultLine => {
      return [undefined, `${name}${' '.repeat(width - widthOf(name))} | ${cut(showValue(row[index]), lineWidthMax)}`];
    }),
  ]);
}

function showValue(value: Parameter | undefined): string {
  return typeof value === 'string' ? showOnOneLine(value) : showParameter(value ?? null);
}

/** Of text that is safe to show: it has no character that joins others into one, so that each stands for itself. */
function widthOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += widthOfOne(character);
  return width;
}

const wide = /[\p{Emoji_Presentation}\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]/u;

function widthOfOne(character: string): number {
  if (/\p{Mn}|\p{Me}/u.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}

/**
 * A character that shows as an escape may lose its end; what is left of it is harmless. Marks that take no width of
 * their own count when there are many of them.
 */
function cut(text: string, width: number): string {
  if (text.length <= width && widthOf(text) <= width) return text;
  let kept = '';
  let left = width - 1;
  for (const character of text) {
    left -= widthOfOne(character);
    if (left < 0 || kept.length > 4 * width) return `${kept}…`;
    kept += character;
  }
  return text;
}
