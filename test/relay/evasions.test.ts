/** Attacks on policy through the whole relay: each has its effect for a role without limits, and none for the roles that should stop it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bind, close, execute, parse, segment, Stage, type Step } from './evasions-stage.ts';

let stage: Stage;
/** The sample of the laboratory is not as it was made, or not made yet. */
let isLabChanged = true;

beforeAll(async () => {
  stage = await Stage.open();
});
afterAll(async () => stage?.fixture[Symbol.asyncDispose]());

type Role = 'reader' | 'engineer' | 'migration' | 'careful' | 'narrow' | 'limited';
/** `effect`: a question to the database, or "secret": it stands in what the client got. */
type Attack = { readonly name: string; readonly steps: readonly Step[]; readonly effect: string; readonly roles: readonly Role[] };

const damaged = `select count(*) <> 100 from items where name like 'item %'`;
const careful: readonly Role[] = ['careful', 'narrow'];

const bound = (name: string, steps: readonly Step[], effect = damaged): Attack => ({ name, steps, effect, roles: ['reader', 'engineer', 'careful'] });

const writes: readonly Attack[] = [
  // Verbs and places that a pattern for DELETE at the start does not see.
  ...[
    'truncate items',
    'select 1; delete from items',
    '-- harmless\ndelete /* */ from items',
    'dElEtE\ffrom\vitems',
    'with gone as (delete from items returning 1) select count(*) from gone',
    'with recursive a as (select 1), b as (delete from items where id > 3 returning 1) table a',
    'explain analyze delete from items',
    'explain (costs off, "analyze" on) delete from items',
    'explain analyze with d as (delete from items returning 1) select from d',
    'merge into items using (select 1) s on true when matched then delete',
    `do $x$ begin delete from items; end $x$`,
    `do language plpgsql 'begin execute ''de'' || ''lete from items''; end'`,
    'delete from items where true',
    'delete from items where id = id or id is null',
    'delete from items where id in (select id from items)',
    'delete from items where (id) = any (array(select id from items))',
    'delete from items where id = 1 or true',
    'delete from items where not (id = 1)',
    `delete from U&"\\0069tems"`,
    `delete from U&"!0069tems" uescape '!'`,
    'delete from only public . "items"',
    'copy (delete from items returning 1) to stdout',
    'prepare d as delete from items; execute d',
    'prepare d as delete from items; explain analyze execute d',
    `update all_items set name = 'x'`,
    `update items set name = 'x' from generate_series(1, 100) g where items.id = g`,
    `insert into items select 1000, 'x' on conflict do nothing; update items set name = 'x' where id > 1`,
    `insert into items select id, 'x' from items on conflict (id) do update set name = 'x'`,
    `insert into wrapping values (1, '(1)')`,
    `insert into wrapping values (1, null, '{1}')`,
    `insert into ruled values (1, 'x')`,
    `insert into watched values (1, 'x')`,
    'create temp table t as select purge()',
    `select query_to_xml('select purge()', true, false, '')`,
    `create table t (id int); create trigger g before insert on t for each row execute function on_row(); insert into t values (1)`,
    'create function mine() returns int language sql as $$ delete from items returning 1 $$; select mine()',
    `set role pg_database_owner; reset role; delete from items`,
    `set default_transaction_read_only = off; delete from items`,
    `begin read write; delete from items; commit`,
    'drop/**/table items cascade; create table items (id int, name text)',
    'alter table items drop column name cascade; alter table items add column name text',
  ].map((text) => bound(text, [text])),
  bound('a cursor that stands on each row in turn is held where it is declared for update', [
    'begin', 'declare c cursor for select * from items for update', 'fetch c', `update items set name = 'x' where current of c`, 'fetch c', 'delete from items where current of c', 'commit',
  ]),
  bound('a set that is returned in a single row of VALUES', [`insert into items (id, name) values (generate_series(101, 200), 'x')`], 'select count(*) > 101 from items'),
  bound('a set in ORDER BY', [`insert into notes select 'x' order by generate_series(1, 50)`], 'select count(*) > 1 from notes'),
  bound('a set in DISTINCT ON', [`insert into notes select distinct on (generate_series(1, 50)) 'x'`], 'select count(*) > 1 from notes'),
  bound('a set out of what MERGE reads', [`merge into notes using (select unnest(array[1, 2, 3]) as n) s on false when not matched then insert values ('x')`], 'select count(*) > 1 from notes'),
  {
    name: 'a negative limit that is never reached',
    steps: [`insert into items (id, name) ((select g + 1000, 'x' from generate_series(1, 50) g limit 50) union all (select 1, 'y' limit -49)) limit 50`],
    effect: 'select count(*) > 101 from items',
    roles: ['reader', 'engineer'],
  },
  bound('a comparison with NULL that means IS NULL', ['set transform_null_equals = on', 'delete from items where code = null']),
  bound('a parameter that another use of it makes inexact', [
    segment(parse('', 'delete from big where $1::float8 is not null and id = $1'), bind('', '', ['1152921504606846976']), execute()),
  ], 'select count(*) < 99 from big'),
  bound('a parameter whose declared type makes it inexact', [
    segment(parse('', 'delete from big where id = $1', [701]), bind('', '', ['1152921504606846976']), execute()),
  ], 'select count(*) < 99 from big'),
  bound('the same, by EXECUTE of what the protocol prepared', [
    segment(parse('d', 'delete from big where id = $1', [701])), 'execute d(1152921504606846976)',
  ], 'select count(*) < 99 from big'),
  bound('the same, by PREPARE', ['prepare d(float8) as delete from big where id = $1', 'execute d(1152921504606846976)'], 'select count(*) < 99 from big'),
  bound('a key of the parent that the heir has again', [`delete from only inherited where id = 1; delete from inherited where name > ''`], 'select count(*) = 0 from inherited'),
  bound('a cascade behind one row', ['delete from parents where id = 1'], 'select count(*) < 50 from children'),
  bound('EXECUTE of what the protocol prepared', [segment(parse('d', 'delete from items')), 'execute d']),
  bound('a name that is prepared anew between Bind and Execute', [
    'begin', segment(parse('s', 'select 1')), segment(parse('e', 'execute s'), bind('p', 'e')),
    segment(close('S', 's'), parse('s', 'delete from items returning 1')), segment(execute('p')), 'commit',
  ]),
  bound('one Parse behind another of the same segment', [
    segment(parse('', 'select 1'), parse('', 'delete from items'), bind('', ''), execute()),
  ]),
  bound('a Parse that fails after one that did not', [
    segment(parse('d', 'delete from items')), segment(parse('d', 'select 1'), bind('', 'd'), execute()), segment(bind('', 'd'), execute()),
  ]),
  bound('a long name that is cut', [`prepare ${'n'.repeat(63)} as delete from items`, `execute ${'n'.repeat(63)}tail`]),
];

/** What the text does not show; a rule of one's own may ask for statement.runsCode. */
const ownCode: readonly Attack[] = [
  'select purge()',
  'select * from purging',
  'select (select purge() from generate_series(1, 1))',
  'explain select pure(1)',
  'select 1 ### 2',
  'select 1 operator(public.###) 2',
  `select '1'::touchy`,
  `select '{1}'::_touchy`,
  `select '(1)'::wrapped`,
  `select cast('1' as touchier)`,
  `select '{1}'::touchier[]`,
  `select pg_input_is_valid('1', 'touchy')`,
  `select array_in('{1}', 'touchy'::regtype, -1)`,
  `select (jsonb_populate_record(null::wrapped, '{"one": 1}')).one`,
  `select * from json_to_recordset('[{"a": 1}]') as t(a touchy)`,
  `select count(*) from items where purge_on(id)`,
  'select x.purge_on from (values (1)) x',
  'begin; declare c cursor for select purge(); fetch c; commit',
].map((text) => ({ name: text, steps: [text], effect: damaged, roles: ['reader', 'engineer'] }));

const reads: readonly Attack[] = [
  'table secret',
  'select value from secret_view',
  'select s from secret s',
  'with x as (select * from secret) select * from x',
  'copy secret to stdout',
  'copy (table secret) to stdout',
  `select query_to_xml('table secret', true, false, '')`,
  `select table_to_xml('secret', true, false, '')`,
  `select schema_to_xml('public', true, false, '')`,
  'prepare p as table secret; execute p',
  'begin; declare c cursor for table secret; fetch all from c; commit',
  'create temp table t as table secret; table t',
  'select value into temp t from secret; table t',
  `set search_path = public; select value from secret`,
  `select U&"v\\0061lue" from U&"s\\0065cret"`,
  `select most_common_vals::text || histogram_bounds::text, histogram_bounds from pg_stats where tablename = 'secret'`,
  `select stavalues1::text from pg_statistic where starelid = 'secret'::regclass`,
  `delete from items where id = 1 returning (select string_agg(value, ',') from secret)`,
  `update items set name = (select min(value) from secret) where id = 1 returning name`,
  `do $$ begin raise notice '%', (select min(value) from secret); end $$`,
  `explain analyze select min(value) from secret where value > 'topsecret-1'`,
].map((text) => ({ name: text, steps: [text], effect: 'secret', roles: careful }));

const others: readonly Attack[] = [
  { name: 'a sequence by its number', steps: [`select setval((select oid from pg_class where relname = 'secret_seq')::regclass, 77)`], effect: 'select last_value = 77 from secret_seq', roles: ['narrow', 'reader'] },
  { name: 'an unnamed sequence', steps: [`select setval(('secret' || '_seq')::regclass, 77)`], effect: 'select last_value = 77 from secret_seq', roles: ['narrow', 'reader'] },
  { name: 'a sequence with blanks', steps: [`select setval(' public.secret_seq ', 77)`], effect: 'select last_value = 77 from secret_seq', roles: ['narrow', 'reader'] },
  { name: 'a setting through a view', steps: [`update settings_view set setting = 'off' where name = 'default_transaction_read_only'`, `delete from items`], effect: damaged, roles: ['reader', 'engineer'] },
];

describe.each([['writes', writes], ['code of the database', ownCode], ['reads', reads], ['others', others]] as const)('%s', (_, attacks) => {
  test.each(attacks.filter(({ roles }) => roles.length > 0).map((attack) => [attack.name, attack] as const))('%s', async (__, { steps, effect, roles }) => {
    const seen = async (database: 'lab' | 'guarded', raw: string) => (effect === 'secret' ? raw.includes('topsecret') : stage.ask(database, effect));
    if (isLabChanged) await stage.renew('lab');
    // Where the effect is what was read, the sample stays as it was, unless the reading is done by a write.
    isLabChanged = effect !== 'secret' || steps.some((step) => typeof step !== 'string' || /\b(delete|update|insert|merge)\b/.test(step));
    const open = await stage.play('lab', 'open', steps);
    const problems: string[] = [];
    if (!(await seen('lab', open.raw))) problems.push(`no effect for open: ${open.replies.join(' ')}`);
    for (const role of roles) {
      const { replies, raw } = await stage.play('guarded', role, steps);
      if (!(await seen('guarded', raw))) continue;
      problems.push(`${role}: ${replies.join(' ')}`);
      await stage.renew('guarded');
    }
    expect(problems).toEqual([]);
  });
});
