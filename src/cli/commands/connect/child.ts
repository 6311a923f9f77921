/** A program run with an open tunnel in its environment: its terminal, its signals and its exit code are its own. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { GateError } from '../../../errors/errors.ts';

/**
 * Runs it to its end and answers its exit code, 128 plus the signal's number where one ended it. SIGTERM and SIGHUP are
 * passed on. SIGINT is left to it: the terminal sends Ctrl-C to the whole group, and without a terminal it is passed on.
 * Fails with `usage` when it cannot be started.
 */
export async function runChild(command: readonly [string, ...string[]], environment: NodeJS.ProcessEnv): Promise<number> {
  const [program, ...words] = command;
  const child = spawn(program, words, { env: environment, stdio: 'inherit' });
  const passOn = (signal: NodeJS.Signals) => void child.kill(signal);
  const listeners = { SIGINT: hasTerminal() ? () => undefined : passOn, SIGTERM: passOn, SIGHUP: passOn };
  for (const [signal, listener] of Object.entries(listeners)) process.on(signal as NodeJS.Signals, listener);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        const reason = error.code === 'ENOENT' ? 'there is no such program' : error.message;
        reject(new GateError('usage', `cannot run ${program}: ${reason}`, { cause: error }));
      });
      child.once('exit', (code, signal) => resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]));
    });
  } finally {
    for (const [signal, listener] of Object.entries(listeners)) process.off(signal, listener);
  }
}

/** Only a process with a controlling terminal can open this. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
