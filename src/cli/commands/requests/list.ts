/** gate requests list: the newest requests that the caller may see, one per line. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { RequestState, RequestSummary } from '../../../api/request-api.ts';
import type { RequestQuery } from '../../../client/relay-client.ts';
import { nameOf } from '../../../principal/behind.ts';
import type { Context } from '../../context.ts';
import { formatRelative, formatSpan, formatTable, oneLine, shorten } from '../../output.ts';

/** What one request to the relay may ask for. */
const limitMax = 1000;
const states = ['pending', 'approved', 'denied', 'withdrawn', 'expired', 'used'] as const satisfies readonly RequestState[];
/** Of a statement or a reason this many columns are shown. */
const whatWidth = 40;

type Flags = { readonly mine?: boolean; readonly toApprove?: boolean; readonly state?: RequestState; readonly limit: number };

export function listCommand(context: Context): Command {
  return new Command('list')
    .summary('list requests, newest first')
    .option('--mine', 'only my own')
    .option('--to-approve', 'only those that wait for my vote')
    .addOption(new Option('--state <state>', 'only those in this state').choices(states))
    .option('--limit <n>', 'how many at most', parseLimit, 50)
    .action((flags: Flags) => runRequestsList(context, flags));
}

/** Under `--json` one line, `{"requests":[…]}`, each as in GET /v1/requests. */
export async function runRequestsList(context: Context, { mine, toApprove, state, limit }: Flags): Promise<void> {
  const { io } = context;
  const query: RequestQuery = { isMine: mine === true, isToApprove: toApprove === true, limit, ...(state !== undefined && { states: [state] }) };
  const requests = await (await context.relay()).requests(query);
  if (io.json) return io.writeJson({ requests });
  if (requests.length === 0) return io.say(toApprove === true ? 'Nothing waits for your vote.' : 'No request that you may see.');
  await io.write(formatRequests(requests, new Date()));
  const waiting = requests.filter(({ mayVote }) => mayVote);
  if (waiting.length > 0) {
    io.say(`${waiting.length} of them ${waiting.length === 1 ? 'waits' : 'wait'} for your vote. Look with gate requests show <id>, then gate approve <id> or gate deny <id> --reason "…".`);
  }
}

export function formatRequests(requests: readonly RequestSummary[], now: Date): string {
  return formatTable(
    ['REQUEST', 'STATE', 'USER', 'TARGET', 'ROLE', 'ASKS FOR', 'APPROVALS', 'MADE', 'ENDS', 'REASON'],
    requests.map((request) => [
      request.id,
      describeState(request),
      nameOf(request.requester),
      request.target,
      request.role,
      shorten(oneLine(describeWish(request)), whatWidth),
      `${request.approvals} of ${request.approval.count}`,
      formatRelative(request.createdAt, now),
      request.state === 'pending' || request.state === 'approved' ? formatRelative(request.expiresAt, now) : '-',
      shorten(oneLine(request.reason ?? '-'), whatWidth),
    ]),
  );
}

/** A review has words of its own: nobody waits for it, and it can be overdue. */
export function describeState({ kind, state }: Pick<RequestSummary, 'kind' | 'state'>): string {
  if (kind !== 'review') return state;
  const words: Partial<Record<RequestState, string>> = { pending: 'to review', approved: 'reviewed', expired: 'overdue' };
  return words[state] ?? state;
}

export function describeWish({ kind, sql, durationSeconds = 0, grant = '' }: Pick<RequestSummary, 'kind' | 'sql' | 'durationSeconds' | 'grant'>): string {
  switch (kind) {
    case 'grant':
      return `a grant for ${formatSpan(durationSeconds)}`;
    case 'review':
      return `a review of ${grant}`;
    case 'statement':
      return sql ?? 'one statement';
  }
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit <= limitMax) return limit;
  throw new InvalidArgumentError(`It must be a number from 1 to ${limitMax}.`);
}
