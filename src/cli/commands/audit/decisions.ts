/** gate audit decisions: who asked for what, who voted how, which grants and policies there were, in order. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';
import { oneLine } from '../../output.ts';

export function decisionsCommand(context: Context): Command {
  return new Command('decisions')
    .summary('what people and the policy file decided, oldest first')
    .description('Requests, votes, grants, revocations and changes of the policy, from the record. For auditors.')
    .action(() => runAuditDecisions(context));
}

/** Under `--json` one entry of the record per line, as `gate sessions replay --format json` writes them. */
export async function runAuditDecisions(context: Context): Promise<void> {
  const { io } = context;
  const [relay, { describeDecision, isDecision }] = await Promise.all([context.relay(), import('../../../audit/decisions.ts')]);
  let count = 0;
  for await (const entry of relay.decisions()) {
    count++;
    if (io.json) await io.writeJson(entry);
    else if (isDecision(entry.event)) await io.write(`${entry.time}  ${oneLine(describeDecision(entry.event))}\n`);
  }
  if (count === 0) io.say('Nothing is on record yet.');
}
