/** What of an SQL text may stand in the open: its words, without literals and comments (PostgreSQL manual, section 4.1). */

/** Longest shape, in characters. */
export const shapeLengthMax = 2000;

/**
 * In the order in which they are tried. A quoted literal that never ends goes to the end of the text, so that nothing of
 * it is taken for words. Names in double quotes and parameters are words.
 */
const pieces =
  /(?<comment>--[^\n\r]*)|(?<block>\/\*)|(?<escaped>[eE]'(?:[^'\\]|''|\\[^])*(?:'|$))|(?<quoted>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*(?:'|$))|(?<dollar>\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)|(?<word>"(?:[^"]|"")*(?:"|$)|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|\$\d+)|(?<number>\.?\d(?:[eE][+-]?\d|[\w.])*)|[^]/g;

/** Each literal becomes `?`, each comment a blank, and blanks in a row become one. Linear in the length of the text. */
export function shapeOf(sql: string): string {
  const parts: string[] = [];
  let length = 0;
  pieces.lastIndex = 0;
  for (let found = pieces.exec(sql); found !== null && length <= shapeLengthMax; found = pieces.exec(sql)) {
    const [text] = found;
    const { comment, block, escaped, quoted, dollar, number } = found.groups ?? {};
    let shown = text;
    if (comment !== undefined) shown = ' ';
    else if (block !== undefined) {
      pieces.lastIndex = endOfBlock(sql, pieces.lastIndex);
      shown = ' ';
    } else if (dollar !== undefined) {
      const end = sql.indexOf(dollar, pieces.lastIndex);
      pieces.lastIndex = end === -1 ? sql.length : end + dollar.length;
      shown = '?';
    } else if (escaped !== undefined || quoted !== undefined || number !== undefined) shown = '?';
    else if (/\s/.test(text[0] ?? '') || text === '\0') shown = ' ';
    if (shown === ' ' && (parts.length === 0 || parts.at(-1) === ' ')) continue;
    parts.push(shown);
    length += shown.length;
  }
  const shape = parts.join('').trimEnd();
  return shape.length <= shapeLengthMax ? shape : `${shape.slice(0, shapeLengthMax - 1)}…`;
}

/** Comments in C style nest. */
function endOfBlock(sql: string, from: number): number {
  const marks = /\/\*|\*\//g;
  marks.lastIndex = from;
  let depth = 1;
  for (let found = marks.exec(sql); found !== null; found = marks.exec(sql)) {
    depth += found[0] === '/*' ? 1 : -1;
    if (depth === 0) return marks.lastIndex;
  }
  return sql.length;
}
