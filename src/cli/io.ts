/** The only door to the terminal: data to stdout, words to stderr, colour and spinners where they are wanted. */
import type { ChalkInstance } from 'chalk';
import type { TerminalWishes } from './config.ts';
import { ExitCode } from './exit-code.ts';
import { disarm, disarmJson, formatAnnotation, type AnnotationLevel } from './workflow-command.ts';

/** What the commands need of the outside; tests build it from two strings' worth of streams. */
export type Io = {
  readonly json: boolean;
  /** stdin and stderr are terminals, and neither `--json` nor CI is on: questions may be asked. */
  readonly isInteractive: boolean;
  /** In a step of GitHub Actions, whose runner reads commands out of all output. None is left in what goes to stderr. */
  readonly isActions: boolean;
  /** The width of stdout where it is a terminal; undefined for a file or a pipe. */
  readonly outputColumns: number | undefined;
  /** Data. Resolves when the stream has taken it, so that long outputs stay in bounded memory. */
  write(text: string | Uint8Array): Promise<void>;
  /** One JSON value on its own line of stdout. */
  writeJson(value: unknown): Promise<void>;
  /** A line for people, on stderr. Silent under `--json`. */
  say(line: string): void;
  /** A line on stderr that must be seen also under `--json` (as {"event":"warning"} there). */
  warn(line: string): void;
  ask(question: string): Promise<string>;
  /** Shows progress on a terminal while `work` runs, which may change the text; nothing elsewhere. */
  withSpinner<T>(text: string, work: (change: (text: string) => void) => Promise<T>): Promise<T>;
  /** An event of `--json` on its own line of stderr, where stdout belongs to data. Silent else. */
  event(value: Readonly<Record<string, unknown>>): void;
  /** A remark beside the log of a step of GitHub Actions. Silent elsewhere, and under `--json`. */
  annotate(level: AnnotationLevel, title: string, message: string): void;
  /** Text for stderr as it is, but for the commands in it. */
  writeError(text: string): void;
  colors(): Promise<ChalkInstance>;
};

export type IoStreams = { stdin: NodeJS.ReadStream; stdout: NodeJS.WriteStream; stderr: NodeJS.WriteStream };

export function createIo(streams: IoStreams, options: { json: boolean; isActions?: boolean } & Partial<TerminalWishes>): Io {
  const { stdout, stderr } = streams;
  const { isActions = false } = options;
  const toError = (text: string) => void stderr.write(isActions ? (options.json ? disarmJson(text) : disarm(text)) : text);
  return {
    json: options.json,
    // Asked for when it is needed: Node opens its standard input at the first touch, which most commands never need.
    get isInteractive() {
      return !options.json && options.isCi !== true && streams.stdin.isTTY && stderr.isTTY;
    },
    isActions,
    outputColumns: stdout.isTTY ? stdout.columns : undefined,
    write: (text) =>
      new Promise((resolve, reject) => {
        stdout.write(text, (error) => (error ? reject(error) : resolve()));
      }),
    writeJson(value) {
      return this.write(`${JSON.stringify(value)}\n`);
    },
    say(line) {
      if (!options.json) toError(`${line}\n`);
    },
    warn(line) {
      toError(options.json ? `${JSON.stringify({ event: 'warning', message: line })}\n` : `gate: ${line}\n`);
    },
    event(value) {
      if (options.json) toError(`${JSON.stringify(value)}\n`);
    },
    annotate(level, title, message) {
      if (isActions && !options.json) stderr.write(`${formatAnnotation(level, title, message)}\n`);
    },
    writeError: toError,
    async ask(question) {
      const { createInterface } = await import('node:readline/promises');
      const terminal = createInterface({ input: streams.stdin, output: stderr });
      try {
        return (await terminal.question(question)).trim();
      } catch (error) {
        // Ctrl-C and Ctrl-D at a question end the command as they end a shell's.
        if (error instanceof Error && error.name === 'AbortError') throw new ExitCode(130);
        throw error;
      } finally {
        terminal.close();
      }
    },
    async withSpinner(text, work) {
      // ora never returns on a terminal that reports no width.
      if (!this.isInteractive || !(stderr.columns > 0)) return work(() => undefined);
      const { default: ora } = await import('ora');
      // Without discardStdin: it changes the mode of the terminal, and a job in the background is stopped for that.
      const spinner = ora({ text, stream: stderr, discardStdin: false }).start();
      try {
        return await work((changed) => (spinner.text = changed));
      } finally {
        spinner.stop();
      }
    },
    async colors() {
      const { Chalk } = await import('chalk');
      return new Chalk({ level: wantsColor(stdout, options.color) ? 1 : 0 });
    },
  };
}

/** Where nothing is wished, a terminal that has colours gets them. */
function wantsColor(stream: NodeJS.WriteStream, wish: TerminalWishes['color']): boolean {
  return wish === undefined ? stream.isTTY && stream.hasColors() : wish === 'always';
}
