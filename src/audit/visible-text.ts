/** Makes recorded text safe to print: what a client sent must not drive the terminal of whoever reads about it. */

/**
 * Controls, format characters (direction marks, zero width), line and paragraph separators, private and unassigned
 * code points, and halves of surrogate pairs: everything that moves, hides or reorders what stands around it.
 */
const hidden = /[\p{C}\u2028\u2029]/gu;

/** Keeps newlines and tabs; every other character that does not show becomes `\xNN` or `\u{NNNN}`. */
export function showHidden(text: string): string {
  return text.replace(hidden, (character) => {
    return character === '\n' || character === '\t' ? character : escape(character);
  });
}

/** The same on one line: newlines and tabs become `\n` and `\t`, so that no field can look like the next one. */
export function showOnOneLine(text: string): string {
  return text.replace(hidden, (character) => {
    if (character === '\n') return '\\n';
    return character === '\t' ? '\\t' : escape(character);
  });
}

function escape(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}
