/** The directory that holds everything a relay knows: private to one user, and used by one relay at a time. */
import { hash, randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod/mini';
import { GateError, messageOf } from '../errors/errors.ts';
import { fsyncDirectory } from './log-files.ts';

export type StateDirectory = {
  readonly path: string;
  /** Lets the next relay in. */
  close(): Promise<void>;
};

/**
 * Opens a state directory, making it (0700) when absent, and takes its lock. The lock of a process that died, or whose
 * number another process has now, is taken over. Throws `config-invalid` when others have access or a relay holds it.
 * The lock knows processes of this machine only: a directory shared over the network is not protected.
 */
export async function openStateDirectory(path: string): Promise<StateDirectory> {
  const lockPath = join(path, 'lock');
  let content: string;
  try {
    const made = await mkdir(path, { recursive: true, mode: 0o700 });
    if (made !== undefined) await fsyncDirectory(dirname(made));
    await checkPrivate(path);
    content = await takeLock(path, lockPath);
  } catch (error) {
    if (error instanceof GateError) throw error;
    const cause = messageOf(error);
    throw new GateError('config-invalid', `the state directory ${path} cannot be used: ${cause}`, { cause: error });
  }
  return {
    path,
    close: async () => {
      if ((await readLock(lockPath)) === content) await unlink(lockPath);
    },
  };
}

async function checkPrivate(path: string): Promise<void> {
  const { mode, uid } = await stat(path);
  if (process.platform === 'win32') return;
  const own = process.getuid?.();
  if (own !== undefined && uid !== own) {
    throw new GateError('config-invalid', `the state directory ${path} belongs to another user (uid ${uid})`, {
      hint: `chown ${own} ${path}`,
    });
  }
  if ((mode & 0o077) !== 0) {
    const octal = (mode & 0o777).toString(8).padStart(4, '0');
    throw new GateError('config-invalid', `the state directory ${path} is open to other users (mode ${octal})`, {
      hint: `chmod 700 ${path}`,
    });
  }
}

/** A lock is judged and taken again this often while others come and go, before it counts as held. */
const attemptsMax = 20;

async function takeLock(directory: string, lockPath: string): Promise<string> {
  const token = randomBytes(8).toString('hex');
  const content = `${JSON.stringify({ ...(await describeProcess(process.pid)), token })}\n`;
  const ownPath = join(directory, `lock.${token}`);
  await writeFile(ownPath, content, { mode: 0o600, flag: 'wx' });
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      // A link appears whole or not at all, and only where there was none: O_EXCL with the content already inside.
      if (await succeeds(link(ownPath, lockPath), 'EEXIST')) return content;
      const held = await readLock(lockPath);
      if (held === undefined) continue;
      const holder = parseHolder(held);
      if (await isAlive(holder)) throw lockedError(directory, holder?.pid);
      if (await replaceLock(lockPath, ownPath, held)) return content;
    }
  } finally {
    await succeeds(unlink(ownPath), 'ENOENT');
  }
  throw lockedError(directory, undefined);
}

/**
 * Puts this process's lock in the place of a dead one's. Only whoever holds the claim on that very content may, so that
 * two that found it dead cannot both; a claim whose holder died in turn is claimed in the same way.
 */
async function replaceLock(lockPath: string, ownPath: string, dead: string): Promise<boolean> {
  const claims = [claimPath(lockPath, dead)];
  for (let claim = claims[0]; claim !== undefined && !(await succeeds(link(ownPath, claim), 'EEXIST')); ) {
    const content = await readLock(claim);
    if (content === undefined || (await isAlive(parseHolder(content)))) return false;
    claim = claimPath(lockPath, content);
    claims.push(claim);
  }
  // A latecomer can hold the claim on a lock that has been replaced since. No content ever comes back.
  const isStill = (await readLock(lockPath)) === dead;
  if (isStill) await rename(ownPath, lockPath);
  for (const claim of claims) await succeeds(unlink(claim), 'ENOENT');
  return isStill;
}

function claimPath(lockPath: string, content: string): string {
  return `${lockPath}.${hash('sha256', content, 'hex').slice(0, 16)}`;
}

function lockedError(directory: string, pid: number | undefined): GateError {
  const who = pid === undefined ? 'another process' : `another gate relay (process ${pid})`;
  return new GateError('config-invalid', `${who} uses the state directory ${directory}`, {
    hint: 'Stop it, or give this one a state directory of its own.',
  });
}

async function succeeds(work: Promise<unknown>, codeOfNo: string): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (isCode(error, codeOfNo)) return false;
    throw error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

async function readLock(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

/** A process, told apart from a later one with the same number by its start, where /proc tells it. */
const Holder = z.object({ pid: z.int(), startTicks: z.optional(z.string()), boot: z.optional(z.string()) });
type Holder = z.infer<typeof Holder>;

function parseHolder(content: string): Holder | undefined {
  try {
    return Holder.parse(JSON.parse(content));
  } catch {
    return undefined;
  }
}

async function isAlive(holder: Holder | undefined): Promise<boolean> {
  if (holder === undefined) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (isCode(error, 'ESRCH')) return false;
  }
  const now = await describeProcess(holder.pid);
  if (now.isDead) return false;
  if (holder.boot !== undefined && now.boot !== undefined && holder.boot !== now.boot) return false;
  return holder.startTicks === undefined || now.startTicks === undefined || holder.startTicks === now.startTicks;
}

/** proc_pid_stat(5): field 3 is the state, 22 the start in ticks since boot; field 2 may hold blanks and brackets. */
async function describeProcess(pid: number): Promise<Holder & { isDead?: true }> {
  const [line, boot] = await Promise.all([
    readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined),
    readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => undefined),
  ]);
  const fields = line?.slice(line.lastIndexOf(')') + 2).split(' ') ?? [];
  const startTicks = fields[19];
  return {
    pid,
    ...(startTicks !== undefined && { startTicks }),
    ...(boot !== undefined && { boot: boot.trim() }),
    ...((fields[0] === 'Z' || fields[0] === 'X') && { isDead: true }),
  };
}
