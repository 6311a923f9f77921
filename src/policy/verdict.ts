/** The verdict on each statement of a text under a role, and the one on the text as a whole. Pure, total, default deny. */
import type { Grant } from '../grant/grant.ts';
import type { ApprovalRule } from '../grant/request.ts';
import { humanBehind } from '../principal/principal.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { StatementKind } from '../sql/kind.ts';
import { matchRule, rulesForKinds } from './match.ts';
import type { Effect, Requirement, Role, RowLimits, Rule } from './role.ts';

/** The verdict on a text. What it takes to approve stands with `hold`, what limits the run with `allow` and `hold`. */
export type Decision = {
  readonly effect: Effect;
  /** `<target>/<role>/<rule>`, or `grant-expired`. */
  readonly rule: string;
  readonly reason: string;
  readonly approval?: ApprovalRule;
  /** Most rows that the statement may return or change. */
  readonly rowsMax?: number;
  /** Longest time that it may run, in milliseconds. */
  readonly statementTimeoutMs?: number;
  /** Its rows are recorded. */
  readonly recordRows?: true;
};

export type Situation = {
  readonly role: Role;
  readonly grant: Pick<Grant, 'target' | 'reason' | 'ticket' | 'principal'>;
  /** The variables of conditions for this statement. */
  readonly scope: (facts: StatementFacts) => object;
};

/** What a role says to one statement: the first rule that matches, then the kinds that it allows, then no. */
export function judge(situation: Situation, facts: StatementFacts): Decision {
  const { role, scope } = situation;
  const prefix = `${situation.grant.target}/${role.name}`;
  if (role.isReadOnly && liftsReadOnly(facts)) {
    return { effect: 'deny', rule: `${prefix}/read-only`, reason: `sessions of the role ${role.name} are read-only, and this statement would lift that` };
  }
  let values: object | undefined;
  const problems: string[] = [];
  for (const rule of rulesForKinds(role, facts.kinds)) {
    const { isMatch, problem } = matchRule(rule, facts, () => (values ??= scope(facts)));
    if (problem !== undefined) problems.push(`the condition of the rule ${rule.name} could not be evaluated: ${problem}`);
    if (isMatch) return withProblems(applyRule(rule, situation, facts), problems);
  }
  return withProblems(lastResort(role, prefix, facts), problems);
}

function applyRule(rule: Rule, situation: Situation, facts: StatementFacts): Decision {
  const { path, name, effect, approval } = rule;
  if (effect === 'deny') return { effect, rule: path, reason: rule.reason ?? `the rule ${name} denies ${describe(facts)}` };
  if (facts.kinds.includes('unknown') && rule.kinds?.includes('unknown') !== true) {
    return { effect: 'deny', rule: path, reason: `what it does cannot be told from its text, and the rule ${name} does not name the kind unknown` };
  }
  const missing = rule.require.find((requirement) => isMissing(requirement, situation.grant));
  if (missing !== undefined) return { effect: 'deny', rule: path, reason: `the rule ${name} asks for a ${missing}: ${missingAdvice[missing]}` };
  const limits = limitsOf(rule, situation.role, facts);
  if (effect === 'allow') return { effect, rule: path, reason: rule.reason ?? `the rule ${name} allows it`, ...limits };
  if (approval === undefined) return { effect: 'deny', rule: path, reason: `the rule ${name} names nobody who could approve it` };
  return { effect, rule: path, reason: rule.reason ?? `the rule ${name} holds ${describe(facts)} for approval`, approval, ...limits };
}

function isMissing(requirement: Requirement, grant: Situation['grant']): boolean {
  return requirement === 'human' ? humanBehind(grant.principal)?.strength !== 'verified' : !grant[requirement]?.trim();
}

const missingAdvice: Readonly<Record<Requirement, string>> = {
  reason: 'ask for access with --reason "…"',
  ticket: 'ask for access with --ticket ID',
  human: 'nobody whom a signed token or the policy names is known to stand behind it',
};

function lastResort(role: Role, prefix: string, facts: StatementFacts): Decision {
  if (facts.kinds.length > 0 && facts.kinds.every((kind) => role.allow.includes(kind))) {
    const reason = `the role ${role.name} allows ${facts.kinds.join(' and ')} statements`;
    return { effect: 'allow', rule: `${prefix}/allow`, reason, ...limitsOf({}, role, facts) };
  }
  const target = prefix.slice(0, prefix.indexOf('/'));
  const refused = facts.kinds.find((kind) => !role.allow.includes(kind)) ?? 'unknown';
  if (role.allow.length > 0) {
    return { effect: 'deny', rule: `${prefix}/allow`, reason: `the role ${role.name} may not run ${describeKind(refused)} on ${target}` };
  }
  return { effect: 'deny', rule: `${prefix}/default`, reason: `no rule of the role ${role.name} on ${target} allows ${describe(facts)}` };
}

/** The limits of the rule take the place of the role's. A statement that only reads returns rows; others change them, too. */
function limitsOf(rule: Pick<Rule, 'rowsMax' | 'statementTimeoutMs' | 'recordRows'>, role: Role, facts: StatementFacts): Pick<Decision, 'rowsMax' | 'statementTimeoutMs' | 'recordRows'> {
  const rows: RowLimits = { ...role.rowsMax, ...rule.rowsMax };
  const applicable = [
    facts.kinds.includes('read') ? rows.read : undefined,
    facts.kinds.some((kind) => kind !== 'read') ? rows.write : undefined,
  ];
  const rowsMax = least(applicable);
  const statementTimeoutMs = rule.statementTimeoutMs ?? role.statementTimeoutMs;
  const recordRows = rule.recordRows ?? role.recordRows ?? false;
  return {
    ...(rowsMax !== undefined && { rowsMax }),
    ...(statementTimeoutMs !== undefined && { statementTimeoutMs }),
    ...(recordRows && { recordRows }),
  };
}

/** READ WRITE in any form is of kind write, unlike the same settings where they only tighten. */
function liftsReadOnly({ transaction, settings, kinds }: StatementFacts): boolean {
  if (transaction === 'begin read write') return true;
  return settings.some((name) => readOnlySettings.has(name)) && kinds.some((kind) => kind !== 'read');
}

/** "?": a name that is computed could be any. */
const readOnlySettings = new Set(['transaction_read_only', 'default_transaction_read_only', '?']);

const severity: Readonly<Record<Effect, number>> = { allow: 0, hold: 1, deny: 2 };

/** The most severe decides; limits are the smallest, and what several holds ask for is asked for at once. */
export function combine(decisions: readonly Decision[]): Decision {
  const [first, ...others] = decisions;
  if (first === undefined) throw new RangeError('there is nothing to combine');
  if (others.length === 0) return first;
  const worst = decisions.reduce((most, { effect }) => Math.max(most, severity[effect]), 0);
  const at = decisions.findIndex(({ effect }) => severity[effect] === worst);
  const { approval: _, rowsMax: __, statementTimeoutMs: ___, recordRows: ____, ...leading } = decisions[at] as Decision;
  const reason = leading.effect === 'allow' ? leading.reason : `statement ${at + 1} of ${decisions.length}: ${leading.reason}`;
  if (leading.effect === 'deny') return { ...leading, reason };
  const approvals = decisions.flatMap(({ approval }) => approval ?? []);
  const approval = approvals.length === 0 ? undefined : strictest(approvals);
  if (approval === 'impossible') {
    return { ...leading, effect: 'deny', reason: `${reason}; the statements of this text need different approvers: send them one by one` };
  }
  const rowsMax = least(decisions.map((decision) => decision.rowsMax));
  const statementTimeoutMs = least(decisions.map((decision) => decision.statementTimeoutMs));
  return {
    ...leading,
    reason,
    ...(approval && { approval }),
    ...(rowsMax !== undefined && { rowsMax }),
    ...(statementTimeoutMs !== undefined && { statementTimeoutMs }),
    ...(decisions.some(({ recordRows }) => recordRows) && { recordRows: true as const }),
  };
}

/** One rule whose fulfilment fulfils them all: who votes must be of a set that each of them names. */
function strictest(approvals: readonly ApprovalRule[]): ApprovalRule | 'impossible' {
  // The same rule may hold any number of statements.
  const unique = [...new Set(approvals)];
  const [first, ...others] = unique as [ApprovalRule, ...ApprovalRule[]];
  const by = first.by.filter((name) => others.every((other) => other.by.includes(name)));
  if (by.length === 0) return 'impossible';
  const all = (pick: (rule: ApprovalRule) => number) => unique.map(pick);
  return {
    by,
    count: Math.max(...all(({ count }) => count)),
    denials: Math.min(...all(({ denials }) => denials)),
    withinSeconds: Math.min(...all(({ withinSeconds }) => withinSeconds)),
  };
}

function least(values: readonly (number | undefined)[]): number | undefined {
  return values.reduce((smallest, value) => (value === undefined || (smallest !== undefined && smallest <= value) ? smallest : value), undefined);
}

function withProblems(decision: Decision, problems: readonly string[]): Decision {
  return problems.length === 0 ? decision : { ...decision, reason: `${decision.reason} (${problems.join('; ')})` };
}

function describe({ command, kinds }: StatementFacts): string {
  if (command !== '') return command;
  return kinds.map(describeKind).join(' and ') || 'this statement';
}

function describeKind(kind: StatementKind): string {
  if (kind === 'unknown') return 'statements whose effect cannot be told from their text (DO, CALL)';
  return kind === 'schema' ? 'schema changes' : `${kind} statements`;
}
