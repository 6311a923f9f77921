/** gate sessions: what was done through the relay, by whom and why. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { listCommand } from './sessions/list.ts';
import { replayCommand } from './sessions/replay.ts';
import { showCommand } from './sessions/show.ts';

export function sessionsCommand(context: Context): Command {
  return new Command('sessions')
    .summary('list, show and replay sessions')
    .description('What was done through the relay, by whom and why. Auditors see all sessions, others their own.')
    .addCommand(listCommand(context))
    .addCommand(showCommand(context))
    .addCommand(replayCommand(context));
}
