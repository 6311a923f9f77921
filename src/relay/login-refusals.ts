/** Refused logins on record: all of them in quiet times, and in a flood as many as do not fill the log, with a count of the rest. */
import { decisionsChain, type EventOf } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { GateError } from '../errors/errors.ts';

/** Entries within a minute, of tokens that were verified and of all others each, so that noise does not hide the former. */
export const refusalsPerMinuteMax = 60;
const minuteMs = 60_000;

export type LoginRefusal = {
  readonly error: GateError;
  /** Names in the policy. */
  readonly issuer?: string | undefined;
  readonly workload?: string | undefined;
  /** Of a token whose signature was verified. */
  readonly subject?: string | undefined;
};

type Minute = { recorded: number; leftOut: number };

export class LoginRefusals {
  readonly #recorder: Recorder;
  readonly #minutes = new Map<'verified' | 'unverified', Minute>();
  #timer: NodeJS.Timeout | undefined;

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
  }

  /** An entry that cannot be written changes nothing: it is a refusal all the same. */
  async record({ error, issuer, workload, subject }: LoginRefusal): Promise<void> {
    const minute = this.#minuteOf(subject === undefined ? 'unverified' : 'verified');
    if (minute.recorded >= refusalsPerMinuteMax) {
      minute.leftOut += 1;
      return;
    }
    minute.recorded += 1;
    await this.#write({
      kind: 'login.deny',
      ...(issuer !== undefined && { issuer }),
      ...(workload !== undefined && { workload }),
      ...(subject !== undefined && { subject }),
      rule: error.rule ?? error.code,
      reason: error.message,
    });
  }

  /** Writes what the minute has left out. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const leftOut = [...this.#minutes.values()].reduce((sum, minute) => sum + minute.leftOut, 0);
    this.#minutes.clear();
    if (leftOut === 0) return;
    await this.#write({ kind: 'login.deny', rule: 'login/flood', reason: `${leftOut} more refusals within a minute are not listed`, leftOut });
  }

  #minuteOf(of: 'verified' | 'unverified'): Minute {
    this.#timer ??= setTimeout(() => void this.close(), minuteMs).unref();
    const minute = this.#minutes.get(of) ?? { recorded: 0, leftOut: 0 };
    this.#minutes.set(of, minute);
    return minute;
  }

  async #write(event: EventOf<'login.deny'>): Promise<void> {
    await this.#recorder.record(decisionsChain, [event]).catch(() => undefined);
  }
}
