/** One client connection from its first byte to its last: login on both sides, two pumps, and an end with a reason. */
import { randomBytes } from 'node:crypto';
import { GateError, messageOf } from '../errors/errors.ts';
import {
  authenticationOk,
  encodeBackendKeyData,
  encodeGateError,
  encodeParameterStatus,
  encodeReadyForQuery,
} from '../pgwire/backend.ts';
import { terminateMessage } from '../pgwire/frontend.ts';
import { describeApprovers } from '../policy/vote.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import { Admission } from './admission.ts';
import { applicationNameOf } from './application-name.ts';
import { Gatekeeper } from './gatekeeper.ts';
import { authenticate, ByteQueue, clientSettings, readStartup, upstreamParameters, type Handshake } from './handshake.ts';
import { Holds } from './holds.ts';
import { inspect } from './inspect.ts';
import { asGateError, checkLogin, grammarOf, maskedPath, stateAtEnd } from './login.ts';
import type { LiveSession, SessionConnection } from './live-session.ts';
import { showStatus } from '../mask/reports.ts';
import { maskKeyParameters } from './mask-key.ts';
import { Masking } from './masking.ts';
import { Pending } from './pending.ts';
import { ResultGate } from './result-gate.ts';
import { ResultBarrier } from './result-barrier.ts';
import { Rows } from './rows.ts';
import { SettingsWatch } from './settings-watch.ts';
import { Statements } from './statements.ts';
import { requestCancel, type Upstream } from './upstream.ts';

export const handshakeTimeoutMs = 30_000;
/** How long the end of a connection waits for the server's last answers, so that their outcome is on record. */
const drainTimeoutMs = 2000;
/** How long an end by the relay waits for the message in transit to finish before it cuts. */
const boundaryTimeoutMs = 500;

export class Connection implements SessionConnection {
  readonly #session: LiveSession;
  readonly #tunnel: () => Tunnel;
  readonly #clientAddress: string;
  readonly #queue = new ByteQueue();
  #number = 0;
  #cancelPid = 0;
  #upstream: Upstream | undefined;
  #statements: Statements | undefined;
  #rows: Rows | undefined;
  #pending: Pending | undefined;
  #cancelling: Promise<void> | undefined;
  #wakeDrained: (() => void) | undefined;
  /** What the client gets once the record of what it comes from is durable. */
  readonly #barrier = new ResultBarrier((bytes) => this.#isTunnelClosed || this.#tunnel().write(bytes));
  #isTerminating = false;
  #ending: Promise<void> | undefined;
  #isTunnelClosed = false;
  #resolveEnded: () => void = () => undefined;
  /** Resolves when the end is on record. */
  readonly ended = new Promise<void>((resolve) => (this.#resolveEnded = resolve));

  constructor(session: LiveSession, tunnel: () => Tunnel, clientAddress: string) {
    this.#session = session;
    this.#tunnel = tunnel;
    this.#clientAddress = clientAddress;
  }

  /** Serves the connection; resolves when it has ended, whatever way. */
  async serve(): Promise<void> {
    const timer = setTimeout(
      () => this.#queue.fail(new GateError('protocol-violation', 'the login took too long')),
      handshakeTimeoutMs,
    );
    try {
      const startup = await this.#readStartup();
      if (startup === undefined) return;
      if (startup.kind === 'cancel') {
        this.#session.cancelKeys.use(this.#session.id, startup.pid, startup.key);
        return await this.end(undefined, '');
      }
      await this.#logIn(startup.parameters, startup.minor);
    } catch (error) {
      await this.end(asGateError(error), 'the login failed');
    } finally {
      clearTimeout(timer);
    }
  }

  /** Undefined, and the connection closed without a word, when the first bytes are no PostgreSQL client's. */
  async #readStartup(): Promise<Handshake | undefined> {
    try {
      return await readStartup(this.#queue, (bytes) => this.#write(bytes));
    } catch (error) {
      this.#tunnel().close(asGateError(error).closeCode, messageOf(error));
      this.#isTunnelClosed = true;
      await this.end(undefined, messageOf(error));
      return undefined;
    }
  }

  onData(bytes: Buffer): void {
    if (this.#statements !== undefined) this.#statements.push(bytes);
    else this.#queue.push(bytes);
  }

  onDrain(): void {
    this.#upstream?.socket.resume();
  }

  onTunnelClosed(): void {
    this.#isTunnelClosed = true;
    if (this.#statements === undefined) this.#queue.fail(new GateError('protocol-violation', 'the client went away during the login'));
    // A client that said goodbye lets its last statement finish; one that vanished has it cancelled.
    if (this.#isTerminating) this.#lingerForLast();
    else void this.end(undefined, 'the client went away');
  }

  /** The server closes by itself once it has read Terminate; one that does not is not waited for for ever. */
  #lingerForLast(): void {
    setTimeout(() => {
      if (this.#pending?.running === undefined) void this.end(undefined, 'the client disconnected');
      else this.#lingerForLast();
    }, drainTimeoutMs).unref();
  }

  async #logIn(parameters: ReadonlyMap<string, string>, protocolMinor: number): Promise<void> {
    const session = this.#session;
    checkLogin(session, parameters);
    const applicationName = parameters.get('application_name');
    const settings = clientSettings(parameters);
    const { isReadOnly, statementTimeoutMs } = session.limits;
    const isMasked = session.maskRules().rules.length > 0;
    // Looked at while the client proves its password; masks need it before.
    const catalogUsed = Promise.resolve(session.useCatalog());
    catalogUsed.catch(() => undefined);
    if (isMasked) await catalogUsed;
    const pinnedPath = isMasked ? maskedPath(session, settings) : undefined;
    const startup = upstreamParameters(settings, {
      applicationName: applicationNameOf(session),
      isReadOnly,
      ...(statementTimeoutMs !== undefined && { statementTimeoutMs }),
      ...(pinnedPath && { masked: { path: pinnedPath, key: maskKeyParameters(session.maskKey) } }),
    });
    const nonce = randomBytes(18).toString('base64');
    const lastMessage = await authenticate(this.#queue, (bytes) => this.#write(bytes), session.verifier, nonce);
    session.checkOpen();
    const upstream = await session.upstreams.open(startup);
    if (this.#ending !== undefined || this.#isTunnelClosed) {
      upstream.socket.destroy();
      return;
    }
    this.#upstream = upstream;
    await Promise.all([session.parser.loadGrammar(grammarOf(upstream)), catalogUsed]);
    this.#number = session.journal.nextConnection();
    // Durable at the latest with its first statement, which waits for that.
    await session.journal.write([
      {
        kind: 'connection.open',
        connection: this.#number,
        clientAddress: this.#clientAddress,
        ...(applicationName && { applicationName }),
        ...(Object.keys(settings).length > 0 && { settings }),
        backendPid: upstream.pid,
        ...(isMasked && { masking: { level: session.maskRules().level, rules: session.maskRules().digest } }),
      },
    ]);
    // What has ended while that was being written must not begin now; its end is on record.
    if (this.#ending !== undefined) return;
    session.upstreams.prepare(startup);
    const cancelTarget = { session: session.id, cancel: () => this.#cancel() };
    const { pid, key } = session.cancelKeys.issue(cancelTarget, upstream.pid, protocolMinor);
    this.#cancelPid = pid;
    this.#startPumps(upstream, settings, { isReadOnly, pinnedPath });
    const greeting = [...upstream.parameters].flatMap(([name, value]) => {
      const shown = isMasked ? showStatus(name, value) : value;
      return shown === undefined ? [] : [encodeParameterStatus(name, shown)];
    });
    this.#write(Buffer.concat([lastMessage, authenticationOk, ...greeting, encodeBackendKeyData(pid, key), encodeReadyForQuery('I')]));
    // A server that went away while the connection was being recorded has said so before anybody listened.
    if (upstream.socket.destroyed) return this.#onUpstreamClosed();
    upstream.socket.resume();
    if (this.#queue.rest.length > 0) this.#statements?.push(this.#queue.rest);
  }

  #startPumps(
    upstream: Upstream,
    asked: Readonly<Record<string, string>>,
    { isReadOnly, pinnedPath }: { isReadOnly: boolean; pinnedPath: readonly string[] | undefined },
  ): void {
    const session = this.#session;
    const { journal, grant, policy, parser } = session;
    const connection = this.#number;
    const pending = new Pending((run) => journal.noteOutcome(connection, run, run.sqlstate === undefined ? 'skipped' : 'error'));
    const grammar = grammarOf(upstream);
    const masking = new Masking({
      rules: () => session.maskRules(),
      plans: session.maskPlans,
      grammar,
      isAgent: session.grant.principal.kind === 'agent',
      onChanged: (error) => void this.end(error, error.message),
    });
    const gate = masking.isOn ? new ResultGate({ plan: () => masking.plan, rules: masking.rules, key: session.maskKey, connection, note: (event) => void journal.note(event) }) : undefined;
    const rows = new Rows({ connection, pending, journal, isReadOnly, write: (bytes) => this.#write(bytes), ...(gate && { gate }) });
    const settings = new SettingsWatch({
      watch: session.catalog,
      onLookUp: () => void session.useCatalog(),
      startupSearchPath: asked['search_path'],
      ...(pinnedPath && { pinnedPath }),
      connection: `${session.id}/${connection}`,
    });
    const inspected = { backendPid: upstream.pid, settings: asked };
    const holds = new Holds({
      session: session.id,
      grant,
      connection,
      journal,
      desk: session.desk,
      describeApprovers: (by) => describeApprovers(policy(), by),
      waitSeconds: session.waitSeconds,
      inspect: (held) => inspect(session.target, { ...held, ...inspected }),
      tell: (message, news) => {
        rows.insert(message);
        this.#tunnel().tell(news);
      },
    });
    const { name, description } = session.target;
    const target = { name, ...(description !== undefined && { description }) };
    const gatekeeper = new Gatekeeper({ grant, target, policy, parser, grammar, pending, settings, holds, masking });
    this.#pending = pending;
    this.#rows = rows;
    this.#statements = new Statements({
      connection,
      pending,
      journal,
      admission: new Admission({ connection, pending, journal, gatekeeper, masking, settings, policyDigest: () => policy().digest }),
      holds,
      write: (bytes) => upstream.socket.write(bytes),
      drained: () => new Promise((resolve) => (this.#wakeDrained = resolve)),
      holdResults: (durable) => this.#holdResults(durable),
      cancelRunning: () => this.#cancelRunning(upstream),
      cancelling: () => this.#cancelling,
      pauseClient: () => this.#tunnel().pause(),
      resumeClient: () => this.#tunnel().resume(),
      onEnd: (error) => this.#onClientEnd(error),
    });
    upstream.receive((chunk) => this.#onUpstreamData(chunk));
    upstream.socket.on('drain', () => this.#wakeDrained?.());
    upstream.socket.on('error', () => undefined);
    upstream.socket.on('close', () => this.#onUpstreamClosed());
  }

  /** Whether nothing of the chunk is needed any more: what the client gets of it has been sent, and the rest is copied where it is kept. */
  #onUpstreamData(chunk: Buffer): boolean {
    try {
      const hasRoom = this.#rows?.push(chunk) ?? true;
      if (!hasRoom && !this.#isTunnelClosed) this.#upstream?.socket.pause();
      return this.#barrier.isEmpty && this.#tunnel().unsentBytes === 0;
    } catch (error) {
      this.#session.log.error({ session: this.#session.id, connection: this.#number, reason: messageOf(error) }, 'connection cut');
      void this.end(asGateError(error), messageOf(error));
      return false;
    }
  }

  #onUpstreamClosed(): void {
    this.#wakeDrained?.();
    if (this.#isTerminating) void this.end(undefined, 'the client disconnected');
    else {
      const reason = 'the database closed the connection';
      // After a FATAL of its own the client needs no second explanation.
      void this.end(this.#rows?.hasSeenFatal ? undefined : new GateError('upstream-unreachable', reason), reason);
    }
  }

  /** Terminate came, or the client broke the protocol. */
  #onClientEnd(error?: GateError): void {
    if (error !== undefined) return void this.end(error, error.message);
    this.#isTerminating = true;
    this.#upstream?.socket.end(terminateMessage);
  }

  /** Reaches only what runs now, or else what is about to; what comes later is held back until the server has taken it. */
  #cancel(): void {
    const upstream = this.#upstream;
    const forwarded = upstream !== undefined && this.#pending?.running !== undefined;
    void this.#session.journal.note({ kind: 'cancel', connection: this.#number, forwarded });
    if (!forwarded) return void this.#statements?.cancelUnsent();
    this.#cancelRunning(upstream);
  }

  /** What comes later is held back until the server has taken the request. */
  #cancelRunning(upstream: Upstream): void {
    const request = requestCancel(this.#session.target, upstream.pid, upstream.key).catch((error: unknown) => {
      this.#session.log.warn({ session: this.#session.id, reason: messageOf(error) }, 'cancel did not reach the database');
    });
    const all = Promise.all([this.#cancelling, request]).then(() => {
      if (this.#cancelling === all) this.#cancelling = undefined;
    });
    this.#cancelling = all;
  }

  /**
   * Ends the connection once, with a reason on record. `error`, when given, is what the client gets as its last
   * message (severity FATAL), at the border of a message if the server's stream reaches one in time.
   */
  end(error: GateError | undefined, reason: string): Promise<void> {
    this.#ending ??= this.#end(error, reason).finally(this.#resolveEnded);
    return this.#ending;
  }

  async #end(error: GateError | undefined, reason: string): Promise<void> {
    this.#statements?.end();
    await this.#closeClient(error, reason);
    if (this.#cancelPid !== 0) this.#session.cancelKeys.revoke(this.#session.id, this.#cancelPid);
    await this.#closeUpstream();
    this.#wakeDrained?.();
    for (const run of this.#pending?.abandon() ?? []) {
      this.#session.journal.noteOutcome(this.#number, run, stateAtEnd(run, this.#rows?.hasSeenFatal === true));
    }
    if (this.#number !== 0) {
      await this.#session.journal.noteSoon({
        kind: 'connection.close',
        connection: this.#number,
        reason,
        bytesIn: this.#statements?.bytesIn ?? 0,
        bytesOut: this.#rows?.bytesOut ?? 0,
      });
    }
  }

  async #closeClient(error: GateError | undefined, reason: string): Promise<void> {
    await this.#barrier.finish();
    if (this.#isTunnelClosed) return;
    if (error === undefined) return this.#tunnel().close(1000, reason);
    const fatal = encodeGateError(error, 'FATAL');
    if (this.#rows === undefined || this.#barrier.hasFailed) this.#tunnel().write(fatal);
    else {
      const timeout = new Promise((resolve) => setTimeout(resolve, boundaryTimeoutMs).unref());
      const closed = new Promise<void>((resolve) => {
        if (this.#upstream?.socket.destroyed !== false) resolve();
        else this.#upstream.socket.once('close', resolve);
      });
      await Promise.race([this.#rows.endWith(fatal), closed, timeout]);
    }
    this.#isTunnelClosed = true;
    this.#tunnel().close(error.closeCode, error.message);
  }

  /** What still runs is cancelled, and its last answers are awaited for the record. */
  async #closeUpstream(): Promise<void> {
    const { socket, pid, key } = this.#upstream ?? {};
    if (socket === undefined || socket.destroyed) return;
    if (this.#pending?.running !== undefined && pid !== undefined && key !== undefined) {
      socket.resume();
      const timeout = new Promise((resolve) => setTimeout(resolve, drainTimeoutMs).unref());
      const closed = new Promise((resolve) => socket.once('close', resolve));
      const drained = Promise.race([this.#pending.settled(), closed, timeout]);
      requestCancel(this.#session.target, pid, key).catch(() => undefined);
      // A server that reads COPY data hears of no cancel before more comes, but of the end of the stream at once.
      if (this.#pending.copyIn?.phase === 'open') socket.end();
      await drained;
    }
    if (!socket.writableEnded) socket.end(terminateMessage);
    setTimeout(() => socket.destroy(), drainTimeoutMs).unref();
  }

  #write(bytes: Buffer): boolean {
    return this.#barrier.write(bytes);
  }

  #holdResults(durable: Promise<void>): void {
    this.#barrier.hold(durable).then(
      (hasRoom) => hasRoom && this.#upstream?.socket.resume(),
      (error: unknown) => void this.end(asGateError(error), messageOf(error)),
    );
  }
}
