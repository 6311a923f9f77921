/** gate audit: the record beside the sessions. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { decisionsCommand } from './audit/decisions.ts';

export function auditCommand(context: Context): Command {
  return new Command('audit').summary('read the record beside the sessions').addCommand(decisionsCommand(context));
}
