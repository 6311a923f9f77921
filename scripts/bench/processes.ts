/** Child processes of the benchmark, and what the kernel says of their CPU time and memory (proc(5)). */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Cleanup } from './cleanup.ts';

export type ChildOptions = {
  readonly cleanup: Cleanup;
  readonly env?: NodeJS.ProcessEnv;
  /** Its stderr is appended here. */
  readonly logFile?: string;
};

const stopTimeoutMs = 5000;

/** A child that lives until the cleanup; its stdin is a pipe, so that it can notice that we died. */
export function startChild(command: readonly string[], options: ChildOptions): ChildProcess {
  const [file = '', ...words] = command;
  const log = options.logFile === undefined ? 'inherit' : openSync(options.logFile, 'a', 0o600);
  // In a session of its own: Ctrl-C is for the benchmark, which stops its children in order.
  const child = spawn(file, words, { stdio: ['pipe', 'pipe', log], detached: true, env: options.env ?? process.env });
  if (typeof log === 'number') closeSync(log);
  child.stdin?.on('error', () => undefined);
  child.on('error', () => undefined);
  options.cleanup.add(() => stopChild(child));
  return child;
}

export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  child.stdin?.destroy();
  const late = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
  await exited;
  clearTimeout(late);
}

/** The first lines of JSON on its stdout for which `pick` answers something, `count` of them. */
export async function readLines<T>(child: ChildProcess, count: number, pick: (line: string) => T | undefined): Promise<T[]> {
  if (child.stdout === null) throw new Error('the child has no stdout');
  const found: T[] = [];
  const lines = createInterface({ input: child.stdout });
  return new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      const picked = pick(line);
      if (picked !== undefined && found.length < count) found.push(picked);
      if (found.length === count) resolve(found);
    });
    lines.on('close', () => reject(new Error(`${child.spawnargs.slice(0, 4).join(' ')} ended before it was ready`)));
    child.once('error', reject);
  });
}

export type Finished = { readonly code: number | null; readonly out: string; readonly err: string };

/** Runs a program to its end. */
export async function run(command: readonly string[], options: ChildOptions & { readonly input?: string }): Promise<Finished> {
  const [file = '', ...words] = command;
  const child = spawn(file, words, { stdio: ['pipe', 'pipe', 'pipe'], env: options.env ?? process.env });
  options.cleanup.add(() => stopChild(child));
  const [out, err]: string[] = ['', ''];
  const said = { out: out ?? '', err: err ?? '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.err += text));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...said };
}

/** CPU time of a process in microseconds, all its live threads together, with nanoseconds of resolution (schedstat). */
export function cpuMicroseconds(pid: number): number {
  let nanoseconds = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ', 1)[0]);
    } catch {
      // A thread that has ended meanwhile; Node keeps its own for as long as it lives.
    }
  }
  return nanoseconds / 1000;
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

/** Open files that this process, and so its children, may have. */
export function openFilesMax(): number {
  const limit = /^Max open files\s+\d+\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return limit === 'unlimited' || limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
}
