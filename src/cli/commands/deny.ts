/** gate deny: one person's no to a request. */
import { Command } from 'commander';
import { nameOf } from '../../principal/behind.ts';
import type { Context } from '../context.ts';
import { oneLine } from '../output.ts';

export function denyCommand(context: Context): Command {
  return new Command('deny')
    .summary('turn down a request of somebody else')
    .argument('<request>', 'its id, or as much of the beginning as no other request shares')
    .requiredOption('--reason <text>', 'why not: whoever asked is told')
    .action((id: string, { reason }: { reason: string }) => runDeny(context, id, reason));
}

/** Under `--json` one line, the object of GET /v1/requests/:id. */
export async function runDeny(context: Context, id: string, reason: string): Promise<void> {
  const { io } = context;
  const request = await (await context.relay()).deny(id, reason);
  if (io.json) return io.writeJson(request);
  const { state, denials, approval } = request;
  if (state === 'denied') io.say(`Request ${request.id} of ${oneLine(nameOf(request.requester))} is denied.`);
  else io.say(`Your no counts: ${denials} of the ${approval.denials} that it takes to deny request ${request.id}.`);
}
