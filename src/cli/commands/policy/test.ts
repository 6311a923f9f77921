/** gate policy test: runs the cases of a directory against a policy; 0 all pass, 1 some fail, 2 they cannot be run. */
import { readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { CaseFile, CaseResult } from '../../../policy/policy-test.ts';
import { GateError, messageOf } from '../../../errors/errors.ts';
import type { Context } from '../../context.ts';
import { ExitCode } from '../../exit-code.ts';
import { oneLine } from '../../output.ts';
import { loadExaminer, loadPolicy, loadSyntax, readText } from './offline.ts';

type Flags = { readonly policy?: string; readonly reporter?: 'text' | 'junit' | 'json' };
type FileResult = { readonly file: string; readonly results: readonly CaseResult[] };

export function testCommand(context: Context): Command {
  return new Command('test')
    .summary('run the policy tests of a directory')
    .description(
      'Runs every *.yaml file below the directory that has cases. Exit code 0 when all pass, 1 when some fail, 2 when ' +
        'they cannot be run.',
    )
    .argument('<dir>', 'or one file')
    .option('--policy <file>', 'the policy, for files that name none; policy.yaml in the directory')
    .addOption(new Option('--reporter <format>', 'text, or json under --json').choices(['text', 'junit', 'json']))
    .action((path: string, flags: Flags) => runPolicyTest(context, path, flags));
}

export async function runPolicyTest(context: Context, path: string, flags: Flags): Promise<void> {
  const { io } = context;
  const files = await findCases(path);
  const [examine, parse] = await Promise.all([loadExaminer(), loadSyntax()]);
  const [{ runCase }, { sessionNames }] = await Promise.all([
    import('../../../policy/policy-test.ts'),
    import('../../../policy/catalog-file.ts'),
  ]);
  const now = new Date();
  const tested: FileResult[] = [];
  for (const { file, content } of files) {
    const policyFile = content.policy === undefined ? (flags.policy ?? join(await directoryOf(path), 'policy.yaml')) : resolve(dirname(file), content.policy);
    const policy = await loadPolicy(policyFile);
    const names = sessionNames(content.catalog);
    tested.push({ file, results: content.cases.map((one) => runCase(policy, one, { examined: examine(one.sql, names), now, names, parse })) });
  }
  const reporter = flags.reporter ?? (io.json ? 'json' : 'text');
  if (reporter === 'json') await io.writeJson(toJson(tested));
  else await io.write(reporter === 'junit' ? toJunit(tested) : toText(tested));
  if (tested.some(({ results }) => results.some(({ ok }) => !ok))) throw new ExitCode(1);
}

async function directoryOf(path: string): Promise<string> {
  return (await stat(path)).isDirectory() ? path : dirname(path);
}

/** Fails with `usage` where there is nothing to run, and with `config-invalid` for a file that is wrong. */
async function findCases(path: string): Promise<{ file: string; content: CaseFile }[]> {
  const [{ parseYaml }, { CaseFile: Schema }] = await Promise.all([
    import('../../../yaml/yaml-file.ts'),
    import('../../../policy/policy-test.ts'),
  ]);
  let files: string[];
  try {
    const isDirectory = (await stat(path)).isDirectory();
    files = isDirectory ? (await readdir(path, { recursive: true })).filter((name) => /\.ya?ml$/.test(name)).toSorted().map((name) => join(path, name)) : [path];
  } catch (error) {
    throw new GateError('usage', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
  const found: { file: string; content: CaseFile }[] = [];
  for (const file of files) {
    const text = await readText(file);
    if (/^cases\s*:/m.test(text) || files.length === 1) found.push({ file, content: parseYaml(text, file, Schema) });
  }
  if (found.length === 0) throw new GateError('usage', `no file below ${path} has cases`, { hint: 'See docs/policy.md for how they are written.' });
  return found;
}

function toText(tested: readonly FileResult[]): string {
  const all = tested.flatMap(({ results }) => results);
  const lines = tested.flatMap(({ file, results }) => [
    file,
    ...results.flatMap(({ ok, name, problems }) => [`  ${ok ? 'ok  ' : 'FAIL'} ${oneLine(name)}`, ...problems.map((problem) => `         ${oneLine(problem)}`)]),
  ]);
  const failed = all.filter(({ ok }) => !ok).length;
  return `${lines.join('\n')}\n${all.length - failed} passed, ${failed} failed\n`;
}

function toJson(tested: readonly FileResult[]): object {
  const results = tested.flatMap(({ file, results: own }) => own.map((result) => ({ file, ...result })));
  const failed = results.filter(({ ok }) => !ok).length;
  return { passed: results.length - failed, failed, results };
}

/** The JUnit XML that CI systems read: one suite per file. */
function toJunit(tested: readonly FileResult[]): string {
  const suites = tested.map(({ file, results }) => {
    const cases = results.map(({ name, ok, problems }) => {
      const head = `    <testcase classname="${escapeXml(file)}" name="${escapeXml(oneLine(name))}"`;
      if (ok) return `${head}/>`;
      return `${head}>\n      <failure message="${escapeXml(problems[0] ?? '')}">${escapeXml(problems.join('\n'))}</failure>\n    </testcase>`;
    });
    const failures = results.filter(({ ok }) => !ok).length;
    return [`  <testsuite name="${escapeXml(file)}" tests="${results.length}" failures="${failures}">`, ...cases, '  </testsuite>'].join('\n');
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="gate policy test">\n${suites.join('\n')}\n</testsuites>\n`;
}

/** Control characters have no place in XML at all, escaped or not. */
function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replaceAll(/[^\P{Cc}\n\t]|[\uFFFE\uFFFF]/gu, '\u{FFFD}').replaceAll(/[&<>"]/g, (character) => entities[character] ?? '');
}
