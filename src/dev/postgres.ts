/** Starts a real PostgreSQL server on loopback that ends with the process that started it. */
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GateError } from '../errors/errors.ts';
import { findBinaries, type Binaries } from './binaries.ts';
import {
  createCluster,
  expectNoServer,
  give,
  inspectDirectory,
  makeTemporaryDirectory,
  readCluster,
  SUPERUSER,
  type DataDirectory,
} from './cluster.ts';
import { startGuarded, type Guarded } from './guard.ts';
import { lastLines } from './log-tail.ts';
import { findFreePort } from './ports.ts';
import { unprivilegedIdentity } from './reach.ts';

export type PostgresOptions = {
  /** The data directory, made if need be and kept. Without it a temporary one that is removed with the server. */
  readonly directory?: string;
  /** A directory that holds bin/postgres and bin/initdb. Without it: the npm package, then PATH, then Debian's. */
  readonly binaries?: string;
  /** Tried first; another one is taken when it is busy. */
  readonly port?: number;
  /** More configuration, as in postgresql.conf: { log_statement: 'all' }. */
  readonly settings?: Readonly<Record<string, string>>;
};

export type Postgres = {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly superuser: string;
  readonly password: string;
  /** Server major, for example 18. */
  readonly version: number;
  readonly dataDirectory: string;
  readonly logFile: string;
  /** The postmaster. */
  readonly pid: number;
  /** Resolves when the server has ended, for whatever reason. */
  readonly exited: Promise<void>;
  /** A URL with the password in it: for clients' options, never for a command line or a log. */
  url(database?: string, user?: string, password?: string): string;
  /** `fast` ends sessions and checkpoints; `immediate` is a crash. Resolves when the processes are gone. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

const START_ATTEMPTS_MAX = 5;
const START_TIMEOUT_MS = 60_000;

/**
 * Resolves when the server accepts connections. Nothing of it outlives this process, also when that is killed with
 * -9: server processes end within seconds and a temporary directory is removed. Fails with `usage` when no PostgreSQL
 * is installed or the directory cannot be used.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  if (process.platform === 'win32') {
    throw new GateError('not-supported', 'The PostgreSQL server of gate dev runs on Linux and macOS only.', {
      hint: 'Run gate dev in WSL.',
    });
  }
  const identity = unprivilegedIdentity();
  let temporary: string | undefined;
  const makeTemporary = async (): Promise<string> => (temporary ??= await makeTemporaryDirectory(identity));
  try {
    const directory = options.directory ?? join(await makeTemporary(), 'data');
    const data = await inspectDirectory(directory, identity);
    const binaries = await findBinaries({
      ...(options.binaries !== undefined && { directory: options.binaries }),
      runAs: data.runAs,
      copyDirectory: makeTemporary,
    });
    const removes = temporary === undefined ? [] : [temporary];
    if (data.holdsCluster) await expectNoServer(data.path);
    else await createCluster(data, binaries, { removes });
    const { password } = await readCluster(data, binaries);
    const server = await startServer({ data, binaries, removes, options });
    return createHandle({ ...server, data, binaries, password, temporary });
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

type Plan = {
  readonly data: DataDirectory;
  readonly binaries: Binaries;
  readonly removes: readonly string[];
  readonly options: PostgresOptions;
};

type Server = { readonly guarded: Guarded; readonly port: number; readonly pid: number; readonly logFile: string };

/** PostgreSQL cannot be told to pick a port, so a free one is guessed, and guessed again if someone else took it. */
async function startServer(plan: Plan): Promise<Server> {
  const { data, options } = plan;
  const logFile = join(data.path, 'server.log');
  for (let attempt = 1; ; attempt += 1) {
    const port = await findFreePort(attempt === 1 ? options.port : undefined);
    const log = await open(logFile, 'a', 0o600);
    const logStart = (await log.stat()).size;
    let guarded: Guarded;
    try {
      await give(logFile, data.runAs);
      guarded = startGuarded({
        command: [plan.binaries.postgres, '-D', data.path, ...settingFlags(port, options)],
        runAs: data.runAs,
        cwd: data.path,
        output: log.fd,
        politeSignal: 'INT',
        removes: plan.removes,
      });
    } finally {
      await log.close();
    }
    const pid = await waitUntilReady(data.path, guarded);
    if (pid !== undefined) {
      guarded.child.unref();
      return { guarded, port, pid, logFile };
    }
    const said = (await readFile(logFile, 'utf8').catch(() => '')).slice(logStart);
    const isTransient = /could not bind|Address already in use|pre-existing shared memory block/.test(said);
    if (!isTransient || attempt === START_ATTEMPTS_MAX) {
      throw new GateError('usage', `PostgreSQL did not start on ${data.path}: ${lastLines(said)}`);
    }
    await sleep(200 * attempt);
  }
}

function settingFlags(port: number, options: PostgresOptions): string[] {
  const isTemporary = options.directory === undefined;
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    max_connections: '200',
    ...(isTemporary && { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
    ...options.settings,
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** The postmaster's pid once its pid file says "ready"; undefined when it ended before that. */
async function waitUntilReady(dataDirectory: string, guarded: Guarded): Promise<number | undefined> {
  const exited = guarded.exited.then(() => 'exited' as const);
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const lines = (await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
    // Line 1 is the pid and line 8 the status (miscadmin.h, LOCK_FILE_LINE_PM_STATUS).
    if (lines[7]?.trim() === 'ready') return Number(lines[0]);
    if (performance.now() > deadline) {
      guarded.release();
      await exited;
      throw new GateError('usage', `PostgreSQL was not ready after ${START_TIMEOUT_MS / 1000} s.`);
    }
    if ((await Promise.race([exited, sleep(25)])) === 'exited') return undefined;
  }
}

type HandleParts = Server & {
  readonly data: DataDirectory;
  readonly binaries: Binaries;
  readonly password: string;
  readonly temporary: string | undefined;
};

function createHandle(parts: HandleParts): Postgres {
  const { guarded, port, pid, data, temporary } = parts;
  const waitForExit = async (): Promise<void> => {
    await guarded.exited;
    // The guard's pipe has no reader any more.
    guarded.child.stdin?.destroy();
  };
  const exited = waitForExit();
  const stop = async (mode: 'fast' | 'immediate' = 'fast'): Promise<void> => {
    if (mode === 'immediate' && guarded.child.exitCode === null) signal(pid, 'SIGQUIT');
    guarded.release();
    await exited;
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
  };
  return {
    host: '127.0.0.1',
    port,
    superuser: SUPERUSER,
    password: parts.password,
    version: parts.binaries.version,
    dataDirectory: data.path,
    logFile: parts.logFile,
    pid,
    exited,
    url(database = 'postgres', user = SUPERUSER, password = parts.password) {
      const [name, secret] = [user, password].map(encodeURIComponent);
      return `postgres://${name}:${secret}@127.0.0.1:${port}/${encodeURIComponent(database)}?sslmode=disable`;
    },
    stop,
    [Symbol.asyncDispose]: () => stop('fast'),
  };
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended already, which is what was wanted.
  }
}
