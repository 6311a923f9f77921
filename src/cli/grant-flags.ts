/** What connect and exec share: the flags that ask for a grant, and the request that comes of them. */
import { InvalidArgumentError, type Command } from 'commander';
import type { GrantRequest } from '../api/api.ts';
import { parseDuration } from '../policy/duration.ts';
import type { Context } from './context.ts';

export type GrantFlags = {
  readonly role?: string;
  readonly reason?: string;
  readonly ticket?: string;
  /** In seconds. */
  readonly duration?: number;
};

/** What connect and exec have on top of it: an approval that is there already, or has to be waited for. */
export type ApprovalFlags = {
  /** An approved request. */
  readonly request?: string;
  /** In seconds; false not to wait at all. */
  readonly wait?: number | false;
  readonly readOnly?: boolean;
};

/** Adds `--role`, `--reason`, `--ticket` and `--duration` to a command and returns it. */
export function addGrantFlags(command: Command): Command {
  return command
    .option('--role <name>', 'the role to take; without it the first that is open to me')
    .option('--reason <text>', 'why, as it will stand in the record')
    .option('--ticket <id>', 'the ticket that this is for, where the role asks for one')
    .option('--duration <time>', 'how long the grant shall last: 90s, 30m, 8h', readDuration);
}

/** Adds `--read-only`, `--request`, `--wait` and `--no-wait`. */
export function addApprovalFlags(command: Command, byDefault: string): Command {
  return command
    .option('--read-only', 'nothing but reads under this grant, whatever the role allows')
    .option('--request <id>', 'use this request for a grant, once it is approved')
    .option('--wait <time>', `where approval is needed, wait for it so long (default: ${byDefault})`, readDuration)
    .option('--no-wait', 'where approval is needed, ask for it and exit with 8');
}

/**
 * On a terminal a missing reason or ticket is asked for where the role requires one; elsewhere the relay refuses with
 * `reason-required` or `ticket-required`.
 */
export async function resolveGrantRequest(context: Context, target: string, flags: GrantFlags & ApprovalFlags): Promise<GrantRequest> {
  const said = { reason: flags.reason?.trim() || undefined, ticket: flags.ticket?.trim() || undefined };
  const { reason, ticket } = flags.request === undefined ? await askMissing(context, target, flags.role, said) : said;
  return {
    target,
    ...(flags.role !== undefined && { role: flags.role }),
    ...(reason !== undefined && { reason }),
    ...(ticket !== undefined && { ticket }),
    ...(flags.request !== undefined && { request: flags.request }),
    ...(flags.duration !== undefined && { durationSeconds: flags.duration }),
    ...(flags.readOnly === true && { readOnly: true }),
  };
}

export function readDuration(text: string): number {
  const seconds = parseDuration(text);
  if (seconds !== undefined && seconds > 0) return seconds;
  throw new InvalidArgumentError('Write a duration like 90s, 30m or 8h.');
}

type Said = { readonly reason: string | undefined; readonly ticket: string | undefined };

async function askMissing(context: Context, target: string, role: string | undefined, said: Said): Promise<Said> {
  const { io } = context;
  // Whoever gives a reason knows the way: no question to the relay then, which says itself if a ticket is missing.
  if (!io.isInteractive || said.reason !== undefined) return said;
  const targets = await (await context.relay()).targets();
  const roles = targets.find(({ name }) => name === target)?.roles ?? [];
  const chosen = role === undefined ? roles[0] : roles.find(({ name }) => name === role);
  if (chosen === undefined) return said;
  const isMissing = (what: 'reason' | 'ticket') => chosen.requires.includes(what) && said[what] === undefined;
  return {
    reason: isMissing('reason') ? await askUntilSaid(io, `Why do you need ${target} as ${chosen.name}? `) : said.reason,
    ticket: isMissing('ticket') ? await askUntilSaid(io, 'For which ticket? ') : said.ticket,
  };
}

async function askUntilSaid(io: Context['io'], question: string): Promise<string> {
  for (;;) {
    const answer = await io.ask(question);
    if (answer !== '') return answer;
  }
}
