/** The stage of the demo: says what happens, runs real commands, shows what they print, and stops at the first surprise. */
import { spawn, type ChildProcess } from 'node:child_process';
import { GateError } from '../errors/errors.ts';

export type StageIo = {
  readonly json: boolean;
  write(text: string): Promise<void>;
  writeJson(value: unknown): Promise<void>;
};

export type Finished = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

/** A command that goes on while the play does. */
export type Running = {
  /** Resolves with the first match in what it has printed so far, on either stream. Fails when it ends without. */
  waitFor(pattern: RegExp): Promise<RegExpExecArray>;
  /** Ends it as Ctrl-C would. */
  interrupt(): Promise<Finished>;
  readonly finished: Promise<Finished>;
};

export type Run = {
  readonly argv: readonly [string, ...string[]];
  /** What the audience sees as the command; argv[0] is replaced by a path otherwise. */
  readonly shown: string;
  readonly env: NodeJS.ProcessEnv;
};

const waitTimeoutMs = 60_000;

export class Stage {
  readonly #io: StageIo;
  readonly #signal: AbortSignal;
  readonly #children = new Set<ChildProcess>();
  #act = 0;

  constructor(io: StageIo, signal: AbortSignal) {
    this.#io = io;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#killAll());
  }

  async act(title: string, story: string): Promise<void> {
    this.#act += 1;
    if (this.#io.json) return this.#io.writeJson({ event: 'act', number: this.#act, title });
    await this.#io.write(`\n\n${this.#act}. ${title}\n${'='.repeat(title.length + 3)}\n${wrap(story)}\n`);
  }

  async say(text: string): Promise<void> {
    if (!this.#io.json) await this.#io.write(`\n${wrap(text)}\n`);
  }

  /** Runs a command to its end and shows it, and of what it prints what `shows` makes of it. Fails unless it ends with `expectedExit`. */
  async run(run: Run, expectedExit = 0, shows = ({ stdout, stderr }: Finished) => `${stdout}${stderr}`): Promise<Finished> {
    await this.#showCommand(run.shown);
    const finished = await this.#start(run).finished;
    await this.#showOutput(shows(finished));
    if (finished.exitCode !== expectedExit) {
      throw surprise(`"${run.shown}" ended with exit code ${finished.exitCode} in place of ${expectedExit}`);
    }
    return finished;
  }

  /** Starts a command that stays. What it prints is shown when it is waited for. */
  async start(run: Run): Promise<Running> {
    await this.#showCommand(run.shown);
    return this.#start(run);
  }

  /** Shows something that did not come from a command, in the same place. */
  async show(text: string): Promise<void> {
    await this.#showOutput(text);
  }

  async showCommand(text: string): Promise<void> {
    await this.#showCommand(text);
  }

  /** What the play is about; the demo fails when one of these does not hold. */
  async check(what: string, holds: boolean): Promise<void> {
    if (!holds) throw surprise(`it does not hold that ${what}`);
    if (this.#io.json) return this.#io.writeJson({ event: 'check', act: this.#act, what, ok: true });
    await this.#io.write(`\n   [ok] ${what}\n`);
  }

  #start(run: Run): Running {
    if (this.#signal.aborted) throw surprise('it was interrupted');
    const [program, ...args] = run.argv;
    const child = spawn(program, args, { env: run.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.add(child);
    let stdout = '';
    let stderr = '';
    const waiters = new Set<() => void>();
    const wake = () => waiters.forEach((waiter) => waiter());
    child.stdout.setEncoding('utf8').on('data', (text: string) => ((stdout += text), wake()));
    child.stderr.setEncoding('utf8').on('data', (text: string) => ((stderr += text), wake()));
    let ended = false;
    const finished = new Promise<Finished>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        this.#children.delete(child);
        ended = true;
        wake();
        resolve({ exitCode: code ?? (signal === 'SIGINT' ? 130 : 143), stdout, stderr });
      });
    });
    const waitFor = (pattern: RegExp) =>
      new Promise<RegExpExecArray>((resolve, reject) => {
        const stop = (settle: () => void) => {
          clearTimeout(timer);
          waiters.delete(look);
          settle();
        };
        const look = () => {
          const match = pattern.exec(`${stdout}${stderr}`);
          if (match !== null) stop(() => resolve(match));
          else if (ended) stop(() => reject(surprise(`"${run.shown}" ended too early:\n${stdout}${stderr}`)));
        };
        const timer = setTimeout(() => stop(() => reject(surprise(`"${run.shown}" did not print ${pattern}`))), waitTimeoutMs);
        waiters.add(look);
        look();
      });
    return {
      finished,
      waitFor,
      interrupt: () => {
        child.kill('SIGINT');
        return finished;
      },
    };
  }

  async #showCommand(text: string): Promise<void> {
    if (this.#io.json) return this.#io.writeJson({ event: 'command', act: this.#act, command: text });
    await this.#io.write(`\n   $ ${text}\n`);
  }

  async #showOutput(text: string): Promise<void> {
    if (this.#io.json || text === '') return;
    const lines = text.replace(/\n+$/, '').split('\n');
    await this.#io.write(lines.map((line) => `${line === '' ? '' : `   ${line}`}\n`).join(''));
  }

  /** Ends what still runs. */
  async close(): Promise<void> {
    const ended = [...this.#children].map((child) => new Promise((resolve) => child.once('close', resolve)));
    this.#killAll();
    await Promise.all(ended);
  }

  #killAll(): void {
    for (const child of this.#children) child.kill('SIGTERM');
  }
}

function surprise(what: string): GateError {
  return new GateError('internal', `the demo stopped: ${what}`);
}

/** Paragraphs to 88 columns. */
function wrap(text: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + word.length + 1 > 88) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].join('\n');
}
