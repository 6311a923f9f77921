/** gate policy check: whether a policy file would be taken, and what is in it. */
import { Command } from 'commander';
import type { Policy } from '../../../policy/role.ts';
import type { Context } from '../../context.ts';
import { formatTable } from '../../output.ts';
import { loadPolicy } from './offline.ts';

export function checkCommand(context: Context): Command {
  return new Command('check')
    .summary('check a policy file')
    .description('Reads a policy file as the relay would. Every problem is told with line, column and what to write instead.')
    .argument('<file>', '- is standard input')
    .action((file: string) => runPolicyCheck(context, file));
}

/** Fails with `config-invalid` (exit 2). Under `--json` one line: the roles of each target, and the hash. */
export async function runPolicyCheck(context: Context, file: string): Promise<void> {
  const policy = await loadPolicy(file);
  const roles = summarize(policy);
  if (context.io.json) return context.io.writeJson({ file, policy: policy.digest, roles });
  const rows = roles.map(({ target, role, groups, rules, approval }) => [target, role, groups.join(', '), String(rules), approval]);
  await context.io.write(formatTable(['TARGET', 'ROLE', 'GROUPS', 'RULES', 'GRANT'], rows));
  context.io.say(`${file} is valid. SHA-256 ${policy.digest}`);
}

function summarize(policy: Policy) {
  return [...policy.targets].flatMap(([target, roles]) =>
    roles.map(({ name, groups, rules, approval, review }) => ({
      target,
      role: name,
      groups: [...groups],
      rules: rules.length,
      approval: approval === undefined ? (review === undefined ? 'at once' : 'at once, reviewed') : `${approval.count} of ${approval.by.join(', ')}`,
    })),
  );
}
