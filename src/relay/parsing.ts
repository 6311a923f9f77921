/** Parses SQL for all sessions, in the grammar of their server: short texts at once, long ones in a worker with a deadline. */
import { join } from 'node:path';
import { GateError } from '../errors/errors.ts';
import type { Edit } from '../mask/masked.ts';
import { checkRewritten, type Rewritten } from '../mask/verify.ts';
import { KnownShapes } from '../sql/known-shapes.ts';
import { unpackFacts, type PackedFacts } from '../sql/packed-facts.ts';
import {
  inlineSqlBytesMax,
  loadParser,
  loadSyntaxParser,
  newestGrammar,
  sqlBytesMax,
  type Grammar,
  type ParsedSql,
  type Syntax,
} from '../sql/parser.ts';
import { LongTexts } from './long-texts.ts';

/** A rewritten text, and the one that it was made of. */
export type ToCheck = { readonly sql: string; readonly syntax: Syntax; readonly rewritten: string; readonly edits: readonly Edit[] };
/** Gives up the wait for what it is asked for; made only where there is a wait. */
export type Stopping = () => AbortSignal;

export class StatementParser {
  readonly #workerFile: string | URL;
  readonly #inline = new Map<Grammar, (sql: string) => ParsedSql>();
  readonly #inlineSyntax = new Map<Grammar, (sql: string) => Syntax | undefined>();
  readonly #longTexts = new Map<Grammar, LongTexts>();

  private constructor(workerFile: string | URL) {
    this.#workerFile = workerFile;
  }

  static async load(workerFile: string | URL = builtWorker()): Promise<StatementParser> {
    const parser = new StatementParser(workerFile);
    await parser.loadGrammar(newestGrammar);
    return parser;
  }

  /** Makes ready what `parse` needs for a server; it would load it by itself, and so delay the first statement. */
  async loadGrammar(grammar: Grammar): Promise<void> {
    if (this.#inline.has(grammar)) return;
    const [parse, parseSyntax] = await Promise.all([loadParser(grammar), loadSyntaxParser(grammar)]);
    const shapes = new KnownShapes(parse);
    this.#inline.set(grammar, (sql) => shapes.parse(sql));
    this.#inlineSyntax.set(grammar, parseSyntax);
  }

  /** Fails with GateError for a text that is too long, too complex or too slow to examine, or with the reason of `stopping`. */
  parse(sql: string, grammar: Grammar = newestGrammar, stopping?: Stopping): ParsedSql | Promise<ParsedSql> {
    if (isShort(sql)) {
      const inline = this.#inline.get(grammar);
      return inline === undefined ? this.loadGrammar(grammar).then(() => this.parse(sql, grammar)) : inline(sql);
    }
    return this.#longTextsOf(sql, grammar).ask({ sql, wants: 'facts' }, stopping?.()).then(({ facts, problem }) => {
      if (problem !== undefined) throw new GateError('too-large', problem, { rule: 'parse', hint: 'Send it in parts.' });
      return unpackFacts(sql, facts as PackedFacts);
    });
  }

  /** The tree of a text, for who follows it node by node; undefined for one that is not SQL. Fails as `parse`. */
  parseSyntax(sql: string, grammar: Grammar = newestGrammar, stopping?: Stopping): Syntax | undefined | Promise<Syntax | undefined> {
    if (isShort(sql)) {
      const inline = this.#inlineSyntax.get(grammar);
      return inline === undefined ? this.loadGrammar(grammar).then(() => this.parseSyntax(sql, grammar)) : inline(sql);
    }
    return this.#longTextsOf(sql, grammar).ask({ sql, wants: 'syntax' }, stopping?.()).then(({ syntax }) => syntax);
  }

  /** What a rewritten text is beside the one that it was made of: where either is long, the worker compares them. Fails as `parse`. */
  check({ sql, syntax, rewritten, edits }: ToCheck, grammar: Grammar, stopping?: Stopping): Rewritten | Promise<Rewritten> {
    const inline = this.#inlineSyntax.get(grammar);
    if (inline !== undefined && isShort(sql) && isShort(rewritten)) return checkRewritten(syntax, edits.length === 0 ? syntax : inline(rewritten), edits);
    const order = { sql, rewritten, edits, wants: 'check' } as const;
    return this.#longTextsOf(rewritten, grammar).ask(order, stopping?.()).then(({ check }) => check as Rewritten);
  }

  #longTextsOf(sql: string, grammar: Grammar): LongTexts {
    if (Buffer.byteLength(sql) > sqlBytesMax) {
      throw new GateError('too-large', `the statement is longer than ${sqlBytesMax} bytes`);
    }
    let longTexts = this.#longTexts.get(grammar);
    if (longTexts === undefined) this.#longTexts.set(grammar, (longTexts = new LongTexts(this.#workerFile, grammar)));
    return longTexts;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#longTexts.values()].map((longTexts) => longTexts.close()));
  }
}

/** The build is CommonJS, where import.meta is nothing; only there does the file lie beside this one. */
function builtWorker(): string | URL {
  return typeof __dirname === 'string' ? join(__dirname, 'parser-worker.cjs') : new URL('./parser-worker.cjs', import.meta.url);
}

function isShort(sql: string): boolean {
  return sql.length <= inlineSqlBytesMax && Buffer.byteLength(sql) <= inlineSqlBytesMax;
}
