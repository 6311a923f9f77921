/** SQL text to statement facts with PostgreSQL's own grammar (libpg-query, compiled to WebAssembly). */
import { GateError } from '../errors/errors.ts';
import { cutAtSecret, hideTokens, namesSecret } from './secrets.ts';
import { describeStatement, type Statement } from './statement.ts';

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
  if (sql.includes('\0')) return { ok: false, message: 'the text holds a zero byte', recordedSql: cutAtSecret(sql), isRedacted: true };
  // The library refuses an empty text; the server answers it with EmptyQueryResponse. Only these are blanks to both.
  if (/^[ \t\n\r\f\v]*$/.test(sql)) return { ok: true, statement: describeStatement({}), recordedSql: sql, isRedacted: false };
  try {
    const statement = describeStatement(library.parseSync(sql));
    if (!statement.hasSecret) return { ok: true, statement, recordedSql: sql, isRedacted: false };
    return { ok: true, statement, recordedSql: redact(library, sql, statement.secretOffsets), isRedacted: true };
  } catch (error) {
    if (!(error instanceof library.SqlError)) throw new ParserBroken(error);
    const position = error.sqlDetails?.cursorPosition;
    // A text that is not understood may carry a secret anywhere, and what is not run needs no literals in the record.
    const recordedSql = cutAtSecret(sql);
    return {
      ok: false,
      message: hideNear(error.message, sql),
      ...(position !== undefined && position >= 0 && { position: position + 1 }),
      recordedSql,
      isRedacted: recordedSql !== sql,
    };
  }
}

function redact(library: LibpgQuery, sql: string, offsets: readonly number[]): string {
  try {
    return hideTokens(sql, library.scanSync(sql).tokens, offsets);
  } catch {
    return cutAtSecret(sql);
  }
}

/** The message quotes the text where the error is; it is recorded as the reason, so it must not quote a secret. */
function hideNear(message: string, sql: string): string {
  const near = / at or near "([\s\S]*)"$/.exec(message);
  if (near === null || !(/['"$]|^--|^\/\*/.test(near[1] as string) || namesSecret(sql))) return message;
  return message.slice(0, near.index);
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
