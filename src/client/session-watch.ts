/** Watches an open session from this side: its last minutes, its end by the clock, and its end at the relay. */
import { GateError } from '../errors/errors.ts';
import type { RelayClient } from './relay-client.ts';
import type { TimedSession } from './session.ts';

/** A timer stands still while the machine sleeps; a look at the clock each second does not miss the end by more. */
const tickMs = 1000;
/** How often the relay is asked whether the session is still open, when no connection would tell. */
const pollMs = 15_000;
/** An open tunnel hears of the end from the relay itself, which is the more exact; this side comes after. */
const graceMs = 1500;
const warnBeforeMs = [5 * 60_000, 60_000];

export type WatchHandlers = {
  /** Five minutes and one minute before the end, where the grant is longer than that. */
  readonly onWarning: (secondsLeft: number) => void;
  /** Once. `grant-expired` or `session-ended`, with the relay's reason. */
  readonly onEnd: (error: GateError) => void;
  /** The relay could not be asked, or the login is no good any more. Once per poll, as long as it lasts. */
  readonly onPollFailed: (error: GateError) => void;
  readonly onPolled: () => void;
};

export class SessionWatch {
  readonly #relay: Pick<RelayClient, 'session'>;
  readonly #session: TimedSession;
  readonly #handlers: WatchHandlers;
  readonly #timer: NodeJS.Timeout;
  #warnings: number[];
  #nextPoll = Date.now() + pollMs;
  #isPolling = false;
  #hasEnded = false;

  constructor(relay: Pick<RelayClient, 'session'>, session: TimedSession, handlers: WatchHandlers) {
    this.#relay = relay;
    this.#session = session;
    this.#handlers = handlers;
    this.#warnings = warnBeforeMs.filter((before) => this.#leftMs > before);
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  /** Nothing is called any more. */
  stop(): void {
    this.#hasEnded = true;
    clearInterval(this.#timer);
  }

  /** What another part of the program has heard from the relay. */
  end(error: GateError): void {
    if (this.#hasEnded) return;
    this.stop();
    this.#handlers.onEnd(error);
  }

  get #leftMs(): number {
    return this.#session.deadline.getTime() - Date.now();
  }

  #tick(): void {
    const left = this.#leftMs;
    if (left <= -graceMs) return this.end(expired(this.#session));
    const due = this.#warnings.filter((before) => left <= before);
    if (due.length > 0) {
      this.#warnings = this.#warnings.filter((before) => left > before);
      if (left > 0) this.#handlers.onWarning(Math.round(left / 1000));
    }
    if (Date.now() >= this.#nextPoll && !this.#isPolling) void this.#poll();
  }

  async #poll(): Promise<void> {
    this.#isPolling = true;
    try {
      const { state, endReason } = await this.#relay.session(this.#session.id);
      if (state === 'ended') this.end(ended(this.#session, endReason));
      else if (!this.#hasEnded) this.#handlers.onPolled();
    } catch (error) {
      const known = error instanceof GateError ? error : new GateError('internal', String(error), { cause: error });
      // The relay that gave the session does not know it: its state was lost, and no tunnel will open again.
      if (known.code === 'not-found') this.end(ended(this.#session, 'the relay does not know it any more'));
      else if (!this.#hasEnded) this.#handlers.onPollFailed(known);
    } finally {
      this.#isPolling = false;
      this.#nextPoll = Date.now() + pollMs;
    }
  }
}

function expired({ expiresAt }: TimedSession): GateError {
  return new GateError('grant-expired', `the grant expired at ${expiresAt}`, { hint: 'Run gate connect again for a new grant.' });
}

function ended(session: TimedSession, reason: string | undefined): GateError {
  if (session.deadline.getTime() <= Date.now()) return expired(session);
  return new GateError('session-ended', `session ${session.id} has ended: ${reason ?? 'its relay gave no reason'}`, {
    hint: 'Run gate connect again for a new session.',
  });
}
