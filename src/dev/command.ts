/** gate dev: the whole stack in the foreground, and logins that answer themselves. */
import { Argument, Command, InvalidArgumentError } from 'commander';
import type { ClientConfig } from '../client/config.ts';
import { GateError } from '../errors/errors.ts';
import { DEMO_ACCOUNTS } from './accounts.ts';
import { findDatabasePassword } from './config.ts';
import type { Stack, StackOptions } from './stack.ts';

/** What these commands need of the command line's context. */
export type DevContext = {
  readonly io: {
    readonly json: boolean;
    write(text: string): Promise<void>;
    say(line: string): void;
    warn(line: string): void;
    writeJson(value: unknown): Promise<void>;
    withSpinner<T>(text: string, work: () => Promise<T>): Promise<T>;
  };
  config(): Promise<ClientConfig>;
  stopSignal(): AbortSignal;
};

type DevFlags = {
  readonly state?: string;
  readonly port?: number;
  readonly target: readonly { name: string; dsn: string }[];
  readonly policy?: string;
};

export function devCommand(context: DevContext): Command {
  return new Command('dev')
    .summary('run everything on this machine: OIDC provider, relay, demo PostgreSQL')
    .description(
      'Runs an OIDC provider, a relay and a PostgreSQL server with a small shop on loopback until Ctrl-C, for trying ' +
        'gate out and for tests. Without --state nothing is kept.',
    )
    .option('--state <dir>', 'keep database, keys and recordings here between runs')
    .option('--port <n>', 'port of the relay', parsePort)
    .option('--target <name=dsn>', 'add a database of your own (repeatable); without a password in it, PGPASSWORD is taken', collectTarget, [])
    .option('--policy <file>', "use this policy in place of the demo's")
    .action((flags: DevFlags) => runDev(context, flags))
    .addCommand(devLoginCommand(context))
    .addCommand(devDemoCommand(context));
}

function devLoginCommand(context: DevContext): Command {
  return new Command('login')
    .summary("log in as an account of gate dev, answering the provider's page by itself")
    .addArgument(new Argument('<account>').choices(DEMO_ACCOUNTS.map(({ name }) => name)))
    .action((account: string) => runDevLogin(context, account));
}

function devDemoCommand(context: DevContext): Command {
  return new Command('demo')
    .summary('play the main job from login to replay on real parts, and check every step')
    .action(async () => {
      const { runDemo } = await import('./demo.ts');
      await runDemo(context, thisProgram());
    });
}

/** Resolves when Ctrl-C has stopped everything; fails when a part died for good, after stopping the others. */
export async function runDev(context: DevContext, flags: DevFlags): Promise<void> {
  const { io } = context;
  // Asked for first: Ctrl-C while things start must stop them too.
  const signal = context.stopSignal();
  const { startStack } = await import('./stack.ts');
  const failure = new Failure();
  const stack = await io.withSpinner('Starting provider, PostgreSQL and relay', () =>
    startStack({
      program: thisProgram(),
      ...toOptions(flags),
      onRelayExit: ({ code, signal: killedBy, willRestart }) => {
        io.warn(`the relay ended (${killedBy ?? `exit code ${code}`})${willRestart ? '; starting it again' : ''}`);
        if (!willRestart) failure.report(new GateError('relay-unreachable', 'The relay died too often.'));
      },
    }),
  );
  try {
    void stack.postgres.exited.then(() =>
      failure.report(new GateError('upstream-unreachable', 'The PostgreSQL server ended.')),
    );
    if (!signal.aborted) await announce(context, stack);
    await Promise.race([aborted(signal), failure.promise]);
  } finally {
    await stack.stop();
  }
  io.say('Stopped. Nothing is left running.');
}

async function announce({ io }: DevContext, stack: Stack): Promise<void> {
  if (io.json) {
    return io.writeJson({
      event: 'ready',
      relay: stack.relayUrl,
      issuer: stack.issuer,
      accounts: stack.accounts.map(({ name, groups }) => ({ name, groups })),
      targets: stack.targets,
      stateDirectory: stack.stateDirectory,
      relayPid: stack.relayPid(),
      issuerPid: process.pid,
      postgresPid: stack.postgres.pid,
    });
  }
  const accounts = stack.accounts.map(({ name, groups }) => `${name} (${groups.join(', ')})`);
  const [target = ''] = stack.targets;
  const lines = [
    `relay      ${stack.relayUrl}`,
    `provider   ${stack.issuer}`,
    `accounts   ${accounts.join(' · ')}`,
    `targets    ${stack.targets.join(', ')} (PostgreSQL ${stack.postgres.version})`,
    `state      ${stack.stateDirectory}`,
    '',
    'Next, in another terminal:',
    '',
    `  export GATE_RELAY=${stack.relayUrl}`,
    '  gate dev login engineer',
    `  gate exec ${target} --sql 'select name, email from customers limit 3' --reason 'trying gate out'`,
    `  gate connect ${target} --reason 'trying gate out'`,
    '  gate sessions list',
    '',
    'Ctrl-C stops everything.',
  ];
  for (const line of lines) io.say(line);
}

/** The login of `gate login` in the current configuration, with the provider's page answered here. */
export async function runDevLogin(context: DevContext, account: string): Promise<void> {
  const { io } = context;
  const [{ login }, { approveDevice }] = await Promise.all([import('../client/login.ts'), import('./device-page.ts')]);
  const signal = context.stopSignal();
  // Without an answer there is nothing to wait for.
  const unanswered = new AbortController();
  let failure: unknown;
  const result = await login(await context.config(), {
    signal: AbortSignal.any([signal, unanswered.signal]),
    warn: (line) => io.warn(line),
    onPrompt: async ({ verificationUri, userCode }) => {
      await approveDevice({ verificationUri, userCode, account, decision: 'approve' }).catch((error: unknown) => {
        failure = error;
        unanswered.abort();
      });
    },
  }).catch((error: unknown) => {
    throw failure ?? error;
  });
  if (io.json) return io.writeJson({ event: 'login', ...result });
  io.say(`Logged in to ${result.relay} as ${result.name} (${result.groups.join(', ')}).`);
}

/** The command that is running now, so that the relay is the same build. */
function thisProgram(): [string, ...string[]] {
  const [, script] = process.argv;
  return [process.execPath, ...process.execArgv, ...(script === undefined ? [] : [script])];
}

function toOptions({ state, port, target, policy }: DevFlags): Omit<StackOptions, 'program'> {
  const password = findDatabasePassword();
  return {
    targets: target.map((added) => ({ ...added, ...(password !== undefined && { password }) })),
    ...(state !== undefined && { stateDirectory: state }),
    ...(port !== undefined && { port }),
    ...(policy !== undefined && { policyFile: policy }),
  };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new InvalidArgumentError('It must be a number from 1 to 65535.');
}

function collectTarget(text: string, previous: DevFlags['target']): DevFlags['target'] {
  const at = text.indexOf('=');
  // The text may hold a password and is not repeated; the parts are checked where the stack starts.
  if (at < 1) {
    throw new GateError('usage', '--target is written NAME=DSN.', {
      hint: 'For example: --target my-db=postgres://me@localhost/my',
    });
  }
  return [...previous, { name: text.slice(0, at), dsn: text.slice(at + 1) }];
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The first part that died for good. It may die before anyone waits, or while the others are being stopped. */
class Failure {
  #reject: ((error: Error) => void) | undefined;
  readonly promise = new Promise<never>((_, reject) => {
    this.#reject = reject;
  });

  constructor() {
    this.promise.catch(() => undefined);
  }

  report(error: Error): void {
    this.#reject?.(error);
  }
}
