/** Parses the command line, runs one command, and turns every failure into words and an exit code. */
import { Command, CommanderError, Option } from 'commander';
import { version } from '../../package.json';
import { GateError } from '../errors/errors.ts';
import { commandTable, isNamed, placeholderOf, type CommandEntry } from './command-table.ts';
import { readActions, readTerminalWishes } from './config.ts';
import { createContext, type Context, type GlobalFlags } from './context.ts';
import { ExitCode, exitOfSignal } from './exit-code.ts';
import { createIo, type Io, type IoStreams } from './io.ts';
import { withNameMemory } from './name-memory.ts';

export type MainOptions = {
  /** Arguments after the program's name. */
  readonly argv: readonly string[];
  readonly streams: IoStreams;
  /** Commands of rooms that the CLI may not import; `bin/` hands them in. */
  readonly extraCommands: readonly CommandEntry[];
  readonly stopSignal: Context['stopSignal'];
};

/** Runs one command line to its end and returns the exit code. */
export async function main(options: MainOptions): Promise<number> {
  const flags = readGlobalFlags(options.argv);
  const io = createIo(options.streams, { ...flags, ...readTerminalWishes(), isActions: readActions() !== undefined });
  try {
    const context = withNameMemory(createContext(io, flags, options.stopSignal));
    const program = await createProgram(context, options.extraCommands, (entry) => isNamed(entry, options.argv));
    program.configureOutput({
      writeOut: (text) => void options.streams.stdout.write(text),
      writeErr: (text) => void (io.json || io.writeError(text)),
    });
    for (const command of program.commands) inherit(command, program);
    await program.parseAsync(options.argv, { from: 'user' });
    return 0;
  } catch (error) {
    const exitCode = await report(error, io);
    const { aborted, reason } = options.stopSignal();
    // What fails after a signal fails because of it; a bug is one all the same.
    return aborted && error instanceof GateError ? exitOfSignal(reason).exitCode : exitCode;
  }
}

/** Of the commands that are not wanted, it has what a list of commands shows. */
export async function createProgram(
  context: Context,
  extraCommands: readonly CommandEntry[],
  isWanted: (entry: CommandEntry) => boolean = () => true,
): Promise<Command> {
  const program = new Command('gate')
    .description('Just-in-time, recorded access to PostgreSQL.')
    .version(version, '-V, --version')
    .addOption(new Option('--relay <url>', 'the relay to talk to').env('GATE_RELAY'))
    .option('--json', 'data and errors as JSON')
    .helpOption('-h, --help', 'show help')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('Run gate --help for the list of commands.')
    .exitOverride();
  const commands = [...commandTable, ...extraCommands].map(async (entry) =>
    isWanted(entry) ? (await entry.load())(context) : placeholderOf(entry),
  );
  for (const command of await Promise.all(commands)) program.addCommand(inherit(command, program));
  return program;
}

/** addCommand does not copy the parent's settings; without them a nested usage error would end the process. */
function inherit(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inherit(child, command);
  return command;
}

/** The two flags that must be known before the rest is parsed: how to report an error, and whom to ask. */
function readGlobalFlags(argv: readonly string[]): GlobalFlags {
  const end = argv.indexOf('--');
  const own = end === -1 ? argv : argv.slice(0, end);
  const at = own.findIndex((word) => word === '--relay' || word.startsWith('--relay='));
  const relay = own[at]?.startsWith('--relay=') ? own[at].slice('--relay='.length) : own[at + 1];
  return { json: own.includes('--json'), ...(at !== -1 && relay !== undefined && { relay }) };
}

async function report(error: unknown, io: Io): Promise<number> {
  if (error instanceof ExitCode) return error.exitCode;
  if (isClosedPipe(error)) return 141;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    if (io.json) writeError(io, { code: 'usage', message: error.message.replace(/^error: /, '') });
    return 2;
  }
  if (!(error instanceof GateError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (io.json) writeError(io, { code: 'internal', message: stack });
    else io.writeError(`gate: this is a bug, please report it\n${stack}\n`);
    return 1;
  }
  const { code, message, hint, rule, requestId, sqlstate } = error;
  const isSql = code === 'sql-error';
  const details = { ...(hint && { hint }), ...(rule && { rule }), ...(requestId && { requestId }) };
  if (io.json) writeError(io, { code, message, ...(isSql && { sqlstate }), ...details });
  else {
    const lines = [`gate: ${message}`, rule && `  rule: ${rule}`, requestId && `  request: ${requestId}`, hint && `  ${hint}`];
    const { showHidden } = await import('../audit/visible-text.ts');
    // A relay's words repeat names that others have chosen.
    io.writeError(`${showHidden(lines.filter(Boolean).join('\n'))}\n`);
  }
  return error.exitCode;
}

/** The reader of stdout went away (gate … | head): ends as it ends cat, without a word. */
function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EPIPE';
}

function writeError(io: Io, error: Record<string, string>): void {
  io.writeError(`${JSON.stringify({ error })}\n`);
}
