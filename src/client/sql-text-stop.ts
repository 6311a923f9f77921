/** What ends a text before its time: the caller's signal, or a time limit that leaves out the wait for approval. */
import { GateError } from '../errors/errors.ts';
import type { Fate } from './sql-text.ts';

/** After a cancel request the answer is awaited this long; then the tunnel is cut, which cancels as well. */
const cancelTimeoutMs = 10_000;
/** While a statement is held, the relay says so this often; when it says so no more, it may be running. */
const heldNewsMs = 15_000;

export type TextStopOptions = {
  readonly signal: AbortSignal;
  readonly timeoutMs: number | undefined;
  /** Asks the server to cancel; where that cannot be delivered, the connection is given up in the end. */
  readonly cancel: () => Promise<void>;
  readonly abandon: () => void;
};

export class TextStop {
  readonly #options: TextStopOptions;
  readonly #controller = new AbortController();
  readonly #onSignal = () => this.#stop();
  #timer: NodeJS.Timeout | undefined;
  #giveUp: NodeJS.Timeout | undefined;
  #isLate = false;

  constructor(options: TextStopOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', this.#onSignal, { once: true });
    if (options.signal.aborted) this.#stop();
    this.#startTimer(0);
  }

  /** Aborted when nothing more is to be handed on. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  noteHeld(): void {
    if (!this.#controller.signal.aborted) this.#startTimer(heldNewsMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#giveUp);
    this.#options.signal.removeEventListener('abort', this.#onSignal);
  }

  /** The failure, or undefined, in the light of a time limit that has passed. */
  explain(failure: unknown, fate: Fate): unknown {
    if (!this.#isLate) return failure;
    const isOfCancel = failure === undefined || (failure instanceof GateError && (failure.sqlstate === '57014' || failure.code === 'relay-unreachable'));
    if (!isOfCancel) return failure;
    const seconds = (this.#options.timeoutMs ?? 0) / 1000;
    return new GateError('statement-timeout', `the SQL took longer than --timeout (${seconds} s); ${outcomes[fate]}`, { cause: failure });
  }

  #startTimer(moreMs: number): void {
    const { timeoutMs } = this.#options;
    clearTimeout(this.#timer);
    if (timeoutMs === undefined) return;
    this.#timer = setTimeout(() => {
      this.#isLate = true;
      this.#stop();
    }, timeoutMs + moreMs);
  }

  #stop(): void {
    if (this.#controller.signal.aborted) return;
    this.#controller.abort();
    this.#giveUp = setTimeout(this.#options.abandon, cancelTimeoutMs);
    void this.#options.cancel().catch(() => undefined);
  }
}

const outcomes: Readonly<Record<Fate, string>> = {
  undone: 'it was cancelled, and what it had not committed itself is undone',
  partly: 'it was cancelled after a COMMIT of its own, which has taken effect',
  done: 'it ended before it could be cancelled and has taken effect, but not all of its rows were written',
  unknown: 'it was cancelled, and the server did not say in time whether that came too late',
};
