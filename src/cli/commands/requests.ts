/** gate requests: what people have asked for, and what became of it. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { cancelCommand } from './requests/cancel.ts';
import { createCommand } from './requests/create.ts';
import { listCommand } from './requests/list.ts';
import { showCommand } from './requests/show.ts';
import { waitCommand } from './requests/wait.ts';

export function requestsCommand(context: Context): Command {
  return new Command('requests')
    .summary('ask for access, and see who asks for what')
    .description('Requests for grants and held statements. You see your own, and those that you may approve; auditors see all.')
    .addCommand(createCommand(context))
    .addCommand(listCommand(context))
    .addCommand(showCommand(context))
    .addCommand(cancelCommand(context))
    .addCommand(waitCommand(context));
}
