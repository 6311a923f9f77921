/** CEL in policies: what it sees, what is refused at load and where, and that hostile ones end in time. */
import { describe, expect, test } from 'vitest';
import { grantValue, principalValue, requestValue, statementValue, targetValue } from '../../src/policy/condition-values.ts';
import { compileCondition, conditionLengthMax, ConditionError, type Place } from '../../src/policy/condition.ts';
import { factsOf, grantOf, now, person, problemOf } from './some.ts';

const statement = factsOf({ command: 'UPDATE', kinds: ['write'], writes: ['public.orders'], reads: ['public.a', 'audit.b'], rowsMax: 3 });
const scope = {
  principal: principalValue(person('alice', 'g', 'h')),
  grant: grantValue(grantOf({ ticket: 'OPS-4711' })),
  target: targetValue({ name: 'shop', description: 'the shop' }),
  statement: statementValue(statement),
  now,
};

describe('what conditions see', () => {
  test.each<[string, boolean]>([
    ['"g" in principal.groups', true],
    ['principal.kind == "human" && principal.subject == "alice"', true],
    ['principal.issuer == "https://id"', true],
    ['target.name == "shop" && target.description.contains("shop")', true],
    ['grant.role == "r" && grant.target == "shop"', true],
    ['has(grant.reason)', false],
    ['has(grant.ticket) && grant.ticket.matches("^OPS-[0-9]+$")', true],
    ['grant.expiresAt - now <= duration("1h")', true],
    ['now.getHours("Europe/Berlin") == 12', true],
    ['now > timestamp("2026-01-01T00:00:00Z")', true],
    ['statement.command == "UPDATE" && "write" in statement.kinds', true],
    ['statement.bounded && statement.rowsMax <= 3', true],
    ['statement.rowsMax == 3', true],
    ['statement.reads.all(t, t.startsWith("public."))', false],
    ['statement.reads.exists(t, t.matches("^audit\\\\."))', true],
    ['statement.writes.exists(w, statement.reads.exists(r, r == w))', false],
    ['size(statement.functions) == 0 && !statement.locking', true],
    ['has(statement.transaction)', false],
    ['statement.changesRole || statement.runsCode', false],
  ])('%s: %j', (source, holds) => {
    expect(compileCondition(source, 'rule').test(scope)).toEqual({ holds });
  });

  test('approver sets see the approver and the request', () => {
    const request = { kind: 'statement', requester: person('bob', 'g'), target: 'shop', role: 'r', approval: { by: [], count: 1, denials: 1, withinSeconds: 1 }, votes: [] } as const;
    const values = { approver: principalValue(person('alice', 'dba')), request: requestValue(request) };
    expect(compileCondition('request.kind == "statement" && !(request.requester.subject == approver.subject)', 'approvers').test(values)).toEqual({ holds: true });
    expect(compileCondition('request.ticket == "x"', 'approvers').test(values)).toEqual({ holds: false, problem: 'No such key: ticket' });
  });

  test('whether time matters is known', () => {
    expect(compileCondition('now > grant.createdAt', 'rule').readsTime).toBe(true);
    expect(compileCondition('grant.createdAt < grant.expiresAt', 'rule').readsTime).toBe(false);
  });
});

describe('what is refused when the file is read', () => {
  test.each<[string, Place, number, string]>([
    ['statment.command == "x"', 'rule', 0, 'Unknown variable: statment, did you mean statement?'],
    ['statement.comand == "x"', 'rule', 10, 'No such key: comand, did you mean command?'],
    ['has(grant.tiket)', 'rule', 10, 'No such key: tiket, did you mean ticket?'],
    ['statement.command = "x"', 'rule', 18, 'Unexpected'],
    ['statement.command ==', 'rule', 20, 'Unexpected token: EOF'],
    ['', 'rule', 0, 'Unexpected token: EOF'],
    ['statement.command', 'rule', 0, 'must be true or false, this is of type string'],
    ['1 + 1', 'rule', 0, 'this is of type int'],
    ['statement.command == 1', 'rule', 0, 'string == int'],
    ['grant.reason == null', 'rule', 0, 'ask has(…)'],
    ['statement.kinds == "read"', 'rule', 0, 'list<string> == string'],
    ['statement.command == "x"', 'role', 0, 'Unknown variable: statement, write one of principal, target, now'],
    ['principal.name == "x"', 'approvers', 0, 'Unknown variable: principal'],
    ['statement.constructor == 1', 'rule', 10, 'No such key: constructor'],
    ['statement.command.matches(grant.role)', 'rule', 26, 'as a literal text'],
    ['statement.command.matches("(")', 'rule', 26, 'no RE2 pattern'],
    ['statement.command.matches("(?=x)")', 'rule', 26, 'no RE2 pattern'],
    ['statement.command.matches("(a)\\\\1")', 'rule', 26, 'no RE2 pattern'],
    ['dyn(statement.command).matches("x")', 'rule', 0, 'dyn() is not available'],
    ['cel.bind(x, 1, x == 1)', 'rule', 0, 'bind() is not available'],
    ['"a".split("") == []', 'rule', 0, 'split() is not available'],
    ['statement.command.startswith("x")', 'rule', 0, 'did you mean startsWith()?'],
    ['[1].exists(a, [1].exists(b, [1].exists(c, a == b)))', 'rule', 28, '2 deep'],
    [`"${'x'.repeat(conditionLengthMax)}" == ""`, 'rule', 0, `longer than ${conditionLengthMax}`],
    [`${'!'.repeat(500)}statement.locking`, 'rule', 0, 'Exceeded maxAstNodes (400)'],
    [`${'('.repeat(500)}statement.locking${')'.repeat(500)}`, 'rule', 0, 'Exceeded maxDepth (24)'],
    [Array.from({ length: 300 }, () => 'now==now').join('||'), 'rule', 0, 'split the condition'],
    [`1 in [${Array.from({ length: 201 }, () => '1').join(',')}]`, 'rule', 0, 'Exceeded maxListElements (200)'],
  ])('%#: %.60s (%s)', (source, place, offset, message) => {
    let refused: unknown;
    try {
      compileCondition(source, place);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(ConditionError);
    expect((refused as ConditionError).message).toContain(message);
    if (!message.startsWith('Exceeded') && !message.startsWith('split')) expect((refused as ConditionError).offset).toBe(offset);
  });

  const inRule = (when: string) => `targets:\n  shop:\n    roles:\n      r:\n        groups: [g]\n        rules:\n          - name: a\n            effect: deny\n            when: ${when}\n`;
  test.each([
    ['statement.comand == "x"', 'policy.yaml:9:29: '],
    ["'statement.comand == 1'", 'policy.yaml:9:30: '],
    ['"statement.comand == 1"', 'policy.yaml:9:30: '],
    ['|\n              statement.locking ||\n              statement.comand == "x"', 'policy.yaml:11:25: '],
    ['|-\n              statement.locking ||\n                statement.comand == "x"', 'policy.yaml:11:27: '],
    ['>\n              statement.comand == "x"', 'policy.yaml:9:19: '],
    ['"statement.command == \\"x\\" && statement.comand == 1"', 'policy.yaml:9:19: '],
  ])('the place inside the file: when: %s', (when, place) => {
    const problem = problemOf(inRule(when));
    expect(problem).toBe(`${place}targets.shop.roles.r.rules.0.when: No such key: comand, did you mean command?`);
  });
});

describe('hostile conditions end in time', () => {
  const timed = (source: string, values: object = scope) => {
    const condition = compileCondition(source, 'rule');
    const start = performance.now();
    const result = condition.test(values);
    return { ...result, ms: performance.now() - start };
  };

  test('a pattern that hangs a backtracking engine', () => {
    const reads = [`${'a'.repeat(60)}!`];
    const values = { ...scope, statement: statementValue(factsOf({ reads })) };
    const { ms, ...result } = timed('statement.reads.exists(t, t.matches("^(a+)+$") || t.matches("(a|a)*b") || t.matches("(.*)*x"))', values);
    expect(result).toEqual({ holds: false });
    expect(ms).toBeLessThan(1000);
  });

  test('two loops over the longest lists', () => {
    const reads = Array.from({ length: 200 }, (_, index) => `public.table_${index}`);
    const values = { ...scope, statement: statementValue(factsOf({ reads })) };
    const { ms, holds } = timed('statement.reads.all(a, statement.reads.all(b, a != "x" && b != "x"))', values);
    expect(holds).toBe(true);
    expect(ms).toBeLessThan(1000);
  });

  test.each(['1 / 0 == 1', 'int("x") == 1', 'timestamp("never") > now', 'statement.reads[7] == "x"', '9223372036854775807 + 1 > 0', 'now.getHours("Nowhere/City") == 1'])(
    '%s is a problem, not a crash',
    (source) => {
      expect(compileCondition(source, 'rule').test(scope)).toMatchObject({ holds: false, problem: expect.any(String) as string });
    },
  );

  test('a scope with nothing in it is a problem, too', () => {
    expect(compileCondition('statement.locking', 'rule').test({})).toMatchObject({ holds: false, problem: expect.any(String) as string });
  });
});
