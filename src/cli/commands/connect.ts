/** gate connect: a grant, a session, and a local port that any PostgreSQL client can use until the grant ends. */
import { Command, InvalidArgumentError } from 'commander';
import type { LocalPort } from '../../client/local-port.ts';
import type { OpenSession } from '../../client/session.ts';
import { GateError } from '../../errors/errors.ts';
import type { Context } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { addGrantFlags, resolveGrantRequest, type GrantFlags } from '../grant-flags.ts';
import { formatRelative } from '../output.ts';

type Flags = GrantFlags & { readonly port: number; readonly socketDir?: string };

/** Warnings on stderr, this long before the grant ends. */
const warnBeforeMs = [5 * 60_000, 60_000];
const signalExitCodes: Readonly<Record<string, number>> = { SIGINT: 130, SIGTERM: 143 };

export function connectCommand(context: Context): Command {
  const command = new Command('connect')
    .summary('open a local port to a target')
    .description('Get a grant for a target and open a local port to it. Any PostgreSQL client works through the port.')
    .argument('<target>')
    .option('-p, --port <port>', 'local port; 0 picks a free one', parsePort, 0)
    .option('--socket-dir <directory>', 'a Unix socket in this private directory instead of a port');
  return addGrantFlags(command).action((target: string, flags: Flags) => runConnect(context, target, flags));
}

export async function runConnect(context: Context, target: string, flags: Flags): Promise<void> {
  const [{ openSession }, { startLocalPort }, { writePassfile }] = await Promise.all([
    import('../../client/session.ts'),
    import('../../client/local-port.ts'),
    import('../../client/passfile.ts'),
  ]);
  const relay = await context.relay();
  const request = await resolveGrantRequest(context, target, flags);
  const session = await context.io.withSpinner(`Asking for a grant on ${target}`, () => openSession(relay, 'connect', request));
  const stop = context.stopSignal();
  const broken = new Set<string>();
  const ended = createEnd(session.expiresAt, context);
  const port = await startLocalPort({
    relay: relay.url,
    session: session.id,
    accessToken: () => relay.accessToken(),
    listen: flags.socketDir === undefined ? { port: flags.port } : { directory: flags.socketDir },
    onBroken: (reason, code) => {
      // Many connections break for one reason; it is said once.
      if (!broken.has(reason)) context.io.warn(reason);
      broken.add(reason);
      if (code === 4410 || code === 4411) ended.end(new GateError('session-ended', reason));
    },
  });
  const passfile = await writePassfile(await context.config(), session, port);
  try {
    await announce(context, session, port, passfile.path);
    await new Promise<void>((resolve, reject) => {
      const onStop = () => reject(new ExitCode(signalExitCodes[String(stop.reason)] ?? 1));
      if (stop.aborted) onStop();
      stop.addEventListener('abort', onStop);
      void ended.promise.then(reject, resolve);
    });
  } finally {
    ended.clear();
    await Promise.all([port.close(), passfile.remove(), relay.endSession(session.id).catch(() => undefined)]);
  }
}

/** Resolves with the error that ends the tunnel from this side's clock, after its warnings. */
function createEnd(expiresAt: string, context: Context) {
  let end: (error: GateError) => void = () => undefined;
  const promise = new Promise<GateError>((resolve) => (end = resolve));
  const left = Date.parse(expiresAt) - Date.now();
  const timers = warnBeforeMs
    .filter((before) => left > before)
    .map((before) => setLongTimeout(() => context.io.warn(`the grant ends ${formatRelative(expiresAt, new Date())}`), left - before));
  timers.push(setLongTimeout(() => end(new GateError('grant-expired', `the grant ended at ${expiresAt}`, { hint: 'Run gate connect again.' })), left));
  return { promise, end, clear: () => timers.forEach((timer) => clearTimeout(timer)) };
}

/** setTimeout with more than 24 days fires at once; grants are shorter, but a clock may be wrong. */
function setLongTimeout(work: () => void, delayMs: number): NodeJS.Timeout {
  return setTimeout(work, Math.max(0, Math.min(delayMs, 0x7fffffff)));
}

async function announce(context: Context, session: OpenSession, port: LocalPort, passfile: string): Promise<void> {
  const { io } = context;
  const { user, database, password, expiresAt, target, role } = session;
  const isSocket = port.host.startsWith('/');
  const authority = isSocket ? '' : `${port.host}:${port.port}`;
  const url = `postgresql://${user}:${password}@${authority}/${database}${isSocket ? `?host=${encodeURIComponent(port.host)}` : ''}`;
  if (io.json) {
    const { host, port: number } = port;
    const { id, grant } = session;
    const ready = { event: 'ready', host, port: number, user, password, database, url, passfile, session: id, grant, target, role, expiresAt };
    return io.writeJson(ready);
  }
  const colors = await io.colors();
  const rows: [string, string][] = [
    ['host', port.host],
    ['port', String(port.port)],
    ['user', user],
    ['password', password],
    ['database', database],
  ];
  const lines = [
    `${colors.bold(target)} as ${colors.bold(role)}, until ${expiresAt} (${formatRelative(expiresAt, new Date())}), session ${session.id}`,
    '',
    ...rows.map(([name, value]) => `  ${name.padEnd(9)} ${value}`),
    '',
    `  psql      PGPASSFILE=${passfile} psql -h ${port.host} -p ${port.port} -U ${user} ${database}`,
    `  URL       ${url}`,
    ...(isSocket ? [] : [`  JDBC      jdbc:postgresql://${authority}/${database}?user=${user}&password=${password}`]),
    `  env       export PGHOST=${port.host} PGPORT=${port.port} PGUSER=${user} PGDATABASE=${database} PGPASSFILE=${passfile}`,
    '',
  ];
  await io.write(`${lines.join('\n')}\n`);
  io.say('Every statement is recorded. Ctrl-C closes the port and ends the session.');
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65535) return port;
  throw new InvalidArgumentError('Write a port number from 0 to 65535.');
}
