/** Parses SQL for all sessions: short texts at once, long ones in a worker thread with a deadline. */
import { Worker } from 'node:worker_threads';
import { GateError } from '../errors/errors.ts';
import { inlineSqlBytesMax, loadParser, ParserBroken, sqlBytesMax, type ParsedSql } from '../sql/parser.ts';

/** A text that takes longer is refused. */
export const parseDeadlineMs = 10_000;
/** Texts that may wait for the worker. */
const queueMax = 100;
const stackSizeMb = 16;

type Job = { readonly sql: string; readonly resolve: (parsed: ParsedSql) => void; readonly reject: (error: unknown) => void };

export class StatementParser {
  readonly #inline: (sql: string) => ParsedSql;
  readonly #workerFile: string | URL;
  readonly #queue: Job[] = [];
  #worker: Worker | undefined;
  #isBusy = false;

  private constructor(inline: (sql: string) => ParsedSql, workerFile: string | URL) {
    this.#inline = inline;
    this.#workerFile = workerFile;
  }

  static async load(workerFile: string | URL = new URL('./parser-worker.cjs', import.meta.url)): Promise<StatementParser> {
    return new StatementParser(await loadParser(), workerFile);
  }

  /** Fails with GateError for a text that is too long, too complex or too slow to examine. */
  parse(sql: string): ParsedSql | Promise<ParsedSql> {
    if (sql.length <= inlineSqlBytesMax && Buffer.byteLength(sql) <= inlineSqlBytesMax) return this.#inline(sql);
    if (Buffer.byteLength(sql) > sqlBytesMax) {
      throw new GateError('too-large', `the statement is longer than ${sqlBytesMax} bytes`);
    }
    if (this.#queue.length >= queueMax) throw new GateError('too-many', 'too many long statements are waiting to be examined');
    return new Promise((resolve, reject) => {
      this.#queue.push({ sql, resolve, reject });
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
    const onMessage = (parsed: ParsedSql | null) => {
      if (parsed === null) onBroken('the parser');
      else finish(() => job.resolve(parsed), true);
    };
    const onBroken = (cause: unknown) => finish(() => job.reject(new ParserBroken(cause)), false);
    worker.ref();
    worker.on('message', onMessage).on('error', onBroken).on('exit', onBroken);
    worker.postMessage(job.sql);
  }

  #start(): Worker {
    // More stack than this overflows WebAssembly's own stack instead, which cannot be recovered from.
    return new Worker(this.#workerFile, { resourceLimits: { stackSizeMb }, stdin: false });
  }
}
