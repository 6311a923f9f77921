/** Lets one process at a time do something, by a lock file; what a dead process left behind is taken over. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GateError } from '../errors/errors.ts';
import { makePrivateDirectory, systemCodeOf } from './private-file.ts';

/** A lock older than this is taken over even if its process seems alive: ids are reused, and hosts share disks. */
export const lockAgeMsMax = 120_000;
const waitMsMax = lockAgeMsMax + 10_000;
const pollMs = 25;
/** Taking over is a handful of synchronous calls; whoever is not done after this long has died in between. */
const takeoverAgeMsMax = 10_000;

type Holder = { readonly pid: number; readonly host: string; readonly nonce: string };

/**
 * Runs `work` while holding the lock file at `path` (made with O_EXCL, removed afterwards). `work` must end within
 * `lockAgeMsMax`. Fails with `login-failed` when the lock does not come free in a little more than that.
 */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  await makePrivateDirectory(dirname(path));
  const holder: Holder = { pid: process.pid, host: hostname(), nonce: randomBytes(12).toString('hex') };
  const startedAt = performance.now();
  while (!tryCreate(path, JSON.stringify(holder))) {
    if (performance.now() - startedAt > waitMsMax) {
      throw new GateError('login-failed', `another gate process holds ${path} and does not let go of it`, {
        hint: 'Remove that file if no other gate is running.',
      });
    }
    if (isStale(path)) takeOver(path);
    else await sleep(pollMs);
  }
  try {
    return await work();
  } finally {
    // Whoever took over in the meantime keeps the lock.
    if (readHolder(path)?.nonce === holder.nonce) rmSync(path, { force: true });
  }
}

/** False when the file exists already. */
function tryCreate(path: string, text: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx', 0o600);
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return false;
    throw error;
  }
  try {
    writeSync(file, text);
  } finally {
    closeSync(file);
  }
  return true;
}

function isStale(path: string): boolean {
  if (ageMs(path) > lockAgeMsMax) return true;
  const holder = readHolder(path);
  // Without a readable holder the file is being written right now, or its writer died there: its age decides.
  if (holder === undefined) return ageMs(path) > takeoverAgeMsMax;
  return holder.host === hostname() && !isAlive(holder.pid);
}

/**
 * Removes a stale lock. Two waiters may find the same one stale; without the second lock file the slower would remove
 * the lock that the faster has made since.
 */
function takeOver(path: string): void {
  const guard = `${path}.takeover`;
  if (!tryCreate(guard, '')) {
    if (ageMs(guard) > takeoverAgeMsMax) rmSync(guard, { force: true });
    return;
  }
  try {
    if (isStale(path)) rmSync(path, { force: true });
  } finally {
    rmSync(guard, { force: true });
  }
}

function readHolder(path: string): Holder | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { pid, host, nonce } = value as Partial<Record<keyof Holder, unknown>>;
    if (typeof pid !== 'number' || typeof host !== 'string' || typeof nonce !== 'string') return undefined;
    return { pid, host, nonce };
  } catch {
    return undefined;
  }
}

/** Negative infinity when the file is gone: what is not there cannot be old. */
function ageMs(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? Number.NEGATIVE_INFINITY : Date.now() - found.mtimeMs;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and is somebody else's.
    return systemCodeOf(error) !== 'ESRCH';
  }
}
