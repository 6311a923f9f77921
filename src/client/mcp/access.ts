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

type Opened = { readonly session: TimedSession; readonly reason: string | undefined; readonly isApproved: boolean };

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
   * One session for each target and role; another reason means another grant, so that the record says why. Fails with
   * `approval-pending`, naming the request, and with whatever the relay refuses.
   */
  async session(wish: Wish): Promise<TimedSession> {
    const key = this.#keyOf(wish);
    const reason = this.#reasonOf(wish);
    const opened = await this.#opened.get(key)?.catch(() => undefined);
    if (opened !== undefined) {
      const isLive = opened.session.deadline.getTime() - Date.now() > marginMs;
      if (isLive && (opened.isApproved || opened.reason === reason)) return opened.session;
      await this.forget(wish);
    }
    const opening = this.#opened.get(key) ?? this.#open(key, wish, reason);
    this.#opened.set(key, opening);
    try {
      return (await opening).session;
    } catch (error) {
      if (this.#opened.get(key) === opening) this.#opened.delete(key);
      throw error;
    }
  }

  async #open(key: string, wish: Wish, reason: string | undefined): Promise<Opened> {
    const request = this.#requests.get(key);
    try {
      // Held statements are not waited for: the model is told, and comes back.
      const session = await openSession(this.#relay, 'exec', { ...this.#asked(wish, reason), ...(request !== undefined && { request }) }, 0);
      this.#requests.delete(key);
      this.#ends.add(session.id);
      return { session, reason, isApproved: request !== undefined };
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
    const { id } = await this.#relay.createRequest(this.#asked(wish, this.#reasonOf(wish)));
    this.#requests.set(key, id);
    return id;
  }

  /** The session of a wish is over, or not to be used any more. */
  async forget(wish: Wish): Promise<void> {
    const key = this.#keyOf(wish);
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

  #asked(wish: Wish, reason: string | undefined): GrantRequest {
    const { target } = wish;
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

  #keyOf(wish: Wish): string {
    return JSON.stringify([wish.target, this.role(wish) ?? null]);
  }
}

const mayComeBack: ReadonlySet<string> = new Set(['relay-unreachable', 'relay-stopping', 'login-required', 'issuer-unreachable']);
