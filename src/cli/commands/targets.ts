/** gate targets: what the caller may reach, in which roles. */
import { Command } from 'commander';
import type { TargetInfo } from '../../api/api.ts';
import type { Context } from '../context.ts';
import { formatTable } from '../output.ts';

export function targetsCommand(context: Context): Command {
  return new Command('targets').summary('list what I may reach, and as what').action(() => runTargets(context));
}

export async function runTargets(context: Context): Promise<void> {
  const { io } = context;
  const targets = await (await context.relay()).targets();
  if (io.json) return io.writeJson({ targets });
  if (targets.length === 0) io.say('No target is open to you. Ask whoever keeps the policy to add one of your groups.');
  const rows = targets.flatMap((target) =>
    target.roles.map((role) => [
      target.name,
      role.name,
      target.database,
      role.denies.length === 0 ? 'everything' : `no ${role.denies.join(', ')}`,
      describeRequirements(role),
      role.masking?.level ?? '-',
      target.description ?? '',
    ]),
  );
  if (rows.length > 0) {
    await io.write(formatTable(['TARGET', 'ROLE', 'DATABASE', 'STATEMENTS', 'REQUIRES', 'MASKING', 'DESCRIPTION'], rows));
  }
}

function describeRequirements({ requires, approval, review }: TargetInfo['roles'][number]): string {
  const people = ({ by, count }: { by: readonly string[]; count: number }) => `${count} of ${by.join(' or ')}`;
  const all = [...requires, ...(approval ? [`approval by ${people(approval)}`] : []), ...(review ? [`review by ${people(review)}`] : [])];
  return all.join(', ') || '-';
}
