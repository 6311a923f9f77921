/** gate grants: who may reach what at the moment, and the early end of it. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { listCommand } from './grants/list.ts';
import { revokeCommand } from './grants/revoke.ts';

export function grantsCommand(context: Context): Command {
  return new Command('grants')
    .summary('list and revoke grants')
    .description('Grants: your own, and those that you may end because you approved them. Auditors and administrators see all.')
    .addCommand(listCommand(context))
    .addCommand(revokeCommand(context));
}
