/** Access of an agent to targets: grants and sessions that are opened when they are needed, kept, and opened again when they end. */
import type { GrantRequest } from '../../api/api.ts';
import { GateError } from '../../errors/errors.ts';
import type { RelayClient } from '../relay-client.ts';
import { openSession, type TimedSession } from '../session.ts';

/** A session that ends so soon is not used for another statement. */
const marginMs = 5000;

export type AccessDefaults = {
  readonly role?: string;
  readonly reason?: string;
  readonly ticket?: string;
  readonly durationSeconds?: number;
  /** Asked for with every grant, so that the relay and the database hold it. */
  readonly isReadOnly: boolean;
};

export type Wish = { readonly target: string; readonly role?: string; readonly reason?: string };

type Opened = { readonly session: TimedSession; uses: number };

/** Sessions that are kept; of those that nothing runs in, the oldest makes room. */
const sessionsMax = 6;

export class Access {
  readonly #relay: RelayClient;
  readonly #defaults: AccessDefaults;
  readonly #opened = new Map<string, Promise<Opened>>();
  /** Requests that wait, or were approved and not used yet. */
  readonly #requests = new Map<string, string>();
  readonly #ends = new Set<string>();

  constructor(relay: RelayClient, defaults: AccessDefaults) {
    this.#relay = relay;
    this.#defaults = defaults;
  }

  get isReadOnly(): boolean {
    return this.#defaults.isReadOnly;
  }

  role(wish: Wish): string | undefined {
    return wish.role ?? this.#defaults.role;
  }

  /**
   * Works in a session that is open, or opened for it: one for each target, role and reason, so that the record says why;
   * where people approved the role, one for all reasons. Fails with `approval-pending`, naming the request, and with
   * whatever the relay refuses.
   */
  async use<T>(wish: Wish, work: (session: TimedSession) => Promise<T>): Promise<T> {
    const opened = await this.#take(wish);
    try {
      return await work(opened.session);
    } finally {
      opened.uses--;
    }
  }

  async #take(wish: Wish): Promise<Opened> {
    for (const key of [this.#keyOf(wish), this.#keyOf(wish, this.#reasonOf(wish) ?? '')]) {
      const known = this.#opened.get(key);
      const opened = await known?.catch(() => undefined);
      // It may have made room for another meanwhile.
      if (opened === undefined || this.#opened.get(key) !== known) continue;
      if (opened.session.deadline.getTime() - Date.now() > marginMs) return taken(opened);
      await this.#drop(key);
    }
    await this.#makeRoom();
    const key = this.#keyOf(wish, ...(this.#requests.has(this.#keyOf(wish)) ? [] : [this.#reasonOf(wish) ?? '']));
    const opening = this.#opened.get(key) ?? this.#open(wish);
    this.#opened.set(key, opening);
    try {
      return taken(await opening);
    } catch (error) {
      if (this.#opened.get(key) === opening) this.#opened.delete(key);
      throw error;
    }
  }

  async #makeRoom(): Promise<void> {
    for (const [key, opening] of this.#opened) {
      if (this.#opened.size < sessionsMax) return;
      if ((await opening.catch(() => undefined))?.uses === 0) await this.#drop(key);
    }
  }

  async #open(wish: Wish): Promise<Opened> {
    const key = this.#keyOf(wish);
    const request = this.#requests.get(key);
    try {
      // Held statements are not waited for: the model is told, and comes back.
      const session = await openSession(this.#relay, 'exec', { ...this.#asked(wish), ...(request !== undefined && { request }) }, 0);
      this.#requests.delete(key);
      this.#ends.add(session.id);
      return { session, uses: 0 };
    } catch (error) {
      if (error instanceof GateError && error.code === 'approval-pending' && error.requestId !== undefined) this.#requests.set(key, error.requestId);
      else if (!(error instanceof GateError) || !mayComeBack.has(error.code)) this.#requests.delete(key);
      throw error;
    }
  }

  /** Asks for a grant that needs approval, once: a request that waits already is answered again. */
  async request(wish: Wish): Promise<string> {
    const key = this.#keyOf(wish);
    const known = this.#requests.get(key);
    if (known !== undefined) {
      const { state } = await this.#relay.request(known);
      if (state === 'pending' || state === 'approved') return known;
    }
    const { id } = await this.#relay.createRequest(this.#asked(wish));
    this.#requests.set(key, id);
    return id;
  }

  /** This session is over: the next call opens another. */
  async forget(session: TimedSession): Promise<void> {
    for (const [key, opening] of this.#opened) {
      if ((await opening.catch(() => undefined))?.session.id === session.id) await this.#drop(key);
    }
  }

  async #drop(key: string): Promise<void> {
    const opened = this.#opened.get(key);
    this.#opened.delete(key);
    const id = (await opened?.catch(() => undefined))?.session.id;
    if (id !== undefined) await this.#end(id);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#ends].map((id) => this.#end(id)));
  }

  /** A relay that cannot be told ends the session with its grant. */
  async #end(id: string): Promise<void> {
    this.#ends.delete(id);
    await this.#relay.endSession(id, 3000).catch(() => undefined);
  }

  #asked(wish: Wish): GrantRequest {
    const { target } = wish;
    const reason = this.#reasonOf(wish);
    const { ticket, durationSeconds, isReadOnly } = this.#defaults;
    const role = this.role(wish);
    return {
      target,
      ...(role !== undefined && { role }),
      ...(reason !== undefined && { reason }),
      ...(ticket !== undefined && { ticket }),
      ...(durationSeconds !== undefined && { durationSeconds }),
      ...(isReadOnly && { readOnly: true }),
    };
  }

  #reasonOf({ reason }: Wish): string | undefined {
    return reason?.trim() || this.#defaults.reason;
  }

  #keyOf(wish: Wish, ...reason: string[]): string {
    return JSON.stringify([wish.target, this.role(wish) ?? null, ...reason]);
  }
}

function taken(opened: Opened): Opened {
  opened.uses++;
  return opened;
}

const mayComeBack: ReadonlySet<string> = new Set(['relay-unreachable', 'relay-stopping', 'login-required', 'issuer-unreachable']);
