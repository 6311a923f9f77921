/** What must hold for every policy and every text: decisions are total, never allow by accident, and come in time. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { explain } from '../../src/policy/decide.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import type { StatementFacts } from '../../src/sql/facts.ts';
import { statementKinds } from '../../src/sql/kind.ts';
import { factsOf, grantOf, now, policyOf, verdictOf } from './some.ts';

const kinds = fc.uniqueArray(fc.constantFrom(...statementKinds), { minLength: 1 });
const commandNames = ['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'DROP TABLE', 'DO'];
const tables = ['public.a', 'public.b', 'audit.a', '?.a', 'public.*', '"x.y".z'];
const functions = ['lower', 'pg_sleep', 'app.f', '?.f'];

const someFacts: fc.Arbitrary<StatementFacts> = fc.record(
  {
    command: fc.constantFrom(...commandNames),
    commands: fc.uniqueArray(fc.constantFrom(...commandNames), { minLength: 1 }),
    kinds,
    reads: fc.uniqueArray(fc.constantFrom(...tables)),
    writes: fc.uniqueArray(fc.constantFrom(...tables)),
    functions: fc.uniqueArray(fc.constantFrom(...functions)),
    rowsMax: fc.nat(3),
    locking: fc.boolean(),
    settings: fc.uniqueArray(fc.constantFrom('work_mem', 'transaction_read_only', '?')),
    changesRole: fc.boolean(),
    runsCode: fc.boolean(),
  },
  { requiredKeys: ['command', 'commands', 'kinds', 'reads', 'writes', 'functions', 'locking', 'settings', 'changesRole', 'runsCode'] },
);

const conditions = ['statement.locking', 'statement.rowsMax > 1', 'has(grant.ticket)', 'grant.ticket == "x"', '"g" in principal.groups', 'now < grant.createdAt'];

const fields = fc.record(
  {
    kinds,
    commands: fc.uniqueArray(fc.constantFrom(...commandNames, 'DROP *'), { minLength: 1 }),
    tables: fc.uniqueArray(fc.constantFrom('public.a', 'public.*', '*.a', '*', 'audit.b'), { minLength: 1 }),
    functions: fc.uniqueArray(fc.constantFrom('lower', 'app.*', '*'), { minLength: 1 }),
    bounded: fc.boolean(),
    when: fc.constantFrom(...conditions),
  },
  { requiredKeys: ['kinds'] },
);

const someRules = fc.array(
  fc.record({ effect: fc.constantFrom('allow', 'hold', 'deny'), fields }).map(({ effect, fields: own }) => ({
    ...own,
    effect,
    ...(effect === 'hold' && { approval: { by: ['dba'] } }),
  })),
  { maxLength: 6 },
);
const somePolicy = fc.record({ rules: someRules, allow: fc.option(kinds, { nil: undefined }), readOnly: fc.boolean() }).map(({ rules, allow, readOnly }) => {
  const named = rules.map((rule, index) => ({ name: `rule-${index}`, ...rule }));
  const last = { name: 'last', effect: 'deny', commands: ['LISTEN'] };
  return policyOf(`readOnly: ${readOnly}, ${allow === undefined ? '' : `allow: ${JSON.stringify(allow)}, `}rules: ${JSON.stringify([...named, last])}`);
});

const severity = { allow: 0, hold: 1, deny: 2 };
const input = { grant: grantOf(), target: { name: 'shop' }, now };

describe('for every policy and text', () => {
  test('a decision is total, names its rule and its reason, and is as severe as its worst statement', () => {
    fc.assert(
      fc.property(somePolicy, fc.array(someFacts, { maxLength: 4 }), (policy, facts) => {
        const { decision, statements } = explain({ ...input, facts, policy });
        expect(decision.rule).toMatch(/^shop\/r\/[a-z0-9-]+$/);
        expect(decision.reason).not.toBe('');
        expect(statements).toHaveLength(facts.length);
        const worst = Math.max(0, ...statements.map(({ effect }) => severity[effect]));
        expect(severity[decision.effect]).toBeGreaterThanOrEqual(worst);
        expect(decision.approval !== undefined).toBe(decision.effect === 'hold');
      }),
      { numRuns: 500 },
    );
  });

  test('nothing is allowed but by an allow rule or kind that covers all of it, nor held but by a hold rule', () => {
    fc.assert(
      fc.property(somePolicy, someFacts, (policy, facts) => {
        const decision = verdictOf(policy, [facts]);
        const role = policy.targets.get('shop')?.[0];
        const rule = role?.rules.find(({ path }) => path === decision.rule);
        if (decision.effect === 'deny') return;
        const named = rule === undefined ? role?.allow : rule.kinds;
        if (decision.effect === 'hold') expect(rule?.effect).toBe('hold');
        else expect(rule?.effect ?? 'allow').toBe('allow');
        if (decision.effect === 'allow') expect(facts.kinds.filter((kind) => !named?.includes(kind))).toEqual([]);
        if (facts.kinds.includes('unknown')) expect(named).toContain('unknown');
        for (const name of rule?.effect === 'allow' && rule.tables !== undefined ? [...facts.reads, ...facts.writes] : []) {
          expect(rule?.tables?.covers(name)).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('more in a statement never makes it milder under deny rules and kinds', () => {
    const policy = policyOf('allow: [read, write], rules: [{ name: a, effect: deny, tables: [audit.*] }, { name: b, effect: deny, functions: [pg_sleep] }]');
    fc.assert(
      fc.property(someFacts, someFacts, (one, other) => {
        const union = (pick: (facts: StatementFacts) => readonly string[]) => [...new Set([...pick(one), ...pick(other)])];
        const both = { ...one, kinds: union((facts) => facts.kinds) as StatementFacts['kinds'], reads: union(({ reads }) => reads), writes: union(({ writes }) => writes), functions: union((facts) => facts.functions) };
        expect(severity[verdictOf(policy, [both]).effect]).toBeGreaterThanOrEqual(severity[verdictOf(policy, [one]).effect]);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a policy of a thousand rules', () => {
  const rules = Array.from({ length: 1000 }, (_, index) => `          - { name: rule-${index}, effect: ${index % 3 === 0 ? 'allow' : 'deny'}, kinds: [write], tables: [s${index}.t, public.t${index}], when: 'statement.locking && grant.role == "r${index}"' }`);
  const text = `targets:\n  shop:\n    roles:\n      r:\n        groups: [g]\n        allow: [read]\n        rules:\n${rules.join('\n')}\n`;
  const policy = parsePolicy(text, 'policy.yaml');

  /** Of the processor, which other processes may be busy on. */
  function microseconds(runs: number, work: () => void): number {
    for (let warm = 0; warm < runs / 2; warm++) work();
    const before = process.cpuUsage();
    for (let run = 0; run < runs; run++) work();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / runs;
  }

  test('decides in less than a millisecond where its tables are met by none, and at once where its kinds are not', () => {
    const other = [factsOf({ command: 'UPDATE', kinds: ['write'], writes: ['other.t'], locking: true })];
    const read = [factsOf({ reads: ['public.t1'] })];
    expect(microseconds(1000, () => verdictOf(policy, other))).toBeLessThan(1000);
    expect(microseconds(1000, () => verdictOf(policy, read))).toBeLessThan(50);
  });

  test('evaluates a condition of each of them in a few milliseconds', () => {
    const every = Array.from({ length: 1000 }, (_, index) => `          - { name: rule-${index}, effect: deny, when: 'statement.locking && grant.role == "r${index}"' }`);
    const slow = parsePolicy(text.slice(0, text.indexOf('rules:')).concat('rules:\n', every.join('\n'), '\n'), 'policy.yaml');
    const facts = [factsOf({ locking: true })];
    expect(verdictOf(slow, facts).effect).toBe('allow');
    expect(microseconds(100, () => verdictOf(slow, facts))).toBeLessThan(5000);
  });
});
