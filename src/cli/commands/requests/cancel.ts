/** gate requests cancel: takes back a request of one's own. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';

export function cancelCommand(context: Context): Command {
  return new Command('cancel')
    .summary('withdraw a request of mine')
    .argument('<request>', 'its id, or as much of the beginning as no other request shares')
    .option('--reason <text>', 'why, as it will stand in the record')
    .action((id: string, { reason }: { reason?: string }) => runRequestsCancel(context, id, reason));
}

/** Under `--json` one line, the object of GET /v1/requests/:id. */
export async function runRequestsCancel(context: Context, id: string, reason: string | undefined): Promise<void> {
  const request = await (await context.relay()).cancelRequest(id, reason);
  if (context.io.json) return context.io.writeJson(request);
  context.io.say(`Request ${request.id} is withdrawn.`);
}
