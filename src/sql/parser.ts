/** SQL text to statement facts with PostgreSQL's own grammar (libpg-query, compiled to WebAssembly). */
import { GateError } from '../errors/errors.ts';
import { describeStatement, type ParseTree, type Statement } from './statement.ts';

/**
 * Texts up to this size are parsed where they arrive: nothing of 2 KiB can nest deeply enough to harm the parser's
 * stack, or take more than about a millisecond. Longer texts belong into a worker with a deadline.
 */
export const inlineSqlBytesMax = 2048;
/** Longest text that is parsed at all; as JSON it still fits into one line of the record. */
export const sqlBytesMax = 4 * 1024 * 1024;

export type ParsedSql =
  | { readonly ok: true; readonly statement: Statement; readonly recordedSql: string; readonly isRedacted: boolean }
  /** `position`: 1-based, in characters, as in ErrorResponse field P. */
  | { readonly ok: false; readonly message: string; readonly position?: number; readonly recordedSql: string; readonly isRedacted: boolean };

type LibpgQuery = typeof import('libpg-query');

/** Loads the parser (about 0.2 s once) and returns a function that never throws for any text up to the limits. */
export async function loadParser(): Promise<(sql: string) => ParsedSql> {
  const module = await import('libpg-query');
  const library: LibpgQuery = (module as unknown as { default?: LibpgQuery }).default ?? module;
  await library.loadModule();
  return (sql) => parseSql(library, sql);
}

function parseSql(library: LibpgQuery, sql: string): ParsedSql {
  if (sql.includes('\0')) return { ok: false, message: 'the text holds a zero byte', recordedSql: hideLiterals(sql), isRedacted: true };
  // The library refuses an empty text; the server answers it with EmptyQueryResponse.
  if (sql.trim() === '') return { ok: true, statement: describeStatement({}), recordedSql: sql, isRedacted: false };
  try {
    const statement = describeStatement(library.parseSync(sql) as ParseTree);
    if (!statement.hasSecret) return { ok: true, statement, recordedSql: sql, isRedacted: false };
    return { ok: true, statement, recordedSql: normalize(library, sql), isRedacted: true };
  } catch (error) {
    if (!(error instanceof library.SqlError)) throw new ParserBroken(error);
    const position = error.sqlDetails?.cursorPosition;
    const isRedacted = /passw|secret|token/i.test(sql);
    return {
      ok: false,
      message: error.message,
      ...(position !== undefined && position >= 0 && { position: position + 1 }),
      recordedSql: isRedacted ? hideLiterals(sql) : sql,
      isRedacted,
    };
  }
}

function normalize(library: LibpgQuery, sql: string): string {
  try {
    return library.normalizeSync(sql);
  } catch {
    return hideLiterals(sql);
  }
}

/** For texts that cannot be parsed: every quoted literal goes, the rest stays readable. */
function hideLiterals(sql: string): string {
  return sql.replaceAll('\0', '\u{FFFD}').replaceAll(/'(?:[^']|'')*'?|\$(\w*)\$[\s\S]*?(?:\$\1\$|$)/g, "'…'");
}

/** The parser failed on something other than SQL; its instance may be damaged and must be replaced. */
export class ParserBroken extends GateError {
  constructor(cause: unknown) {
    super('denied', 'the statement is too complex to be examined', {
      rule: 'parse',
      hint: 'Split it, or nest it less deeply.',
      cause,
    });
  }
}
