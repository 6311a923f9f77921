/** gate inventory: every principal that the relay has seen, who stands behind it, what it used, and what should be looked at. */
import { Command, Option } from 'commander';
import type { Finding, Inventory, InventoryEntry } from '../../api/inventory-api.ts';
import { dormantDefaultDays, findingNames, sinceDefaultDays } from '../../principal/findings.ts';
import type { Context } from '../context.ts';
import { parseMoment } from '../moment.ts';
import { formatRelative, formatTable } from '../output.ts';

export type InventoryOptions = { readonly since?: Date; readonly dormant?: Date; readonly finding?: Finding['finding'] };

export function inventoryCommand(context: Context): Command {
  return new Command('inventory')
    .summary('everybody and everything with access, and what they use of it')
    .description(
      'Lists every person, workload and agent that the relay has seen, and the workloads of the policy that it has not: owner, last use, ' +
        'targets, kinds of statements, and findings: dormant, over-scoped, unowned, offboarded, never-seen. For auditors and administrators; ' +
        'reading it is on record. At most 10,000 principals.',
    )
    .option('--since <time>', `what was used since: a time, or how long ago (default: ${sinceDefaultDays}d)`, parseMoment)
    .option('--dormant <time>', `dormant is who was not used since (default: ${dormantDefaultDays}d)`, parseMoment)
    .addOption(new Option('--finding <finding>', 'only those with it').choices(findingNames))
    .action((options: InventoryOptions) => runInventory(context, options));
}

/** Under `--json` one line: `{"since":…,"dormant":…,"principals":[…]}`, and `isCut` where there are more than are looked at. */
export async function runInventory(context: Context, { since, dormant, finding }: InventoryOptions): Promise<void> {
  const { io } = context;
  const relay = await context.relay();
  const times = { ...(since && { since: since.toISOString() }), ...(dormant && { dormant: dormant.toISOString() }) };
  const all = await io.withSpinner('Taking the inventory', () => relay.inventory(times));
  const principals = all.principals.filter(({ findings }) => finding === undefined || findings.some((one) => one.finding === finding));
  if (io.json) await io.writeJson({ ...all, principals } satisfies Inventory);
  else if (principals.length > 0) await io.write(formatInventory(principals, new Date()));
  if (all.isCut) io.warn('there are more principals than are looked at: those who came by last are here');
  if (principals.length === 0) io.say(finding === undefined ? 'Nobody has come by yet.' : `Nobody is ${finding}.`);
  const found = principals.flatMap((entry) => entry.findings.map(({ detail }) => `${entry.name}: ${detail}`));
  if (found.length > 0) io.say(`${found.length} ${found.length === 1 ? 'finding' : 'findings'}; each in words: gate inventory --json`);
}

export function formatInventory(principals: readonly InventoryEntry[], now: Date): string {
  const head = ['NAME', 'KIND', 'BEHIND IT', 'LAST USED', 'GRANTS', 'SESSIONS', 'STATEMENTS', 'KINDS', 'USED', 'FINDINGS'];
  return formatTable(
    head,
    principals.map((entry) => [
      entry.name,
      entry.kind,
      behind(entry),
      lastUsed(entry, now),
      String(entry.grants),
      String(entry.sessions),
      String(entry.statements),
      entry.kinds.join(',') || '-',
      entry.uses.filter(({ sessions }) => sessions > 0).map(({ target, role }) => `${target}/${role}`).join(',') || '-',
      [...new Set(entry.findings.map(describe))].join(',') || '-',
    ]),
  );
}

/** A session that is open is in use at the moment of the answer. */
function lastUsed({ lastUsedAt }: InventoryEntry, now: Date): string {
  if (lastUsedAt === undefined) return 'never';
  return now.getTime() - Date.parse(lastUsedAt) < 1000 ? 'now' : formatRelative(lastUsedAt, now);
}

/** The owner, and the person of the newest run; one who is only claimed with a question mark. */
function behind({ owner, human }: InventoryEntry): string {
  const parts = [owner && `${owner.name} (owner)`, human && human.name !== owner?.name && `${human.name}${human.strength === 'claimed' ? '?' : ''}`];
  return parts.filter(Boolean).join(', ') || '-';
}

function describe({ finding, target, role }: Finding): string {
  return target === undefined ? finding : `${finding}:${target}/${role}`;
}
