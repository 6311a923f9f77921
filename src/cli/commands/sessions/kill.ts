/** gate sessions kill: ends a session now. */
import { Command } from 'commander';
import { nameOf } from '../../../principal/behind.ts';
import type { Context } from '../../context.ts';
import { oneLine } from '../../output.ts';

export function killCommand(context: Context): Command {
  return new Command('kill')
    .summary('end a session now')
    .description(
      'End a session: its connections are cut and no new one opens. Its owner, who approved its grant, and administrators ' +
        'may. The grant lives on, and a new session can be opened on it: gate grants revoke ends both.',
    )
    .argument('<session>', 'its id, or as much of the beginning as no other session shares')
    .option('--reason <text>', 'why: its owner is told')
    .action((id: string, { reason }: { reason?: string }) => runSessionsKill(context, id, reason));
}

/** Returns when the session has ended. Under `--json` one line, the object of GET /v1/sessions/:id. */
export async function runSessionsKill(context: Context, id: string, reason: string | undefined): Promise<void> {
  const { io } = context;
  const session = await (await context.relay()).killSession(id, reason);
  if (io.json) return io.writeJson(session);
  io.say(`Session ${session.id} of ${oneLine(nameOf(session.principal))} on ${session.target} has ended.`);
}
