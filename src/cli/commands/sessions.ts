/** gate sessions: what was done through the relay, by whom and why. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { killCommand } from './sessions/kill.ts';
import { listCommand } from './sessions/list.ts';
import { replayCommand } from './sessions/replay.ts';
import { showCommand } from './sessions/show.ts';
import { tailCommand } from './sessions/tail.ts';

export function sessionsCommand(context: Context): Command {
  return new Command('sessions')
    .summary('find, show, replay, follow and end sessions')
    .description(
      'What was done through the relay, by whom and why. Auditors see all sessions, administrators all but the literals of ' +
        'their statements, others their own. Whoever reads is on record.',
    )
    .addCommand(listCommand(context))
    .addCommand(showCommand(context))
    .addCommand(replayCommand(context))
    .addCommand(tailCommand(context))
    .addCommand(killCommand(context));
}
