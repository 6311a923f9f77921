/** gate policy explain: which rule decides on a text, for whom, and why; asked of the relay or of a policy file. */
import { Command } from 'commander';
import type { ExplainAnswer } from '../../../api/policy-api.ts';
import { GateError } from '../../../errors/errors.ts';
import type { Context } from '../../context.ts';
import { oneLine } from '../../output.ts';
import { loadExaminer, loadNames, loadPolicy, loadSyntax, readText } from './offline.ts';

type Flags = {
  readonly as?: string;
  readonly groups?: string;
  readonly target: string;
  readonly role?: string;
  readonly sql?: string;
  readonly file?: string;
  readonly policy?: string;
  readonly catalog?: string;
};

export function explainCommand(context: Context): Command {
  return new Command('explain')
    .summary('say which rule decides on a statement, and why')
    .description(
      'Asks the relay, which knows the tables of the database; with --policy a file on this machine, without a relay. ' +
        'Nothing is run. Auditors and administrators may ask for others with --as.',
    )
    .requiredOption('--target <name>', 'where it would run')
    .option('--role <name>', 'in which role; without it the first that is open')
    .option('--sql <text>', 'the SQL')
    .option('--file <file>', 'read the SQL from a file; - is standard input')
    .option('--as <user>', 'for somebody else')
    .option('--groups <names>', 'the groups of that user, separated by commas')
    .option('--policy <file>', 'ask this policy file instead of the relay')
    .option('--catalog <file>', 'with --policy: tables and keys as in the catalog of policy tests')
    .action((flags: Flags) => runPolicyExplain(context, flags));
}

/** Under `--json` one line, the answer of POST /v1/policy/explain. */
export async function runPolicyExplain(context: Context, flags: Flags): Promise<void> {
  const sql = await chooseSql(flags);
  const groups = (flags.groups ?? '').split(',').map((group) => group.trim()).filter((group) => group !== '');
  if (flags.groups !== undefined && flags.as === undefined && flags.policy === undefined) {
    throw new GateError('usage', '--groups goes with --as', { hint: 'Write whose groups they are with --as NAME.' });
  }
  if (flags.catalog !== undefined && flags.policy === undefined) throw new GateError('usage', '--catalog goes with --policy');
  const answer = flags.policy === undefined ? await askRelay(context, flags, { sql, groups }) : await askFile(flags, { sql, groups, policy: flags.policy });
  if (context.io.json) return context.io.writeJson(answer);
  await context.io.write(formatAnswer(answer));
}

async function chooseSql({ sql, file }: Flags): Promise<string> {
  if ((sql === undefined) === (file === undefined)) {
    throw new GateError('usage', 'say which SQL with either --sql TEXT or --file FILE');
  }
  return sql ?? readText(file ?? '-');
}

async function askRelay(context: Context, { target, role, as }: Flags, { sql, groups }: { sql: string; groups: string[] }): Promise<ExplainAnswer> {
  const { explainSqlLengthMax } = await import('../../../api/policy-api.ts');
  if (sql.length > explainSqlLengthMax) {
    throw new GateError('usage', `the relay explains at most ${explainSqlLengthMax} characters of SQL`, { hint: 'Longer texts: --policy FILE.' });
  }
  return (await context.relay()).explain({ target, sql, ...(role !== undefined && { role }), ...(as !== undefined && { as: { name: as, groups } }) });
}

async function askFile(flags: Flags, { sql, groups, policy: file }: { sql: string; groups: string[]; policy: string }): Promise<ExplainAnswer> {
  const [policy, examine, parse, names, { answer }, { masksOf }] = await Promise.all([
    loadPolicy(file),
    loadExaminer(),
    loadSyntax(),
    loadNames(flags.catalog),
    import('../../../policy/explain.ts'),
    import('../../../policy/offline-masks.ts'),
  ]);
  const name = flags.as ?? 'someone';
  const principal = { issuer: 'local', subject: name, kind: 'human', name, groups } as const;
  const now = new Date();
  const said = answer({ policy, principal, target: { name: flags.target }, role: flags.role, examined: examine(sql, names), now });
  const masks = masksOf({ policy, principal, said, now, sql, names, parse });
  return { ...said, ...(masks && { masks }) };
}

export function formatAnswer({ decision, statements, principal, target, role, policy, masks }: ExplainAnswer): string {
  const who = `${principal.name} (${principal.groups.join(', ') || 'no groups'}) as ${role} on ${target}`;
  const lines = [row('who', who), row('policy', policy.slice(0, 12)), ...verdictLines(decision)];
  for (const [index, { facts, decision: own }] of statements.entries()) {
    lines.push('', `statement ${index + 1}: ${oneLine(facts.command)}`);
    const lists = ['kinds', 'commands', 'reads', 'writes', 'functions', 'settings'] as const;
    for (const name of lists) if (facts[name].length > 0) lines.push(row(`  ${name}`, facts[name].join(', ')));
    const rows = facts.rowsMax === undefined ? 'no bound is proven' : facts.rowsMax === 0 ? 'changes none' : `changes at most ${facts.rowsMax}`;
    lines.push(row('  rows', rows));
    if (facts.transaction !== undefined) lines.push(row('  transaction', facts.transaction));
    const marks = [facts.locking && 'takes locks', facts.changesRole && 'changes roles', facts.runsCode && 'runs code that the text does not show'];
    if (marks.some(Boolean)) lines.push(row('  also', marks.filter(Boolean).join(', ')));
    lines.push(...verdictLines(own).map((line) => `  ${line}`));
  }
  if (masks !== undefined) lines.push('', ...maskLines(masks));
  return `${lines.join('\n')}\n`;
}

function maskLines({ level, columns, sent, refusal }: NonNullable<ExplainAnswer['masks']>): string[] {
  const lines = [row('masks', level), ...columns.map(({ column, rule, kind }) => row('  masked', `${column}: ${kind} (rule ${rule})`))];
  if (refusal !== undefined) lines.push(row('  refused', `${refusal.reason} (rule ${refusal.rule})`), row('  hint', refusal.hint));
  if (sent !== undefined) lines.push(row('  sent', sent));
  return lines;
}

function verdictLines({ effect, rule, reason, approval, rowsMax, statementTimeoutMs, recordRows }: ExplainAnswer['decision']): string[] {
  const lines = [row('verdict', effect), row('rule', rule), row('reason', reason)];
  if (approval !== undefined) {
    lines.push(row('approval', `${approval.count} of ${approval.by.join(', ')} within ${Math.round(approval.withinSeconds / 60)} min`));
  }
  if (rowsMax !== undefined) lines.push(row('rows', `at most ${rowsMax}`));
  if (statementTimeoutMs !== undefined) lines.push(row('time', `at most ${statementTimeoutMs / 1000} s`));
  if (recordRows) lines.push(row('record', 'its rows are recorded'));
  return lines;
}

function row(label: string, value: string): string {
  return `${label.padEnd(14)} ${oneLine(value)}`;
}
