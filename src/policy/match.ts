/** Whether one rule is about one statement: an allow rule must cover all that it does, a hold or deny rule meet any of it. */
import type { StatementFacts } from '../sql/facts.ts';
import { conditionNamesMax } from './condition-values.ts';
import type { NamePattern } from './pattern.ts';
import type { Rule } from './role.ts';

export type Match = {
  readonly isMatch: boolean;
  /** The condition could not be evaluated: taken as met by hold and deny, and as not met by allow. */
  readonly problem?: string;
};

/** `scope` is made only where a condition must be evaluated. */
export function matchRule(rule: Rule, facts: StatementFacts, scope: () => object): Match {
  const fields = rule.effect === 'allow' ? coversFields(rule, facts) : meetsFields(rule, facts);
  if (!fields || !matchesBounds(rule, facts)) return { isMatch: false };
  if (rule.when === undefined) return { isMatch: true };
  const { holds, problem } = countNames(facts) > conditionNamesMax ? tooManyNames : rule.when.test(scope());
  if (problem === undefined) return { isMatch: holds };
  return { isMatch: rule.effect !== 'allow', problem };
}

const tooManyNames = { holds: false, problem: `the statement has more than ${conditionNamesMax} names of tables, functions and settings` };

/** Without kinds it covers everything but what nobody can tell. */
function coversFields({ kinds, commands, tables, functions }: Rule, facts: StatementFacts): boolean {
  if (kinds === undefined ? facts.kinds.includes('unknown') : !facts.kinds.every((kind) => kinds.includes(kind))) return false;
  return (
    facts.kinds.length > 0 &&
    coversAll(commands, facts.commands) &&
    coversAll(tables, facts.reads) &&
    coversAll(tables, facts.writes) &&
    coversAll(functions, facts.functions)
  );
}

function meetsFields({ kinds, commands, tables, functions }: Rule, facts: StatementFacts): boolean {
  if (kinds !== undefined && !facts.kinds.some((kind) => kinds.includes(kind))) return false;
  return (
    (commands === undefined || meetsAny(commands, facts.commands)) &&
    (tables === undefined || meetsAny(tables, facts.reads) || meetsAny(tables, facts.writes)) &&
    (functions === undefined || meetsAny(functions, facts.functions))
  );
}

function matchesBounds({ bounded, maxRows }: Rule, { rowsMax }: StatementFacts): boolean {
  if (bounded !== undefined && bounded !== (rowsMax !== undefined)) return false;
  return maxRows === undefined || (rowsMax !== undefined && rowsMax <= maxRows);
}

function coversAll(pattern: NamePattern | undefined, names: readonly string[]): boolean {
  return pattern === undefined || names.every((name) => pattern.covers(name));
}

function meetsAny(pattern: NamePattern, names: readonly string[]): boolean {
  return names.some((name) => pattern.meets(name));
}

function countNames({ commands, reads, writes, functions, settings }: StatementFacts): number {
  return Math.max(commands.length, reads.length, writes.length, functions.length, settings.length);
}
