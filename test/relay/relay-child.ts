/** Starts the relay as a child process and answers what only the system knows about it: memory, files, life and death. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Relay } from '../../src/relay/relay.ts';

const program = fileURLToPath(new URL('relay-program.ts', import.meta.url));

/** For `startRelayFixture({ start: child.start })`; one child at a time. */
export class RelayChild {
  #child: ChildProcess | undefined;
  #logFile = '';

  readonly start = async (configFile: string, port: number): Promise<Relay> => {
    this.#logFile = join(dirname(configFile), 'relay.log');
    const log = openSync(this.#logFile, 'a', 0o600);
    const child = spawn(process.execPath, ['--import', 'tsx', program, configFile, String(port)], { stdio: ['pipe', 'pipe', log] });
    closeSync(log);
    this.#child = child;
    const ready = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).once('line', resolve);
      child.once('error', reject);
      child.once('exit', () => void this.log().then((text) => reject(new Error(`the relay did not start: ${text.slice(-2000)}`))));
    });
    return { ...(JSON.parse(ready) as { url: string; port: number }), reloadPolicy: async () => undefined, stop: () => this.end('SIGTERM') };
  };

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** True from the start to the exit: a relay that crashed is not alive. */
  get isAlive(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isAlive) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  /** Everything that it has logged so far, over all its lives. */
  log(): Promise<string> {
    return readFile(this.#logFile, 'utf8');
  }

  /** Resolves when it has taken in all that was sent to it: what it has read so far stays the same for a while. */
  async quiet(): Promise<void> {
    let last = '';
    let now = await this.#read();
    while (now !== last) {
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 300));
      now = await this.#read();
    }
  }

  /** proc_pid_io(5). */
  async #read(): Promise<string> {
    return /^rchar: (\d+)/m.exec(await readFile(`/proc/${this.pid}/io`, 'utf8'))?.[1] ?? '';
  }

  /** Resident memory in bytes, now and at its highest so far (proc_pid_status(5)). */
  async memory(): Promise<{ now: number; peak: number }> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
    return { now: field('VmRSS'), peak: field('VmHWM') };
  }
}
