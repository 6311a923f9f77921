/** gate grants revoke: ends a grant and its sessions now. */
import { Command } from 'commander';
import { nameOf } from '../../../principal/behind.ts';
import type { Context } from '../../context.ts';
import { oneLine } from '../../output.ts';

export function revokeCommand(context: Context): Command {
  return new Command('revoke')
    .summary('end a grant and its sessions now')
    .description('End a grant: its sessions stop within a second, and no new one opens. Its owner, who approved it, and administrators may.')
    .argument('<grant>', 'its id, or as much of the beginning as no other grant shares')
    .requiredOption('--reason <text>', 'why: its owner is told')
    .action((id: string, { reason }: { reason: string }) => runGrantsRevoke(context, id, reason));
}

/** Under `--json` one line, a row of GET /v1/grants. */
export async function runGrantsRevoke(context: Context, id: string, reason: string): Promise<void> {
  const { io } = context;
  const grant = await (await context.relay()).revokeGrant(id, reason);
  if (io.json) return io.writeJson(grant);
  io.say(`Grant ${grant.id} of ${oneLine(nameOf(grant.principal))} on ${grant.target} is revoked, and its sessions have ended.`);
}
