/** Decisions that stand: until what they came from is replaced, and never where the time has a say in them. */
import { describe, expect, test } from 'vitest';
import { decide } from '../../src/policy/decide.ts';
import { KnownDecisions } from '../../src/relay/known-decisions.ts';
import type { StatementFacts } from '../../src/sql/facts.ts';
import { factsOf, grantOf, now, policyOf } from '../policy/some.ts';

const late = new Date(now.getTime() + 30 * 60_000);

function isKept(fields: string, facts: StatementFacts): boolean {
  const policy = policyOf(fields);
  const grant = grantOf();
  const known = new KnownDecisions(grant);
  const names = { catalog: undefined, path: undefined };
  const decision = decide({ facts: [facts], grant, target: { name: 'shop' }, policy, now });
  const outlines: [] = [];
  const basis = { policy, names, parameterTypes: [23] };
  known.keep(outlines, basis, { decision, facts: [facts], changes: [] });
  expect(known.find(outlines, { ...basis, policy: policyOf(fields) }, now.getTime())).toBeUndefined();
  expect(known.find(outlines, { ...basis, names: { ...names } }, now.getTime())).toBeUndefined();
  expect(known.find(outlines, { ...basis, parameterTypes: [25] }, now.getTime())).toBeUndefined();
  expect(known.find(outlines, basis, grant.expiresAt.getTime())).toBeUndefined();
  return known.find(outlines, { ...basis, parameterTypes: [23] }, late.getTime())?.decision === decision;
}

describe('a decision is kept', () => {
  const rule = (more: string) => `allow: [read, write], rules: [{ name: late, effect: deny, ${more} }]`;
  const update = (table: string) => factsOf({ command: 'UPDATE', kinds: ['write'], writes: [table], rowsMax: 1 });
  const clock = 'when: "now.getMinutes() >= 30"';

  test.each<[string, string, StatementFacts, boolean]>([
    ['without conditions', 'allow: [read]', factsOf(), true],
    ['where a condition asks for something else', rule(`when: 'statement.command == "x"'`), factsOf(), true],
    ['but not where the role depends on the time', `allow: [read], ${clock}`, factsOf(), false],
    ['but not where a rule on everything does', rule(clock), factsOf(), false],
    ['where a rule on other kinds does', rule(`kinds: [write], ${clock}`), factsOf(), true],
    ['where a rule on other tables does', rule(`tables: [public.orders], ${clock}`), update('public.items'), true],
    ['but not where a rule on this table does', rule(`tables: [public.orders], ${clock}`), update('public.orders'), false],
    ['where a rule on unbounded statements does', rule(`bounded: false, ${clock}`), update('public.items'), true],
  ])('%s', (_, fields, facts, kept) => {
    expect(isKept(fields, facts)).toBe(kept);
  });
});
