/** Texts that are examined in a worker thread, one after another, with a deadline; what comes of them is taken up in short pieces. */
import { Worker } from 'node:worker_threads';
import { GateError } from '../errors/errors.ts';
import type { Edit } from '../mask/masked.ts';
import type { Rewritten } from '../mask/verify.ts';
import type { PackedFacts } from '../sql/packed-facts.ts';
import { ParserBroken, type Grammar, type Syntax } from '../sql/parser.ts';
import { JoinedPieces, type Piece } from '../sql/pieces.ts';
import { ownTurn } from './turns.ts';

/** A text that takes longer is refused. */
export const parseDeadlineMs = 10_000;
/** So much longer the worker may go on with a text that nobody waits for any more, before it is replaced. */
const givenUpMs = 500;
/** Texts that may wait for the worker of one grammar. */
const queueMax = 100;
const stackSizeMb = 16;

/** What the worker is asked for. `check`: whether `rewritten` is `sql` but for the edits. */
export type Order =
  | { readonly wants: 'facts' | 'syntax'; readonly sql: string }
  | { readonly wants: 'check'; readonly sql: string; readonly rewritten: string; readonly edits: readonly Edit[] };
/** `nothing`: what is left of the last answer is of no use to anybody. */
export type Message = Order | { readonly wants: 'more' } | { readonly wants: 'nothing' };

export type Answer = {
  readonly facts: PackedFacts;
  /** Why the text is refused without facts. */
  readonly problem?: string;
  readonly syntax: Syntax | undefined;
  readonly check: Rewritten;
};

type Job = { readonly order: Order; readonly resolve: (answer: Partial<Answer>) => void; readonly reject: (error: unknown) => void; isGivenUp?: true };

/** One worker thread, started when it is needed and replaced when a text has broken it, and the texts that wait for it. */
export class LongTexts {
  readonly #workerFile: string | URL;
  readonly #grammar: Grammar;
  #queue: Job[] = [];
  #worker: Worker | undefined;
  #running: { readonly job: Job; readonly giveUp: () => void } | undefined;

  constructor(workerFile: string | URL, grammar: Grammar) {
    this.#workerFile = workerFile;
    this.#grammar = grammar;
  }

  /** Rejects with the reason of `signal` when that is aborted: nothing more is done for the text then. */
  ask(order: Order, signal?: AbortSignal): Promise<Partial<Answer>> {
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    if (this.#queue.length >= queueMax) throw new GateError('too-many', 'too many long statements are waiting to be examined');
    return new Promise((resolve, reject) => {
      const job: Job = { order, resolve, reject };
      this.#queue.push(job);
      signal?.addEventListener('abort', () => this.#giveUp(job, signal.reason), { once: true });
      // The text has just been taken from its message, which was a piece of work of its own.
      void ownTurn().then(() => this.#next());
    });
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #giveUp(job: Job, reason: unknown): void {
    job.isGivenUp = true;
    this.#queue = this.#queue.filter((one) => one !== job);
    if (this.#running?.job === job) this.#running.giveUp();
    job.reject(reason);
  }

  #next(): void {
    if (this.#running !== undefined) return;
    const job = this.#queue.shift();
    if (job === undefined) return;
    const worker = (this.#worker ??= this.#start());
    const finish = (settle: () => void, isWorkerSound: boolean) => {
      clearTimeout(deadline);
      worker.off('message', onMessage).off('error', onBroken).off('exit', onBroken);
      if (isWorkerSound) worker.unref();
      else {
        this.#worker = undefined;
        void worker.terminate();
      }
      this.#running = undefined;
      settle();
      this.#next();
    };
    const onBroken = (cause: unknown) => finish(() => job.reject(new ParserBroken(cause)), false);
    let deadline = setTimeout(() => onBroken('the deadline'), parseDeadlineMs);
    const giveUp = () => {
      clearTimeout(deadline);
      deadline = setTimeout(() => onBroken('nobody waits for it'), givenUpMs);
    };
    const whole = new JoinedPieces();
    const onMessage = (piece: Piece | null) => {
      if (piece === null) return onBroken('the parser');
      if (job.isGivenUp === true) {
        worker.postMessage({ wants: 'nothing' } satisfies Message);
        return finish(() => undefined, true);
      }
      whole.add(piece);
      if (whole.isWhole) return finish(() => job.resolve(whole.value as Partial<Answer>), true);
      void ownTurn().then(() => worker.postMessage({ wants: 'more' } satisfies Message));
    };
    this.#running = { job, giveUp };
    worker.ref();
    worker.on('message', onMessage).on('error', onBroken).on('exit', onBroken);
    worker.postMessage(job.order satisfies Message);
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
