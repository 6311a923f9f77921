/** gate requests create: asks for a grant ahead of its use. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';
import { addGrantFlags, resolveGrantRequest, type GrantFlags } from '../../grant-flags.ts';

export function createCommand(context: Context): Command {
  const command = new Command('create')
    .summary('ask for a grant, without waiting for it')
    .argument('<target>')
    .description('Ask for a grant that needs approval. Once it is approved: gate connect <target> --request <id>');
  return addGrantFlags(command).action((target: string, flags: GrantFlags) => runRequestsCreate(context, target, flags));
}

/** Under `--json` one line, the object of GET /v1/requests/:id. */
export async function runRequestsCreate(context: Context, target: string, flags: GrantFlags): Promise<void> {
  const { io } = context;
  const request = await (await context.relay()).createRequest(await resolveGrantRequest(context, target, flags));
  if (io.json) return io.writeJson(request);
  const { id, approval } = request;
  await io.write(`${id}\n`);
  io.say(`It needs ${approval.count} of ${approval.by.join(' or ')}.`);
  io.say(`  to approve, one of them runs   gate approve ${id}`);
  io.say(`  once it is approved            gate connect ${target} --request ${id}`);
  io.say(`  to wait for it                 gate requests wait ${id}`);
}
