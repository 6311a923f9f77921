/** gate audit: the record as a whole, and what happened beside the sessions. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { decisionsCommand } from './audit/decisions.ts';
import { verifyCommand } from './audit/verify.ts';

export function auditCommand(context: Context): Command {
  return new Command('audit').summary('read and verify the record').addCommand(decisionsCommand(context)).addCommand(verifyCommand(context));
}
