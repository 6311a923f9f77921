/** Masks leave the plans of queries as they are: the sub-selects that stand in place of tables are pulled up. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Client } from 'pg';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

const policy = `
auditors: [audit]
targets:
  prod-db:
    masks:
      rules:
        - { name: cards, columns: [public.buyers.card], mask: { partial: { last: 4 } } }
        - { name: mails, columns: [public.buyers.mail], mask: hash }
        - { name: clear, columns: ["public.buyers.*"], mask: clear }
    roles:
      engineer: { groups: [engineering], allow: [read, write], maxDuration: 8h }
`;
const schema = `
create table buyers (id int primary key, name text not null, region text not null, card text, mail text, joined date not null);
insert into buyers select n, 'name ' || n, 'r' || n % 50, lpad(n::text, 16, '4'), 'm' || n || '@shop.test', date '2020-01-01' + n % 2000 from generate_series(1, 30000) n;
create index on buyers (region, joined); create index on buyers (joined);
create table sales (id int primary key, buyer int not null references buyers, amount numeric not null);
insert into sales select n, 1 + n * 7 % 30000, n % 100 from generate_series(1, 60000) n;
create index on sales (buyer);
create table days (day date, buyer int, visits int) partition by range (day);
create table days1 partition of days for values from ('2020-01-01') to ('2021-01-01');
create table days2 partition of days for values from ('2021-01-01') to ('2022-01-01');
insert into days select date '2020-01-01' + n % 700, n, 1 from generate_series(1, 10000) n;
`;

let fixture: RelayFixture;
let client: Client;
beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  await fixture.admin.query(schema);
  await fixture.admin.query('analyze');
  client = await (await fixture.connect('engineer', 'engineer')).client();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

type Plan = { readonly 'Node Type': string; readonly 'Index Name'?: string; readonly 'Relation Name'?: string; readonly Plans?: readonly Plan[] };
type Shape = readonly [node: string, on: string | undefined, below: readonly Shape[]];

function shapeOf({ 'Node Type': node, 'Index Name': index, 'Relation Name': relation, Plans }: Plan): Shape {
  return [node, index ?? relation, (Plans ?? []).map(shapeOf)];
}

async function planOf(asker: { query: Client['query'] }, sql: string): Promise<Shape> {
  const { rows } = await asker.query<{ 'QUERY PLAN': readonly { readonly Plan: Plan }[] }>(`explain (format json, costs off) ${sql}`);
  return shapeOf((rows[0] as { 'QUERY PLAN': readonly [{ readonly Plan: Plan }] })['QUERY PLAN'][0].Plan);
}

const used = (shape: Shape): string[] => [shape[0], ...shape[2].flatMap(used)];

test.each([
  ['a key', 'select * from buyers where id = 7', 'Index Scan'],
  ['keys', 'select name, card from buyers where id in (1, 5, 9)', undefined],
  ['a range of an index', "select id, mail from buyers where region = 'r7' and joined > '2024-01-01'", undefined],
  ['order and limit by an index', 'select id, card, joined from buyers order by joined limit 10', 'Index Scan'],
  ['a join by keys', 'select b.name, b.card, s.amount from sales s join buyers b on b.id = s.buyer where s.id = 9', 'Nested Loop'],
  ['a join of everything', 'select b.region, sum(s.amount) from sales s join buyers b on b.id = s.buyer group by b.region', 'Hash Join'],
  ['a left join that is not needed', 'select s.id from sales s left join buyers b on b.id = s.buyer where s.amount = 5', undefined],
  ['a semi-join', "select id, card from buyers b where region = 'r1' and exists (select 1 from sales s where s.buyer = b.id and s.amount > 98)", undefined],
  ['an anti-join', 'select count(*) from buyers b where not exists (select 1 from sales s where s.buyer = b.id)', undefined],
  ['counting', 'select count(*) from buyers where joined between $$2023-01-01$$ and $$2023-01-09$$', undefined],
  ['a lateral sub-select', 'select b.id, x.amount from buyers b cross join lateral (select amount from sales s where s.buyer = b.id order by amount desc limit 1) x where b.id < 5', undefined],
  ['partitions that cannot match', "select d.visits, b.card from days d join buyers b on b.id = d.buyer where d.day = '2021-05-05' and b.region = 'r3'", undefined],
  ['a CTE', "with r as (select id, card from buyers where region = 'r9') select r.card from r join sales s on s.buyer = r.id where s.amount = 3", undefined],
])('%s', async (_, sql, node) => {
  const [direct, masked] = [await planOf(fixture.admin, sql), await planOf(client, sql)];
  expect(masked).toEqual(direct);
  if (node !== undefined) expect(used(masked)).toContain(node);
});
