/** gate doctor: checks everything between this machine and a target in order, and says how to mend what is broken. */
import { Command, InvalidArgumentError } from 'commander';
import type { Check, CheckResult } from '../../client/checks.ts';
import type { CheckStatus } from '../../client/check-step.ts';
import { GateError } from '../../errors/errors.ts';
import type { Context } from '../context.ts';
import { ExitCode, exitOfSignal } from '../exit-code.ts';
import { oneLine } from '../output.ts';

export type DoctorFlags = { readonly port: number; readonly role?: string; readonly reason?: string; readonly sql?: boolean };

export function doctorCommand(context: Context): Command {
  return new Command('doctor')
    .summary('check the way from here to the relay, and to a target')
    .description(
      'Checks this machine first, then the network, the relay, the issuer and the login; with a target also your role ' +
        'there, and with --reason a real round trip, which is recorded like any session. Exits with the code of the ' +
        'first check that failed.',
    )
    .argument('[target]', 'also check the way to this target')
    .option('-p, --port <port>', 'the local port that must be free; 0 means any', parsePort, 0)
    .option('--role <name>', 'the role to take on the target; without it the first that is open to me')
    .option('--reason <text>', 'open a session on the target, run select 1, and end it')
    .option('--sql', 'only print the SQL that would make the masking of the target airtight; nothing is run')
    .action((target: string | undefined, flags: DoctorFlags) => runDoctor(context, target, flags));
}

/** Under `--json` one line, `{"checks":[{name, status, detail, fix?}],"ok"}`. */
export async function runDoctor(context: Context, target: string | undefined, flags: DoctorFlags): Promise<void> {
  const { io } = context;
  if (flags.sql === true) return printSql(context, target);
  const [{ runChecks }, { createRelayClient }] = await Promise.all([
    import('../../client/checks.ts'),
    import('../../client/relay-client.ts'),
  ]);
  const { port, role, reason } = flags;
  let stop: AbortSignal | undefined;
  const results = runChecks({
    loadConfig: () => context.config(),
    createClient: (config) => createRelayClient(config, { warn: (line) => io.warn(line) }),
    port,
    signal: () => (stop ??= context.stopSignal()),
    ...(target !== undefined && { target }),
    ...(role !== undefined && { role }),
    ...(reason !== undefined && { reason }),
  });
  const { checks, exitCode } = await show(context, results);
  if (io.json) await io.writeJson({ checks, ok: exitCode === undefined });
  else io.say(summarize(checks));
  if (stop?.aborted) throw exitOfSignal(stop.reason);
  if (exitCode !== undefined) throw new ExitCode(exitCode);
}

/** For whoever keeps the database to read, adapt and run. */
async function printSql(context: Context, target: string | undefined): Promise<void> {
  const { io } = context;
  if (target === undefined) throw new GateError('usage', '--sql wants a target');
  const { createRelayClient } = await import('../../client/relay-client.ts');
  const client = createRelayClient(await context.config(), { warn: (line) => io.warn(line) });
  const { sql, level, target: name } = await client.masking(target);
  if (level !== undefined && sql === undefined) {
    throw new GateError('denied', `the SQL for ${name} names its columns with masks, so only administrators and auditors of the policy see it`);
  }
  if (io.json) return io.writeJson({ target: name, sql: sql ?? '' });
  if (sql === undefined || sql === '') io.say(level === undefined ? `No columns of ${name} are masked.` : `There is nothing to change on ${name}.`);
  else await io.write(sql);
}

/** Each check as it comes; the first failure decides about the exit code. */
async function show({ io }: Context, results: AsyncIterable<CheckResult>) {
  const checks: Check[] = [];
  let exitCode: number | undefined;
  const colors = await io.colors();
  const paint: Readonly<Record<CheckStatus, (text: string) => string>> = {
    ok: colors.green,
    warning: colors.yellow,
    failed: colors.red,
    skipped: colors.dim,
  };
  for await (const { check, exitCode: code } of results) {
    checks.push(check);
    exitCode ??= code;
    if (io.json) continue;
    const { name, status, detail, fix } = check;
    await io.write(`${paint[status](status.padEnd(8))} ${name.padEnd(16)} ${oneLine(detail)}\n`);
    if (fix !== undefined) await io.write(`${' '.repeat(26)}${oneLine(fix)}\n`);
  }
  return { checks, exitCode };
}

function summarize(checks: readonly Check[]): string {
  const count = (status: CheckStatus) => checks.filter((check) => check.status === status).length;
  const failures = count('failed');
  if (failures > 0) return `${failures} of ${checks.length} checks failed.`;
  const warnings = count('warning');
  return warnings === 0 ? 'Nothing is in the way.' : `Nothing is in the way; ${warnings} of ${checks.length} checks warn.`;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65535) return port;
  throw new InvalidArgumentError('Write a port number from 0 to 65535.');
}
