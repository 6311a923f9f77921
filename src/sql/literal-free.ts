/** A text without the values of its literals, for texts whose literals are beyond doubt (PostgreSQL manual, section 4.1). */

/** In place of an integer, of a number with a point, and of a string; none of them may stand in a text. */
const [integer, decimal, string] = ['\u0001', '\u0002', '\u0003'];
/** An integer of so many digits is one to the grammar, whatever they are; longer ones may become another kind of node. */
const digitsMax = 9;

/**
 * The same for all texts that differ in the values of their literals only. Undefined where that takes more than reading
 * along: bytes beyond ASCII, comments, backslashes, dollar quotes, literals with a letter before them or a part on the
 * next line, exponents.
 */
export function withoutLiterals(sql: string): string | undefined {
  let key = '';
  let from = 0;
  let at = 0;
  while (at < sql.length) {
    const code = sql.charCodeAt(at);
    if (code === 0x27) {
      const end = endOfString(sql, at);
      if (end === -1) return undefined;
      key += sql.slice(from, at) + string;
      at = from = end;
    } else if (isDigit(code)) {
      const end = endOfNumber(sql, at);
      if (end === -1) return undefined;
      key += sql.slice(from, at) + (sql.slice(at, end).includes('.') ? decimal : integer);
      at = from = end;
    } else if (isWord(code)) {
      do at++;
      while (at < sql.length && (isWord(sql.charCodeAt(at)) || isDigit(sql.charCodeAt(at))));
      // E'', B'', X'', N'', and the $ that a name may hold.
      if (sql[at] === "'" || sql[at] === '$') return undefined;
    } else if (code === 0x22) {
      at = sql.indexOf('"', at + 1) + 1;
      // U&"…" ends as any other, but may have an escape of its own.
      if (at === 0 || sql[at] === "'") return undefined;
    } else if (code === 0x24) {
      const end = endOfDigits(sql, at + 1);
      if (end === at + 1 || isWord(sql.charCodeAt(end)) || sql[end] === '$') return undefined;
      at = end;
    } else {
      if (isDoubtful(sql, at, code)) return undefined;
      at++;
    }
  }
  return key + sql.slice(from);
}

/** The text of a shape with these literals in it. */
export function withLiterals(shape: string, values: { readonly integer: string; readonly decimal: string; readonly string: string }): string {
  return shape.replaceAll(integer, values.integer).replaceAll(decimal, values.decimal).replaceAll(string, `'${values.string}'`);
}

function isDoubtful(sql: string, at: number, code: number): boolean {
  if (code > 0x7e || code === 0x5c || (code < 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09)) return true;
  const next = sql.charCodeAt(at + 1);
  if ((code === 0x2d && next === 0x2d) || (code === 0x2f && next === 0x2a)) return true;
  // U&'', and a number that begins with its point.
  return (code === 0x26 && (next === 0x27 || next === 0x22)) || (code === 0x2e && isDigit(next));
}

/** Behind the closing quote; -1 where it is not closed, holds a backslash, or may go on with another part. */
function endOfString(sql: string, at: number): number {
  for (let end = at + 1; end < sql.length; end++) {
    const code = sql.charCodeAt(end);
    if (code === 0x5c || code > 0x7e || code < 0x20) return -1;
    if (code !== 0x27) continue;
    if (sql.charCodeAt(end + 1) === 0x27) {
      end++;
      continue;
    }
    let next = end + 1;
    while (next < sql.length && sql.charCodeAt(next) <= 0x20) next++;
    return sql.charCodeAt(next) === 0x27 ? -1 : end + 1;
  }
  return -1;
}

/** Behind a plain integer, or digits with a point between them; -1 for all else. */
function endOfNumber(sql: string, at: number): number {
  let end = endOfDigits(sql, at);
  if (end - at > digitsMax) return -1;
  if (sql.charCodeAt(end) === 0x2e) {
    const fraction = end + 1;
    end = endOfDigits(sql, fraction);
    if (end === fraction || sql.charCodeAt(end) === 0x2e) return -1;
  }
  const next = sql.charCodeAt(end);
  return isWord(next) || next === 0x24 || next === 0x27 ? -1 : end;
}

function endOfDigits(sql: string, at: number): number {
  while (isDigit(sql.charCodeAt(at))) at++;
  return at;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isWord(code: number): boolean {
  return (code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a) || code === 0x5f;
}
