/** gate sessions list: the newest sessions that the caller may see, one per line. */
import { Command, InvalidArgumentError } from 'commander';
import type { SessionSummary } from '../../../api/api.ts';
import type { Context } from '../../context.ts';
import { displayWidth, formatRelative, formatTable, oneLine, shorten } from '../../output.ts';

/** What one request to the relay may ask for. */
const limitMax = 1000;
/** A reason is not cut below this, however narrow the terminal is. */
const reasonWidthMin = 12;

export type ListOptions = {
  readonly limit: number;
  /** Width of the terminal that stdout is; undefined when it is none, and then nothing is cut. */
  readonly columns: number | undefined;
};

export function listCommand(context: Context): Command {
  return new Command('list')
    .summary('list sessions, newest first')
    .option('--limit <n>', 'how many at most', parseLimit, 50)
    .action(({ limit }: { limit: number }) => {
      return runSessionsList(context, { limit, columns: context.io.outputColumns });
    });
}

/** Under `--json` one line, `{"sessions":[…]}`, each as in GET /v1/sessions. */
export async function runSessionsList(context: Context, options: ListOptions): Promise<void> {
  const { io } = context;
  const { limit, columns } = options;
  const sessions = await (await context.relay()).sessions({ limit });
  if (io.json) return io.writeJson({ sessions });
  if (sessions.length === 0) return io.say('No session that you may see. One begins with: gate connect <target>');
  await io.write(formatSessions(sessions, { now: new Date(), columns }));
  if (sessions.length === limit) io.say(`The newest ${limit} only. For more: gate sessions list --limit <n>`);
}

/** A table whose last column, the reason, is cut where the terminal ends. */
export function formatSessions(
  sessions: readonly SessionSummary[],
  options: { readonly now: Date; readonly columns: number | undefined },
): string {
  const { now, columns } = options;
  const head = ['SESSION', 'USER', 'TARGET', 'ROLE', 'COMMAND', 'STARTED', 'STATE', 'STATEMENTS', 'REFUSED'];
  const rows = sessions.map((session) => [
    session.id,
    session.principal.name,
    session.target,
    session.role,
    session.command,
    formatRelative(session.startedAt, now),
    session.state,
    String(session.statements),
    String(session.refused),
  ]);
  const [firstLine = ''] = formatTable([...head, '.'], rows.map((row) => [...row, '.'])).split('\n');
  const room = columns === undefined ? Infinity : Math.max(reasonWidthMin, columns - (displayWidth(firstLine) - 1));
  const reasons = sessions.map(({ reason }) => shorten(oneLine(reason ?? '-'), room));
  return formatTable([...head, 'REASON'], rows.map((row, index) => [...row, reasons[index] ?? '']));
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit <= limitMax) return limit;
  throw new InvalidArgumentError(`It must be a number from 1 to ${limitMax}.`);
}
