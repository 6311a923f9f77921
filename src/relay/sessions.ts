/** All grants and sessions of this relay: made, found again after a restart, and ended at the wall of their grant. */
import { randomBytes } from 'node:crypto';
import type { SessionInfo, SessionRequest, SessionSummary } from '../api/api.ts';
import { GateError } from '../errors/errors.ts';
import type { Grant, GrantStore, Session } from '../grant/grant.ts';
import { admit, isAuditor } from '../policy/decide.ts';
import { isSamePrincipal, type Principal } from '../principal/principal.ts';
import { parseVerifier } from '../pgwire/scram.ts';
import type { Log } from '../store/log.ts';
import type { RelayConfig } from './config.ts';
import { Journal } from './journal.ts';
import { LiveSession, type SessionServices } from './live-session.ts';

/** Open sessions of one principal at a time. */
export const sessionsPerPrincipalMax = 50;
/** setTimeout cannot wait longer than this. */
const timerMaxMs = 0x7fffffff;
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
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #isStopped = false;

  private constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /** Takes up the sessions that were open when the relay stopped; those whose grant is over end now. */
  static async load(options: SessionsOptions): Promise<Sessions> {
    const sessions = new Sessions(options);
    for (const session of await options.store.listSessions({ isOpen: true, limit: 100_000 })) await sessions.#adopt(session);
    return sessions;
  }

  async createGrant(
    principal: Principal,
    request: { target: string; role?: string | undefined; reason?: string | undefined; durationSeconds?: number | undefined },
  ): Promise<Grant> {
    const { config, services, store } = this.#options;
    const role = admit(services.policy(), principal, request, new Date());
    if (!config.targets.has(request.target)) {
      throw new GateError('target-unknown', `the target "${request.target}" is not configured on this relay`);
    }
    const seconds = request.durationSeconds ?? Math.min(3600, role.maxDuration);
    if (seconds > role.maxDuration) {
      throw new GateError('denied', `a grant for ${request.target} lasts at most ${role.maxDuration} seconds`, {
        rule: `${request.target}/${role.name}/maxDuration`,
        hint: `Ask with --duration ${role.maxDuration}s or less.`,
      });
    }
    const createdAt = new Date();
    const reason = request.reason?.trim();
    const grant: Grant = {
      id: createId('g'),
      principal,
      target: request.target,
      role: role.name,
      ...(reason && { reason }),
      createdAt,
      expiresAt: new Date(createdAt.getTime() + seconds * 1000),
    };
    await store.saveGrant(grant);
    return grant;
  }

  /** Opens a session on a grant of the caller's own. It is on record before it exists. */
  async open(principal: Principal, request: SessionRequest): Promise<SessionInfo> {
    const { store, recorder, services, relayVersion } = this.#options;
    const grant = await store.loadGrant(request.grant);
    if (grant === undefined || !isSamePrincipal(grant.principal, principal)) {
      throw new GateError('not-found', `you have no grant "${request.grant}"`);
    }
    parseVerifier(request.verifier);
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
        who: { ...principal, groups: [...principal.groups] },
        target: grant.target,
        role: grant.role,
        grant: grant.id,
        ...(grant.reason !== undefined && { reason: grant.reason }),
        expiresAt: grant.expiresAt.toISOString(),
        command: session.command,
        policy: policy().digest,
        relayVersion,
      },
    ]);
    await store.saveSession(session);
    this.#admitLive(session, live);
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
    if (live !== undefined && isSamePrincipal(live.grant.principal, principal)) {
      live.checkOpen();
      return live;
    }
    const session = await this.#options.store.loadSession(id);
    if (session === undefined || !isSamePrincipal(session.grant.principal, principal)) {
      throw new GateError('not-found', `you have no session "${id}"`);
    }
    throw new GateError('session-ended', `session ${id} has ended: ${session.end?.reason ?? 'its target is gone'}`);
  }

  /** Ends a session for good, at once, with a reason that its clients and its record show. */
  async end(id: string, error: GateError): Promise<void> {
    const live = this.#live.get(id);
    if (live === undefined) return;
    this.#live.delete(id);
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    await live.end(error);
    await live.journal.note({ kind: 'session.close', reason: error.message });
    await this.#storeEnd(id, { at: new Date(), reason: error.message });
  }

  /** Nothing waits for this: the session has ended already, and a state that cannot be written now can be later. */
  async #storeEnd(id: string, end: { readonly at: Date; readonly reason: string }): Promise<void> {
    const { store, recorder, services } = this.#options;
    try {
      await store.endSession(id, { ...end, counts: recorder.counts(id) });
    } catch (error) {
      services.log.error({ err: error, session: id }, 'the end of the session could not be stored');
      if (!this.#isStopped) this.#timers.set(id, setTimeout(() => void this.#storeEnd(id, end), storeRetryMs).unref());
    }
  }

  /** Ends all connections; the sessions stay open, so that clients come back after a restart. */
  async stop(error: GateError): Promise<void> {
    this.#isStopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    await Promise.all([...this.#live.values()].map((live) => live.endConnections(error)));
  }

  async list(viewer: Principal, limit: number): Promise<SessionSummary[]> {
    const everybody = isAuditor(this.#options.services.policy(), viewer);
    const sessions = await this.#options.store.listSessions({ ...(!everybody && { principal: viewer }), limit });
    return sessions.map((session) => this.#summarize(session));
  }

  /** By id or a prefix that only one session has, among those that the viewer may see. */
  async find(viewer: Principal, idPrefix: string): Promise<SessionSummary> {
    const everybody = isAuditor(this.#options.services.policy(), viewer);
    const found = await this.#options.store.listSessions({
      ...(!everybody && { principal: viewer }),
      idPrefix,
      limit: 2,
    });
    if (found.length > 1) throw new GateError('usage', `more than one session begins with "${idPrefix}"`);
    const [session] = found;
    if (session === undefined) {
      throw new GateError('not-found', `there is no session "${idPrefix}", or you may not see it`, {
        hint: 'Auditors see all sessions, others their own. See gate sessions list.',
      });
    }
    return this.#summarize(session);
  }

  #summarize(session: Session): SessionSummary {
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
      state: end === undefined ? 'open' : 'ended',
      startedAt: session.startedAt.toISOString(),
      expiresAt: grant.expiresAt.toISOString(),
      ...(end && { endedAt: end.at.toISOString(), endReason: end.reason }),
      connections: counts.connections,
      statements: counts.statements,
      refused: counts.refused,
    };
  }

  async #adopt(session: Session): Promise<void> {
    if (!this.#options.config.targets.has(session.grant.target)) return;
    const live = this.#createLive(session);
    this.#admitLive(session, live);
    if (new Date() >= session.grant.expiresAt) await this.end(session.id, expired(session.grant));
  }

  #createLive(session: Session, waitSeconds?: number): LiveSession {
    const { config, recorder, services } = this.#options;
    const target = config.targets.get(session.grant.target);
    if (target === undefined) throw new GateError('target-unknown', `the target "${session.grant.target}" is not configured`);
    const journal = new Journal(session.id, recorder, recorder.lastNumbers(session.id));
    return new LiveSession(session, target, journal, services, waitSeconds);
  }

  #admitLive(session: Session, live: LiveSession): void {
    this.#live.set(session.id, live);
    this.#armTimer(session);
  }

  #armTimer(session: Session): void {
    const left = session.grant.expiresAt.getTime() - Date.now();
    const timer = setTimeout(
      () => {
        if (left > timerMaxMs) this.#armTimer(session);
        else void this.end(session.id, expired(session.grant));
      },
      Math.max(0, Math.min(left, timerMaxMs)),
    );
    this.#timers.set(session.id, timer.unref());
  }
}

function expired(grant: Grant): GateError {
  return new GateError('grant-expired', `the grant expired at ${grant.expiresAt.toISOString()}`, {
    hint: 'Run gate connect again for a new grant.',
  });
}

/** 60 random bits in Crockford's base 32 without vowels, so that no id spells a word. */
function createId(prefix: string): string {
  const alphabet = '0123456789bcdfghjkmnpqrstvwxyz23';
  return `${prefix}_${[...randomBytes(12)].map((byte) => alphabet[byte % 32]).join('')}`;
}

/** The user name for clients: what people recognise, in characters that need no quoting in any shell or URL. */
function localUser(principal: Principal): string {
  const name = principal.name.toLowerCase().replaceAll(/[^a-z0-9._-]+/g, '-').replaceAll(/^-+|-+$/g, '').slice(0, 63);
  return name === '' ? 'gate' : name;
}
