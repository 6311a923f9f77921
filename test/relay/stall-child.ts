/** A relay as a process of its own that tells how long its event loop has stood still. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Relay } from '../../src/relay/relay.ts';

const program = fileURLToPath(new URL('stall-program.ts', import.meta.url));

/** The longest stretch without a turn of the loop: what the main thread used of a processor in it, and the clock. */
export type Stall = { readonly processorMs: number; readonly wallMs: number };

/** For `startRelayFixture({ start: child.start })`. */
export class StallChild {
  readonly #flags: readonly string[];
  #child: ChildProcess | undefined;

  /** `flags`: of Node, to have a profile of the relay written. */
  constructor(flags: readonly string[] = []) {
    this.#flags = flags;
  }

  readonly start = async (configFile: string, port: number): Promise<Relay> => {
    const child = spawn(process.execPath, [...this.#flags, '--import', 'tsx', program, configFile, String(port)], {
      stdio: ['pipe', 'pipe', 'inherit', 'ipc'],
    });
    this.#child = child;
    const failed = once(child, 'exit').then(() => Promise.reject(new Error('the relay did not start')));
    failed.catch(() => undefined);
    const [line] = (await Promise.race([once(child.stdout as NonNullable<typeof child.stdout>, 'data'), failed])) as [Buffer];
    const stop = async () => {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    };
    return { ...(JSON.parse(String(line)) as { url: string; port: number }), reloadPolicy: async () => undefined, stop };
  };

  /** Forgets what was before. */
  async reset(): Promise<void> {
    await this.#ask();
  }

  /** Of what has happened since the last `reset`. */
  worst(): Promise<Stall> {
    return this.#ask();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async #ask(): Promise<Stall> {
    const child = this.#child as ChildProcess;
    const answer = once(child, 'message');
    child.send('stall?');
    return ((await answer) as [Stall])[0];
  }
}
