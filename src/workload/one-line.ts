/** Texts of others as one line that people can read: bounded, without control characters or marks that change the order of letters. */

/** Longest value of a link, in UTF-16 units. */
export const valueLengthMax = 300;

/** Undefined where nothing is left. */
export function oneLine(text: string, lengthMax = valueLengthMax): string | undefined {
  const line = text.slice(0, 4 * lengthMax).replace(/[\p{C}\p{Zl}\p{Zp}\s]+/gu, ' ').trim();
  if (line === '') return undefined;
  return line.length <= lengthMax ? line : `${line.slice(0, lengthMax - 1).replace(/[\uD800-\uDBFF]$/u, '')}…`;
}

/** Halves of surrogate pairs, which no encoding has bytes for, become U+FFFD. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Cs}/gu, '\uFFFD');
}
