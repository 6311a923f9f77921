/** gate sessions list: the newest sessions that the caller may see and that meet the query, one per line. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { SessionSummary } from '../../../api/api.ts';
import type { SessionQuery } from '../../../api/session-query.ts';
import { nameOf } from '../../../principal/behind.ts';
import type { Context } from '../../context.ts';
import { parseMoment } from '../../moment.ts';
import { displayWidth, formatRelative, formatTable, oneLine, shorten } from '../../output.ts';

/** What one request to the relay may ask for. */
const limitMax = 1000;
/** A reason is not cut below this, however narrow the terminal is. */
const reasonWidthMin = 12;

export type ListOptions = SessionQuery & {
  readonly limit: number;
  /** Width of the terminal that stdout is; undefined when it is none, and then nothing is cut. */
  readonly columns: number | undefined;
};

type Flags = Omit<SessionQuery, 'since' | 'until'> & { readonly limit: number; readonly since?: Date; readonly until?: Date };

export function listCommand(context: Context): Command {
  return new Command('list')
    .summary('list sessions, newest first')
    .description(
      'Lists the newest sessions that meet all that is asked for. --text, --kind, --effect, --sqlstate and --table are about ' +
        'statements: sessions are listed that have one which meets all of them. The relay looks at 10,000 sessions and for 20 s at most.',
    )
    .option('--user <text>', 'part of the name or subject of whose it is, in either case')
    .option('--human <text>', 'the same, of humans, and of those behind machines, verified or claimed')
    .option('--target <name>', 'on this target')
    .option('--role <name>', 'in this role')
    .option('--since <time>', 'not over by then: a time like 2026-05-04T10:00:00Z, or how long ago: 2h, 3d', parseMoment)
    .option('--until <time>', 'begun by then; the same', parseMoment)
    .addOption(new Option('--state <state>', 'whether it goes on').choices(['open', 'ended']))
    .option('--text <text>', 'part of the SQL text, in either case; administrators see no literals of others, and find none')
    .addOption(new Option('--kind <kind>', 'a kind of statement').choices(['read', 'write', 'schema', 'admin', 'unknown']))
    .addOption(new Option('--effect <effect>', 'what policy said').choices(['allow', 'deny', 'hold']))
    .option('--sqlstate <code>', 'the error that it ended with, like 42P01', (code) => code.toUpperCase())
    .option('--table <schema.table>', 'a table that it reads or writes; * stands for a whole segment')
    .option('--limit <n>', 'how many at most', parseLimit, 50)
    .action(({ since, until, ...flags }: Flags) => {
      return runSessionsList(context, {
        ...flags,
        ...(since && { since: since.toISOString() }),
        ...(until && { until: until.toISOString() }),
        columns: context.io.outputColumns,
      });
    });
}

/** Under `--json` one line, as GET /v1/sessions answers: `{"sessions":[…]}`, and `isCut` where it came to its bounds. */
export async function runSessionsList(context: Context, { columns, ...query }: ListOptions): Promise<void> {
  const { io } = context;
  const relay = await context.relay();
  const list = await io.withSpinner('Searching', () => relay.findSessions(query));
  const { sessions, isCut, isShapesOnly } = list;
  if (io.json) await io.writeJson(list);
  else if (sessions.length > 0) await io.write(formatSessions(sessions, { now: new Date(), columns }));
  if (isShapesOnly) io.warn('the literals of others are sealed for you: their statements were searched without them');
  if (isCut) io.warn('the search came to its bounds: there may be more; narrow it with --since, --until, --user or --target');
  if (sessions.length === query.limit) io.say(`The newest ${query.limit} only. For more: gate sessions list --limit <n>`);
  if (sessions.length > 0) return;
  const isAll = Object.entries(query).every(([name, value]) => name === 'limit' || value === undefined);
  io.say(isAll ? 'No session that you may see. One begins with: gate connect <target>' : 'No session that you may see meets all of that.');
}

/** A table whose last column, the reason, is cut where the terminal ends. */
export function formatSessions(
  sessions: readonly SessionSummary[],
  options: { readonly now: Date; readonly columns: number | undefined },
): string {
  const { now, columns } = options;
  const hasMatches = sessions.some(({ matches }) => matches !== undefined);
  const head = ['SESSION', 'USER', 'TARGET', 'ROLE', 'COMMAND', 'STARTED', 'STATE', 'STATEMENTS', 'REFUSED', ...(hasMatches ? ['MATCHES'] : [])];
  const rows = sessions.map((session) => [
    session.id,
    nameOf(session.principal),
    session.target,
    session.role,
    session.command,
    formatRelative(session.startedAt, now),
    session.state,
    String(session.statements),
    String(session.refused),
    ...(hasMatches ? [String(session.matches ?? 0)] : []),
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
