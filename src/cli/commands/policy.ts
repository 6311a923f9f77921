/** gate policy: the policy file checked, explained, tested, and held against what was recorded. */
import { Command } from 'commander';
import type { Context } from '../context.ts';
import { checkCommand } from './policy/check.ts';
import { explainCommand } from './policy/explain.ts';
import { presetsCommand } from './policy/presets.ts';
import { replayCommand } from './policy/replay.ts';
import { schemaCommand } from './policy/schema.ts';
import { testCommand } from './policy/test.ts';

export function policyCommand(context: Context): Command {
  return new Command('policy')
    .summary('check, explain, test and replay the policy file')
    .description('Who may do what, asked before it matters. Most of this needs no relay. See docs/policy.md for the file.')
    .addCommand(checkCommand(context))
    .addCommand(explainCommand(context))
    .addCommand(testCommand(context))
    .addCommand(replayCommand(context))
    .addCommand(presetsCommand(context))
    .addCommand(schemaCommand(context));
}
