/** gate audit verify: whether a record is whole and as it was written, from its files alone. */
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { GateError, messageOf } from '../../../errors/errors.ts';
import type { KeptFile } from '../../../audit/verify.ts';
import type { Finding, Report } from '../../../audit/verify-report.ts';
import type { Context } from '../../context.ts';
import { ExitCode } from '../../exit-code.ts';
import { oneLine } from '../../output.ts';

export type VerifyFlags = {
  readonly key: readonly string[];
  readonly checkpoint: readonly string[];
  readonly receipt: readonly string[];
  readonly witness: readonly string[];
  readonly witnessesMin?: string;
};

/** Findings and notes that people see; --json has more. */
const shownMax = 50;
/** How often a log is read anew that was written meanwhile. */
const attemptsMax = 3;

export function verifyCommand(context: Context): Command {
  const more = (value: string, values: readonly string[]) => [...values, value];
  return new Command('verify')
    .summary('check a record offline: whole, unchanged, and signed')
    .description(
      'Checks a state directory, its log, or an exported bundle, without asking the relay. Give a key that you\n' +
        'have from elsewhere, and what you have kept: checkpoints and receipts show a log that was cut or rewritten.\n' +
        'Exit codes: 0 intact, 1 tampered, 2 incomplete, 3 cannot tell.',
    )
    .argument('[directory]', 'where the record is')
    .option('--key <key>', 'a verifier key that you trust, or @file (repeatable)', more, [])
    .option('--checkpoint <file>', 'a checkpoint that somebody has kept (repeatable)', more, [])
    .option('--receipt <file>', 'a receipt of a session (repeatable)', more, [])
    .option('--witness <key>', 'the verifier key of a witness, or @file (repeatable)', more, [])
    .option('--witnesses-min <count>', 'how many of them must have cosigned (default: all)')
    .action((directory: string | undefined, flags: VerifyFlags) => runAuditVerify(context, directory, flags));
}

export async function runAuditVerify(context: Context, directory: string | undefined, flags: VerifyFlags): Promise<void> {
  if (directory === undefined) {
    throw new GateError('usage', 'which record is to be verified?', { hint: 'Give its directory: gate audit verify DIRECTORY' });
  }
  const { io } = context;
  const report = await verifyDirectory(directory, flags);
  if (flags.key.length === 0) {
    io.warn('no --key was given: this shows that the record agrees with itself and with the key beside it, not who wrote it');
  }
  if (io.json) await io.writeJson(report);
  else await io.write(formatReport(report));
  if (report.exitCode !== 0) throw new ExitCode(report.exitCode);
}

/** The report on a directory. Fails with `usage` for keys and files that are none. */
export async function verifyDirectory(directory: string, flags: VerifyFlags): Promise<Report> {
  const [{ verifyRecord }, { evidenceFiles, findEvidence }] = await Promise.all([import('../../../audit/verify.ts'), import('../../../store/evidence-files.ts')]);
  const witnessesMin = flags.witnessesMin === undefined ? undefined : parseCount(flags.witnessesMin);
  const place = await findEvidence(directory).catch((error: unknown) => {
    return { directory, keyBeside: undefined, problem: messageOf(error) };
  });
  if ('problem' in place) return unreadable(place.problem);
  const evidence = evidenceFiles(place.directory);
  const input = {
    evidence,
    keys: await readKeys(flags.key),
    keyBeside: place.keyBeside,
    checkpoints: await readKept(flags.checkpoint),
    receipts: await readKept(flags.receipt),
    witnesses: await readKeys(flags.witness),
    witnessesMin,
  };
  for (let attempt = 1; ; attempt++) {
    const before = await evidence.read('checkpoint', 65_536).catch(() => undefined);
    const report = await verifyRecord(input);
    const after = await evidence.read('checkpoint', 65_536).catch(() => undefined);
    // A relay that is at work replaces tiles while they are read.
    if (report.exitCode === 0 || attempt === attemptsMax || before === undefined || after?.equals(before) === true) return report;
  }
}

function parseCount(text: string): number {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  throw new GateError('usage', `--witnesses-min is a number of witnesses, not ${oneLine(text)}`);
}

/** Lines of files; what cannot be read is no key, and the report says so. */
async function readKeys(values: readonly string[]): Promise<string[]> {
  const texts = await Promise.all(
    values.map(async (value) => {
      if (!value.startsWith('@')) return [value];
      const text = await readFile(value.slice(1), 'utf8').catch(() => value);
      return text.split('\n').filter((line) => line.trim() !== '');
    }),
  );
  return texts.flat();
}

function readKept(paths: readonly string[]): Promise<KeptFile[]> {
  return Promise.all(paths.map(async (name) => ({ name, bytes: await readFile(name).catch(() => undefined) })));
}

function unreadable(problem: string): Report {
  const counts = { entries: 0, sessions: 0, statements: 0, refused: 0, sealed: 0, witnesses: 0, checkpoints: 0, receipts: 0, findings: 1 };
  const finding = { kind: 'unreadable', severity: 'unknown', message: `the directory cannot be read: ${problem}` } as const;
  return { result: 'cannot-tell', exitCode: 3, log: { origin: '', size: 0, root: '', signedBy: [] }, counts, findings: [finding], notes: [] };
}

const words: Readonly<Record<Report['result'], string>> = { intact: 'intact', tampered: 'TAMPERED', incomplete: 'incomplete', 'cannot-tell': 'cannot tell' };
const marks: Readonly<Record<Finding['severity'], string>> = { tampered: 'TAMPERED', incomplete: 'incomplete', unknown: 'cannot tell' };

export function formatReport({ result, log, counts, findings, notes }: Report): string {
  const facts = [
    `log         ${log.origin || '-'}`,
    `size        ${log.size} entries`,
    `root        ${log.root || '-'}`,
    ...(log.signedBy.length === 0 ? ['signed by   -'] : log.signedBy.map((key) => `signed by   ${key}`)),
    `witnesses   ${counts.witnesses}`,
    `kept        ${counts.checkpoints} checkpoints, ${counts.receipts} receipts`,
    `sessions    ${counts.sessions}`,
    `statements  ${counts.statements}, of which ${counts.refused} refused`,
    `sealed      ${counts.sealed} contents`,
  ];
  const found = findings.slice(0, shownMax).map(({ severity, message }) => `${marks[severity]}: ${message}`);
  const noted = notes.slice(0, shownMax).map((note) => `note: ${note}`);
  const rest = [
    ...(counts.findings > found.length ? [`… and ${counts.findings - found.length} findings more`] : []),
    ...(notes.length > noted.length ? [`… and ${notes.length - noted.length} notes more`] : []),
  ];
  return `${[...facts, ...noted, ...found, ...rest, words[result]].map(oneLineKept).join('\n')}\n`;
}

/** Nothing that a record holds may move the cursor; the blanks between columns stay. */
function oneLineKept(line: string): string {
  return line.replace(/[\p{Cc}\p{Cf}]/gu, '\u{FFFD}');
}
