/**
 * gate exec: runs SQL on a target through a tunnel of its own, without a local port, and writes what comes back. Under
 * `--json` the events of an approval (`cli/approval.ts`) go to stderr.
 */
import { Command, Option } from 'commander';
import type { SqlHandlers } from '../../client/sql-session.ts';
import { GateError, messageOf } from '../../errors/errors.ts';
import type { Context } from '../context.ts';
import { ExitCode, exitOfSignal } from '../exit-code.ts';
import { addApprovalFlags, addGrantFlags, resolveGrantRequest, type ApprovalFlags, type GrantFlags } from '../grant-flags.ts';
import type { Io } from '../io.ts';
import { resultFormats, type ResultFormat, type ResultWriter, type WriteOut } from '../results/result-writer.ts';

type Flags = GrantFlags & ApprovalFlags & { readonly sql?: string; readonly file?: string; readonly output?: ResultFormat };
type Source = { readonly text: string } | { readonly file: string } | 'stdin';

/** Largest SQL text that is read; the relay's own limit is lower and may differ. */
const sqlBytesMax = 64 * 1024 * 1024;
export function execCommand(context: Context): Command {
  const command = new Command('exec')
    .summary('run SQL on a target')
    .description('Get a grant, run SQL on a target, and end the session. Several statements are one transaction.')
    .usage('<target> --sql <text> | --file <file> | - [options]')
    .argument('<target>')
    .argument('[-]', 'read the SQL from standard input')
    .option('--sql <text>', 'the SQL to run')
    .option('--file <file>', 'read the SQL from a file; - is standard input')
    .addOption(
      new Option('--output <format>', 'how results are written; table, or json under --json').choices(resultFormats),
    );
  const byDefault = 'on a terminal as long as it is open, elsewhere not at all';
  return addApprovalFlags(addGrantFlags(command), byDefault).action((target: string, operand: string | undefined, flags: Flags) =>
    runExec(context, target, operand, flags),
  );
}

export async function runExec(
  context: Context,
  target: string,
  operand: string | undefined,
  flags: Flags,
): Promise<void> {
  const { io } = context;
  const source = chooseSource(operand, flags);
  const format = flags.output ?? (io.json ? 'json' : 'table');
  // A terminal's input is at its end after the SQL was typed, so the question about the reason comes first.
  const early = source === 'stdin' ? await resolveGrantRequest(context, target, flags) : undefined;
  const sql = await readSql(source);
  const request = early ?? (await resolveGrantRequest(context, target, flags));
  const [{ openApprovedSession }, { runSql }] = await Promise.all([
    import('../approval.ts'),
    import('../../client/sql-session.ts'),
  ]);
  const relay = await context.relay();
  const writer = await createResultWriter(format, (data) => io.write(data));
  const session = await openApprovedSession(io, relay, { command: 'exec', request }, {
    wait: flags.wait ?? (io.isInteractive ? undefined : false),
    interrupt: () => ({ signal: context.stopSignal(), release: () => undefined }),
    event: (value) => io.event(value),
  });
  const signal = context.stopSignal();
  try {
    const handlers = createHandlers(writer, format, io);
    const accessToken = () => relay.accessToken();
    const statements = await runSql({ relay: relay.url, session, accessToken, sql, handlers, signal });
    if (signal.aborted) throw exitOfSignal(signal.reason);
    await writer.end();
    if (statements === 0) throw new GateError('usage', 'the SQL text holds no statement, so nothing was run');
  } catch (error) {
    if (signal.aborted) {
      if (!(error instanceof ExitCode)) io.say(messageOf(error));
      throw exitOfSignal(signal.reason);
    }
    // Where writing is what failed, there is no one left to write to.
    await writer.end().catch(() => undefined);
    throw error;
  } finally {
    // A relay that cannot be told ends the session with its grant.
    const isEnded = await relay.endSession(session.id).then(() => true, () => false);
    if (isEnded) await keepReceipt(context, session.id);
  }
}

async function keepReceipt(context: Context, session: string): Promise<void> {
  const [relay, { directory }, receipts] = await Promise.all([context.relay(), context.config(), import('../../client/receipts.ts')]);
  await receipts.keepReceipt(relay, directory, session, (line) => context.io.warn(line));
}

function chooseSource(operand: string | undefined, { sql, file }: Flags): Source {
  const hint = 'Say what to run with --sql TEXT, --file FILE, or - for standard input.';
  if (operand !== undefined && operand !== '-') {
    throw new GateError('usage', `"${operand}" is one argument too many`, { hint });
  }
  const sources: Source[] = [];
  if (operand === '-') sources.push('stdin');
  if (sql !== undefined) sources.push({ text: sql });
  if (file !== undefined) sources.push(file === '-' ? 'stdin' : { file });
  const [source, second] = sources;
  if (source === undefined) throw new GateError('usage', 'there is no SQL to run', { hint });
  if (second !== undefined) throw new GateError('usage', 'the SQL to run is given in more than one way', { hint });
  return source;
}

/** The text, checked as far as it can be without a server. Fails with `usage`. */
async function readSql(source: Source): Promise<string> {
  const sql = source === 'stdin' || 'file' in source ? decode(await readBytes(source), source) : source.text;
  if (sql.trim() === '') throw new GateError('usage', 'the SQL text is empty, so there is nothing to run');
  if (sql.includes('\0')) throw new GateError('usage', 'the SQL text holds a zero byte, which PostgreSQL cannot take');
  return sql;
}

async function readBytes(source: { readonly file: string } | 'stdin'): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    const stream: AsyncIterable<Buffer> =
      source === 'stdin' ? process.stdin : (await import('node:fs')).createReadStream(source.file);
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > sqlBytesMax) throw new GateError('usage', `the SQL text is longer than ${sqlBytesMax} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof GateError) throw error;
    throw new GateError('usage', `cannot read ${nameOf(source)}: ${messageOf(error)}`, { cause: error });
  }
  return Buffer.concat(chunks);
}

/** A byte order mark at the beginning is dropped, as psql does. */
function decode(bytes: Buffer, source: { readonly file: string } | 'stdin'): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new GateError('usage', `${nameOf(source)} is not UTF-8 text`, { cause: error });
  }
}

function nameOf(source: { readonly file: string } | 'stdin'): string {
  return source === 'stdin' ? 'standard input' : source.file;
}

async function createResultWriter(format: ResultFormat, write: WriteOut): Promise<ResultWriter> {
  switch (format) {
    case 'table':
      return (await import('../results/table.ts')).createTableWriter(write);
    case 'csv':
      return (await import('../results/csv.ts')).createCsvWriter(write);
    case 'json':
      return (await import('../results/json.ts')).createJsonWriter(write);
    case 'ndjson':
      return (await import('../results/json.ts')).createNdjsonWriter(write);
  }
}

/** Data to the writer; notices and the tags that psql would print to stderr. */
function createHandlers(writer: ResultWriter, format: ResultFormat, io: Io): SqlHandlers {
  let hasRows = false;
  return {
    fields(fields) {
      hasRows = true;
      return writer.fields(fields);
    },
    rows: (rows) => writer.rows(rows),
    copy: (isBinary) => writer.copy(isBinary),
    copyData: (pieces) => writer.copyData(pieces),
    async complete(tag) {
      await writer.complete(tag);
      // In JSON the tag is part of the data; of a query the rows say it all.
      if (format !== 'json' && (!hasRows || /^(INSERT|UPDATE|DELETE|MERGE)\b/.test(tag))) io.say(tag);
      hasRows = false;
    },
    ...(io.json && { held: (news) => io.event(news) }),
    notice: (text) => (io.json ? io.warn(text) : io.say(text)),
  };
}
