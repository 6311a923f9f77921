/** Results on their way to a masked client, through a whole relay: detectors beside masks, and the level `display`. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Client, QueryConfig } from 'pg';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';

const policy = (level: string, detect: string) => `
auditors: [audit]
targets:
  prod-db:
    masks:
      level: ${level}
      detect: [${detect}]
      rules:
        - { name: cards, columns: [public.customers.card], mask: { partial: { last: 4 } } }
        - { name: pins, columns: [public.customers.pin], mask: redact }
        - { name: clear, columns: [public.customers.id, public.customers.notes], mask: clear }
    roles:
      engineer: { groups: [engineering], allow: [read, write, admin, unknown], maxDuration: 8h }
      limited: { groups: [engineering], allow: [read], maxDuration: 8h, rowsMax: { read: 2 } }
`;

const schema = `
create table customers (id int primary key, card text, pin int, notes text, hidden text);
insert into customers values (1, '4111111111111111', 1234, 'called about 4111111111111111', 'h'), (2, '5555555555554444', 4321, 'ok', 'h'), (3, null, null, null, null);
create table copies (id int, pan bigint, mail text, doc jsonb);
insert into copies values (1, 4111111111111111, 'ann@mail.test', '{"pan": 4111111111111111}'), (2, 7, 'none', '{}');
create view seen as select id, card from customers;
`;

async function begin(level: string, detect: string): Promise<{ fixture: RelayFixture; tunnel: OpenTunnel; client: Client }> {
  const fixture = await startRelayFixture({ policy: policy(level, detect) });
  await fixture.admin.query(schema);
  const tunnel = await fixture.connect('engineer', 'engineer');
  return { fixture, tunnel, client: await tunnel.client() };
}

describe('detectors beside masks', () => {
  let fixture: RelayFixture;
  let tunnel: OpenTunnel;
  let client: Client;
  beforeAll(async () => {
    ({ fixture, tunnel, client } = await begin('proven', 'card, email'));
  }, 60_000);
  afterAll(async () => fixture?.[Symbol.asyncDispose]());

  const shown = { id: 1, pan: '1111', mail: '[redacted]', doc: { pan: 1111 } };

  test('in the simple and the extended protocol, as text and as binary', async () => {
    expect((await client.query('select * from copies order by id')).rows).toEqual([shown, { id: 2, pan: '7', mail: 'none', doc: {} }]);
    expect((await client.query('select * from copies where id = $1', [1])).rows).toEqual([shown]);
    const { rows } = await client.query({ text: 'select id, pan, mail from copies where id = $1', values: [1], binary: true } as QueryConfig);
    expect(rows).toEqual([{ id: 1, pan: '1111', mail: '[redacted]' }]);
  });

  test('a statement that is prepared once and run often, and one without rows', async () => {
    for (let run = 0; run < 3; run++) {
      expect((await client.query({ name: 'mails', text: 'select mail from copies where id = $1', values: [1] })).rows).toEqual([{ mail: '[redacted]' }]);
      expect((await client.query("insert into copies (id) values (3)")).rowCount).toBe(1);
      expect((await client.query('delete from copies where id in ($1)', [3]).catch((error: unknown) => error))).toBeDefined();
    }
  });

  test('what masks show is left alone, what they do not name is covered', async () => {
    expect((await client.query('select card, notes from customers where id = 1')).rows).toEqual([{ card: '************1111', notes: 'called about ************1111' }]);
  });

  test('in errors and cursors', async () => {
    const error = await client.query("select ('x' || notes)::int from customers where id = 1").catch((failed: unknown) => failed as Error);
    expect(String(error)).toContain('called about ************1111');
    await client.query('begin; declare c cursor for select mail from copies order by id');
    expect((await client.query('fetch 1 from c')).rows).toEqual([{ mail: '[redacted]' }]);
    await client.query('commit');
  });

  test('under a limit on rows', async () => {
    const limited = await (await fixture.connect('engineer', 'limited')).client();
    expect((await limited.query('select mail from copies where id = 1')).rows).toEqual([{ mail: '[redacted]' }]);
    expect((await limited.query('select mail from copies where id = $1', [1])).rows).toEqual([{ mail: '[redacted]' }]);
    await expect(limited.query('select mail from copies, customers')).rejects.toThrow('over the limit of 2 rows');
    expect((await limited.query('select mail from copies where id = 1')).rows).toEqual([{ mail: '[redacted]' }]);
  });

  test('an error in the run of a portal comes once, and the session goes on', async () => {
    await expect(client.query('select 1 / (id - id) from copies where id = $1', [1])).rejects.toThrow('division by zero');
    expect((await client.query('select 1 as x where $1 = 1', [1])).rows).toEqual([{ x: 1 }]);
  });

  test('the record counts what was found, by column', async () => {
    await client.query('select mail from copies');
    const events = (await fixture.entries(tunnel.session.id)).map(({ event }) => event);
    expect(events.filter(({ kind }) => kind === 'masks.detected')).toContainEqual(
      expect.objectContaining({ connection: 1, detector: 'email', column: 'public.copies.mail', count: 1 }),
    );
  });
});

describe('the level display', () => {
  let fixture: RelayFixture;
  let client: Client;
  beforeAll(async () => {
    ({ fixture, client } = await begin('display', ''));
  }, 60_000);
  afterAll(async () => fixture?.[Symbol.asyncDispose]());

  const shown = { id: 1, card: '************1111', pin: 0, notes: 'called about 4111111111111111', hidden: null };

  test('columns are shown masked by their origin, hidden ones as NULL', async () => {
    expect((await client.query('select * from customers where id = 1')).rows).toEqual([shown]);
    expect((await client.query('select * from customers where id = $1', [1])).rows).toEqual([shown]);
    expect((await client.query('select c as x from (select card from customers where id = 1) t(c)')).rows).toEqual([{ x: '************1111' }]);
    expect((await client.query('select * from customers where id = 3')).rows).toEqual([{ id: 3, card: null, pin: null, notes: null, hidden: null }]);
  });

  test('as binary: texts as masks show them, others NULL', async () => {
    const { rows } = await client.query({ text: 'select id, card, pin from customers where id = $1', values: [1], binary: true } as QueryConfig);
    expect(rows).toEqual([{ id: 1, card: '************1111', pin: null }]);
  });

  test('a view over a table with masks shows nothing', async () => {
    expect((await client.query('select * from seen where id = 1')).rows).toEqual([{ id: null, card: null }]);
  });

  test('COPY of a table with masks is refused, of others it is not', async () => {
    await expect(client.query('copy customers to stdout')).rejects.toThrow('COPY does not say which columns it sends');
    await expect(client.query('copy (select card from seen) to stdout')).rejects.toThrow('cannot be masked');
    await client.query('copy (select id from copies) to stdout');
  });

  test('prepared statements, cursors and RETURNING', async () => {
    for (let run = 0; run < 2; run++) {
      expect((await client.query({ name: 'one', text: 'select card from customers where id = $1', values: [2] })).rows).toEqual([{ card: '************4444' }]);
      expect((await client.query('select count(*)::int as n from copies where id < $1', [9])).rows).toEqual([{ n: 2 }]);
    }
    await client.query('begin; declare c cursor for select card from customers order by id');
    expect((await client.query('fetch 1 from c')).rows).toEqual([{ card: '************1111' }]);
    await client.query('commit');
    expect((await client.query("update customers set notes = 'new' where id = 2 returning card, notes")).rows).toEqual([{ card: '************4444', notes: 'new' }]);
  });
});
