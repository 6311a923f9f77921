/**
 * gate exec: runs SQL on a target through a tunnel of its own, without a local port, and writes what comes back. Under
 * `--json` its events go to stderr; docs/exec.md describes them.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { GrantRequest } from '../../api/api.ts';
import type { TimedSession } from '../../client/session.ts';
import { GateError, messageOf } from '../../errors/errors.ts';
import type { Context } from '../context.ts';
import { ExitCode, exitOfSignal } from '../exit-code.ts';
import { addApprovalFlags, addGrantFlags, readDuration, resolveGrantRequest, type ApprovalFlags, type GrantFlags } from '../grant-flags.ts';
import { resultFormats, type ResultFormat } from '../results/result-writer.ts';
import type { RunRecord } from './exec/run-record.ts';
import type { NamedText, Word } from './exec/sources.ts';

type Flags = GrantFlags & ApprovalFlags & {
  readonly output?: ResultFormat;
  readonly singleTransaction?: boolean;
  readonly maxRows?: number;
  /** In seconds. */
  readonly timeout?: number;
};

/** Of a portal; one more is asked for than is wanted. */
const rowsMaxMax = 2 ** 31 - 2;

export function execCommand(context: Context): Command {
  const words: Word[] = [];
  const take = (flag: Word['flag']) => (value: string) => void words.push({ flag, value });
  const command = new Command('exec')
    .summary('run SQL on a target')
    .description(
      'Get a grant, run SQL on a target, and end the session. Texts run in the order of the command line;\n' +
        'the statements of one text are one transaction. See docs/exec.md for all of it.',
    )
    .usage('<target> --sql <text> | --file <file> | - [options]')
    .argument('<target>')
    .argument('[-]', 'read the SQL from standard input')
    .option('--sql <text>', 'the SQL to run; may be repeated', take('sql'))
    .option('--file <file>', 'read the SQL from a file; - is standard input; may be repeated', take('file'))
    .option('--param <type:value>', 'the next of $1, $2 …: int:42, text:Ann, jsonb@body.json, null; may be repeated', take('param'))
    .option('--param-file <file>', 'the next parameters from a JSON array, for values that must not be on a command line', take('param-file'))
    .option('--single-transaction', 'all texts in one transaction, rolled back at the first failure')
    .option('--max-rows <count>', 'read no more than so many rows of each text, which is one statement then', readRowsMax)
    .option('--timeout <time>', 'cancel a text that takes longer, and exit with 9: 90s, 30m; waits for approval do not count', readDuration)
    .addOption(
      new Option('--output <format>', 'how results are written; table, or json under --json').choices(resultFormats),
    );
  const byDefault = 'on a terminal as long as it is open, elsewhere not at all';
  return addApprovalFlags(addGrantFlags(command), byDefault).action((target: string, operand: string | undefined, flags: Flags) =>
    runExec(context, target, { operand, words }, flags),
  );
}

function readRowsMax(text: string): number {
  const count = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= rowsMaxMax) return count;
  throw new InvalidArgumentError('Write a number of rows, from 1.');
}

export type ExecWords = { readonly operand: string | undefined; readonly words: readonly Word[] };

export async function runExec(context: Context, target: string, { operand, words }: ExecWords, flags: Flags): Promise<void> {
  const { io } = context;
  const { planTexts, readTexts, readsStdin } = await import('./exec/sources.ts');
  const plans = planTexts(operand, words);
  // A terminal's input is at its end after the SQL was typed, so the question about the reason comes first.
  const early = readsStdin(plans) ? await resolveGrantRequest(context, target, flags) : undefined;
  const texts = await readTexts(plans);
  const request = early ?? (await resolveGrantRequest(context, target, flags));
  const { RunRecord } = await import('./exec/run-record.ts');
  const record = new RunRecord(texts, flags.singleTransaction === true);
  const run: Run = { target, texts, request, record, flags };
  if (!io.isActions) return runInSession(context, run, () => undefined);
  let session: TimedSession | undefined;
  let failure: unknown;
  try {
    await runInSession(context, run, (opened) => (session = opened));
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    const { reportToActions } = await import('./exec/actions.ts');
    const { role = session?.role, reason, ticket } = request;
    await reportToActions(io, { target, role, reason, ticket, session: session?.id, record, failure, exitCode: exitCodeOf(failure) });
  }
}

type Run = {
  readonly target: string;
  readonly texts: readonly NamedText[];
  readonly request: GrantRequest;
  readonly record: RunRecord;
  readonly flags: Flags;
};

async function runInSession(context: Context, run: Run, onOpen: (session: TimedSession) => void): Promise<void> {
  const { io } = context;
  const { request, flags } = run;
  const { openApprovedSession } = await import('../approval.ts');
  const relay = await context.relay();
  const session = await openApprovedSession(io, relay, { command: 'exec', request }, {
    wait: flags.wait ?? (io.isInteractive ? undefined : false),
    interrupt: () => ({ signal: context.stopSignal(), release: () => undefined }),
    event: (value) => io.event(value),
  });
  onOpen(session);
  try {
    await runTexts(context, run, session);
  } finally {
    // A relay that cannot be told ends the session with its grant.
    const isEnded = await relay.endSession(session.id).then(() => true, () => false);
    if (isEnded) await keepReceipt(context, session.id);
  }
}

async function runTexts(context: Context, { texts, record, flags }: Run, session: TimedSession): Promise<void> {
  const { io } = context;
  const [{ runSql }, { createHandlers, createResultWriter }] = await Promise.all([import('../../client/sql-session.ts'), import('./exec/results.ts')]);
  const relay = await context.relay();
  const format = flags.output ?? (io.json ? 'json' : 'table');
  const writer = await createResultWriter(format, io);
  const signal = context.stopSignal();
  try {
    const counts = await runSql({
      relay: relay.url,
      session,
      accessToken: () => relay.accessToken(),
      texts,
      handlers: createHandlers(writer, format, io, record),
      signal,
      isSingleTransaction: record.isSingleTransaction,
      ...(flags.maxRows !== undefined && { rowsMax: flags.maxRows }),
      ...(flags.timeout !== undefined && { timeoutMs: flags.timeout * 1000 }),
    });
    if (signal.aborted) throw exitOfSignal(signal.reason);
    record.finish();
    await writer.end();
    checkCounts(context, texts, counts);
  } catch (error) {
    if (signal.aborted) {
      if (!(error instanceof ExitCode)) io.say(messageOf(error));
      throw exitOfSignal(signal.reason);
    }
    // Where writing is what failed, there is no one left to write to.
    await writer.end().catch(() => undefined);
    if (error instanceof GateError) noteStop(context, record);
    throw error;
  }
}

/** An empty text among others is worth a word; where all are empty, nothing happened that somebody asked for. */
function checkCounts({ io }: Context, texts: readonly NamedText[], counts: readonly number[]): void {
  if (counts.every((count) => count === 0)) throw new GateError('usage', 'the SQL text holds no statement, so nothing was run');
  counts.forEach((count, index) => {
    if (count === 0) io.warn(`SQL ${index + 1} of ${counts.length} (${texts[index]?.name}) holds no statement`);
  });
}

function noteStop({ io }: Context, { stopEvent, stopLine }: RunRecord): void {
  if (stopEvent !== undefined) io.event(stopEvent);
  if (stopLine !== undefined) io.say(stopLine);
}

function exitCodeOf(failure: unknown): number {
  if (failure === undefined) return 0;
  if (failure instanceof GateError || failure instanceof ExitCode) return failure.exitCode;
  return failure instanceof Error && (failure as NodeJS.ErrnoException).code === 'EPIPE' ? 141 : 1;
}

async function keepReceipt(context: Context, session: string): Promise<void> {
  const [relay, { directory }, receipts] = await Promise.all([context.relay(), context.config(), import('../../client/receipts.ts')]);
  await receipts.keepReceipt(relay, directory, session, (line) => context.io.warn(line));
}
