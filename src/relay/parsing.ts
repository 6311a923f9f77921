/** Parses SQL for all sessions, in the grammar of their server: short texts at once, long ones in a worker with a deadline. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { GateError } from '../errors/errors.ts';
import { KnownShapes } from '../sql/known-shapes.ts';
import {
  inlineSqlBytesMax,
  loadParser,
  loadSyntaxParser,
  newestGrammar,
  ParserBroken,
  sqlBytesMax,
  type Grammar,
  type ParsedSql,
  type Syntax,
} from '../sql/parser.ts';

/** A text that takes longer is refused. */
export const parseDeadlineMs = 10_000;
/** Texts that may wait for the worker of one grammar. */
const queueMax = 100;
const stackSizeMb = 16;

/** What the worker is asked for. */
export type Order = { readonly sql: string; readonly wants: 'facts' | 'syntax' };
export type Answer = { readonly facts: ParsedSql } | { readonly syntax: Syntax | undefined } | null;

type Job = { readonly order: Order; readonly resolve: (answer: NonNullable<Answer>) => void; readonly reject: (error: unknown) => void };

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

  /** Fails with GateError for a text that is too long, too complex or too slow to examine. */
  parse(sql: string, grammar: Grammar = newestGrammar): ParsedSql | Promise<ParsedSql> {
    if (isShort(sql)) {
      const inline = this.#inline.get(grammar);
      return inline === undefined ? this.loadGrammar(grammar).then(() => this.parse(sql, grammar)) : inline(sql);
    }
    return this.#longTextsOf(sql, grammar).ask({ sql, wants: 'facts' }).then((answer) => (answer as { facts: ParsedSql }).facts);
  }

  /** The tree of a text, for who follows it node by node; undefined for one that is not SQL. Fails as `parse`. */
  parseSyntax(sql: string, grammar: Grammar = newestGrammar): Syntax | undefined | Promise<Syntax | undefined> {
    if (isShort(sql)) {
      const inline = this.#inlineSyntax.get(grammar);
      return inline === undefined ? this.loadGrammar(grammar).then(() => this.parseSyntax(sql, grammar)) : inline(sql);
    }
    return this.#longTextsOf(sql, grammar).ask({ sql, wants: 'syntax' }).then((answer) => (answer as { syntax: Syntax | undefined }).syntax);
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

/** One worker thread, started when it is needed and replaced when a text has broken it, and the texts that wait for it. */
class LongTexts {
  readonly #workerFile: string | URL;
  readonly #grammar: Grammar;
  readonly #queue: Job[] = [];
  #worker: Worker | undefined;
  #isBusy = false;

  constructor(workerFile: string | URL, grammar: Grammar) {
    this.#workerFile = workerFile;
    this.#grammar = grammar;
  }

  ask(order: Order): Promise<NonNullable<Answer>> {
    if (this.#queue.length >= queueMax) throw new GateError('too-many', 'too many long statements are waiting to be examined');
    return new Promise((resolve, reject) => {
      this.#queue.push({ order, resolve, reject });
      this.#next();
    });
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #next(): void {
    if (this.#isBusy) return;
    const job = this.#queue.shift();
    if (job === undefined) return;
    this.#isBusy = true;
    const worker = (this.#worker ??= this.#start());
    const finish = (settle: () => void, isWorkerSound: boolean) => {
      clearTimeout(deadline);
      worker.off('message', onMessage).off('error', onBroken).off('exit', onBroken);
      if (isWorkerSound) worker.unref();
      else {
        this.#worker = undefined;
        void worker.terminate();
      }
      this.#isBusy = false;
      settle();
      this.#next();
    };
    const deadline = setTimeout(() => onBroken('the deadline'), parseDeadlineMs);
    const onMessage = (answer: Answer) => {
      if (answer === null) onBroken('the parser');
      else finish(() => job.resolve(answer), true);
    };
    const onBroken = (cause: unknown) => finish(() => job.reject(new ParserBroken(cause)), false);
    worker.ref();
    worker.on('message', onMessage).on('error', onBroken).on('exit', onBroken);
    worker.postMessage(job.order);
  }

  #start(): Worker {
    // More stack than this overflows WebAssembly's own stack instead, which cannot be recovered from.
    return new Worker(this.#workerFile, {
      workerData: { grammar: this.#grammar },
      resourceLimits: { stackSizeMb },
      stdin: false,
    });
  }
}
