/** Runs a program so that it cannot outlive the process that started it, not even when that one is killed with -9. */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Identity } from './reach.ts';

/**
 * The shell holds the read end of a pipe whose only write end is ours. End of file means that we stopped it or died;
 * then the program gets the polite signal until it is gone, after ten seconds the one it cannot put off, and what was
 * named for removal goes. A program that ends by itself leaves the files to us.
 * A background job of a non-interactive shell starts with SIGINT ignored, so one signal sent too early would be lost:
 * hence the repetition.
 */
const GUARD = `
polite=$1 trash=$2 rubbish=$3
shift 3
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
trap 'kill -"$polite" "$program"' INT TERM HUP
(
  trap - INT TERM HUP
  while read -r line <&3; do :; done
  trap '' INT TERM HUP
  tries=0
  while kill -0 "$program"; do
    if [ "$tries" -lt 100 ]; then kill -"$polite" "$program"; else kill -QUIT "$program"; fi
    tries=$((tries + 1))
    sleep 0.1
  done
  cd /
  if [ -n "$trash" ]; then rm -rf "$trash"; fi
  if [ -n "$rubbish" ]; then rm -rf "$rubbish"; fi
) 2>/dev/null &
watcher=$!
wait "$program"
code=$?
while kill -0 "$program" 2>/dev/null; do
  wait "$program"
  code=$?
done
# Some shells would report the end of the watcher, into the program's log.
exec 2>/dev/null
kill "$watcher"
wait "$watcher"
exit "$code"
`;

export type GuardOptions = {
  readonly command: readonly string[];
  readonly runAs: Identity | undefined;
  readonly cwd: string;
  /** File descriptor for the program's stdout and stderr. */
  readonly output: number;
  readonly politeSignal: 'INT' | 'TERM';
  /** At most two paths, removed by the guard when we stopped the program or died. */
  readonly removes: readonly string[];
};

export type Guarded = {
  readonly child: ChildProcess;
  /** Resolves with the exit code; null when the guard itself was killed. Rejects when it could not be started. */
  readonly exited: Promise<number | null>;
  /** Asks the program to end, politely first. Await `exited` for the end. */
  release(): void;
};

/** Starts in a session of its own, so that Ctrl-C in a terminal reaches the program only through us. */
export function startGuarded(options: GuardOptions): Guarded {
  const [trash = '', rubbish = ''] = options.removes;
  const words = [options.politeSignal, trash, rubbish, ...options.command];
  const child = spawn('/bin/sh', ['-c', GUARD, 'gate-guard', ...words], {
    ...options.runAs,
    cwd: options.cwd,
    detached: true,
    // A settled locale keeps messages readable for us; nothing else of our environment is the program's business.
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', options.output, options.output],
  });
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code));
  });
  // Whoever needs the outcome awaits `exited`; a start that nobody awaits any more must not crash the process.
  exited.catch(() => undefined);
  child.stdin?.on('error', () => undefined);
  return {
    child,
    exited,
    release() {
      child.ref();
      child.stdin?.destroy();
    },
  };
}
