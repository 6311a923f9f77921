/** gate audit: the record of a relay as a whole. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { decisionsCommand } from './audit/decisions.ts';
import { exportCommand } from './audit/export.ts';
import { holdCommand, releaseCommand, shredCommand } from './audit/erasure.ts';
import { keyCommand } from './audit/key.ts';
import { receiptCommand } from './audit/receipt.ts';
import { verifyCommand } from './audit/verify.ts';

export function auditCommand(context: Context): Command {
  return new Command('audit')
    .summary('read, export, verify and erase the record')
    .addCommand(decisionsCommand(context))
    .addCommand(exportCommand(context))
    .addCommand(verifyCommand(context))
    .addCommand(keyCommand(context))
    .addCommand(receiptCommand(context))
    .addCommand(shredCommand(context))
    .addCommand(holdCommand(context))
    .addCommand(releaseCommand(context));
}
