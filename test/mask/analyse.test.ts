/** The analysis by the grammar of each major: the same texts come out, and what is not what it was is not taken. */
import { beforeAll, describe, expect, test } from 'vitest';
import { maskInTurns, maskStatement } from '../../src/mask/analyse.ts';
import { checkRewritten } from '../../src/mask/verify.ts';
import { buildPlan } from '../../src/mask/closure.ts';
import type { MaskPlan } from '../../src/mask/plan.ts';
import { isSameTree } from '../../src/mask/same-tree.ts';
import { sessionNames } from '../../src/policy/catalog-file.ts';
import { maskRulesFor } from '../../src/policy/masks.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { grammars, loadSyntaxParser, type Grammar, type Syntax } from '../../src/sql/parser.ts';

const policy = parsePolicy(
  `targets:
  t:
    masks:
      rules:
        - { name: cards, columns: [public.c.card], mask: "null" }
        - { name: clear, columns: [public.c.id, public.c.name], mask: clear }
    roles: { r: { groups: [g], allow: [read, write] } }
`,
  'policy.yaml',
);
const principal = { issuer: 'i', subject: 's', name: 's', kind: 'human', groups: ['g'] } as const;
const rules = maskRulesFor(policy, { target: 't', role: 'r', principal, now: new Date() });
const names = sessionNames({
  path: ['public'],
  tables: {
    'public.c': { keys: [{ id: 'int4' }], columns: { id: 'int', name: 'text', card: 'text', late: 'int' } },
    'public.o': { keys: [{ id: 'int4' }], columns: { id: 'int', c_id: 'int' } },
  },
  views: {},
  functions: [],
});
const leaf = '(SELECT "id", "name", NULL::pg_catalog."text" AS "card" FROM "public"."c")';

let plan: MaskPlan;
const parsers = new Map<Grammar, (sql: string) => Syntax | undefined>();
beforeAll(async () => {
  for (const grammar of grammars) parsers.set(grammar, await loadSyntaxParser(grammar));
  const catalog = names.catalog;
  if (catalog === undefined) throw new Error('no catalog');
  ({ plan } = buildPlan({ catalog, rules, syntaxOf: (sql) => parsers.get(18)?.(sql) }));
});

function mask(sql: string, grammar: Grammar) {
  const parse = parsers.get(grammar) as (sql: string) => Syntax | undefined;
  return maskStatement({ sql, syntax: parse(sql) as Syntax, names, plan, parameterTypes: [], isHeld: false, parse });
}

test('clauses that nest are compared once each', () => {
  const nested = Array.from({ length: 60 }, () => 'select 1 from c group by (').join('') + '1' + ')'.repeat(60);
  expect(mask(nested, 18).ok).toBe(true);
});

test('many statements are many turns, and come to what they come to in one', () => {
  const parse = parsers.get(18) as (sql: string) => Syntax | undefined;
  const sql = 'select card from c;'.repeat(1000);
  const syntax = parse(sql) as Syntax;
  const turns = maskInTurns({ sql, syntax, names, plan, parameterTypes: [], isHeld: false, parse });
  const asked: (string | undefined)[] = [];
  let step = turns.next();
  while (step.done !== true) {
    asked.push(step.value?.rewritten);
    step = turns.next(step.value && checkRewritten(syntax, parse(step.value.rewritten), step.value.edits));
  }
  expect(step.value).toEqual(mask(sql, 18));
  const out = `select card from ${leaf} AS "c";`.repeat(1000);
  expect(step.value).toMatchObject({ ok: true, sql: out });
  expect(asked.filter((text) => text !== undefined)).toEqual([out]);
  expect(asked.length).toBeGreaterThan(1000);
});

describe.each(grammars)('by the grammar of %s', (grammar) => {
  test.each([
    ['select * from c', `select * from ${leaf} AS "c"`],
    ['select c.card from public.c where public.c.id = 1', `select c.card from ${leaf} AS "c" where c.id = 1`],
    ['table c', `SELECT * FROM ${leaf} AS "c"`],
    ['with c as (select 1 as card) select card from c', 'with c as (select 1 as card) select card from c'],
    ['copy c (id, card) to stdout', `copy (SELECT "id", "card" FROM (${leaf.slice(1, -1).replace('FROM "public"', 'FROM ONLY "public"')}) AS "c") to stdout`],
    ['explain select 1 from c', `EXPLAIN (COSTS OFF) select 1 from ${leaf} AS "c"`],
    ['explain (verbose) select 1 from o', 'explain (verbose, COSTS OFF) select 1 from o'],
    ["update c set name = 'x' where id = 1 returning card, id", `update c set name = 'x' where id = 1 returning NULL::pg_catalog."text" AS "card", id`],
    ['select id from o /* ä */ join c x using (id) -- end', `select id from o /* ä */ join ${leaf} x using (id) -- end`],
  ])('%s', (sql, sent) => {
    expect(mask(sql, grammar)).toMatchObject({ ok: true, sql: sent });
  });

  test.each(['select late from c', "update c set card = 'x' where id = 1", 'delete from c', 'create table x (n int)', 'select pg_read_file($$x$$)', 'explain analyze select 1'])('%s is refused', (sql) => {
    expect(mask(sql, grammar)).toMatchObject({ ok: false, rule: expect.stringMatching(/^masks\//) as string });
  });

  test.each([
    ['select a from t', 'select b from t'],
    ['select a from t', 'select a, b from t'],
    ['select a from t where b', 'select a from t'],
    ['select a from t', 'select a from (select 1) as t'],
    ['select a from s.t', 'select a from t'],
    ['delete from t where a = 1', 'delete from t where a = 1 or true'],
    ['explain select 1', 'explain (costs) select 1'],
    ['select f(a)', 'select pg_catalog.f(a)'],
    ['update t set a = 1 returning a', 'update t set a = 1 returning b'],
    ['select 1', 'select 1; select 1'],
    ['copy t to stdout', 'copy (select 1) to stdout'],
  ])('%s is not %s', (before, after) => {
    const [was, is] = [before, after].map((sql) => parsers.get(grammar)?.(sql)?.tree.stmts);
    expect(isSameTree(was, was, () => false)).toBe(true);
    expect(isSameTree(was, is, () => false)).toBe(false);
  });
});
