/** SQL text to statement facts with PostgreSQL's own grammar (libpg-query, compiled to WebAssembly). */
import { GateError } from '../errors/errors.ts';
import { cutAtSecret, hideTokens, namesSecret, type Token } from './secrets.ts';
import { describeStatement, type ParseTree, type Statement } from './statement.ts';

/**
 * Texts up to this size are parsed where they arrive: nothing of 2 KiB can nest deeply enough to harm the parser's
 * stack, or take more than about a millisecond. Longer texts belong into a worker with a deadline.
 */
export const inlineSqlBytesMax = 2048;
/** Longest text that is parsed at all; as JSON it still fits into one line of the record. */
export const sqlBytesMax = 4 * 1024 * 1024;

/** `shape`: of `recordedSql`, where that was worked out as well. */
export type ParsedSql =
  | { readonly ok: true; readonly statement: Statement; readonly recordedSql: string; readonly isRedacted: boolean; readonly shape?: string }
  /** `position`: 1-based, in characters, as in ErrorResponse field P. */
  | { readonly ok: false; readonly message: string; readonly position?: number; readonly recordedSql: string; readonly isRedacted: boolean; readonly shape?: string };

/** The grammars that there are, by PostgreSQL's major version. */
export const grammars = [15, 16, 17, 18] as const;
export type Grammar = (typeof grammars)[number];
export const newestGrammar = 18;

/** The grammar for a server: the newest for servers newer than that. Fails with `not-supported` for older ones. */
export function grammarFor(serverMajor: number): Grammar {
  const grammar = grammars.find((major) => major === serverMajor);
  if (grammar !== undefined) return grammar;
  if (serverMajor > newestGrammar) return newestGrammar;
  throw new GateError('not-supported', `the server is PostgreSQL ${serverMajor}; gate works with PostgreSQL ${grammars[0]} and newer`);
}

type Scan = (sql: string) => { readonly tokens: readonly Token[] };
/** What all versions of the library have. */
type Library = {
  loadModule(): Promise<void>;
  parseSync(sql: string): unknown;
  readonly SqlError: new (...args: never[]) => Error & { readonly sqlDetails?: { readonly cursorPosition: number } };
};

/** Loads a parser (about 0.2 s once for each grammar) and returns a function that never throws for any text up to the limits. */
export async function loadParser(grammar: Grammar = newestGrammar): Promise<(sql: string) => ParsedSql> {
  const [library, { scanSync }] = await Promise.all([loadLibrary(grammar), loadLibrary(newestGrammar)]);
  return (sql) => parseSql(library, scanSync as Scan, sql);
}

/** A text's tree and its tokens, with byte offsets into the text as UTF-8. Plain data. */
export type Syntax = { readonly tree: ParseTree; readonly tokens: readonly Token[] };

/** Loads a parser that gives the tree itself, for who must follow it node by node. Undefined for a text that is not SQL; fails as `loadParser`'s. */
export async function loadSyntaxParser(grammar: Grammar = newestGrammar): Promise<(sql: string) => Syntax | undefined> {
  const [library, { scanSync }] = await Promise.all([loadLibrary(grammar), loadLibrary(newestGrammar)]);
  return (sql) => {
    if (sql.includes('\0')) return undefined;
    if (isBlank(sql)) return { tree: {}, tokens: [] };
    try {
      return { tree: library.parseSync(sql) as ParseTree, tokens: (scanSync as Scan)(sql).tokens };
    } catch (error) {
      if (!(error instanceof library.SqlError)) throw new ParserBroken(error);
      return undefined;
    }
  };
}

/** The library refuses an empty text; the server answers it with EmptyQueryResponse. Only these are blanks to both. */
function isBlank(sql: string): boolean {
  return /^[ \t\n\r\f\v]*$/.test(sql);
}

const loading = new Map<Grammar, Promise<Library & { scanSync?: unknown }>>();

function loadLibrary(grammar: Grammar): Promise<Library & { scanSync?: unknown }> {
  let library = loading.get(grammar);
  if (library === undefined) {
    library = importLibrary(grammar).then(async (module) => {
      const loaded = ((module as { default?: unknown }).default ?? module) as Library;
      await loaded.loadModule();
      return loaded;
    });
    loading.set(grammar, library);
  }
  return library;
}

/** Each name stands as a literal, so that what bundles this file finds it. */
function importLibrary(grammar: Grammar): Promise<unknown> {
  switch (grammar) {
    case 15:
      return import('libpg-query-15');
    case 16:
      return import('libpg-query-16');
    case 17:
      return import('libpg-query-17');
    case 18:
      return import('libpg-query');
  }
}

function parseSql(library: Library, scan: Scan, sql: string): ParsedSql {
  if (sql.includes('\0')) return { ok: false, message: 'the text holds a zero byte', recordedSql: cutAtSecret(sql), isRedacted: true };
  if (isBlank(sql)) return { ok: true, statement: describeStatement({}), recordedSql: sql, isRedacted: false };
  try {
    const statement = describeStatement(library.parseSync(sql) as ParseTree);
    if (!statement.hasSecret) return { ok: true, statement, recordedSql: sql, isRedacted: false };
    return { ok: true, statement, recordedSql: redact(scan, sql, statement.secretOffsets), isRedacted: true };
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

function redact(scan: Scan, sql: string, offsets: readonly number[]): string {
  try {
    return hideTokens(sql, scan(sql).tokens, offsets);
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
