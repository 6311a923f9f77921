/** All grants and sessions of this relay: made, found again after a restart, and ended at the wall of their grant. */
import type { SessionInfo, SessionRequest, SessionSummary } from '../api/api.ts';
import { setMaxListeners } from 'node:events';
import type { EventOf } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import type { Grant, GrantStore, Session, SessionFilter } from '../grant/grant.ts';
import { isSameRun, nameOf } from '../principal/behind.ts';
import { isSameActor, type Principal } from '../principal/principal.ts';
import { parseVerifier } from '../pgwire/scram.ts';
import type { Log } from '../store/log.ts';
import { crashReason } from '../store/log-recovery.ts';
import type { RelayConfig } from './config.ts';
import { findKill, finishRevocations } from './cut-short.ts';
import { Deadlines } from './deadlines.ts';
import { createId } from './ids.ts';
import { Journal } from './journal.ts';
import { who } from './request-events.ts';
import { LiveSession, type SessionServices } from './live-session.ts';
import { seesAll } from './reading.ts';

/** Open sessions of one principal at a time. */
export const sessionsPerPrincipalMax = 50;
/** How often the end of a session is stored again when the state could not be written. */
const storeRetryMs = 1000;

export type SessionsOptions = {
  readonly config: RelayConfig;
  readonly store: GrantStore;
  readonly recorder: Log;
  readonly services: SessionServices;
  readonly relayVersion: string;
};

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #live = new Map<string, LiveSession>();
  readonly #walls = new Deadlines((id) => void this.#onWall(id));
  readonly #retries = new Map<string, NodeJS.Timeout>();
  /** Who is ending which session now. */
  readonly #killing = new Map<string, Promise<void>>();
  readonly #stopping = new AbortController();
  #isStopped = false;

  private constructor(options: SessionsOptions) {
    this.#options = options;
    // Every reader that follows a session listens.
    setMaxListeners(0, this.#stopping.signal);
  }

  /** Takes up the sessions that were open when the relay stopped; those whose grant is over, or that a crash caught ending, end now. */
  static async load(options: SessionsOptions): Promise<Sessions> {
    const { store, recorder } = options;
    const sessions = new Sessions(options);
    await finishRevocations(recorder, store);
    const unclosed = new Set(recorder.openSessions());
    for (const session of await store.listSessions({ isOpen: true, limit: 100_000 })) {
      const isClosed = !unclosed.delete(session.id) && recorder.lastEntry(session.id) !== undefined;
      if (isClosed) await sessions.#storeRecordedEnd(session.id);
      else await sessions.#adopt(session);
      const kill = isClosed ? undefined : await findKill(recorder, session.id);
      if (kill !== undefined) await sessions.end(session.id, killedBy(kill.by, kill.reason));
    }
    // They ended while the record could not be written, or were never stored.
    for (const id of unclosed) {
      const end = (await store.loadSession(id))?.end;
      await recorder.record(id, [{ kind: 'session.close', reason: end?.reason ?? crashReason }]);
    }
    return sessions;
  }

  /** Opens a session on a grant of the caller's own. It is on record before it exists. */
  async open(principal: Principal, request: SessionRequest): Promise<SessionInfo> {
    const { store, recorder, services, relayVersion } = this.#options;
    const grant = await store.loadGrant(request.grant);
    if (grant === undefined || !isSameActor(grant.principal, principal)) {
      throw new GateError('not-found', `you have no grant "${request.grant}"`);
    }
    // The same account is not the same cause: what a run was granted for one person is not for the next run of another.
    if (!isSameRun(grant.principal, principal)) {
      throw new GateError('denied', `grant ${grant.id} was given to ${nameOf(grant.principal)} in another run, or for somebody else`, {
        rule: 'grant/run',
        hint: 'Ask for a grant in this run: gate connect and gate exec do so by themselves.',
      });
    }
    const over = revokedError(grant);
    if (over !== undefined) throw over;
    parseVerifier(request.verifier);
    await recorder.checkSpace();
    const open = await store.listSessions({ principal, isOpen: true, limit: sessionsPerPrincipalMax });
    if (open.length >= sessionsPerPrincipalMax) {
      throw new GateError('too-many', `you have ${open.length} open sessions already`);
    }
    const session: Session = {
      id: createId('s'),
      grant,
      command: request.command,
      user: localUser(principal),
      verifier: request.verifier,
      startedAt: new Date(),
    };
    const live = this.#createLive(session, request.waitSeconds);
    live.checkOpen();
    const { policy } = services;
    await recorder.record(session.id, [
      {
        kind: 'session.open',
        who: who(principal),
        target: grant.target,
        role: grant.role,
        grant: grant.id,
        ...(grant.reason !== undefined && { reason: grant.reason }),
        ...(grant.ticket !== undefined && { ticket: grant.ticket }),
        expiresAt: grant.expiresAt.toISOString(),
        command: session.command,
        ...(live.target.durability !== 'before-forward' && { durability: live.target.durability }),
        policy: policy().digest,
        relayVersion,
      },
    ]);
    await store.saveSession(session);
    this.#admitLive(session, live);
    // A grant that was revoked meanwhile ended the sessions that were there; this one it could not know of.
    const revoked = revokedError(await store.loadGrant(grant.id));
    if (revoked !== undefined) {
      await this.end(session.id, revoked);
      throw revoked;
    }
    return {
      id: session.id,
      grant: grant.id,
      target: grant.target,
      role: grant.role,
      user: session.user,
      database: live.target.database,
      expiresAt: grant.expiresAt.toISOString(),
    };
  }

  /** The live session for a tunnel. Fails with the reason when it has ended or belongs to somebody else. */
  async forTunnel(principal: Principal, id: string): Promise<LiveSession> {
    const live = this.#live.get(id);
    if (live !== undefined && isSameActor(live.grant.principal, principal)) {
      live.checkOpen();
      return live;
    }
    const session = await this.#options.store.loadSession(id);
    if (session === undefined || !isSameActor(session.grant.principal, principal)) {
      throw new GateError('not-found', `you have no session "${id}"`);
    }
    return this.#failEnded(id);
  }

  /** Ends a session for good, at once, with a reason that its clients and its record show. */
  async end(id: string, error: GateError): Promise<void> {
    const live = this.#live.get(id);
    if (live === undefined) return;
    this.#live.delete(id);
    this.#walls.clear(id);
    await live.end(error);
    await live.journal.note({ kind: 'session.close', reason: error.message });
    await this.#storeUsage(live);
    await this.#storeEnd(id, { at: new Date(), reason: error.message });
  }

  /**
   * Ends a session early; who and why is on record before. Fails with `session-ended` for one that has ended already,
   * and for all but the first who do so at the same time.
   */
  async kill(id: string, by: Principal, reason: string | undefined): Promise<SessionSummary> {
    const error = killedBy(by, reason);
    const live = this.#live.get(id);
    const earlier = this.#killing.get(id);
    if (live === undefined || earlier !== undefined) {
      await earlier?.catch(() => undefined);
      return this.#failEnded(id);
    }
    const killing = live.journal.record([killEvent(by, reason)]).then(() => this.end(id, error));
    this.#killing.set(id, killing);
    try {
      await killing;
    } finally {
      this.#killing.delete(id);
    }
    const session = await this.#options.store.loadSession(id);
    if (session === undefined) throw new GateError('not-found', `there is no session "${id}"`);
    const ended = this.summarize(session);
    // A state that cannot be written now is written later, and the session has ended all the same.
    return ended.state === 'ended' ? ended : { ...ended, state: 'ended', endReason: error.message };
  }

  async #failEnded(id: string): Promise<never> {
    const session = await this.#options.store.loadSession(id);
    throw new GateError('session-ended', `session ${id} has ended: ${session?.end?.reason ?? 'its target is gone'}`);
  }

  /** Ends every session of a grant at once. */
  async endGrant(grant: string, error: GateError): Promise<void> {
    const sessions = [...this.#live.values()].filter((live) => live.grant.id === grant);
    await Promise.all(sessions.map((live) => this.end(live.id, error)));
  }

  openCount(grant: string): number {
    return [...this.#live.values()].filter((live) => live.grant.id === grant).length;
  }

  /** What has ended on record never comes back, also where the state does not know yet. */
  async #storeRecordedEnd(id: string): Promise<void> {
    for await (const { time, event } of this.#options.recorder.entries(id, { isOpened: false })) {
      if (event.kind === 'session.close') return this.#storeEnd(id, { at: new Date(time), reason: event.reason });
    }
  }

  /** Nothing waits for this: the session has ended already, and a state that cannot be written now can be later. */
  async #storeEnd(id: string, end: { readonly at: Date; readonly reason: string }): Promise<void> {
    const { store, recorder, services } = this.#options;
    try {
      await store.endSession(id, { ...end, counts: recorder.counts(id) });
      this.#retries.delete(id);
    } catch (error) {
      services.log.error({ err: error, session: id }, 'the end of the session could not be stored');
      if (!this.#isStopped) this.#retries.set(id, setTimeout(() => void this.#storeEnd(id, end), storeRetryMs).unref());
    }
  }

  /** Ends all connections; the sessions stay open, so that clients come back after a restart. */
  async stop(error: GateError): Promise<void> {
    this.#isStopped = true;
    this.#walls.stop();
    for (const timer of this.#retries.values()) clearTimeout(timer);
    this.#retries.clear();
    await Promise.all([...this.#live.values()].map((live) => live.endConnections(error)));
    await this.storeUsage();
    this.#stopping.abort(error);
  }

  /** Keeps what open sessions have done since it was kept last: what is not on disk yet, a crash takes along. */
  async storeUsage(id?: string): Promise<void> {
    const lives = id === undefined ? [...this.#live.values()] : [this.#live.get(id)];
    for (const live of lives) if (live !== undefined) await this.#storeUsage(live);
  }

  async #storeUsage({ id, journal: { usage } }: LiveSession): Promise<void> {
    const taken = usage.take();
    if (taken === undefined) return;
    await this.#options.store.addUsage(id, taken).catch((error: unknown) => {
      usage.putBack(taken);
      this.#options.services.log.error({ err: error, session: id }, 'what the session did could not be stored for the inventory');
    });
  }

  /** Aborted, with the error for whoever still reads, once no connection is left. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Whoever may see them. */
  stored(filter: SessionFilter): Promise<Session[]> {
    return this.#options.store.listSessions(filter);
  }

  async ownerOf(id: string): Promise<Principal | undefined> {
    return (await this.#options.store.loadSession(id))?.grant.principal;
  }

  /** By id or a prefix that only one session has, among those that the viewer may see. */
  async find(viewer: Principal, idPrefix: string): Promise<SessionSummary> {
    const everybody = seesAll(this.#options.services.policy(), viewer);
    const found = await this.#options.store.listSessions({
      ...(!everybody && { principal: viewer }),
      idPrefix,
      limit: 2,
    });
    if (found.length > 1) throw new GateError('usage', `more than one session begins with "${idPrefix}"`);
    const [session] = found;
    if (session === undefined) {
      throw new GateError('not-found', `there is no session "${idPrefix}", or you may not see it`, {
        hint: 'Auditors and administrators see all sessions, others their own. See gate sessions list.',
      });
    }
    return this.summarize(session);
  }

  summarize(session: Session): SessionSummary {
    const { grant, end } = session;
    const counts = end?.counts ?? this.#options.recorder.counts(session.id);
    return {
      id: session.id,
      grant: grant.id,
      target: grant.target,
      role: grant.role,
      command: session.command,
      principal: { ...grant.principal, groups: [...grant.principal.groups] },
      ...(grant.reason !== undefined && { reason: grant.reason }),
      ...(grant.ticket !== undefined && { ticket: grant.ticket }),
      state: end === undefined ? 'open' : 'ended',
      startedAt: session.startedAt.toISOString(),
      expiresAt: grant.expiresAt.toISOString(),
      ...(end && { endedAt: end.at.toISOString(), endReason: end.reason }),
      connections: counts.connections,
      statements: counts.statements,
      refused: counts.refused,
      ...this.#options.recorder.returned(session.id),
    };
  }

  async #adopt(session: Session): Promise<void> {
    if (!this.#options.config.targets.has(session.grant.target)) return;
    const live = this.#createLive(session);
    this.#admitLive(session, live);
    const error = revokedError(session.grant) ?? (new Date() >= session.grant.expiresAt ? expired(session.grant) : undefined);
    if (error !== undefined) await this.end(session.id, error);
  }

  #createLive(session: Session, waitSeconds?: number): LiveSession {
    const { config, recorder, services } = this.#options;
    const target = config.targets.get(session.grant.target);
    if (target === undefined) throw new GateError('target-unknown', `the target "${session.grant.target}" is not configured`);
    const journal = new Journal(session.id, recorder, recorder.lastNumbers(session.id), target.durability);
    const live = new LiveSession(session, target, journal, services, waitSeconds);
    journal.usage.onNewKind = () => void this.#storeUsage(live);
    return live;
  }

  #admitLive(session: Session, live: LiveSession): void {
    this.#live.set(session.id, live);
    this.#walls.set(session.id, session.grant.expiresAt);
  }

  async #onWall(id: string): Promise<void> {
    const live = this.#live.get(id);
    if (live !== undefined) await this.end(id, expired(live.grant));
  }
}

function killedBy({ name }: Pick<Principal, 'name'>, reason: string | undefined): GateError {
  return new GateError('session-ended', `ended by ${name}${reason === undefined ? '' : `: ${reason}`}`);
}

/** Undefined for a grant that is not revoked. */
export function revokedError(grant: Grant | undefined): GateError | undefined {
  if (grant?.revocation === undefined) return undefined;
  const { by, at, reason } = grant.revocation;
  const why = reason === undefined ? '' : `: ${reason}`;
  return new GateError('grant-revoked', `the grant was revoked by ${by.name} at ${at.toISOString()}${why}`);
}

function killEvent(by: Principal, reason: string | undefined): EventOf<'session.kill'> {
  return { kind: 'session.kill', by: who(by), ...(reason !== undefined && { reason }) };
}

function expired(grant: Grant): GateError {
  return new GateError('grant-expired', `the grant expired at ${grant.expiresAt.toISOString()}`, {
    hint: 'Run gate connect again for a new grant.',
  });
}

/** The user name for clients: what people recognise, in characters that need no quoting in any shell or URL. */
function localUser(principal: Principal): string {
  const name = principal.name.toLowerCase().replaceAll(/[^a-z0-9._-]+/g, '-').replaceAll(/^-+|-+$/g, '').slice(0, 63);
  return name === '' ? 'gate' : name;
}
