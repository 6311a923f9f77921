/** gate requests show: everything that an approver has to know about one request. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';

export function showCommand(context: Context): Command {
  return new Command('show')
    .summary('show one request, with the exact statement that it is about')
    .argument('<request>', 'its id, or as much of the beginning as no other request shares')
    .action((id: string) => runRequestsShow(context, id));
}

/** Under `--json` one line, the object of GET /v1/requests/:id. */
export async function runRequestsShow(context: Context, id: string): Promise<void> {
  const { io } = context;
  const request = await (await context.relay()).request(id);
  if (io.json) return io.writeJson(request);
  const { formatRequest } = await import('./details.ts');
  await io.write(formatRequest(request, new Date()));
  if (request.mayVote) io.say(`To decide: gate approve ${request.id}, or gate deny ${request.id} --reason "…".`);
}
