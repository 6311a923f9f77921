/** Rules against statements: what each field covers or meets, which rule decides, and what a text of several gets. */
import { describe, expect, test } from 'vitest';
import type { StatementFacts } from '../../src/sql/facts.ts';
import { factsOf, policyOf, verdictOf } from './some.ts';

const update = (some: Partial<StatementFacts> = {}) =>
  factsOf({ command: 'UPDATE', kinds: ['write'], writes: ['public.orders'], ...some });
const drop = factsOf({ command: 'DROP TABLE', kinds: ['schema'], writes: ['public.orders'] });
const unknownCode = factsOf({ command: 'DO', kinds: ['unknown'], runsCode: true });
const mixed = factsOf({ command: 'SELECT', commands: ['SELECT', 'DELETE'], kinds: ['read', 'write'], writes: ['public.orders'] });

describe('an allow rule covers everything or nothing', () => {
  test.each<[string, StatementFacts, boolean]>([
    ['kinds: [read]', factsOf(), true],
    ['kinds: [read]', mixed, false],
    ['kinds: [read, write]', mixed, true],
    ['kinds: [read], commands: [SELECT]', factsOf(), true],
    ['kinds: [read, write], commands: [SELECT]', mixed, false],
    ['kinds: [read, write], commands: [SELECT, DELETE]', mixed, true],
    ['kinds: [schema], commands: [DROP *]', drop, true],
    ['kinds: [schema], commands: [DROP INDEX]', drop, false],
    ['kinds: [schema], commands: [CREATE *]', drop, false],
    ['kinds: [read], tables: [public.*]', factsOf(), true],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['public.a', 'public.b'] }), true],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['public.a', 'audit.b'] }), false],
    ['kinds: [read], tables: [public.a, audit.b]', factsOf({ reads: ['public.a', 'audit.b'] }), true],
    ['kinds: [read], tables: ["*.a"]', factsOf({ reads: ['any.a'] }), true],
    ['kinds: [read], tables: ["*.a"]', factsOf({ reads: ['?.a'] }), false],
    ['kinds: [read], tables: ["*.*"]', factsOf({ reads: ['?.a'] }), false],
    ['kinds: [read], tables: ["*"]', factsOf({ reads: ['?.a', 'x.y'] }), true],
    ['kinds: [write], tables: [public.orders]', update(), true],
    ['kinds: [write], tables: [public.orders]', update({ reads: ['public.customers'] }), false],
    ['kinds: [write], tables: [public.orders]', update({ writes: ['public.orders', 'public.log'] }), false],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['"public.secret".x'] }), false],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['public."a.b"'] }), true],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['public."odd""name"'] }), true],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['"?".x'] }), false],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['public.*'] }), true],
    ['kinds: [read], tables: [public.a]', factsOf({ reads: ['public.*'] }), false],
    ['kinds: [read], tables: [public.*]', factsOf({ reads: ['"public".x.y'] }), false],
    ['kinds: [read], tables: ["*.*"]', factsOf({ reads: ['"?".x'] }), true],
    ['kinds: [read], functions: [lower]', factsOf({ functions: ['lower'] }), true],
    ['kinds: [read], functions: [lower]', factsOf({ functions: ['lower', 'upper'] }), false],
    ['kinds: [read], functions: [lower]', factsOf({ functions: ['public.lower'] }), false],
    ['kinds: [read], functions: [pg_catalog.lower]', factsOf({ functions: ['lower'] }), true],
    ['kinds: [read], functions: [pg_catalog.*]', factsOf({ functions: ['lower', 'upper'] }), true],
    ['kinds: [read], functions: [pg_catalog.*]', factsOf({ functions: ['?.lower'] }), false],
    ['kinds: [read], functions: [app.*]', factsOf({ functions: ['app.total'] }), true],
    ['kinds: [write], bounded: true', update({ rowsMax: 7 }), true],
    ['kinds: [write], bounded: true', update(), false],
    ['kinds: [write], bounded: false', update(), true],
    ['kinds: [write], maxRows: 1', update({ rowsMax: 1 }), true],
    ['kinds: [write], maxRows: 1', update({ rowsMax: 2 }), false],
    ['kinds: [write], maxRows: 1', update(), false],
    ['kinds: [read, write, schema, admin]', unknownCode, false],
    ['kinds: [unknown]', unknownCode, true],
    ['kinds: [write], when: "statement.writes == [\'public.orders\']"', update(), true],
    ['kinds: [write], when: "statement.writes == [\'public.x\']"', update(), false],
    ['kinds: [read]', factsOf({ kinds: [] }), false],
  ])('{ effect: allow, %s } on %j: %j', (fields, facts, allowed) => {
    const decision = verdictOf(policyOf(`rules: [{ name: one, effect: allow, ${fields} }]`), [facts]);
    expect(decision).toMatchObject(allowed ? { effect: 'allow', rule: 'shop/r/one' } : { effect: 'deny', rule: 'shop/r/default' });
  });
});

describe('a deny rule meets anything', () => {
  test.each<[string, StatementFacts, boolean]>([
    ['', factsOf(), true],
    ['kinds: [write]', mixed, true],
    ['kinds: [write]', factsOf(), false],
    ['commands: [DELETE]', mixed, true],
    ['commands: [DELETE]', factsOf(), false],
    ['commands: [DROP *]', drop, true],
    ['tables: [public.orders]', mixed, true],
    ['tables: [public.orders]', factsOf({ reads: ['public.orders'] }), true],
    ['tables: [public.orders]', factsOf({ reads: ['audit.orders'] }), false],
    ['tables: [public.orders]', factsOf({ reads: ['?.orders'] }), true],
    ['tables: [public.orders]', factsOf({ reads: ['?.order'] }), false],
    ['tables: [public.*]', factsOf({ reads: ['?.anything'] }), true],
    ['tables: ["*.orders"]', factsOf({ reads: ['?.orders'] }), true],
    ['tables: ["*.orders"]', factsOf({ reads: ['?.x'] }), false],
    ['tables: ["*"]', factsOf(), false],
    ['tables: ["*"]', factsOf({ reads: ['a.b'] }), true],
    ['tables: [public.orders]', factsOf({ writes: ['public.*'] }), true],
    ['tables: [public.orders]', factsOf({ writes: ['other.*'] }), false],
    ['tables: ["*.orders"]', factsOf({ writes: ['other.*'] }), true],
    ['tables: [public.orders]', factsOf({ writes: ['?.*'] }), true],
    ['tables: [public.secret]', factsOf({ reads: ['public."secret"'] }), true],
    ['tables: [public.secret]', factsOf({ reads: ['"public.secret".x'] }), false],
    ['tables: [public.secret]', factsOf({ reads: ['?."secret"'] }), true],
    ['functions: [pg_sleep]', factsOf({ functions: ['lower', 'pg_sleep'] }), true],
    ['functions: [pg_sleep]', factsOf({ functions: ['?.pg_sleep'] }), true],
    ['functions: [pg_sleep]', factsOf({ functions: ['app.pg_sleep'] }), false],
    ['functions: [app.*]', factsOf({ functions: ['?.x'] }), true],
    ['kinds: [write], tables: [public.orders]', factsOf({ reads: ['public.orders'] }), false],
    ['bounded: false', update(), true],
    ['bounded: false', update({ rowsMax: 3 }), false],
    ['when: "statement.locking"', factsOf({ locking: true }), true],
    ['when: "statement.locking"', factsOf(), false],
    ['when: "statement.rowsMax > 3"', update(), true],
  ])('{ effect: deny, %s } on %j: %j', (fields, facts, denied) => {
    const policy = policyOf(`allow: [read, write, schema], rules: [{ name: one, effect: deny, ${fields} }]`);
    expect(verdictOf(policy, [facts])).toMatchObject(denied ? { effect: 'deny', rule: 'shop/r/one' } : { effect: 'allow', rule: 'shop/r/allow' });
  });
});

describe('which rule decides', () => {
  test('the first that matches, whatever stands behind it', () => {
    const rules = '{ name: a, effect: allow, kinds: [read], tables: [public.*] }, { name: b, effect: deny, tables: ["*"] }, { name: c, effect: allow, kinds: [read] }';
    const policy = policyOf(`rules: [${rules}]`);
    expect(verdictOf(policy, [factsOf({ reads: ['public.x'] })])).toMatchObject({ effect: 'allow', rule: 'shop/r/a' });
    expect(verdictOf(policy, [factsOf({ reads: ['other.x'] })])).toMatchObject({ effect: 'deny', rule: 'shop/r/b' });
    // A statement without tables goes against no list of them.
    expect(verdictOf(policy, [factsOf()])).toMatchObject({ effect: 'allow', rule: 'shop/r/a' });
  });

  test('allow is the last resort, and its refusal has its name', () => {
    const policy = policyOf('allow: [read], rules: [{ name: a, effect: deny, commands: [COPY] }]');
    expect(verdictOf(policy, [factsOf()])).toMatchObject({ effect: 'allow', rule: 'shop/r/allow' });
    expect(verdictOf(policy, [update()])).toMatchObject({ effect: 'deny', rule: 'shop/r/allow', reason: 'the role r may not run write statements on shop' });
  });

  test('what nobody can tell is denied unless a rule names the kind', () => {
    const hold = 'effect: hold, approval: { by: [dba] }';
    const both = factsOf({ command: 'CREATE TABLE AS', kinds: ['schema', 'unknown'] });
    for (const [fields, facts, effect] of [
      [hold, unknownCode, 'deny'],
      [`${hold}, kinds: [unknown]`, unknownCode, 'hold'],
      [`${hold}, kinds: [schema]`, both, 'deny'],
      [`${hold}, kinds: [schema, unknown]`, both, 'hold'],
    ] as const) {
      const policy = policyOf(`allow: [read, write, schema, admin], rules: [{ name: a, ${fields} }, { name: z, effect: allow, kinds: [unknown, schema] }]`);
      expect(verdictOf(policy, [facts])).toMatchObject({ effect, rule: 'shop/r/a' });
    }
  });

  test('a condition that cannot be evaluated counts as met by deny and hold, not by allow, and the reason says so', () => {
    const when = 'when: "grant.ticket == \'OPS-1\'"';
    const problem = /condition of the rule a could not be evaluated: No such key: ticket/;
    const hold = verdictOf(policyOf(`rules: [{ name: a, effect: hold, ${when}, approval: { by: [dba] } }]`), [factsOf()]);
    expect(hold).toMatchObject({ effect: 'hold', rule: 'shop/r/a', reason: expect.stringMatching(problem) as string });
    const denied = verdictOf(policyOf(`rules: [{ name: a, effect: deny, ${when} }]`), [factsOf()]);
    expect(denied).toMatchObject({ effect: 'deny', rule: 'shop/r/a', reason: expect.stringMatching(problem) as string });
    const skipped = verdictOf(policyOf(`rules: [{ name: a, effect: allow, kinds: [read], ${when} }]`), [factsOf()]);
    expect(skipped).toMatchObject({ effect: 'deny', rule: 'shop/r/default', reason: expect.stringMatching(problem) as string });
    expect(verdictOf(policyOf(`rules: [{ name: a, effect: deny, ${when} }], allow: [read]`), [factsOf()], { ticket: 'OPS-2' }).effect).toBe('allow');
  });

  test('a rule asks for what the grant must say', () => {
    const policy = policyOf('rules: [{ name: a, effect: allow, kinds: [read], require: [ticket] }]');
    expect(verdictOf(policy, [factsOf()])).toMatchObject({ effect: 'deny', rule: 'shop/r/a', reason: expect.stringContaining('--ticket') as string });
    expect(verdictOf(policy, [factsOf()], { ticket: ' ' }).effect).toBe('deny');
    expect(verdictOf(policy, [factsOf()], { ticket: 'T-1' }).effect).toBe('allow');
  });

  test('names beyond what a condition may take fail it, at the limit they do not', () => {
    const policy = policyOf('allow: [read], rules: [{ name: a, effect: deny, when: "statement.locking" }]');
    const reads = (count: number) => factsOf({ reads: Array.from({ length: count }, (_, index) => `public.t${index}`) });
    expect(verdictOf(policy, [reads(200)]).effect).toBe('allow');
    expect(verdictOf(policy, [reads(201)])).toMatchObject({ effect: 'deny', reason: expect.stringContaining('more than 200 names') as string });
  });
});

describe('a text of several statements', () => {
  const rules = [
    '{ name: reads, effect: allow, kinds: [read], rowsMax: 100, statementTimeout: 1m }',
    '{ name: inserts, effect: allow, kinds: [write], commands: [INSERT], rowsMax: 5 }',
    '{ name: writes, effect: hold, kinds: [write], approval: { by: [dba, both], count: 2, within: 1h } }',
    '{ name: schema, effect: hold, kinds: [schema], approval: { by: [dba, security], denials: 2, within: 10m } }',
    '{ name: admin, effect: hold, kinds: [admin], approval: { by: [security] } }',
  ];
  const policy = policyOf(`statementTimeout: 5m, rules: [${rules.join(', ')}]`);
  const insert = factsOf({ command: 'INSERT', kinds: ['write'] });
  const admin = factsOf({ command: 'GRANT', kinds: ['admin'] });

  test('the most severe decides, and says which statement it is', () => {
    expect(verdictOf(policy, [factsOf(), update()])).toMatchObject({ effect: 'hold', rule: 'shop/r/writes', reason: expect.stringMatching(/^statement 2 of 2: /) as string });
    expect(verdictOf(policy, [update(), unknownCode, factsOf()])).toMatchObject({ effect: 'deny', rule: 'shop/r/default', reason: expect.stringMatching(/^statement 2 of 3: /) as string });
    expect(verdictOf(policy, [unknownCode])).not.toHaveProperty('approval');
  });

  test('limits are the smallest', () => {
    expect(verdictOf(policy, [factsOf()])).toMatchObject({ rowsMax: 100, statementTimeoutMs: 60_000 });
    expect(verdictOf(policy, [insert])).toMatchObject({ rowsMax: 5, statementTimeoutMs: 300_000 });
    expect(verdictOf(policy, [factsOf(), insert])).toMatchObject({ effect: 'allow', rowsMax: 5, statementTimeoutMs: 60_000 });
    expect(verdictOf(policy, [update(), insert])).toMatchObject({ effect: 'hold', rowsMax: 5, statementTimeoutMs: 300_000 });
  });

  test('several holds are one, the strictest; where none can be, the text is denied', () => {
    expect(verdictOf(policy, [update(), drop]).approval).toEqual({ by: ['dba'], count: 2, denials: 1, withinSeconds: 600 });
    expect(verdictOf(policy, [drop, admin]).approval).toEqual({ by: ['security'], count: 1, denials: 1, withinSeconds: 600 });
    expect(verdictOf(policy, [update(), admin])).toMatchObject({ effect: 'deny', reason: expect.stringContaining('one by one') as string });
    expect(verdictOf(policy, Array.from({ length: 200_000 }, () => update())).approval).toEqual({ by: ['dba', 'both'], count: 2, denials: 1, withinSeconds: 3600 });
  });

  test('a text without a statement is allowed to whoever has the role', () => {
    expect(verdictOf(policy, []).effect).toBe('allow');
    expect(verdictOf(policy, [], { role: 'gone' }).effect).toBe('deny');
  });
});

describe('limits of a role', () => {
  test.each<[StatementFacts, number | undefined]>([
    [factsOf(), 1000],
    [update(), 10],
    [mixed, 10],
    [drop, 10],
  ])('rowsMax for reads and writes: %j', (facts, rowsMax) => {
    expect(verdictOf(policyOf('allow: [read, write, schema], rowsMax: { read: 1000, write: 10 }'), [facts]).rowsMax).toBe(rowsMax);
    expect(verdictOf(policyOf('allow: [read, write, schema]'), [facts])).not.toHaveProperty('rowsMax');
  });

  test("a rule's own limits take the place of the role's", () => {
    const policy = policyOf('rowsMax: { read: 10, write: 1 }, statementTimeout: 500ms, rules: [{ name: a, effect: allow, kinds: [read, write], rowsMax: { read: 99 }, statementTimeout: 2s }]');
    expect(verdictOf(policy, [factsOf()])).toMatchObject({ rowsMax: 99, statementTimeoutMs: 2000 });
    expect(verdictOf(policy, [update()])).toMatchObject({ rowsMax: 1 });
  });

  test.each<[Partial<StatementFacts>, string]>([
    [{ command: 'BEGIN', kinds: ['write'], transaction: 'begin read write' }, 'deny'],
    [{ command: 'BEGIN', kinds: ['read'], transaction: 'begin' }, 'allow'],
    [{ command: 'BEGIN', kinds: ['read'], transaction: 'begin read only' }, 'allow'],
    [{ command: 'SET', kinds: ['write'], settings: ['transaction_read_only'] }, 'deny'],
    [{ command: 'SET', kinds: ['write'], settings: ['default_transaction_read_only'] }, 'deny'],
    [{ command: 'SELECT', kinds: ['read', 'write'], settings: ['transaction_read_only'] }, 'deny'],
    [{ command: 'SELECT', kinds: ['unknown'], settings: ['?'] }, 'deny'],
    [{ command: 'SET', kinds: ['read'], settings: ['transaction_read_only'] }, 'allow'],
    [{ command: 'SET', kinds: ['read'], settings: ['work_mem'] }, 'allow'],
  ])('a read-only role and %j: %s', (some, effect) => {
    const decision = verdictOf(policyOf('allow: [read, write, unknown], readOnly: true'), [factsOf(some)]);
    expect(decision.effect).toBe(effect);
    if (effect === 'deny') expect(decision.rule).toBe('shop/r/read-only');
  });
});
