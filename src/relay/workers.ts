/** The worker processes of a relay: started, kept running, told what changes, answered what they ask, and stopped. */
import cluster, { type Worker } from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GateError, messageOf } from '../errors/errors.ts';
import type { ApprovalDesk } from '../grant/request.ts';
import type { Policy } from '../policy/policy.ts';
import type { Log } from '../store/log.ts';
import type { Catalogs } from './catalogs.ts';
import type { RelayConfig } from './config.ts';
import { errorAcross, Peer } from './peer.ts';
import type { PolicySource } from './policy-source.ts';
import { SessionHosts, workerReason, type Host, type SessionHostsOptions } from './session-hosts.ts';
import type { PrimaryCalls, WorkerCalls, WorkerSettings } from './worker-calls.ts';

/** A worker that does not answer for so long is killed; ending all connections of a session takes less. */
const answerTimeoutMs = 10_000;
/** One that dies is started again after this time, twice as long each time that it does not live long. */
const restartMs = 100;
const restartMsMax = 10_000;
const longLifeMs = 10_000;

export type WorkersOptions = Omit<SessionHostsOptions, 'recorder'> & {
  readonly count: number;
  readonly config: RelayConfig;
  readonly recorder: Log;
  readonly desk: ApprovalDesk;
  readonly catalogs: Catalogs;
  readonly policies: PolicySource;
  readonly maskKey: Buffer;
  readonly socketsMax: number;
  readonly isStopping: () => boolean;
};

type Process = Host & { readonly worker: Worker; readonly peer: Peer<WorkerCalls>; isGone: boolean; readonly gone: Promise<void> };

export class Workers {
  readonly #options: WorkersOptions;
  readonly #directory: string;
  readonly #hosts: SessionHosts;
  readonly #processes = new Set<Process>();
  readonly #restarts = new Set<NodeJS.Timeout>();
  #port = 0;
  /** Deaths in a row, each soon after a start. */
  #failures = 0;
  #isClosed = false;

  private constructor(options: WorkersOptions, directory: string) {
    this.#options = options;
    this.#directory = directory;
    this.#hosts = new SessionHosts(options);
    options.policies.onChange(() => void this.#setPolicy(options.policies.current));
    cluster.setupPrimary({
      exec: typeof __dirname === 'string' ? join(__dirname, 'relay-worker.cjs') : fileURLToPath(new URL('./relay-worker.cjs', import.meta.url)),
      args: [],
      execArgv: [],
      serialization: 'advanced',
      // What the program says on stdout is data, and what it may read on stdin is its own.
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
  }

  /** A directory for sockets that nobody else can look into. */
  static makeDirectory(): Promise<string> {
    if (process.platform === 'win32') throw new GateError('not-supported', 'a relay on Windows has no workers', { hint: 'Leave --workers out.' });
    return mkdtemp(join(tmpdir(), 'gate-workers-'));
  }

  static apiSocket(directory: string): string {
    return join(directory, 'api.sock');
  }

  /** Resolves when all of them serve; the API does by then. The directory is removed at the end. */
  static async start(options: WorkersOptions, directory: string): Promise<Workers> {
    const workers = new Workers(options, directory);
    try {
      await Promise.all(Array.from({ length: options.count }, () => workers.#launch()));
      return workers;
    } catch (error) {
      await workers.close();
      throw error;
    }
  }

  get port(): number {
    return this.#port;
  }

  /** Resolves when it is in force in all of them. */
  async #setPolicy({ text }: Policy): Promise<void> {
    await this.#tellAll(({ peer }) => peer.call('setPolicy', [text]));
  }

  #noteCatalogChange(target: string, by: Process): void {
    for (const one of this.#processes) if (one !== by) one.peer.call('catalogChanged', [target]).catch(() => undefined);
    this.#options.catalogs.noteChange(target);
  }

  /** Their sessions have been ended by now. Resolves when all of the processes are gone. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#restarts) clearTimeout(timer);
    await this.#tellAll(({ peer }) => peer.call('stop', []));
    const gone = [...this.#processes].map((one) => one.gone);
    // A worker whose channel closes ends at once.
    for (const { worker } of this.#processes) if (worker.isConnected()) worker.process.disconnect();
    await Promise.all(gone);
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #tellAll(tell: (one: Process) => Promise<unknown>): Promise<void> {
    await Promise.all([...this.#processes].map((one) => orKilled(one, tell(one)).catch(() => undefined)));
  }

  async #launch(): Promise<void> {
    const worker = cluster.fork();
    const one = this.#watch(worker);
    const { config, policies, maskKey, log, socketsMax, count } = this.#options;
    const { tls, targets, policyFile, listen } = config;
    const settings: WorkerSettings = {
      config: { ...(tls && { tls }), targets, policyFile, listen },
      policy: policies.current.text,
      maskKey,
      logLevel: log.level,
      apiSocket: Workers.apiSocket(this.#directory),
      ownSocket: one.socketPath,
      socketsMax: Math.ceil(socketsMax / count),
    };
    try {
      this.#port = await one.peer.call('start', [settings]);
    } catch (error) {
      worker.process.kill('SIGKILL');
      throw error;
    }
    log.info({ worker: worker.process.pid }, 'worker serves');
  }

  #watch(worker: Worker): Process {
    const { log } = this.#options;
    const startedAt = performance.now();
    /** Requests of statements that wait in it. */
    const waiting = new Set<string>();
    const child = worker.process;
    const peer: Peer<WorkerCalls> = new Peer(
      {
        send: (message) => child.send?.(message as object, undefined, undefined, () => undefined),
        onMessage: (listener) => child.on('message', listener),
      },
      this.#answers(() => one, waiting),
      (error) => log.error({ err: error, worker: child.pid }, 'what a worker asked for failed'),
    );
    const exited = new Promise<string>((resolve) => {
      worker.once('exit', (code: number, signal: string) => resolve(signal ?? `exit code ${code}`));
      worker.on('error', (error) => {
        log.error({ err: error, worker: child.pid }, 'worker failed');
        if (child.pid === undefined) resolve(error.message);
      });
    });
    // The channel is read to its end before it is closed: all that the worker has sent has come by then.
    const closed = new Promise<void>((resolve) => {
      child.once('disconnect', () => resolve());
      if (child.pid === undefined) void exited.then(() => resolve());
    });
    const dying = closed.then(() => {
      one.isGone = true;
      peer.close(new GateError('relay-stopping', workerReason, { hint: 'Connect again in a moment.' }));
      child.kill('SIGKILL');
    });
    const gone = dying.then(async () => {
      const end = await exited;
      await peer.settled();
      this.#processes.delete(one);
      this.#hosts.leave(one);
      await Promise.all([...waiting].map((id) => this.#options.desk.withdraw(id, workerReason).catch(() => undefined)));
      this.#onGone(worker, end, performance.now() - startedAt);
    });
    const one: Process = {
      worker,
      peer,
      dying,
      gone,
      isGone: false,
      socketPath: join(this.#directory, `${randomBytes(6).toString('hex')}.sock`),
      serveSession: (handed) => void peer.call('serveSession', [handed]).catch(() => child.kill('SIGKILL')),
      endSession: (id, error) => orKilled(one, peer.call('endSession', [id, errorAcross.pack(error)])),
    };
    this.#processes.add(one);
    return one;
  }

  #onGone(worker: Worker, end: string, livedMs: number): void {
    if (this.#isClosed) return;
    this.#failures = livedMs > longLifeMs ? 0 : this.#failures + 1;
    const delayMs = Math.min(restartMsMax, restartMs * 2 ** Math.max(0, this.#failures - 1));
    this.#options.log.error({ worker: worker.process.pid, end, restartMs: delayMs }, 'a worker has ended; its sessions stay open');
    const timer = setTimeout(() => {
      this.#restarts.delete(timer);
      if (this.#isClosed) return;
      // One that cannot start ends, and is tried again.
      this.#launch().catch((error: unknown) => this.#options.log.error({ reason: messageOf(error) }, 'a worker did not start'));
    }, delayMs);
    this.#restarts.add(timer);
  }

  #answers(of: () => Process, waiting: Set<string>): PrimaryCalls {
    const { recorder, desk, isStopping } = this.#options;
    const durables = new Map<number, Promise<void>>();
    return {
      open: async (asking, session) => {
        if (isStopping()) throw new GateError('relay-stopping', 'the relay is stopping');
        const elsewhere = await this.#hosts.open(of(), asking, session);
        if (isStopping()) throw new GateError('relay-stopping', 'the relay is stopping');
        return elsewhere;
      },
      record: (session, events) => recorder.record(session, events),
      write: async (session, events, haste, token) => {
        const { written, durable } = recorder.write(session, events, haste);
        if (durable !== undefined) durables.set(token, durable);
        await written;
      },
      durable: async (token) => {
        const durable = durables.get(token);
        durables.delete(token);
        await durable;
      },
      take: (key) => desk.take(key),
      ask: async (asked) => {
        const request = await desk.ask(asked);
        if (asked.statement.isWaiting) waiting.add(request.id);
        return request;
      },
      decided: (id, signal) => desk.decided(id, signal).finally(() => of().isGone || waiting.delete(id)),
      withdraw: (id, reason) => {
        waiting.delete(id);
        return desk.withdraw(id, reason);
      },
      catalogChanged: (target) => this.#noteCatalogChange(target, of()),
    };
  }
}

/** What a worker is told, it does within a time, or it is ended. */
async function orKilled(one: Process, told: Promise<unknown>): Promise<void> {
  const kill = () => one.worker.process.kill('SIGKILL');
  const late = setTimeout(kill, answerTimeoutMs);
  try {
    await told;
  } catch (error) {
    kill();
    throw error;
  } finally {
    clearTimeout(late);
  }
}
