/** What connect and exec share: the flags that ask for a grant, and the request that comes of them. */
import { InvalidArgumentError, type Command } from 'commander';
import type { GrantRequest } from '../api/api.ts';
import { parseDuration } from '../policy/duration.ts';
import type { Context } from './context.ts';

export type GrantFlags = {
  readonly role?: string;
  readonly reason?: string;
  /** In seconds. */
  readonly duration?: number;
};

/** Adds `--role`, `--reason` and `--duration` to a command and returns it. */
export function addGrantFlags(command: Command): Command {
  return command
    .option('--role <name>', 'the role to take; without it the first that is open to me')
    .option('--reason <text>', 'why, as it will stand in the record')
    .option('--duration <time>', 'how long the grant shall last: 90s, 30m, 8h', readDuration);
}

/**
 * On a terminal a missing reason is asked for where the role requires one; elsewhere the relay refuses with
 * `reason-required`.
 */
export async function resolveGrantRequest(context: Context, target: string, flags: GrantFlags): Promise<GrantRequest> {
  const reason = flags.reason?.trim() || (await askReason(context, target, flags.role));
  return {
    target,
    ...(flags.role !== undefined && { role: flags.role }),
    ...(reason !== undefined && { reason }),
    ...(flags.duration !== undefined && { durationSeconds: flags.duration }),
  };
}

function readDuration(text: string): number {
  const seconds = parseDuration(text);
  if (seconds !== undefined && seconds > 0) return seconds;
  throw new InvalidArgumentError('Write a duration like 90s, 30m or 8h.');
}

async function askReason(context: Context, target: string, role: string | undefined): Promise<string | undefined> {
  const { io } = context;
  if (!io.isInteractive) return undefined;
  const targets = await (await context.relay()).targets();
  const roles = targets.find(({ name }) => name === target)?.roles ?? [];
  const chosen = role === undefined ? roles[0] : roles.find(({ name }) => name === role);
  if (chosen === undefined || !chosen.requires.includes('reason')) return undefined;
  for (;;) {
    const reason = await io.ask(`Why do you need ${target} as ${chosen.name}? `);
    if (reason !== '') return reason;
  }
}
