/** gate relay: the service in the foreground, and the check of its configuration. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';

/** What this command needs of the program that it is part of. */
export type RelayContext = {
  readonly io: {
    readonly json: boolean;
    writeJson(value: unknown): Promise<void>;
    write(text: string): Promise<void>;
    say(line: string): void;
    warn(line: string): void;
  };
  stopSignal(onHangup?: () => void): AbortSignal;
};

type Flags = { readonly config: string; readonly logLevel: string; readonly watchStdin?: boolean; readonly workers: number };

const workersMax = 64;
const logLevels = ['debug', 'info', 'warn', 'error', 'silent'];

export function relayCommand(context: RelayContext): Command {
  const relay = new Command('relay')
    .summary('run the relay (the service)')
    .description('Run the relay: holds the database credentials, verifies who is asking, decides, records, forwards.')
    .requiredOption('--config <file>', 'relay.yaml')
    .option('--log-level <level>', logLevels.join(', '), parseLevel, 'info')
    .option('--watch-stdin', 'stop when standard input ends, as when the parent process dies')
    .option('--workers <n>', `processes that serve tunnels, 1 to ${workersMax}; more than one pays on more than two cores`, parseWorkers, 1)
    .action((flags: Flags) => runRelay(context, flags));
  relay.addCommand(
    new Command('check')
      .summary('validate relay.yaml and the policy, and stop')
      .action((_: unknown, command: Command) => runCheck(context, command.optsWithGlobals<Flags>())),
  );
  relay.addCommand(
    new Command('rotate-key')
      .summary('give the record another signing key, while the relay is stopped')
      .description(
        'Announces the new key by an entry under the old one, has both keys sign one checkpoint, and puts the new one in place. ' +
          'Tell witnesses the new verifier key, which is printed.',
      )
      .action((_: unknown, command: Command) => runRotateKey(context, command.optsWithGlobals<Flags>().config)),
  );
  return relay;
}

export async function runRelay(context: RelayContext, flags: Flags): Promise<void> {
  const { loadRelayConfig } = await import('./config.ts');
  const config = await loadRelayConfig(flags.config);
  const [{ startRelay }, { createRelayLog }] = await Promise.all([import('./relay.ts'), import('./relay-log.ts')]);
  const log = createRelayLog(flags.logLevel);
  for (const warning of [...config.warnings, ...workerWarnings(flags.workers)]) log.warn(warning);
  const relay = await startRelay(config, log, undefined, flags.workers);
  const signal = context.stopSignal(() => void relay.reloadPolicy());
  // Also when whoever started it has gone before it could be told: nobody would stop it later.
  try {
    log.info({ url: relay.url, targets: [...config.targets.keys()] }, 'relay serves');
    if (context.io.json) await context.io.writeJson({ event: 'ready', url: relay.url, port: relay.port, pid: process.pid });
    else context.io.say(`The relay serves at ${relay.url}. Stop it with Ctrl-C.`);
    const reason = await stopped(signal, flags.watchStdin === true);
    log.info({ reason }, 'relay stops');
  } finally {
    await relay.stop();
    log.info('relay stopped');
    // While it is open and read, it keeps the process.
    if (flags.watchStdin) process.stdin.destroy();
  }
}

function stopped(signal: AbortSignal, watchStdin: boolean): Promise<string> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(String(signal.reason)));
    if (watchStdin) process.stdin.on('close', () => resolve('standard input ended')).resume();
  });
}

/** Everything that can be known without connecting anywhere. */
export async function runCheck(context: RelayContext, { config: file, workers }: Pick<Flags, 'config' | 'workers'>): Promise<void> {
  const { loadRelayConfig } = await import('./config.ts');
  const { targets, policy, issuer, ...config } = await loadRelayConfig(file);
  const warnings = [...config.warnings, ...workerWarnings(workers)];
  const summary = { ok: true, issuer: issuer.url, targets: [...targets.keys()], policy: policy.digest, warnings };
  if (context.io.json) return context.io.writeJson(summary);
  for (const warning of warnings) context.io.warn(warning);
  context.io.say(`${file} is valid: ${targets.size} targets, issuer ${issuer.url}, policy ${policy.digest.slice(0, 12)}.`);
}

/** The state directory is locked meanwhile, so a relay that runs makes this fail. */
export async function runRotateKey(context: RelayContext, file: string): Promise<void> {
  const [{ loadRelayConfig }, { openStateDirectory }, { rotateKey }] = await Promise.all([
    import('./config.ts'),
    import('../store/state-directory.ts'),
    import('../store/rotate-key.ts'),
  ]);
  const { stateDirectory, record } = await loadRelayConfig(file);
  const state = await openStateDirectory(stateDirectory);
  try {
    const rotation = await rotateKey(join(stateDirectory, 'log'), record);
    if (context.io.json) return await context.io.writeJson(rotation);
    context.io.say(`Checkpoints are signed with a new key from entry ${rotation.size} on. Its verifier key:`);
    await context.io.write(`${rotation.to}\n`);
  } finally {
    await state.close();
  }
}

/** Beside the workers there is the process that records, and the database wants its share. */
function workerWarnings(workers: number): string[] {
  const cores = availableParallelism();
  if (workers === 1 || cores > 2) return [];
  return [`--workers ${workers} on ${cores} ${cores === 1 ? 'core' : 'cores'}: one process is the faster there`];
}

function parseWorkers(text: string): number {
  const workers = Number(text);
  if (Number.isInteger(workers) && workers >= 1 && workers <= workersMax) return workers;
  throw new InvalidArgumentError(`Write a whole number from 1 to ${workersMax}.`);
}

function parseLevel(text: string): string {
  if (logLevels.includes(text)) return text;
  throw new InvalidArgumentError(`Write one of ${logLevels.join(', ')}.`);
}
