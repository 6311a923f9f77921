/** Limits that policy sets on what a statement may read, change and take, on a real server. */
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RawClient } from './raw-client.ts';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

const policy = `
auditors: [audit]
targets:
  prod-db:
    roles:
      limited: { groups: [engineering], allow: [read, write], rowsMax: { read: 10, write: 5 }, maxDuration: 8h }
      slow: { groups: [engineering], allow: [read, write, unknown], statementTimeout: 1s, maxDuration: 8h }
      reader: { groups: [engineering], allow: [read], readOnly: true, maxDuration: 8h }
`;

let fixture: RelayFixture;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  await fixture.admin.query(`
    create function lift(setting text, value text) returns text language sql as 'select set_config(setting, value, false)';
    create function sleep_long() returns void language plpgsql as $$ begin perform set_config('statement_timeout', '0', false); perform pg_sleep(30); end $$;`);
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

const query = (sql: string) => serialize.query(sql);
const extended = (text: string, rows = 0) =>
  Buffer.concat([serialize.parse({ text }), serialize.bind({}), serialize.execute({ rows }), serialize.sync()]);

async function logIn(role: string): Promise<RawClient> {
  const tunnel = await fixture.connect('engineer', role);
  return RawClient.logIn(tunnel.port, tunnel.session);
}

const rows = (count: number) => Array.from({ length: count }, () => 'D');
const tooMany = 'E:54000:row-limit';
const read = (count: number) => `select id from items where id <= ${count} order by id`;
const write = (count: number) => `update items set name = 'changed' where id <= ${count}`;

async function changed(): Promise<number> {
  return (await fixture.admin.query(`select 1 from items where name = 'changed'`)).rowCount as number;
}

describe('rows', () => {
  let client: RawClient;
  beforeEach(async () => {
    await fixture.admin.query(`update items set name = 'item ' || id; insert into items values (99, 'item 99') on conflict do nothing`);
    client = await logIn('limited');
  });

  test('reads up to the limit pass as they are; past it there is an error in place of the row too many', async () => {
    client.send(query(read(10)));
    expect(await client.upToReady()).toEqual(['T', ...rows(10), 'C:SELECT 10', 'Z:I']);
    client.send(query(read(11)));
    expect(await client.upToReady()).toEqual(['T', ...rows(10), tooMany, 'Z:I']);
    client.send(extended(read(10)));
    expect(await client.upToReady()).toEqual(['1', '2', ...rows(10), 'C:SELECT 10', 'Z:I']);
    client.send(extended(read(11)));
    expect(await client.upToReady()).toEqual(['1', '2', ...rows(10), tooMany, 'Z:I']);
    client.send(query('select 1'));
    expect(await client.upToReady()).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
    client.close();
  });

  test('writes past the limit are taken back, and say so', async () => {
    client.send(query(write(5)));
    expect(await client.upToReady()).toEqual(['C:UPDATE 5', 'Z:I']);
    expect(await changed()).toBe(5);
    client.send(query(write(6)));
    expect(await client.upToReady()).toEqual([tooMany, 'Z:I']);
    client.send(extended(write(7)));
    expect(await client.upToReady()).toEqual(['1', '2', tooMany, 'Z:I']);
    client.send(extended(`${write(8)} returning id`));
    expect((await client.upToReady()).slice(-2)).toEqual([tooMany, 'Z:I']);
    // What their tags do not count is not run at all, unless it is proven to be little.
    const nested = [`with w as (${write(9)} returning id) select count(*) from w`, `explain analyze ${write(9)}`, `with w as (${write(9)}) ${write(1)}`];
    for (const sql of nested) {
      client.send(query(sql));
      expect(await client.upToReady()).toEqual([tooMany, 'Z:I']);
    }
    client.send(query(`prepare w as ${write(9)}`), query('execute w'), query(`with w as (delete from items where id = 99) select 1`));
    expect(await client.upToReady(3)).toEqual(['C:PREPARE', 'Z:I', tooMany, 'Z:I', 'T', 'D', 'C:SELECT 1', 'Z:I']);
    expect(await changed()).toBe(5);
    client.close();
  });

  test('inside a transaction the whole of it fails', async () => {
    client.send(query('begin'), query(write(3)), query(write(6)), query('select 1'), query('commit'));
    expect(await client.upToReady(5)).toEqual(['C:BEGIN', 'Z:T', 'C:UPDATE 3', 'Z:T', tooMany, 'Z:E', 'E:25P02', 'Z:E', 'C:ROLLBACK', 'Z:I']);
    expect(await changed()).toBe(0);
    client.close();
  });

  test('in a pipeline what follows is skipped up to Sync', async () => {
    const parts = [serialize.parse({ text: write(6) }), serialize.bind({}), serialize.execute({}), serialize.parse({ text: 'select 1' }), serialize.bind({}), serialize.execute({}), serialize.sync()];
    client.send(Buffer.concat(parts), extended('select 2'));
    expect(await client.upToReady(2)).toEqual(['1', '2', tooMany, 'Z:I', '1', '2', 'D', 'C:SELECT 1', 'Z:I']);
    client.close();
  });

  test('a portal that is read in pieces has one limit for all of them, also in one unit', async () => {
    const some = serialize.execute({ rows: 4 });
    client.send(Buffer.concat([serialize.parse({ text: read(50) }), serialize.bind({}), some, some, some, serialize.sync()]));
    expect(await client.upToReady()).toEqual(['1', '2', ...rows(4), 's', ...rows(4), 's', ...rows(2), tooMany, 'Z:I']);
    client.close();
  });

  test('what cannot be counted in time is refused: several statements, COPY', async () => {
    for (const sql of [`${read(1)}; ${read(1)}`, 'copy items to stdout', 'copy items from stdin']) {
      client.send(query(sql));
      expect(await client.upToReady()).toEqual([tooMany, 'Z:I']);
    }
    client.send(query('begin; set local work_mem = 1000; commit'));
    expect((await client.upToReady()).at(-2)).toBe('C:COMMIT');
    client.close();
  });

  test('errors, empty texts, prepared statements and cursors are as ever', async () => {
    client.send(query('select 1 / 0'), query(''), query('selec'), query('begin'), query(`declare c cursor for ${read(100)}`), query('fetch 10 from c'), query('fetch all from c'));
    expect(await client.upToReady(7)).toEqual([
      'E:22012', 'Z:I', 'I', 'Z:I', 'E:42601:sql-error', 'Z:I', 'C:BEGIN', 'Z:T', 'C:DECLARE CURSOR', 'Z:T', 'T', ...rows(10), 'C:FETCH 10', 'Z:T', 'T', ...rows(10), tooMany, 'Z:E',
    ]);
    client.close();
  });
});

describe('time', () => {
  const slept = /^E:57014/;

  test('the cap ends a statement, cannot be lifted by SET, and holds when a function has lifted it', async () => {
    const client = await logIn('slow');
    client.send(query('select pg_sleep(30)'));
    expect((await client.upToReady()).find((reply) => reply.startsWith('E'))).toMatch(slept);
    for (const sql of [`set statement_timeout = '2s'`, `set statement_timeout = '1e9'`, `select set_config('statement_timeout', '1min', false)`, `select set_config('statement_timeout', null, false)`]) {
      client.send(query(sql));
      expect(await client.upToReady()).toEqual(['E:42501:denied', 'Z:I']);
    }
    for (const none of ['0', `'500us'`]) {
      client.send(query(`set statement_timeout = ${none}`), query('select pg_sleep(30)'));
      expect((await client.upToReady(2)).filter((reply) => reply.startsWith('E'))).toEqual(['E:57014:statement-timeout']);
    }
    client.send(query(`set statement_timeout = 500`), query('reset statement_timeout'));
    expect(await client.upToReady(2)).toEqual(['C:SET', 'Z:I', 'C:RESET', 'Z:I']);
    client.send(query('select sleep_long()'), query('select pg_sleep(30)'));
    const replies = await client.upToReady(2);
    expect(replies.filter((reply) => reply.startsWith('E'))).toEqual([expect.stringMatching(slept), 'E:57014:statement-timeout']);
    client.close();
  }, 120_000);
});

describe('read-only', () => {
  test('is the server’s own, is not lifted by the client, and ends the connection when a function lifts it', async () => {
    const client = await logIn('reader');
    client.send(query('select lift($$a.b$$, $$c$$)'), query('begin read write'), query('set default_transaction_read_only = off'));
    const replies = await client.upToReady(3);
    expect(replies.filter((reply) => reply.startsWith('E'))).toEqual(['E:42501:denied', 'E:42501:denied']);
    client.send(query(`select lift('default_transaction_read_only', 'off')`));
    expect((await client.untilClosed()).at(-1)).toBe('E:42501:denied');
  });
});

