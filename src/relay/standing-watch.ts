/** Looks at every live grant again, every few minutes and when the policy changes, and ends those that no longer stand. */
import { messageOf } from '../errors/errors.ts';
import type { Grant, GrantStore } from '../grant/grant.ts';
import type { Grants } from './grants.ts';
import type { RelayLog } from './relay-log.ts';
import type { Sessions } from './sessions.ts';
import type { Fall, Standing } from './standing.ts';

/** Live grants that are looked at. */
const grantsMax = 100_000;
/** Grants about which the directory is asked at a time. */
const lanes = 4;

export type StandingWatchOptions = {
  readonly store: Pick<GrantStore, 'listGrants'>;
  readonly grants: Pick<Grants, 'revokeBySystem'>;
  readonly standing: Standing;
  readonly sessions: Pick<Sessions, 'storeUsage'>;
  readonly everySeconds: number;
  readonly log: RelayLog;
};

export class StandingWatch {
  readonly #options: StandingWatchOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #hurrying: Promise<void> = Promise.resolve();
  #isStopped = false;
  /** That run or wait. */
  #checks = 0;
  /** Two checks may come to the same grant at once; it is ended by one of them. */
  readonly #ending = new Set<string>();

  constructor(options: StandingWatchOptions) {
    this.#options = options;
  }

  /** Looks at once, too: much may have changed while the relay was down. */
  start(): void {
    this.#timer = setInterval(() => {
      // One that takes longer than the interval is followed by the next tick after its end.
      if (this.#checks === 0) void this.check();
    }, this.#options.everySeconds * 1000).unref();
    this.hurry();
  }

  /** What the policy says alone is done before the directory is asked: it does not wait for a check that goes on. */
  hurry(): void {
    this.#hurrying = this.#hurrying.then(() => this.#look((grant) => this.#options.standing.byPolicy(grant.principal)));
    void this.#hurrying.then(() => this.check());
  }

  /** Resolves when all have been looked at. Never rejects: what fails is tried again with the next check. */
  check(): Promise<void> {
    this.#checks++;
    this.#running = this.#running.then(async () => {
      await this.#look((grant) => this.#options.standing.ofGrant(grant));
      await this.#options.sessions.storeUsage();
      this.#checks--;
    });
    return this.#running;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    await this.#hurrying;
    await this.#running;
  }

  async #look(fallOf: (grant: Grant) => Fall | undefined | Promise<Fall | undefined>): Promise<void> {
    const { store, log } = this.#options;
    if (this.#isStopped) return;
    try {
      const live = (await store.listGrants({ liveAt: new Date(), limit: grantsMax })).values();
      const lane = async () => {
        for (const grant of live) {
          if (this.#isStopped) return;
          await this.#settle(grant, fallOf);
        }
      };
      await Promise.all(Array.from({ length: lanes }, lane));
    } catch (error) {
      log.error({ reason: messageOf(error) }, 'the live grants could not be looked at again; it is tried with the next check');
    }
  }

  async #settle(grant: Grant, fallOf: (grant: Grant) => Fall | undefined | Promise<Fall | undefined>): Promise<void> {
    const { log } = this.#options;
    try {
      const fall = await fallOf(grant);
      if (fall !== undefined && !fall.isUnsure) await this.#end(grant, fall);
    } catch (error) {
      log.error({ grant: grant.id, reason: messageOf(error) }, 'a grant that no longer stands could not be ended; it is tried with the next check');
    }
  }

  async #end(grant: Grant, { rule, reason }: Fall): Promise<void> {
    const { grants, log } = this.#options;
    if (this.#ending.has(grant.id)) return;
    this.#ending.add(grant.id);
    try {
      await grants.revokeBySystem(grant, reason);
      log.warn({ grant: grant.id, subject: grant.principal.subject, rule, reason }, 'grant ended by the relay');
    } finally {
      this.#ending.delete(grant.id);
    }
  }
}
