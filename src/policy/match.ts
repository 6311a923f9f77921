/** Whether one rule is about one statement: an allow rule must cover all that it does, a hold or deny rule meet any of it. */
import type { StatementFacts } from '../sql/facts.ts';
import type { StatementKind } from '../sql/kind.ts';
import { conditionNamesMax } from './condition-values.ts';
import type { NamePattern } from './pattern.ts';
import type { Role, Rule } from './role.ts';

export type Match = {
  readonly isMatch: boolean;
  /** The condition could not be evaluated: taken as met by hold and deny, and as not met by allow. */
  readonly problem?: string;
};

/**
 * The rules of a role that can be about statements of these kinds, in their order: what the kinds alone rule out is
 * sorted out once for each set of kinds.
 */
export function rulesForKinds(role: Role, kinds: readonly StatementKind[]): readonly Rule[] {
  let byKinds = sorted.get(role);
  if (byKinds === undefined) sorted.set(role, (byKinds = new Map()));
  const key = kinds.length === 1 ? (kinds[0] as string) : [...new Set(kinds)].toSorted().join();
  let rules = byKinds.get(key);
  if (rules === undefined) byKinds.set(key, (rules = role.rules.filter((rule) => fitsKinds(rule, kinds))));
  return rules;
}

const sorted = new WeakMap<Role, Map<string, readonly Rule[]>>();

/** An allow rule without kinds covers everything but what nobody can tell. */
function fitsKinds({ effect, kinds: named }: Rule, kinds: readonly StatementKind[]): boolean {
  if (effect !== 'allow') return named === undefined || kinds.some((kind) => named.includes(kind));
  if (kinds.length === 0) return false;
  return named === undefined ? !kinds.includes('unknown') : kinds.every((kind) => named.includes(kind));
}

/** For a rule that its kinds do not rule out. `scope` is made only where a condition must be evaluated. */
export function matchRule(rule: Rule, facts: StatementFacts, scope: () => object): Match {
  if (!fitsStatement(rule, facts)) return { isMatch: false };
  if (rule.when === undefined) return { isMatch: true };
  const { holds, problem } = countNames(facts) > conditionNamesMax ? tooManyNames : rule.when.test(scope());
  if (problem === undefined) return { isMatch: holds };
  return { isMatch: rule.effect !== 'allow', problem };
}

/** Whether what a role says to these statements may change with time alone. */
export function dependsOnTime(role: Role, facts: readonly StatementFacts[]): boolean {
  if (role.when?.readsTime === true) return true;
  return facts.some((one) => rulesForKinds(role, one.kinds).some((rule) => rule.when?.readsTime === true && fitsStatement(rule, one)));
}

/** By all but its kinds and its condition. */
function fitsStatement(rule: Rule, facts: StatementFacts): boolean {
  const fits = rule.effect === 'allow' ? coversFields(rule, facts) : meetsFields(rule, facts);
  return fits && matchesBounds(rule, facts);
}

const tooManyNames = { holds: false, problem: `the statement has more than ${conditionNamesMax} names of tables, functions and settings` };

function coversFields({ commands, tables, functions }: Rule, facts: StatementFacts): boolean {
  return (
    coversAll(commands, facts.commands) &&
    coversAll(tables, facts.reads) &&
    coversAll(tables, facts.writes) &&
    coversAll(functions, facts.functions)
  );
}

function meetsFields({ commands, tables, functions }: Rule, facts: StatementFacts): boolean {
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
