/** Delivers what waits in the outbox for one sink: one message at a time, in order, until it is taken or given up. */
import { messageOf } from '../errors/errors.ts';
import type { Outbox, Waiting } from '../store/outbox.ts';
import type { RelayLog } from './relay-log.ts';
import type { Sink } from './sinks.ts';
import { post, signature, type Answer } from './webhook-request.ts';

export type DeliveryTiming = {
  readonly attemptTimeoutMs: number;
  /** Before the second attempt; doubled before each further one. */
  readonly backoffMs: number;
  readonly backoffMsMax: number;
  /** Longest wait that a receiver can ask for with Retry-After. */
  readonly retryAfterMsMax: number;
  /** After what time a message is no longer worth another attempt. */
  readonly giveUpAfterMs: number;
  /** After how many answers that say "never" (3xx, most of 4xx). */
  readonly refusalsMax: number;
  /** How long an attempt that is under way may go on when the relay stops. */
  readonly stopGraceMs: number;
};

export const deliveryTiming: DeliveryTiming = {
  attemptTimeoutMs: 10_000,
  backoffMs: 2000,
  backoffMsMax: 5 * 60_000,
  retryAfterMsMax: 15 * 60_000,
  giveUpAfterMs: 24 * 3_600_000,
  refusalsMax: 5,
  stopGraceMs: 1000,
};

export type DeliveryOptions = {
  readonly sink: Sink;
  readonly outbox: Outbox;
  readonly log: RelayLog;
  readonly userAgent: string;
  readonly timing: DeliveryTiming;
  readonly now: () => Date;
  /** From 0 up to 1. */
  readonly random: () => number;
};

export class Delivery {
  /** Since the start of this process. */
  delivered = 0;
  /** Of the last attempt; undefined when it went well. */
  problem: string | undefined;
  readonly #options: DeliveryOptions;
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;
  #isStopping = false;
  #isWoken = false;
  #endRest: (() => void) | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** There is something new in the outbox. */
  wake(): void {
    this.#isWoken = true;
    this.#endRest?.();
  }

  /** Waits for an attempt under way, but not for long. A message that may have arrived is sent again by the next relay. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.wake();
    const timer = setTimeout(() => this.#abort.abort(), this.#options.timing.stopGraceMs);
    await this.#running;
    clearTimeout(timer);
  }

  async #run(): Promise<void> {
    const { sink, log, timing } = this.#options;
    while (!this.#isStopping) {
      const restMs = await this.#step().catch((error: unknown) => {
        this.problem = 'the outbox cannot be used';
        log.error({ sink: sink.name, reason: messageOf(error) }, 'the outbox of notifications cannot be used');
        return timing.backoffMsMax;
      });
      if (restMs > 0) await this.#rest(restMs);
    }
  }

  /** Makes the attempt that is due, if one is, and returns how long to rest before looking again. */
  async #step(): Promise<number> {
    const { sink, outbox, timing, now } = this.#options;
    this.#isWoken = false;
    const message = await outbox.next(sink.name);
    if (message === undefined) return Infinity;
    // Bounded by the longest wait that was ever set, in case the clock has been put back.
    const waitMs = Math.min(message.dueAt.getTime() - now().getTime(), timing.retryAfterMsMax);
    if (waitMs > 0) return waitMs;
    const answer = await this.#attempt(message);
    if ('status' in answer && answer.status >= 200 && answer.status < 300) {
      await outbox.delivered(message, now());
      this.delivered += 1;
      this.problem = undefined;
    } else if (!this.#abort.signal.aborted) await this.#postpone(message, answer);
    return 0;
  }

  #attempt({ delivery, body }: Waiting): Promise<Answer> {
    const { sink, timing, now, userAgent } = this.#options;
    const headers: Record<string, string> = { 'user-agent': userAgent, 'gate-delivery': delivery };
    if (sink.format === 'webhook') {
      // Of this attempt: a receiver that turns down old timestamps takes a late retry.
      const timestamp = String(Math.floor(now().getTime() / 1000));
      headers['gate-timestamp'] = timestamp;
      headers['gate-signature'] = signature(sink.secret, timestamp, body);
    }
    return post({ url: sink.url, headers, body, timeoutMs: timing.attemptTimeoutMs, signal: this.#abort.signal });
  }

  async #postpone(message: Waiting, answer: Answer): Promise<void> {
    const { sink, outbox, log, timing, now, random } = this.#options;
    const at = now();
    const refused = 'status' in answer && isRefusal(answer.status);
    const problem = describeProblem(answer);
    const asked = 'status' in answer ? readRetryAfter(answer.retryAfter, at) : 0;
    const waitMs = Math.max(backoff(message.attempts, timing, random), Math.min(asked, timing.retryAfterMsMax));
    const dueAt = new Date(at.getTime() + waitMs);
    const isOver =
      (refused && message.refusals + 1 >= timing.refusalsMax) ||
      dueAt.getTime() - message.createdAt.getTime() > timing.giveUpAfterMs;
    await outbox.attemptFailed(message, { problem, refused, at, ...(!isOver && { dueAt }) });
    this.problem = problem;
    const { delivery, event, request, attempts } = message;
    const told = { sink: sink.name, delivery, event, request, attempts: attempts + 1, problem };
    if (isOver) log.error(told, 'notification given up');
    else log.warn({ ...told, nextAt: dueAt.toISOString() }, 'notification not delivered');
  }

  #rest(ms: number): Promise<void> {
    if (this.#isWoken) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = ms === Infinity ? undefined : setTimeout(() => this.#endRest?.(), ms);
      this.#endRest = () => {
        clearTimeout(timer);
        this.#endRest = undefined;
        resolve();
      };
    });
  }
}

/** Doubled each time up to a limit, the upper half of it left to chance, so that many sinks do not come back at once. */
export function backoff(attempts: number, timing: Pick<DeliveryTiming, 'backoffMs' | 'backoffMsMax'>, random: () => number): number {
  const full = Math.min(timing.backoffMs * 2 ** Math.min(attempts, 30), timing.backoffMsMax);
  return Math.round(full / 2 + (full / 2) * random());
}

/** Answers that the same request would get again: all of 3xx, since no redirect is followed, and most of 4xx. */
function isRefusal(status: number): boolean {
  return status >= 300 && status < 500 && ![408, 425, 429].includes(status);
}

function describeProblem(answer: Answer): string {
  if ('failure' in answer) return answer.failure;
  const isRedirect = answer.status >= 300 && answer.status < 400;
  return `answered ${answer.status}${isRedirect ? ', and redirects are not followed' : ''}`;
}

/** RFC 9110 section 10.2.3, in milliseconds from now: seconds or a date; 0 for anything else. */
function readRetryAfter(header: string | undefined, now: Date): number {
  if (header === undefined) return 0;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now.getTime());
}
