/** gate approve: one person's yes to a request. */
import { Command, InvalidArgumentError } from 'commander';
import type { Approve, RequestInfo } from '../../api/request-api.ts';
import { nameOf } from '../../principal/behind.ts';
import type { Context } from '../context.ts';
import { readDuration } from '../grant-flags.ts';
import { formatSpan, oneLine, shorten } from '../output.ts';

type Flags = { readonly reason?: string; readonly uses?: number; readonly for?: number; readonly anyParameters?: boolean };

/** Of an approved statement this many columns are repeated. */
const sqlWidth = 120;

export function approveCommand(context: Context): Command {
  return new Command('approve')
    .summary('approve a request of somebody else')
    .description('Approve a request. Look at it first: gate requests show <request>')
    .argument('<request>', 'its id, or as much of the beginning as no other request shares')
    .option('--reason <text>', 'why, as it will stand in the record')
    .option('--uses <n>', 'for a statement: it may run so many times (default: 1)', parseUses)
    .option('--for <time>', 'for a statement: the approval is good for so long: 30m, 8h (default: 1h)', readDuration)
    .option('--any-parameters', 'for a statement: with other parameters as well')
    .action((id: string, flags: Flags) => runApprove(context, id, flags));
}

/** Under `--json` one line, the object of GET /v1/requests/:id. */
export async function runApprove(context: Context, id: string, flags: Flags): Promise<void> {
  const { io } = context;
  const body: Approve = {
    ...(flags.reason !== undefined && { reason: flags.reason }),
    ...(flags.uses !== undefined && { uses: flags.uses }),
    ...(flags.for !== undefined && { forSeconds: flags.for }),
    ...(flags.anyParameters !== undefined && { anyParameters: flags.anyParameters }),
  };
  const request = await (await context.relay()).approve(id, body);
  if (io.json) return io.writeJson(request);
  io.say(describeApproval(request));
}

export function describeApproval(request: RequestInfo): string {
  const { id, kind, requester, target, role, state, approvals, approval, durationSeconds = 0, grant = '', statement, allowed } = request;
  const who = oneLine(nameOf(requester));
  const what = {
    grant: `a grant on ${target} as ${role} for ${formatSpan(durationSeconds)}`,
    review: `grant ${grant} on ${target} as ${role}`,
    statement: `this statement on ${target}: ${shorten(oneLine(statement?.sql ?? ''), sqlWidth)}`,
  }[kind];
  if (state === 'pending') {
    return `Your approval of ${id} counts, and ${approval.count - approvals} more ${approval.count - approvals === 1 ? 'is' : 'are'} needed. ${who} asks for ${what}`;
  }
  if (kind === 'review') return `You have reviewed ${what} of ${who}.`;
  if (kind === 'grant') return `Request ${id} is approved: ${who} gets ${what}.`;
  const more = allowed === undefined || (allowed.usesLeft === 1 && !allowed.anyParameters) ? '' : ` ${describeReach(allowed)}`;
  return `Request ${id} is approved: ${who} may run${more} ${what}`;
}

function describeReach({ usesLeft, until, anyParameters }: NonNullable<RequestInfo['allowed']>): string {
  return `${usesLeft === 1 ? 'once' : `${usesLeft} times`} until ${until}${anyParameters ? ' with any parameters' : ''}`;
}

function parseUses(text: string): number {
  const uses = Number(text);
  if (/^\d{1,6}$/.test(text) && uses >= 1) return uses;
  throw new InvalidArgumentError('It must be a number from 1 on.');
}
