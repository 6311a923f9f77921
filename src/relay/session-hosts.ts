/** Which worker serves which session: the one where its first tunnel came, until the session or the worker ends. */
import { GateError } from '../errors/errors.ts';
import type { Log } from '../store/log.ts';
import { findUnfinished } from '../store/log-recovery.ts';
import { agentOf } from './agents.ts';
import type { Callers } from './callers.ts';
import type { LiveSession, SessionConnection } from './live-session.ts';
import type { RelayLog } from './relay-log.ts';
import type { Sessions } from './sessions.ts';
import type { Asking, Elsewhere, Handed } from './worker-calls.ts';

/** What is on record of connections that a worker took with it. */
export const workerReason = 'a worker of the relay stopped without warning';

/** A worker process, as far as sessions are concerned. */
export type Host = {
  /** Where it takes tunnels that came to others. */
  readonly socketPath: string;
  /** Dead, or about to be. */
  readonly isGone: boolean;
  /** Resolves when it is. */
  readonly dying: Promise<void>;
  serveSession(handed: Handed): void;
  /** Resolves when nothing of it is served any more, and that is on record; rejects when the worker is or will be gone. */
  endSession(id: string, error: GateError): Promise<void>;
};

export type SessionHostsOptions = {
  readonly callers: Pick<Callers, 'authenticate'>;
  readonly sessions: Pick<Sessions, 'forTunnel'>;
  readonly recorder: Pick<Log, 'entries' | 'lastNumbers'>;
  readonly log: RelayLog;
};

export class SessionHosts {
  readonly #options: SessionHostsOptions;
  readonly #hosted = new Map<string, HostedSession>();

  constructor(options: SessionHostsOptions) {
    this.#options = options;
  }

  /** For a tunnel that has come to this worker: the session is its own from now on, or is served elsewhere. */
  async open(host: Host, { authorization, agent }: Asking, id: string): Promise<Elsewhere | undefined> {
    const { callers, sessions } = this.#options;
    const { principal } = await callers.authenticate(authorization, agentOf(agent));
    const live = await sessions.forTunnel(principal, id);
    for (let hosted = this.#hosted.get(id); hosted !== undefined; hosted = this.#hosted.get(id)) {
      if (hosted.host === host) return undefined;
      if (!hosted.host.isGone) return { at: hosted.host.socketPath };
      // Numbering goes on where the dead worker's ends, so its record is finished first.
      await Promise.race([hosted.ended, host.dying]);
      if (host.isGone) throw new GateError('relay-stopping', workerReason);
    }
    live.checkOpen();
    this.#hand(live, host);
    return undefined;
  }

  #hand(live: LiveSession, host: Host): void {
    const hosted = new HostedSession(live, host);
    this.#hosted.set(live.id, hosted);
    void hosted.ended.then(() => this.#hosted.delete(live.id));
    void live.serve(hosted);
    host.serveSession({ session: live.session, numbers: this.#options.recorder.lastNumbers(live.id), waitSeconds: live.waitSeconds });
  }

  /** The worker is dead, and all that it has sent to be recorded is durable or refused. */
  leave(host: Host): void {
    for (const hosted of this.#hosted.values()) if (hosted.host === host) void this.#finish(hosted.live).then(hosted.markEnded);
  }

  /** Records what the dead worker left open, as a start does after a crash. */
  async #finish(live: LiveSession): Promise<void> {
    const { recorder, log } = this.#options;
    try {
      const unfinished = await findUnfinished(recorder.entries(live.id, { isOpened: false }), workerReason);
      await Promise.all(unfinished.map((event) => live.journal.note(event)));
    } catch (error) {
      log.error({ err: error, session: live.id }, 'what a worker left open in this session could not be recorded');
    }
  }
}

/** To its session a worker is one connection that it serves, and that it can end. */
class HostedSession implements SessionConnection {
  readonly live: LiveSession;
  readonly host: Host;
  readonly ended: Promise<void>;
  markEnded: () => void = () => undefined;

  constructor(live: LiveSession, host: Host) {
    this.live = live;
    this.host = host;
    this.ended = new Promise((resolve) => (this.markEnded = resolve));
  }

  async serve(): Promise<void> {}

  async end(error: GateError): Promise<void> {
    // A worker that goes meanwhile has ended it as well, and what it left is recorded then.
    this.host.endSession(this.live.id, error).then(this.markEnded, () => undefined);
    await this.ended;
  }
}
