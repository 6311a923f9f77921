/** Keeps the relay's process running: waits for its ready line, keeps its log, starts it again when it dies. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod/mini';
import { GateError, isErrorCode } from '../errors/errors.ts';
import { lastLines } from './log-tail.ts';

const ReadyEvent = z.object({ event: z.literal('ready'), url: z.string(), port: z.number(), pid: z.number() });
/** What the child says on stdout, as one line of JSON, when it serves. */
export type ReadyEvent = z.infer<typeof ReadyEvent>;

const EndingError = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.optional(z.string()) }),
});

export type ChildExit = {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly willRestart: boolean;
};

export type SupervisorOptions = {
  /** Program and arguments. It must end when its stdin ends. */
  readonly command: readonly [string, ...string[]];
  /** Its stderr is appended here (0600). */
  readonly logFile: string;
  /** Told when it died without being asked to. */
  readonly onExit?: (exit: ChildExit) => void;
  /** Deaths in a row, each soon after the start, before it is left alone. Default 5. */
  readonly restartsMax?: number;
  /** Default 30 s. */
  readonly readyTimeoutMs?: number;
};

/** One that served for so long has recovered; deaths are counted anew. */
const RECOVERED_AFTER_MS = 10_000;
const STOP_TIMEOUT_MS = 15_000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  #child: ChildProcess | undefined;
  #ready: Promise<ReadyEvent>;
  #isWanted = true;
  #restarts = 0;
  /** Where the latest child's part of the log begins. */
  #logStart = 0;

  private constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#ready = this.#launch();
  }

  /** Resolves when the child serves. Fails with the error that it ended with, or `relay-unreachable` and the end of its log. */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const supervisor = new Supervisor(options);
    try {
      await supervisor.#ready;
    } catch (error) {
      await supervisor.stop();
      throw error;
    }
    return supervisor;
  }

  /** The child that serves now or, after a death, the next one. Rejects when it was left alone or stopped. */
  ready(): Promise<ReadyEvent> {
    return this.#ready;
  }

  /** Of the latest child, dead or alive. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Ends the child in order and starts another. */
  async restart(): Promise<ReadyEvent> {
    await this.stop();
    this.#isWanted = true;
    this.#restarts = 0;
    this.#ready = this.#launch();
    return this.#ready;
  }

  /** Asks with SIGTERM, and kills after 15 s. */
  async stop(): Promise<void> {
    this.#isWanted = false;
    const child = this.#child;
    // A restart that is under way sees that it is not wanted any more; its failure is no news.
    this.#ready.catch(() => undefined);
    if (child === undefined || hasEnded(child)) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    child.stdin?.destroy();
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(late);
  }

  async #launch(): Promise<ReadyEvent> {
    const [program, ...words] = this.#options.command;
    const log = openSync(this.#options.logFile, 'a', 0o600);
    let child: ChildProcess;
    try {
      this.#logStart = fstatSync(log).size;
      // In a session of its own: Ctrl-C in a terminal is for us, and we stop it in order.
      child = spawn(program, words, { stdio: ['pipe', 'pipe', log], detached: true });
    } finally {
      closeSync(log);
    }
    this.#child = child;
    child.stdin?.on('error', () => undefined);
    try {
      const ready = await this.#readReadyLine(child);
      const startedAt = performance.now();
      child.once('exit', (code, signal) => this.#onExit(code, signal, performance.now() - startedAt));
      if (hasEnded(child)) throw await this.#failure('it ended as soon as it served');
      return ready;
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  async #readReadyLine(child: ChildProcess): Promise<ReadyEvent> {
    if (child.stdout === null) throw new Error('the child has no stdout');
    const lines = createInterface({ input: child.stdout });
    // What it says later is nobody's business, but must be read so that it does not block.
    child.stdout.once('close', () => lines.close());
    return new Promise((resolve, reject) => {
      const fail = (reason: string): void => void this.#failure(reason).then(reject, reject);
      const late = setTimeout(() => fail('it took too long'), this.#options.readyTimeoutMs ?? 30_000);
      child.once('error', (error) => fail(error.message));
      child.once('exit', (code, signal) => fail(`it ended with ${signal ?? `exit code ${code}`}`));
      child.once('exit', () => clearTimeout(late));
      lines.on('line', (line) => {
        const ready = parseReady(line);
        if (ready === undefined) return;
        clearTimeout(late);
        resolve(ready);
      });
    });
  }

  async #fail(reason: string): Promise<never> {
    throw await this.#failure(reason);
  }

  async #failure(reason: string): Promise<GateError> {
    const log = (await readFile(this.#options.logFile).catch(() => Buffer.alloc(0))).toString('utf8', this.#logStart);
    const said = parseError(log.trimEnd().split('\n').at(-1) ?? '');
    if (said !== undefined) return said;
    return new GateError('relay-unreachable', `The relay did not start: ${reason}. ${lastLines(log)}`.trim());
  }

  #onExit(code: number | null, signal: NodeJS.Signals | null, servedMs: number): void {
    if (!this.#isWanted) return;
    this.#restarts = servedMs > RECOVERED_AFTER_MS ? 1 : this.#restarts + 1;
    const willRestart = this.#restarts <= (this.#options.restartsMax ?? 5);
    this.#ready = willRestart ? this.#relaunch() : this.#fail('it died too often');
    this.#ready.catch(() => undefined);
    this.#options.onExit?.({ code, signal, willRestart });
  }

  async #relaunch(): Promise<ReadyEvent> {
    for (;;) {
      await sleep(100 * 2 ** this.#restarts);
      if (!this.#isWanted) throw new GateError('relay-stopping', 'The relay was stopped.');
      try {
        return await this.#launch();
      } catch (error) {
        this.#restarts += 1;
        if (this.#restarts > (this.#options.restartsMax ?? 5)) {
          this.#options.onExit?.({ code: this.#child?.exitCode ?? null, signal: null, willRestart: false });
          throw error;
        }
      }
    }
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

/** A child that knows why it cannot serve says so as `--json` has it; the user reads it as if we had said it. */
function parseError(line: string): GateError | undefined {
  const { code = '', message = '', hint } = parseJson(EndingError, line)?.error ?? {};
  return isErrorCode(code) ? new GateError(code, message, hint === undefined ? {} : { hint }) : undefined;
}

function parseReady(line: string): ReadyEvent | undefined {
  return parseJson(ReadyEvent, line);
}

function parseJson<T>(schema: z.ZodMiniType<T>, line: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
