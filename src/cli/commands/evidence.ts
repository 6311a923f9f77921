/** gate evidence: all that an auditor asks for, in one directory, made from a bundle of the record that can be verified. */
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { GateError } from '../../errors/errors.ts';
import type { Context } from '../context.ts';
import type { EvidenceTables, Period, PolicyVersion } from './evidence/tables.ts';

type Flags = Period & { readonly output: string };
type Write = (name: string, text: string) => Promise<void>;

export function evidenceCommand(context: Context): Command {
  return new Command('evidence')
    .summary('collect evidence for an audit')
    .description(
      'Writes a new directory: a bundle of the whole record, and out of it grants, requests, denials, sessions, reads and keys of a period as CSV, the versions of the policy with their changes, and what the verifier says. For auditors, and on record.',
    )
    .requiredOption('--output <dir>', 'a new directory')
    .option('--since <time>', 'from this day or moment on, as 2026-01-31 or 2026-01-31T12:00:00Z', parseTime)
    .option('--until <time>', 'up to this day or moment, which is not part of it', parseTime)
    .action((flags: Flags) => runEvidence(context, flags));
}

/** Under `--json` the content of summary.json on one line. */
export async function runEvidence(context: Context, { output, ...period }: Flags): Promise<void> {
  const { io } = context;
  const [relay, { exportBundle }, { makePrivateDirectory, writePrivateFile }, { verifyBundle }] = await Promise.all([
    context.relay(),
    import('../../client/bundle.ts'),
    import('../../client/private-file.ts'),
    import('./evidence/verification.ts'),
  ]);
  await refuseOccupied(output);
  await makePrivateDirectory(output);
  const write: Write = (name, text) => writePrivateFile(join(output, name), text);
  const summary = await io.withSpinner('Collecting evidence …', async () => {
    const bundle = await exportBundle(relay, join(output, 'bundle'), { hasSealed: true });
    const tables = await readTables(join(output, 'bundle'), period);
    const counts = await writeTables(tables, write);
    const missingPolicies = await writePolicies(tables.policies, write, (digest) => relay.policyText(digest));
    const verification = await verifyBundle(join(output, 'bundle'));
    await write('verification.txt', verification.text);
    const { name, issuer, subject } = await relay.whoAmI();
    const facts = { origin: bundle.origin, size: bundle.size, createdAt: new Date().toISOString(), createdBy: `${name} <${issuer} ${subject}>` };
    const { since, until } = period;
    const { formatReadme } = await import('./evidence/readme.ts');
    const words = `${since?.toISOString() ?? 'the beginning'} to ${until?.toISOString() ?? 'now'}`;
    await write('README.txt', formatReadme({ ...facts, period: words, missingPolicies }));
    const made = {
      v: 1,
      ...facts,
      since: since?.toISOString() ?? null,
      until: until?.toISOString() ?? null,
      entries: tables.entries,
      sealed: bundle.sealed,
      ...counts,
      policies: tables.policies.length,
      missingPolicies,
      verification: verification.result,
    };
    await write('summary.json', `${JSON.stringify(made, undefined, 2)}\n`);
    return made;
  });
  if (io.json) await io.writeJson(summary);
  if (summary.verification === 'tampered' || summary.verification === 'cannot-tell') {
    throw new GateError('record-damaged', `the record does not verify: ${summary.verification}`, { hint: `See ${join(output, 'verification.txt')}.` });
  }
  if (io.json) return;
  io.say(`${output} holds evidence from ${summary.size} entries of ${summary.origin}. Begin with ${join(output, 'README.txt')}.`);
}

async function refuseOccupied(output: string): Promise<void> {
  const { readdir } = await import('node:fs/promises');
  const names = await readdir(output).catch(() => []);
  if (names.length > 0) throw new GateError('usage', `${output} is not empty`, { hint: 'Name a new directory.' });
}

async function readTables(bundle: string, period: Period): Promise<EvidenceTables> {
  const [{ readBundle }, { openEntry, parseStored }, { EvidenceTables }] = await Promise.all([
    import('../../client/bundle.ts'),
    import('../../audit/line.ts'),
    import('./evidence/tables.ts'),
  ]);
  const tables = new EvidenceTables(period);
  for await (const { index, body } of readBundle(bundle)) tables.take(index, openEntry(parseStored(body), 'not-allowed'));
  return tables;
}

/** Answers how many rows each has. */
async function writeTables({ tables }: EvidenceTables, write: Write): Promise<Record<string, number>> {
  const { formatCsv } = await import('./evidence/csv.ts');
  const counts: Record<string, number> = {};
  for (const [name, { head, rows }] of Object.entries(tables)) {
    await write(`${name}.csv`, formatCsv(head, rows));
    counts[name] = rows.length;
  }
  return counts;
}

/** Answers of how many versions the relay has no text. */
async function writePolicies(versions: readonly PolicyVersion[], write: Write, textOf: (digest: string) => Promise<string>): Promise<number> {
  const { unifiedDiff } = await import('./evidence/line-diff.ts');
  let missing = 0;
  let before: { readonly name: string; readonly text: string } | undefined;
  for (const [index, { digest }] of versions.entries()) {
    const name = `${index + 1}-${digest.slice(0, 12)}`;
    const text = await textOf(digest).catch((error: unknown) => {
      if (error instanceof GateError && error.code === 'not-found') return undefined;
      throw error;
    });
    if (text === undefined) {
      missing++;
      continue;
    }
    await write(`policies/${name}.yaml`, text);
    if (before !== undefined) await write(`policies/${name}.diff`, unifiedDiff(before.text, text, [`${before.name}.yaml`, `${name}.yaml`]));
    before = { name, text };
  }
  return missing;
}

function parseTime(text: string): Date {
  const time = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(time)) throw new InvalidArgumentError('Write 2026-01-31 or 2026-01-31T12:00:00Z.');
  return new Date(time);
}
