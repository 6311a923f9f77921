/** gate policy replay: what a candidate policy would have said to recorded history; 1 on drift, 0 on none, 2 if it cannot tell. */
import { Command } from 'commander';
import type { SessionSummary } from '../../../api/api.ts';
import type { RelayClient } from '../../../client/relay-client.ts';
import type { ReplayedStatement, ReplayOptions } from '../../../policy/replay.ts';
import { GateError } from '../../../errors/errors.ts';
import type { Context } from '../../context.ts';
import { ExitCode } from '../../exit-code.ts';
import { parseMoment } from '../../moment.ts';
import { formatTable, oneLine } from '../../output.ts';
import { loadNames, loadPolicy } from './offline.ts';

type Flags = {
  readonly policy: string;
  readonly from: Date;
  readonly to?: Date;
  readonly target?: string;
  readonly catalog?: string;
};

/** What the relay lists at once. */
const sessionsMax = 1000;
const sqlShownMax = 80;
/** Texts that may break the parser: a few dozen leave it in pieces. */
const brokenMax = 10;

export function replayCommand(context: Context): Command {
  return new Command('replay')
    .summary('hold recorded statements against another policy')
    .description(
      'Reads the record from the relay (auditors see all of it, others their own) and lists what the candidate would ' +
        'newly allow, hold or deny, and the masks that it would take away. Exit code 0 when nothing changes, 1 when something does, 2 when that cannot be told.',
    )
    .requiredOption('--policy <file>', 'the candidate')
    .requiredOption('--from <time>', 'a time like 2026-05-04T10:00:00Z, or how long ago: 12h', parseMoment)
    .option('--to <time>', 'the same; without it until now', parseMoment)
    .option('--target <name>', 'statements on this target only')
    .option('--catalog <file>', 'tables and keys as in the catalog of policy tests; names are unknown without it')
    .action((flags: Flags) => runPolicyReplay(context, flags));
}

type Totals = { sessions: number; statements: number; changes: Change[] };
/** The same statement by the same person under the same role, however often. */
type Change = ReplayedStatement & { count: number };

/** Under `--json` one line: {"sessions","statements","changes":[{"was","now","count",…}]}. */
export async function runPolicyReplay(context: Context, flags: Flags): Promise<void> {
  const { io } = context;
  const [policy, names, parse] = await Promise.all([loadPolicy(flags.policy), loadNames(flags.catalog), loadCautiousParser()]);
  const relay = await context.relay();
  const to = flags.to ?? new Date();
  if (to <= flags.from) throw new GateError('usage', '--to must be later than --from');
  const sessions = await listSessions(relay, { ...flags, to });
  const options: ReplayOptions = { policy, parse, names, from: flags.from, to };
  const totals = await io.withSpinner(`Reading ${sessions.length} sessions`, () => replayAll(relay, sessions, options));
  if (io.json) await io.writeJson(totals);
  else await io.write(format(totals));
  if (totals.changes.length > 0) throw new ExitCode(1);
}

/** The relay parses texts in a process part that it can replace; here the parser itself must not be worn out by hostile ones. */
async function loadCautiousParser(): Promise<ReplayOptions['parse']> {
  const { loadParser, ParserBroken } = await import('../../../sql/parser.ts');
  const parse = await loadParser();
  let broken = 0;
  return (sql) => {
    try {
      return parse(sql);
    } catch (error) {
      if (!(error instanceof ParserBroken)) throw error;
      if (++broken <= brokenMax) return undefined;
      throw new GateError('usage', 'the record holds too many statements that are too complex to be parsed here', { cause: error });
    }
  };
}

/** Those that overlap the time. Fails with `usage` where the relay has more than it lists. */
async function listSessions(relay: RelayClient, { from, to, target }: { from: Date; to: Date; target?: string }): Promise<SessionSummary[]> {
  const listed = await relay.sessions({ limit: sessionsMax });
  const oldest = listed.at(-1);
  if (listed.length === sessionsMax && oldest !== undefined && new Date(oldest.startedAt) > from) {
    throw new GateError('usage', `the relay lists ${sessionsMax} sessions, and they begin at ${oldest.startedAt}`, {
      hint: 'Ask for a shorter time with --from.',
    });
  }
  return listed.filter((session) => {
    const isOver = session.endedAt !== undefined && new Date(session.endedAt) < from;
    return !isOver && new Date(session.startedAt) < to && (target === undefined || session.target === target);
  });
}

async function replayAll(relay: RelayClient, sessions: readonly SessionSummary[], options: ReplayOptions): Promise<Totals> {
  const { SessionReplay, isChange } = await import('../../../policy/replay.ts');
  const changes = new Map<string, Change>();
  let statements = 0;
  for (const { id } of sessions) {
    const replay = new SessionReplay(options);
    for await (const entry of relay.entries(id)) {
      const replayed = replay.next(entry);
      if (replayed === undefined) continue;
      statements += 1;
      if (!isChange(replayed)) continue;
      const { who, target, role, sql, was, now, masks } = replayed;
      const key = JSON.stringify([who, target, role, sql, was, now.effect, now.rule, masks?.shown]);
      const known = changes.get(key);
      if (known === undefined) changes.set(key, { ...replayed, count: 1 });
      else known.count += 1;
    }
  }
  return { sessions: sessions.length, statements, changes: [...changes.values()] };
}

const headings = { allow: 'Newly allowed', hold: 'Newly held', deny: 'Newly denied' } as const;

function format({ sessions, statements, changes }: Totals): string {
  const parts = (['allow', 'hold', 'deny'] as const).flatMap((effect) => {
    const own = changes.filter(({ was, now }) => now.effect === effect && was.effect !== effect);
    if (own.length === 0) return [];
    const rows = own.map(({ who, target, role, was, now, count, sql }) => [who, `${target}/${role}`, was.effect, now.rule, String(count), shorten(sql)]);
    return [`${headings[effect]}\n`, formatTable(['WHO', 'TARGET/ROLE', 'WAS', 'RULE', 'TIMES', 'STATEMENT'], rows), '\n'];
  });
  const unmasked = changes.flatMap(({ who, target, role, masks, count, sql }) => (masks === undefined || masks.shown.length === 0 ? [] : [[who, `${target}/${role}`, masks.shown.join(', '), String(count), shorten(sql)]]));
  if (unmasked.length > 0) parts.push('No longer masked\n', formatTable(['WHO', 'TARGET/ROLE', 'COLUMNS', 'TIMES', 'STATEMENT'], unmasked), '\n');
  const total = `${statements} statements of ${sessions} sessions; ${changes.length === 0 ? 'nothing would change' : `${changes.length} would be decided${unmasked.length > 0 ? ' or masked' : ''} differently`}.\n`;
  return `${parts.join('')}${total}`;
}

function shorten(sql: string): string {
  const line = oneLine(sql).trim();
  return line.length <= sqlShownMax ? line : `${line.slice(0, sqlShownMax - 1)}…`;
}
