/** gate witness: cosigns the checkpoints of relays, in the foreground, for those who do not want to trust a relay's word alone. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { NoteKey } from '../audit/checkpoint.ts';
import { GateError, messageOf } from '../errors/errors.ts';

/** What this command needs of the program that it is part of. */
export type WitnessContext = {
  readonly io: {
    readonly json: boolean;
    write(text: string): Promise<void>;
    writeJson(value: unknown): Promise<void>;
    say(line: string): void;
    warn(line: string): void;
  };
  stopSignal(): AbortSignal;
};

type Flags = {
  readonly state: string;
  readonly log: readonly string[];
  readonly name?: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly watchStdin?: boolean;
};

export function witnessCommand(context: WitnessContext): Command {
  return new Command('witness')
    .summary('run a witness, which cosigns the checkpoints of relays')
    .description(
      'Run a witness (c2sp.org/tlog-witness): it keeps the newest checkpoint of each log, and cosigns another one only when ' +
        'that continues it. Run it where the operators of the relay have no access. Prints its verifier key.',
    )
    .requiredOption('--state <dir>', 'its key and the checkpoints it has cosigned; made at the first start')
    .requiredOption('--log <vkey>', 'verifier key of a log, or @file with some (repeatable)', collect)
    .option('--name <name>', 'name of its key, such as witness.example.com/w1; at the first start, else the host name is taken')
    .addOption(
      new Option('--listen <host:port>', 'where it serves plain HTTP')
        .argParser(parseListen)
        .default({ host: '127.0.0.1', port: 7444 }, '127.0.0.1:7444'),
    )
    .option('--watch-stdin', 'stop when standard input ends, as when the parent process dies')
    .action((flags: Flags) => runWitness(context, flags));
}

export async function runWitness(context: WitnessContext, flags: Flags): Promise<void> {
  const { io } = context;
  // Asked for first: a signal while it starts must stop it too.
  const signal = context.stopSignal();
  const { startWitness } = await import('./server.ts');
  const witness = await startWitness({
    stateDirectory: flags.state,
    logs: await loadLogKeys(flags.log),
    listen: flags.listen,
    warn: (line) => io.warn(line),
    ...(flags.name !== undefined && { name: flags.name }),
  });
  try {
    const { url, verifierKey } = witness;
    if (!isLoopback(flags.listen.host)) io.warn(`${url} is plain HTTP and not on loopback: put a server with TLS in front of it`);
    if (io.json) await io.writeJson({ event: 'ready', url, vkey: verifierKey, pid: process.pid });
    else await io.write(`${verifierKey}\n`);
    io.say(`The witness serves at ${url}. Stop it with Ctrl-C.`);
    await stopped(signal, flags.watchStdin === true);
  } finally {
    await witness.stop();
    // While it is open and read, it keeps the process.
    if (flags.watchStdin) process.stdin.destroy();
  }
}

/** In a file, one key on a line; empty lines and those with # are passed over. */
async function loadLogKeys(values: readonly string[]): Promise<NoteKey[]> {
  const { readFile } = await import('node:fs/promises');
  const texts: string[] = [];
  for (const value of values) {
    if (!value.startsWith('@')) texts.push(value);
    else {
      const file = value.slice(1);
      const content = await readFile(file, 'utf8').catch((error: unknown) => {
        throw new GateError('config-invalid', `cannot read the key of a log: ${messageOf(error)}`, { cause: error });
      });
      const lines = content.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
      if (lines.length === 0) throw new GateError('config-invalid', `there is no key in ${file}`);
      texts.push(...lines);
    }
  }
  return parseLogKeys(texts);
}

async function parseLogKeys(texts: readonly string[]): Promise<NoteKey[]> {
  const { parseVerifierKey } = await import('../audit/checkpoint.ts');
  return texts.map((text) => {
    const key = parseVerifierKey(text);
    if (key.type !== 'ed25519') throw new GateError('usage', `the key of ${key.name} is one of a witness, not of a log`);
    return key;
  });
}

function stopped(signal: AbortSignal, watchStdin: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve());
    if (watchStdin) process.stdin.on('close', () => resolve()).resume();
  });
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function parseListen(text: string): Flags['listen'] {
  const [, host = '', port = ''] = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === '' || Number(port) > 65_535) throw new InvalidArgumentError('Write host:port, such as 127.0.0.1:7444.');
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
