/** Who may read the record as a whole, and that they do: on record before they get the first byte. */
import type { EventOf } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { GateError } from '../errors/errors.ts';
import { isAdministrator, isAuditor } from '../policy/decide.ts';
import type { Policy } from '../policy/policy.ts';
import type { Principal } from '../principal/principal.ts';
import { recordReading } from './reading.ts';

/** One reading takes many requests; those that follow within this time are part of it. Else a follower would follow itself. */
export const readingMs = 10 * 60_000;
/** Readings that are remembered. */
const readingsMax = 10_000;

export class AuditReads {
  readonly #recorder: Recorder;
  readonly #policy: () => Policy;
  /** When each reading that goes on was recorded. */
  readonly #readings = new Map<string, { readonly at: number; readonly recorded: Promise<void> }>();

  constructor(recorder: Recorder, policy: () => Policy) {
    this.#recorder = recorder;
    this.#policy = policy;
  }

  /** Fails with `denied`. */
  checkAuditor(principal: Principal): void {
    if (isAuditor(this.#policy(), principal)) return;
    throw new GateError('denied', 'the record as a whole is for auditors to read', { rule: 'auditors', hint: 'Your own sessions are in gate sessions list.' });
  }

  /** Fails with `denied`. */
  checkAdministrator(principal: Principal): void {
    if (isAdministrator(this.#policy(), principal)) return;
    throw new GateError('denied', 'keys of the record are for administrators to shred', { rule: 'administrators' });
  }

  /** Fails with `denied`. */
  checkKeeper(principal: Principal, what: string): void {
    if (isAuditor(this.#policy(), principal) || isAdministrator(this.#policy(), principal)) return;
    throw new GateError('denied', `${what} for auditors and administrators`, { rule: 'auditors' });
  }

  /** Resolves when the reading is on record; fails with `record-unavailable`. */
  async record(principal: Principal, what: EventOf<'read'>['what'], detail: string): Promise<void> {
    const { issuer, subject } = principal;
    const key = JSON.stringify([issuer, subject, what, detail]);
    const known = this.#readings.get(key);
    if (known !== undefined && performance.now() - known.at < readingMs) return known.recorded;
    if (this.#readings.size >= readingsMax) this.#readings.clear();
    const recorded = recordReading(this.#recorder, principal, { what, isOpened: false, detail });
    this.#readings.set(key, { at: performance.now(), recorded });
    try {
      await recorded;
    } catch (error) {
      this.#readings.delete(key);
      throw error;
    }
  }
}
