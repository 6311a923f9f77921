/** The data directory of a PostgreSQL server: making one, recognising one, and seeing whether a server runs on it. */
import { randomBytes } from 'node:crypto';
import { chown, mkdir, mkdtemp, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GateError } from '../errors/errors.ts';
import type { Binaries } from './binaries.ts';
import { startGuarded } from './guard.ts';
import { lastLines } from './log-tail.ts';
import { findClosedAncestor, findTemporaryRoot, type Identity } from './reach.ts';

export const SUPERUSER = 'postgres';
const PASSWORD_FILE = 'gate-superuser.password';
const LIVE_SERVER_WAIT_MS = 5_000;

export type DataDirectory = {
  readonly path: string;
  /** Who owns it and runs the server; undefined when that is us. */
  readonly runAs: Identity | undefined;
  readonly holdsCluster: boolean;
};

/** A fresh directory below the system's temporary one, owned by `runAs`. */
export async function makeTemporaryDirectory(runAs: Identity | undefined): Promise<string> {
  const directory = await mkdtemp(join(await findTemporaryRoot(runAs), 'gate-postgres-'));
  if (runAs !== undefined) await chown(directory, runAs.uid, runAs.gid);
  return directory;
}

/** Looks at the place for a cluster, and fails with `usage` when the server's user could not get there. */
export async function inspectDirectory(directory: string, identity: Identity | undefined): Promise<DataDirectory> {
  const wanted = resolve(directory);
  await mkdir(dirname(wanted), { recursive: true });
  const path = join(await realpath(dirname(wanted)), basename(wanted));
  const version = await stat(join(path, 'PG_VERSION')).catch(() => undefined);
  // A cluster stays its owner's; root changes to that user rather than taking the files over.
  const isOthers = identity !== undefined && version !== undefined && version.uid !== 0;
  const runAs = isOthers ? { uid: version.uid, gid: version.gid } : identity;
  const closed = runAs && (await findClosedAncestor(path, runAs));
  if (runAs !== undefined && closed !== undefined) {
    throw new GateError(
      'usage',
      `PostgreSQL does not run as root, and the user it runs as instead (uid ${runAs.uid}) may not enter ${closed}.`,
      { hint: `Choose another directory, or run: chmod o+x ${closed}` },
    );
  }
  return { path, runAs, holdsCluster: version !== undefined };
}

/** initdb into a directory beside `path`, renamed when whole, so that a crash leaves no half cluster under the name. */
export async function createCluster(
  data: DataDirectory,
  binaries: Binaries,
  options: { removes: readonly string[] },
): Promise<void> {
  const draft = `${data.path}.new`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { mode: 0o700 });
  const passwordFile = `${data.path}.password`;
  const password = randomBytes(24).toString('base64url');
  await writeFile(passwordFile, password, { mode: 0o600 });
  const log = await open(`${data.path}.initdb.log`, 'w+', 0o600);
  try {
    await give(draft, data.runAs);
    await give(passwordFile, data.runAs);
    const flags = ['--no-sync', '--no-instructions', '--locale=C', '--encoding=UTF8', '--auth=scram-sha-256'];
    const { exited } = startGuarded({
      command: [binaries.initdb, ...flags, `--username=${SUPERUSER}`, `--pwfile=${passwordFile}`, '-D', draft],
      runAs: data.runAs,
      cwd: draft,
      output: log.fd,
      politeSignal: 'TERM',
      removes: [draft, ...options.removes],
    });
    if ((await exited) !== 0) {
      const output = await readFile(`${data.path}.initdb.log`, 'utf8').catch(() => '');
      throw new GateError('usage', `initdb could not make a database cluster in ${data.path}: ${lastLines(output)}`);
    }
    await rename(passwordFile, join(draft, PASSWORD_FILE));
    await rename(draft, data.path);
  } finally {
    await log.close();
    await rm(passwordFile, { force: true });
    await rm(`${data.path}.initdb.log`, { force: true });
    await rm(draft, { recursive: true, force: true });
  }
}

/** The superuser's password. Fails with `usage` for a cluster that was not made here or for another major. */
export async function readCluster(data: DataDirectory, binaries: Binaries): Promise<{ password: string }> {
  const version = Number(await readFile(join(data.path, 'PG_VERSION'), 'utf8'));
  if (version !== binaries.version) {
    throw new GateError(
      'usage',
      `${data.path} was made by PostgreSQL ${version}, and the program found here is ${binaries.version}.`,
      { hint: `Install PostgreSQL ${version}, or choose another directory.` },
    );
  }
  const password = await readFile(join(data.path, PASSWORD_FILE), 'utf8').catch(() => undefined);
  if (password === undefined) {
    throw new GateError('usage', `${data.path} holds a PostgreSQL cluster that gate dev did not make.`, {
      hint: 'Choose another directory. To reach a server of your own, use gate dev --target NAME=DSN.',
    });
  }
  return { password };
}

/**
 * Waits for a server that is about to end (its starter was killed a moment ago), clears the pid file of one that died,
 * and fails with `usage` when a live one stays.
 */
export async function expectNoServer(dataDirectory: string): Promise<void> {
  const deadline = performance.now() + LIVE_SERVER_WAIT_MS;
  for (;;) {
    const pid = await readPostmasterPid(dataDirectory);
    if (pid === undefined) return;
    if (!(await isPostgres(pid))) return rm(join(dataDirectory, 'postmaster.pid'), { force: true });
    if (performance.now() > deadline) {
      throw new GateError('usage', `A PostgreSQL server already runs on ${dataDirectory} (process ${pid}).`, {
        hint: 'Stop the gate dev that it belongs to, or choose another directory.',
      });
    }
    await sleep(100);
  }
}

async function readPostmasterPid(dataDirectory: string): Promise<number | undefined> {
  const text = await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number(text.split('\n')[0]);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

/** Whether the process lives and may be a PostgreSQL server: a pid in a stale file may belong to anyone by now. */
async function isPostgres(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
  }
  if (process.platform !== 'linux') return true;
  const words = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return words.split('\0')[0]?.endsWith('postgres') ?? false;
}

export async function give(path: string, owner: Identity | undefined): Promise<void> {
  if (owner !== undefined) await chown(path, owner.uid, owner.gid);
}
