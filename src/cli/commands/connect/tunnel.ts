/** One target of gate connect while it is open: session, local port, password file, and a watch for the end. */
import type { GrantRequest, TunnelNews } from '../../../api/api.ts';
import type { ClientConfig } from '../../../client/config.ts';
import type { LocalPort, LocalPortOptions } from '../../../client/local-port.ts';
import type { ConnectionOptions } from '../../../client/local-connection.ts';
import type { Passfile } from '../../../client/passfile.ts';
import type { RelayClient } from '../../../client/relay-client.ts';
import type { SessionWatch } from '../../../client/session-watch.ts';
import type { TimedSession } from '../../../client/session.ts';
import { ERRORS, GateError, messageOf, type ErrorCode } from '../../../errors/errors.ts';
import type { Io } from '../../io.ts';
import type { Address } from './address.ts';
import type { RelayNews } from './relay-news.ts';

/** Nobody waits longer than this for a relay that is away when the session is to be ended. */
const endTimeoutMs = 3000;

export type TunnelPlan = {
  readonly io: Io;
  readonly relay: RelayClient;
  readonly config: ClientConfig;
  readonly news: RelayNews;
  readonly request: GrantRequest;
  /** Grant and session, with the approval that they may need. */
  readonly open: () => Promise<TimedSession>;
  /** Before a line about this target, where there are several; else empty. */
  readonly label: string;
  /** Undefined: the port that the target had last time. */
  readonly port?: number;
  readonly socketDirectory?: string;
  readonly isTls: boolean;
  /** A command shares the terminal. */
  readonly hasChild: boolean;
};

export class ConnectTunnel {
  readonly #plan: TunnelPlan;
  readonly session: TimedSession;
  readonly #watch: SessionWatch;
  #isOver = false;
  #port: LocalPort | undefined;
  #passfile: Passfile | undefined;
  #caFile: string | undefined;
  #resolveEnded: (error: GateError) => void = () => undefined;
  /** Resolves with the reason when the session has ended by the clock or at the relay. */
  readonly ended = new Promise<GateError>((resolve) => (this.#resolveEnded = resolve));

  private constructor(plan: TunnelPlan, session: TimedSession, Watch: typeof SessionWatch) {
    this.#plan = plan;
    this.session = session;
    const { io, news, relay, label } = plan;
    this.#watch = new Watch(relay, session, {
      onWarning: (secondsLeft) => io.warn(`${label}the grant ends in ${formatLeft(secondsLeft)}, at ${session.expiresAt}`),
      onEnd: (error) => {
        this.#isOver = true;
        this.#resolveEnded(error);
      },
      onPollFailed: (error) => news.failed(error),
      onPolled: () => news.back(),
    });
  }

  /** Grant and session. Everything after it must end with `close`. */
  static async open(plan: TunnelPlan): Promise<ConnectTunnel> {
    const { SessionWatch: Watch } = await import('../../../client/session-watch.ts');
    return new ConnectTunnel(plan, await plan.open(), Watch);
  }

  /** Opens the port and writes the password file. Fails with `usage` when there is no such port to be had. */
  async listen(): Promise<void> {
    const { config, isTls } = this.#plan;
    const [{ startLocalPort }, { writePassfile }] = await Promise.all([
      import('../../../client/local-port.ts'),
      import('../../../client/passfile.ts'),
    ]);
    let tls: Pick<LocalPortOptions, 'tls'> = {};
    if (isTls) {
      const { createLocalIdentity } = await import('../../../client/local-ca.ts');
      tls = { tls: await createLocalIdentity(config, this.session.deadline) };
      this.#caFile = tls.tls?.caFile;
    }
    const start = (listen: LocalPortOptions['listen']) => startLocalPort({ ...this.connection, ...tls, listen });
    this.#port = await this.#listenWith(start);
    this.#passfile = await writePassfile(config, this.session, this.#port);
  }

  async #listenWith(start: (listen: LocalPortOptions['listen']) => Promise<LocalPort>): Promise<LocalPort> {
    const { config, relay, request, io, port, socketDirectory } = this.#plan;
    if (socketDirectory !== undefined) return start({ directory: socketDirectory, ...(port !== undefined && port !== 0 && { port }) });
    if (port === 0) return start({ port });
    const { rememberPort, startOnStickyPort } = await import('../../../client/sticky-port.ts');
    const sticky = { config, relay: relay.url, target: request.target, note: (line: string) => io.warn(line) };
    if (port === undefined) return startOnStickyPort({ ...sticky, start: (number) => start({ port: number }) });
    const started = await start({ port });
    await rememberPort(sticky, port);
    return started;
  }

  /** The password file alone, for a client that does not come through a port. Its path. */
  async writeLoosePassfile(): Promise<string> {
    const { writePassfile } = await import('../../../client/passfile.ts');
    this.#passfile = await writePassfile(this.#plan.config, this.session);
    return this.#passfile.path;
  }

  /** What each connection of the session needs. */
  get connection(): ConnectionOptions {
    const { relay, news, label } = this.#plan;
    return {
      relay: relay.url,
      session: this.session.id,
      accessToken: () => relay.accessToken(),
      onOpen: () => news.back(),
      onNews: (held) => sayHeld(this.#plan, held),
      onBroken: (reason, code, isRelayAway) => {
        const end = (['grant-expired', 'grant-revoked', 'session-ended'] as const).find((name) => ERRORS[name].close === code);
        if (end !== undefined) this.#watch.end(new GateError(end, reason, { hint: 'Run gate connect again.' }));
        else if (isRelayAway) news.away(reason);
        else news.once(`${label}${reason}`);
      },
    };
  }

  get address(): Address {
    const [port, passfile] = [this.#port, this.#passfile];
    if (port === undefined || passfile === undefined) throw new Error('the local port is not open');
    return { session: this.session, port, passfile: passfile.path, ...(this.#caFile !== undefined && { caFile: this.#caFile }) };
  }

  /** Closes the port, removes the password file and ends the session, each in bounded time. Never rejects. */
  async close(): Promise<void> {
    this.#watch.stop();
    // What lies on this machine goes first: an impatient user may end the program while the relay is being told.
    await this.#passfile?.remove().catch((error: unknown) => this.#plan.io.warn(`the password file stays behind: ${messageOf(error)}`));
    const [, hasEnded] = await Promise.all([this.#port?.close(), this.#isOver || this.#endSession()]);
    if (!hasEnded) return;
    const { relay, config, io, label } = this.#plan;
    const { keepReceipt } = await import('../../../client/receipts.ts');
    await keepReceipt(relay, config.directory, this.session.id, (line) => io.warn(`${label}${line}`));
  }

  async #endSession(): Promise<boolean> {
    this.#isOver = true;
    const { relay, io, label } = this.#plan;
    try {
      await withinTime(relay.endSession(this.session.id, endTimeoutMs));
      return true;
    } catch (error) {
      const alreadyOver: readonly ErrorCode[] = ['session-ended', 'grant-expired', 'grant-revoked', 'not-found'];
      if (error instanceof GateError && alreadyOver.includes(error.code)) return true;
      io.warn(`${label}the relay could not be told that the session is over (${messageOf(error)}); it ends by itself at ${this.session.expiresAt}`);
      return false;
    }
  }
}

/** Programs that show no notices leave their users waiting without a word; here they find out why. */
function sayHeld({ io, label, hasChild }: TunnelPlan, { message, hint, ...held }: TunnelNews): void {
  io.event({ ...held, message: `${label}${message}`, hint });
  // psql in the same terminal has printed the notice.
  if (!hasChild) io.say(`gate: ${label}${message}\n  ${hint}`);
}

/** The login may have to be renewed first, at an issuer that is away as well. */
async function withinTime(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new GateError('relay-unreachable', 'no answer came in time')), endTimeoutMs + 500);
  });
  await Promise.race([work, timeout]).finally(() => clearTimeout(timer));
}

function formatLeft(seconds: number): string {
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
