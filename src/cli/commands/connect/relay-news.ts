/** Says once what many connections notice at the same time: that the relay is away, that it is back, what is refused. */
import type { GateError } from '../../../errors/errors.ts';
import type { Io } from '../../io.ts';

/** The same line is said again after this long, should it still be true. */
const repeatMs = 10 * 60_000;

export class RelayNews {
  readonly #io: Pick<Io, 'warn'>;
  readonly #said = new Map<string, number>();
  #isAway = false;

  constructor(io: Pick<Io, 'warn'>) {
    this.#io = io;
  }

  away(reason: string): void {
    if (this.#isAway) return;
    this.#isAway = true;
    this.#io.warn(`${reason}; local ports stay open, and new connections work as soon as the relay is back`);
  }

  back(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#io.warn('the relay is back');
  }

  /** A question to the relay failed. */
  failed(error: GateError): void {
    if (error.code === 'relay-unreachable' || error.code === 'relay-stopping') this.away(error.message);
    else if (error.code === 'login-required') this.once(`${error.message}; what is connected goes on, new connections need gate login in another terminal`);
    else this.once(error.message);
  }

  once(line: string): void {
    const now = Date.now();
    if (now - (this.#said.get(line) ?? Number.NEGATIVE_INFINITY) < repeatMs) return;
    this.#said.set(line, now);
    this.#io.warn(line);
  }
}
