/** gate audit export: the record as a bundle that can be verified without the relay, or as entries for a SIEM. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { SiemFormat } from '../../../audit/siem/format.ts';
import { GateError } from '../../../errors/errors.ts';
import type { Context } from '../../context.ts';
import { exitOfSignal } from '../../exit-code.ts';

type Flags = {
  readonly output?: string;
  readonly sealed: boolean;
  readonly format?: SiemFormat;
  readonly follow?: boolean;
  readonly cursor?: string;
  readonly from?: number;
  readonly headerFile?: string;
};

/** As in `audit/siem/format.ts`, which `--help` does not load. */
const formats: readonly SiemFormat[] = ['ndjson', 'ocsf', 'ecs', 'gcp', 'cef'];

/** Tries for one batch over HTTP where nobody follows: about four minutes. */
const attemptsMax = 12;

export function exportCommand(context: Context): Command {
  return new Command('export')
    .summary('export the record: a bundle to verify, or entries for a SIEM')
    .description(
      'Without --format, a directory with the whole record that can be verified without the relay; run again, it is completed. With --format, the open part of each entry on a line of its own. For auditors, and on record.',
    )
    .option('--output <where>', 'a directory for a bundle; for entries a file, - (stdout) or an http(s) URL')
    .option('--no-sealed', 'a bundle without what is sealed')
    .addOption(new Option('--format <format>', 'entries in this format, in place of a bundle').choices(formats))
    .option('--follow', 'go on with entries as they come')
    .option('--cursor <file>', 'where the export is remembered to have come to; it goes on from there')
    .option('--from <index>', 'begin with this entry, where no cursor says otherwise', parseIndex)
    .option('--header-file <file>', 'header lines for the URL, as "Name: value"')
    .action((flags: Flags) => runAuditExport(context, flags));
}

export async function runAuditExport(context: Context, flags: Flags): Promise<void> {
  const { format, output } = flags;
  if (format !== undefined) return exportStream(context, { ...flags, format });
  const foreign = (['follow', 'cursor', 'from', 'headerFile'] as const).find((name) => flags[name] !== undefined);
  if (foreign !== undefined) throw new GateError('usage', `--${foreign === 'headerFile' ? 'header-file' : foreign} is for entries`, { hint: 'Add --format ndjson, or another.' });
  if (output === undefined || output === '-' || isUrl(output)) {
    throw new GateError('usage', 'a bundle is a directory', { hint: 'Name it: --output DIR. For entries on stdout, add --format ndjson.' });
  }
  await writeBundle(context, output, flags.sealed);
}

/** Under `--json` what the bundle has now. */
async function writeBundle(context: Context, directory: string, hasSealed: boolean): Promise<void> {
  const { io } = context;
  const [client, { exportBundle }] = await Promise.all([context.relay(), import('../../../client/bundle.ts')]);
  const bundle = await io.withSpinner('Exporting the record …', () => exportBundle(client, directory, { hasSealed }));
  if (io.json) await io.writeJson({ directory, ...bundle });
  const { origin, size, before, sealed } = bundle;
  io.say(`${directory} holds ${size} entries of ${origin}${before > 0 ? `, ${size - before} of them new` : ''}.`);
  if (hasSealed && sealed.found < sealed.named) {
    io.warn(`the relay no longer has ${sealed.named - sealed.found} of ${sealed.named} sealed contents that the entries name`);
  }
}

async function exportStream(context: Context, flags: Flags & { readonly format: SiemFormat }): Promise<void> {
  const { io } = context;
  const { output = '-', format, cursor, follow = false, from = 0, headerFile } = flags;
  if (!flags.sealed) throw new GateError('usage', '--no-sealed is for bundles; entries never come with what is sealed');
  if (headerFile !== undefined && !isUrl(output)) throw new GateError('usage', '--header-file is for an http(s) URL');
  const [relay, { exportEntries }, sinks] = await Promise.all([
    context.relay(),
    import('../../../client/entry-export.ts'),
    import('../../../client/export-sinks.ts'),
  ]);
  const signal = context.stopSignal();
  const warn = (line: string) => io.warn(line);
  const headers = headerFile === undefined ? {} : await sinks.loadHeaders(headerFile);
  const openSink = async (bytes: number | undefined) => {
    if (isUrl(output)) return sinks.openHttpSink({ url: new URL(output), headers, signal, warn, attemptsMax: follow ? Infinity : attemptsMax });
    if (output !== '-') return sinks.openFileSink(output, bytes);
    return { write: (lines: readonly string[]) => io.write(lines.map((line) => `${line}\n`).join('')), close: () => Promise.resolve() };
  };
  const next = await exportEntries({ relay, format, from, isFollowing: follow, signal, warn, openSink, ...(cursor !== undefined && { cursorFile: cursor }) });
  if (signal.aborted) throw exitOfSignal(signal.reason);
  if (output !== '-') io.say(`Exported up to entry ${next}.`);
}

function isUrl(output: string): boolean {
  return /^https?:\/\//i.test(output) && URL.canParse(output);
}

function parseIndex(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Write a whole number.');
  return Number(text);
}
