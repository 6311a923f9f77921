/** What gate doctor is told about a target with masks: by whom, what is found on a real server, and that the SQL it prints runs. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

const policy = `
auditors: [audit]
targets:
  prod-db:
    masks:
      rules:
        - { name: cards, columns: [public.customers.card], mask: { partial: { last: 4 } } }
        - { name: tax, columns: [public.customers.tax], mask: hash }
        - { name: lost, columns: [public.gone.x], mask: "null" }
        - { name: clear, columns: [public.customers.id, public.customers.Name], mask: clear }
    roles:
      engineer: { groups: [engineering], allow: [read], maxDuration: 8h }
`;

const schema = `
create table customers (id int primary key, "Name" text, card text, tax text, hidden text);
insert into customers values (1, 'Ann', '4111111111111111', 'T', 'h');
create table tickets (id int, body text, mail text, pan bigint, plain text);
insert into tickets values (1, 'pan 4111111111111111', 'ann@mail.test', 4111111111111111, 'x'), (2, 'ok', 'bob@mail.test', 2, 'y'), (3, null, null, null, null);
create materialized view copies as select id, card from customers;
create function card_of(int) returns text language sql security definer as 'select card from customers where id = $1';
`;

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  await fixture.admin.query(schema);
}, 60_000);
afterAll(async () => fixture?.[Symbol.asyncDispose]());

const masking = async (account: string) => (await fixture.clientFor(account)).masking('prod-db');

test('who may use the target learns the level and no more', async () => {
  expect(await masking('engineer')).toEqual({ target: 'prod-db', level: 'proven' });
});

test('who has no role there learns nothing', async () => {
  await expect(masking('dba')).rejects.toThrow('there is no target');
});

describe('an auditor', () => {
  test('is told why it is no better, and what was found', async () => {
    const { level, reasons, findings } = await masking('operator');
    expect(level).toBe('proven');
    expect(reasons?.join('\n')).toContain('gate_relay of the relay is a superuser');
    expect(reasons?.join('\n')).toContain('may SELECT columns with masks: public.customers.card, public.customers.tax, public.customers.hidden');
    const found = findings?.map(({ what }) => what).join('\n');
    for (const text of [
      'functions that run as their owner: public.card_of',
      'may CREATE in public',
      'without TLS',
      'prod-db/masks/lost names no column that is there',
      'public.copies cannot be read with masks',
      'undeclared sensitive column public.tickets.body: 1 of 2 values look like card',
      'undeclared sensitive column public.tickets.mail: 2 of 2 values look like email',
      'undeclared sensitive column public.tickets.pan: 1 of 2 values look like card',
    ]) expect(found).toContain(text);
    expect(found).not.toContain('tickets.plain');
    expect(found).not.toMatch(/4111|ann@/);
  });

  test('gets SQL that runs, and then the database itself holds the raw values back', async () => {
    const { sql = '' } = await masking('operator');
    await fixture.admin.query(sql.replace('COMMIT;', '').replace('BEGIN;', 'BEGIN; SET CONSTRAINTS ALL IMMEDIATE;'));
    const { rows: [may] } = await fixture.admin.query(`select has_column_privilege('gate_restricted', 'customers', 'card', 'select') as raw,
      has_column_privilege('gate_restricted', 'customers', 'Name', 'select') as clean, has_table_privilege('gate_restricted', 'gate_masked.public_customers', 'select') as view`);
    expect(may).toEqual({ raw: false, clean: true, view: true });
    await fixture.admin.query('set local role gate_restricted');
    const { rows } = await fixture.admin.query('select id, "Name", card from gate_masked.public_customers');
    expect(rows).toEqual([{ id: 1, Name: 'Ann', card: '************1111' }]);
    await expect(fixture.admin.query('select card from customers')).rejects.toThrow('permission denied');
    await fixture.admin.query('rollback');
  });
});
