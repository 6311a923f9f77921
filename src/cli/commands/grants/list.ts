/** gate grants list: the newest grants that the caller may see, one per line. */
import { Command, InvalidArgumentError } from 'commander';
import type { GrantSummary } from '../../../api/request-api.ts';
import { nameOf } from '../../../principal/behind.ts';
import type { Context } from '../../context.ts';
import { formatRelative, formatTable } from '../../output.ts';

/** What one request to the relay may ask for. */
const limitMax = 1000;

export function listCommand(context: Context): Command {
  return new Command('list')
    .summary('list grants, newest first')
    .option('--live', 'only those that are in force')
    .option('--limit <n>', 'how many at most', parseLimit, 50)
    .action((flags: { live?: boolean; limit: number }) => runGrantsList(context, flags));
}

/** Under `--json` one line, `{"grants":[…]}`, each as in GET /v1/grants. */
export async function runGrantsList(context: Context, { live, limit }: { live?: boolean; limit: number }): Promise<void> {
  const { io } = context;
  const all = await (await context.relay()).grants({ limit });
  const grants = all.filter(({ state }) => live !== true || state === 'live');
  if (io.json) return io.writeJson({ grants });
  if (grants.length === 0) return io.say('No grant that you may see.');
  await io.write(formatGrants(grants, new Date()));
}

export function formatGrants(grants: readonly GrantSummary[], now: Date): string {
  return formatTable(
    ['GRANT', 'STATE', 'USER', 'TARGET', 'ROLE', 'GIVEN', 'ENDS', 'SESSIONS', 'REQUEST', 'REASON'],
    grants.map((grant) => [
      grant.id,
      grant.revokedBy === undefined ? grant.state : `revoked by ${grant.revokedBy}`,
      nameOf(grant.principal),
      grant.target,
      grant.role,
      formatRelative(grant.createdAt, now),
      grant.state === 'live' ? formatRelative(grant.expiresAt, now) : '-',
      String(grant.sessions),
      grant.request ?? '-',
      grant.reason ?? '-',
    ]),
  );
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit <= limitMax) return limit;
  throw new InvalidArgumentError(`It must be a number from 1 to ${limitMax}.`);
}
