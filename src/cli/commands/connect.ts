/**
 * gate connect: a grant, a session, and a local port that any PostgreSQL client can use until the grant ends.
 *
 * Events of `--json`, one per line; fields are only ever added:
 * - stdout `{"event":"ready","host","port","user","password","database","url","passfile","session","grant","target",
 *   "role","expiresAt"}`, once per target, when its port is open; with `--tls` also `sslmode` and `sslrootcert`.
 * - stdout, before that, where the grant needs approval: the events of `cli/approval.ts`.
 * - stdout `{"event":"ended","target","session","code","message"}`, once per target: `code` is `grant-expired`,
 *   `grant-revoked`, `session-ended`, `interrupted` (a signal) or `stdin-closed` (`--watch-stdin`).
 * - stderr `{"event":"warning","message"}`: the grant ends soon, the relay is away or back, another port than last time.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { GateError } from '../../errors/errors.ts';
import type { Context } from '../context.ts';
import { ExitCode, exitOfSignal } from '../exit-code.ts';
import { addApprovalFlags, addGrantFlags, resolveGrantRequest, type ApprovalFlags, type GrantFlags } from '../grant-flags.ts';
import { listenForInterrupt, type Interrupt } from '../interrupt.ts';
import { printForms, type PrintForm } from './connect/address.ts';
import type { ConnectTunnel, TunnelPlan } from './connect/tunnel.ts';

export type ConnectFlags = GrantFlags & ApprovalFlags & {
  /** 0 for any free one; undefined for the one that the target had last time. */
  readonly port?: number;
  readonly socketDir?: string;
  readonly listen?: '-';
  readonly tls?: boolean;
  readonly print?: PrintForm;
  readonly watchStdin?: boolean;
};

export function connectCommand(context: Context): Command {
  const command = new Command('connect')
    .summary('open a local port to a target')
    .description(
      'Get a grant for a target and open a local port to it. Any PostgreSQL client works through the port.\n' +
        'With a command behind "--", run it with PGHOST, PGPORT and so on set, and end with it.',
    )
    .usage('[options] <target...> [-- command...]')
    .argument('<target...>', 'one or more targets, each with a port of its own')
    .option('-p, --port <port>', 'exactly this local port; 0 picks a free one (default: the same as last time)', parsePort)
    .option('--socket-dir <directory>', 'a Unix socket in this private directory instead of a port')
    .addOption(new Option('--listen <where>', '"-": one connection over standard input and output').choices(['-']))
    .option('--tls', 'speak TLS on the port, with a certificate of your own local authority')
    .addOption(new Option('--print <form>', 'only this line on stdout').choices(printForms))
    .option('--watch-stdin', 'stop when standard input ends, as when the parent process dies');
  return addApprovalFlags(addGrantFlags(command), 'as long as it is open').action((operands: string[], flags: ConnectFlags, own: Command) => {
    const child = wordsBehindDashes(own);
    const targets = operands.slice(0, operands.length - child.length);
    return runConnect(context, { targets, child }, flags);
  });
}

export type ConnectWords = { readonly targets: readonly string[]; readonly child: readonly string[] };

export async function runConnect(context: Context, words: ConnectWords, flags: ConnectFlags): Promise<void> {
  checkFlags(context, words, flags);
  // Before a child, which has signals of its own, a wait listens for itself.
  const interrupt = words.child.length > 0 ? listenForInterrupt : () => ({ signal: context.stopSignal(), release: () => undefined });
  const plans = await makePlans(context, words, flags, interrupt);
  const { ConnectTunnel } = await import('./connect/tunnel.ts');
  const tunnels: ConnectTunnel[] = [];
  // A child's signals are its own; for everything else the first one ends the sessions, and the second the program.
  let signal: AbortSignal | undefined;
  const stop = () => (words.child.length === 0 ? (signal ??= context.stopSignal()) : undefined);
  try {
    for (const plan of plans) {
      tunnels.push(await ConnectTunnel.open(plan));
      // From the first session on there is something to tidy up.
      throwIfStopped(stop());
    }
    const [first] = tunnels;
    if (first === undefined) return;
    if (flags.listen !== undefined) return await overStdio(context, first, stop());
    for (const tunnel of tunnels) await tunnel.listen();
    if (words.child.length > 0) return await withChild(context, first, words.child);
    await announce(context, tunnels, flags);
    await holdOpen(context, tunnels, [stopped(stop()), ...(flags.watchStdin === true ? [stdinEnded()] : [])]);
  } finally {
    await Promise.all(tunnels.map((tunnel) => tunnel.close()));
    // While it is open and read, it keeps the process.
    if (flags.watchStdin) process.stdin.destroy();
  }
}

function checkFlags({ io }: Context, { targets, child }: ConnectWords, flags: ConnectFlags): void {
  const { port, socketDir, listen, tls, print, watchStdin } = flags;
  const refuseIf = (condition: boolean, message: string) => {
    if (condition) throw new GateError('usage', message, { hint: 'See gate connect --help.' });
  };
  const isOne = targets.length === 1;
  refuseIf(!isOne && flags.request !== undefined, '--request is for one target');
  refuseIf(targets.length === 0, 'name a target before "--"');
  refuseIf(new Set(targets).size < targets.length, 'the same target is named twice');
  refuseIf(!isOne && child.length > 0, 'a command can be run with one target only');
  refuseIf(!isOne && port !== undefined && port !== 0, '--port names one port, and each target needs its own');
  refuseIf(!isOne && listen !== undefined, '--listen - can serve one target only');
  refuseIf(listen !== undefined && (socketDir !== undefined || port !== undefined), '--listen - takes the place of a port');
  refuseIf(listen !== undefined && child.length > 0, '--listen - and a command both want standard input');
  refuseIf(listen !== undefined && (io.json || print !== undefined), 'with --listen - stdout belongs to the connection');
  refuseIf(listen !== undefined && watchStdin === true, '--listen - ends with standard input anyway');
  refuseIf(tls === true && (listen !== undefined || socketDir !== undefined), 'TLS is for ports: clients do not speak it over sockets and pipes');
  refuseIf(print !== undefined && (io.json || child.length > 0), 'with --json or a command there is nothing to --print');
  refuseIf(print === 'jdbc' && socketDir !== undefined, 'JDBC cannot reach a Unix socket without an extra library');
  refuseIf(child.length > 0 && watchStdin === true, 'standard input belongs to the command');
}

/** Questions to the user come first, so that no session is open while they are thought about. */
async function makePlans(
  context: Context,
  { targets, child }: ConnectWords,
  flags: ConnectFlags,
  interrupt: () => Interrupt,
): Promise<TunnelPlan[]> {
  const { io } = context;
  const [{ RelayNews }, { openApprovedSession }] = await Promise.all([import('./connect/relay-news.ts'), import('../approval.ts')]);
  const [relay, config] = await Promise.all([context.relay(), context.config()]);
  const shared = { io, relay, config, news: new RelayNews(io), isTls: flags.tls === true, hasChild: child.length > 0 };
  const plans: TunnelPlan[] = [];
  for (const target of targets) {
    const request = await resolveGrantRequest(context, target, flags);
    const label = targets.length > 1 ? `${target}: ` : '';
    const event = (value: object) => (io.json ? io.writeJson(value) : undefined);
    const wait = { wait: flags.wait, interrupt, event, label };
    plans.push({
      ...shared,
      request,
      open: () => openApprovedSession(io, relay, { command: 'connect', request }, wait),
      label,
      ...(flags.port !== undefined && { port: flags.port }),
      ...(flags.socketDir !== undefined && { socketDirectory: flags.socketDir }),
    });
  }
  return plans;
}

async function announce({ io }: Context, tunnels: readonly ConnectTunnel[], { print }: ConnectFlags): Promise<void> {
  const { printAddress, readyEvent, writeBlock } = await import('./connect/announce.ts');
  for (const { address } of tunnels) {
    if (io.json) await io.writeJson(readyEvent(address));
    else if (print !== undefined) await printAddress(io, address, print);
    else await writeBlock(io, address);
  }
  const caFile = tunnels[0]?.address.caFile;
  if (caFile !== undefined) io.say(`Only TLS is taken; the certificate is vouched for by your own local authority, ${caFile}`);
  const what = tunnels.length === 1 ? 'the port and ends the session' : 'the ports and ends the sessions';
  io.say(`Every statement is recorded. Ctrl-C closes ${what}.`);
}

/** Until every session has ended, a signal comes, or standard input ends where that is watched. */
async function holdOpen(context: Context, tunnels: readonly ConnectTunnel[], stops: readonly Promise<string>[]): Promise<void> {
  const { io } = context;
  const open = new Set(tunnels);
  let last: GateError | undefined;
  const over = Promise.all(
    tunnels.map(async (tunnel) => {
      const error = await tunnel.ended;
      if (!open.delete(tunnel)) return;
      last = error;
      await tellEnd(context, tunnel, error.code, error.message);
      // The last one's reason is how the command ends.
      if (open.size > 0) io.warn(`${tunnel.session.target}: ${error.message}`);
      await tunnel.close();
    }),
  ).then(() => 'over');
  const how = await Promise.race([over, ...stops]);
  if (last !== undefined && how === 'over') throw last;
  const left = [...open];
  open.clear();
  for (const tunnel of left) await tellEnd(context, tunnel, how === 'stdin' ? 'stdin-closed' : 'interrupted', `ended by ${how === 'stdin' ? 'the end of standard input' : how}`);
  if (how !== 'stdin') throw exitOfSignal(how);
}

async function tellEnd({ io }: Context, { session }: ConnectTunnel, code: string, message: string): Promise<void> {
  if (io.json) await io.writeJson({ event: 'ended', target: session.target, session: session.id, code, message });
}

/** Resolves with the signal's name. */
function stopped(signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) resolve(String(signal.reason));
    signal?.addEventListener('abort', () => resolve(String(signal.reason)), { once: true });
  });
}

function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw exitOfSignal(signal.reason);
}

function stdinEnded(): Promise<string> {
  return new Promise((resolve) => process.stdin.once('close', () => resolve('stdin')).once('error', () => resolve('stdin')).resume());
}

/** The port goes on answering after the session's end, so that the child's clients are told why. */
async function withChild(context: Context, tunnel: ConnectTunnel, child: readonly string[]): Promise<void> {
  const { io } = context;
  const [{ runChild }, { variablesOf, strayVariables }, { headline }, { childEnvironment }] = await Promise.all([
    import('./connect/child.ts'),
    import('./connect/address.ts'),
    import('./connect/announce.ts'),
    import('../../client/config.ts'),
  ]);
  const { address, session } = tunnel;
  io.say(headline(session.target, session.role, address));
  void tunnel.ended.then((error) => io.warn(error.message));
  const strays = Object.fromEntries(strayVariables.map((name) => [name, undefined]));
  const exitCode = await runChild(child as [string, ...string[]], childEnvironment({ ...strays, ...variablesOf(address) }));
  if (exitCode !== 0) throw new ExitCode(exitCode);
}

async function overStdio({ io }: Context, tunnel: ConnectTunnel, stop: AbortSignal | undefined): Promise<void> {
  const [{ serveStdio }, { headline }] = await Promise.all([import('./connect/stdio.ts'), import('./connect/announce.ts')]);
  const { session } = tunnel;
  const passfile = await tunnel.writeLoosePassfile();
  io.say(headline(session.target, session.role, { session }));
  io.say(`Log in as ${session.user} to ${session.database}; the password stands in ${passfile}`);
  await serveStdio(io, tunnel.connection, stop ?? new AbortController().signal);
  throwIfStopped(stop);
}

/** Commander drops the dashes and puts what is behind them among the operands. */
function wordsBehindDashes(command: Command): readonly string[] {
  let root = command;
  while (root.parent !== null) root = root.parent;
  const { rawArgs } = root as Command & { readonly rawArgs: readonly string[] };
  const at = rawArgs.indexOf('--');
  return at === -1 ? [] : rawArgs.slice(at + 1);
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65535) return port;
  throw new InvalidArgumentError('Write a port number from 0 to 65535.');
}
