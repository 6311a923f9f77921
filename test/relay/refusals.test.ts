/** Refusals take their place in order, and afterwards client and server agree on everything. */
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, beforeEach, afterEach, expect, test } from 'vitest';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';

let fixture: RelayFixture;
let tunnel: OpenTunnel;
let client: RawClient;

beforeAll(async () => {
  fixture = await startRelayFixture();
  tunnel = await fixture.connect();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  client = await RawClient.logIn(tunnel.port, tunnel.session);
});
afterEach(() => client.close());

const sync = serialize.sync();
const query = (sql: string) => serialize.query(sql);
/** Parse, Bind, Describe, Execute of one statement. */
const run = (sql: string, name = '') =>
  Buffer.concat([
    serialize.parse({ text: sql, name }),
    serialize.bind({ statement: name }),
    serialize.describe({ type: 'P' }),
    serialize.execute(),
  ]);
const refused = 'E:42501:denied';

test('simple, idle: the error, then ReadyForQuery idle', async () => {
  client.send(query('drop table items'));
  expect(await client.upToReady()).toEqual([refused, 'Z:I']);
  client.send(query('select 1'));
  expect(await client.upToReady()).toEqual(['T', 'D', 'C:SELECT 1', 'Z:I']);
});

test('simple, in a transaction: it has failed, for the client and for the server', async () => {
  client.send(query('begin'), query('insert into items values (900)'), query('drop table items'));
  expect(await client.upToReady(3)).toEqual(['C:BEGIN', 'Z:T', 'E:23502', 'Z:E', refused, 'Z:E']);
  client.send(query('select 1'), query('rollback'));
  expect(await client.upToReady(2)).toEqual(['E:25P02', 'Z:E', 'C:ROLLBACK', 'Z:I']);
});

test('simple: several statements in one text are decided whole before any is sent', async () => {
  client.send(query(`insert into items values (901, 'x'); drop table items`));
  expect(await client.upToReady()).toEqual([refused, 'Z:I']);
  expect((await fixture.admin.query('select 1 from items where id = 901')).rowCount).toBe(0);
});

test('extended: the error in order, the rest skipped to Sync', async () => {
  client.send(run('select 1'), run('drop table items'), run('select 2'), sync, run('select 3'), sync);
  expect(await client.upToReady()).toEqual(['1', '2', 'T', 'D', 'C:SELECT 1', refused, 'Z:I']);
  expect(await client.upToReady()).toEqual(['1', '2', 'T', 'D', 'C:SELECT 1', 'Z:I']);
});

test('extended: what ran before in the same pipeline is rolled back, as after any error', async () => {
  client.send(run(`insert into items values (902, 'x')`), run('drop table items'), sync);
  expect(await client.upToReady()).toEqual(['1', '2', 'n', 'C:INSERT 0 1', refused, 'Z:I']);
  expect((await fixture.admin.query('select 1 from items where id = 902')).rowCount).toBe(0);
});

test("the server's own error in front of a refusal comes first and alone", async () => {
  client.send(run('select 1/0'), run('drop table items'), sync);
  expect(await client.upToReady()).toEqual(['1', 'E:22012', 'Z:I']);
  client.send(run('select 1 / (id - id) from items limit 1'), run('drop table items'), sync);
  expect(await client.upToReady()).toEqual(['1', '2', 'T', 'E:22012', 'Z:I']);
});

test('messages behind a refusal that come later, before Sync, are skipped as well', async () => {
  client.send(serialize.parse({ text: 'drop table items' }), serialize.flush());
  expect((await client.next('E')).bytes.toString()).toContain('schema changes');
  client.send(query(`insert into items values (903, 'x')`));
  client.send(sync);
  expect(await client.upToReady()).toEqual(['Z:I']);
  expect((await fixture.admin.query('select 1 from items where id = 903')).rowCount).toBe(0);
});

test('prepared statements: named ones survive refusals, the unnamed one follows the server', async () => {
  client.send(serialize.parse({ name: 'keep', text: 'select 7' }), serialize.parse({ text: 'select 8' }), sync);
  expect(await client.upToReady()).toEqual(['1', '1', 'Z:I']);
  client.send(serialize.parse({ name: 'bad', text: 'drop table items' }), sync);
  expect(await client.upToReady()).toEqual([refused, 'Z:I']);
  // A refused named Parse leaves the unnamed statement alone.
  client.send(serialize.bind({}), serialize.execute(), sync);
  expect(await client.upToReady()).toEqual(['2', 'D', 'C:SELECT 1', 'Z:I']);
  client.send(serialize.bind({ statement: 'keep' }), serialize.execute(), sync);
  expect(await client.upToReady()).toEqual(['2', 'D', 'C:SELECT 1', 'Z:I']);
  client.send(serialize.bind({ statement: 'bad' }), sync);
  expect(await client.upToReady()).toEqual(['E:26000:statement-unknown', 'Z:I']);
  // A refused unnamed Parse takes the old unnamed statement with it, as a failed one does in the server.
  client.send(serialize.parse({ text: 'drop table items' }), sync);
  expect(await client.upToReady()).toEqual([refused, 'Z:I']);
  client.send(serialize.bind({}), sync);
  expect(await client.upToReady()).toEqual(['E:26000:statement-unknown', 'Z:I']);
});

test('a name means what the server last confirmed, also when pipelined over segments', async () => {
  client.send(
    serialize.parse({ name: 's', text: 'select 1' }),
    sync,
    serialize.parse({ name: 's', text: 'select 2' }),
    sync,
    serialize.bind({ statement: 's' }),
    serialize.execute(),
    sync,
  );
  expect(await client.upToReady(3)).toEqual(['1', 'Z:I', 'E:42P05', 'Z:I', '2', 'D', 'C:SELECT 1', 'Z:I']);
  const recorded = (await fixture.entries(tunnel.session.id)).flatMap(({ event }) => (event.kind === 'statement' ? [event.sql] : []));
  expect(recorded.at(-1)).toBe('select 1');
});

test('a Query without a statement leaves the unnamed portal alone, as the server does', async () => {
  const own = await RawClient.logIn(tunnel.port, tunnel.session);
  const start = [serialize.parse({ text: 'select 1' }), serialize.bind({}), serialize.execute({})];
  own.send(query('begin'), ...start, query('-- nothing'), serialize.execute({}), serialize.sync(), query('rollback'));
  expect(await own.upToReady(4)).toEqual(['C:BEGIN', 'Z:T', '1', '2', 'D', 'C:SELECT 1', 'I', 'Z:T', 'C:SELECT 0', 'Z:T', 'C:ROLLBACK', 'Z:I']);
  own.close();
});

test('SQL-level PREPARE, EXECUTE and DEALLOCATE are followed', async () => {
  client.send(query('prepare del as delete from items where id = 1'), query('execute del'), query('rollback'));
  expect(await client.upToReady(3)).toEqual(['C:PREPARE', 'Z:I', 'C:DELETE 1', 'Z:I', 'N', 'C:ROLLBACK', 'Z:I']);
  await fixture.admin.query(`insert into items values (1, 'item 1')`);
  const reader = await fixture.connect('engineer', 'reader');
  const readOnly = await RawClient.logIn(reader.port, reader.session);
  readOnly.send(query('prepare del as delete from items'), query('execute del'), query('execute nothing'));
  expect(await readOnly.upToReady(3)).toEqual([refused, 'Z:I', refused, 'Z:I', refused, 'Z:I']);
  readOnly.close();
  client.send(serialize.parse({ name: 'p', text: 'select 5' }), sync, query('deallocate p; prepare p as select 6, 6'));
  expect(await client.upToReady(2)).toEqual(['1', 'Z:I', 'C:DEALLOCATE', 'C:PREPARE', 'Z:I']);
  client.send(serialize.bind({ statement: 'p' }), serialize.execute(), sync);
  expect(await client.upToReady()).toEqual(['2', 'D', 'C:SELECT 1', 'Z:I']);
  const recorded = (await fixture.entries(tunnel.session.id)).flatMap(({ event }) => (event.kind === 'statement' ? [event.sql] : []));
  expect(recorded.at(-1)).toBe('deallocate p; prepare p as select 6, 6');
});

test('settings that would make relay and server read text differently cannot be changed', async () => {
  for (const sql of [
    'set standard_conforming_strings = off',
    `set client_encoding = 'latin1'`,
    `select set_config('standard_conforming_strings', 'off', false)`,
    `set names 'sjis'`,
  ]) {
    client.send(query(sql));
    expect([sql, await client.upToReady()]).toEqual([sql, [refused, 'Z:I']]);
  }
  client.send(query(`set client_encoding = 'utf8'`), query('set standard_conforming_strings = on'));
  expect(await client.upToReady(2)).toEqual(['C:SET', 'Z:I', 'C:SET', 'Z:I']);
});

test('a setting that is changed where the relay cannot see it ends the connection', async () => {
  const dba = await fixture.connect('dba');
  const raw = await RawClient.logIn(dba.port, dba.session);
  raw.send(query(`do $$ begin perform set_config('standard_conforming_strings', 'off', false); end $$`));
  expect((await raw.untilClosed()).at(-1)).toBe(refused);
});

test('FunctionCall is refused and the session goes on', async () => {
  client.send(Buffer.from([0x46, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
  expect(await client.upToReady()).toEqual(['E:0A000:not-supported', 'Z:I']);
});

test('portals: suspended and resumed, gone after the transaction', async () => {
  client.send(
    query('begin'),
    serialize.parse({ text: 'select generate_series(1, 5)' }),
    serialize.bind({ portal: 'c' }),
    serialize.execute({ portal: 'c', rows: 2 }),
    serialize.execute({ portal: 'c', rows: 0 }),
    sync,
    query('commit'),
  );
  expect(await client.upToReady(3)).toEqual(['C:BEGIN', 'Z:T', '1', '2', 'D', 'D', 's', 'D', 'D', 'D', 'C:SELECT 3', 'Z:T', 'C:COMMIT', 'Z:I']);
  client.send(serialize.execute({ portal: 'c' }), sync);
  expect(await client.upToReady()).toEqual(['E:34000:portal-unknown', 'Z:I']);
});

test('a cursor that was declared in SQL is described by the server, and read with FETCH', async () => {
  client.send(query('begin; declare c cursor for select 1'), serialize.describe({ type: 'P', name: 'c' }), sync);
  client.send(serialize.describe({ type: 'P', name: 'none' }), sync, query('rollback'));
  const described = 'C:BEGIN C:DECLARE CURSOR Z:T T Z:T E:34000 Z:E C:ROLLBACK Z:I';
  expect((await client.upToReady(4)).join(' ')).toBe(described);
  client.send(query('begin; declare c cursor for select 1'), serialize.execute({ portal: 'c' }), sync, query('rollback'));
  expect((await client.upToReady(3)).slice(2)).toEqual(['Z:T', 'E:34000:portal-unknown', 'Z:E', 'C:ROLLBACK', 'Z:I']);
});

test('COPY in the extended protocol with Sync sent ahead of the data, as libpq does', async () => {
  client.send(run('copy items (id, name) from stdin'), sync);
  await client.next('G');
  client.send(serialize.copyData(Buffer.from('950\tx\n')), serialize.copyDone(), sync);
  expect(await client.upToReady()).toEqual(['C:COPY 1', 'Z:I']);
  client.send(run('select 1'), sync);
  expect(await client.upToReady()).toEqual(['1', '2', 'T', 'D', 'C:SELECT 1', 'Z:I']);
  client.send(query('copy items (id, name) from stdin'));
  await client.next('G');
  client.send(serialize.copyFail('changed my mind'));
  expect(await client.upToReady()).toEqual(['E:57014', 'Z:I']);
  await fixture.admin.query('delete from items where id = 950');
});

test('every refusal is on record with rule and reason, every forwarded statement with its outcome', async () => {
  const own = await fixture.connect();
  const raw = await RawClient.logIn(own.port, own.session);
  raw.send(query('select 1'), query('drop table items'), run('select 1/0'), run('select 2'), sync);
  await raw.upToReady(3);
  raw.close();
  // Outcomes are written behind the answers.
  const read = async () => (await fixture.entries(own.session.id)).map(({ event }) => event);
  await eventually('the outcomes are on record', async () => (await read()).filter(({ kind }) => kind === 'outcome').length === 3);
  const events = await read();
  const statements = events.flatMap((event) => (event.kind === 'statement' ? [[event.statement, event.sql, event.effect, event.rule]] : []));
  expect(statements).toEqual([
    [1, 'select 1', 'allow', 'prod-db/engineer/allow'],
    [2, 'drop table items', 'deny', 'prod-db/engineer/allow'],
    [3, 'select 1/0', 'allow', 'prod-db/engineer/allow'],
    [4, 'select 2', 'allow', 'prod-db/engineer/allow'],
  ]);
  const outcomes = events.flatMap((event) => (event.kind === 'outcome' ? [[event.statement, event.state, event.sqlstate]] : []));
  expect(outcomes).toEqual([
    [1, 'ok', undefined],
    [3, 'error', '22012'],
    [4, 'skipped', undefined],
  ]);
});

test('what was refused never reached the database', async () => {
  const log = await import('node:fs/promises').then(({ readFile }) => readFile(fixture.postgres.logFile, 'utf8'));
  expect(log).toContain('copy items (id, name) from stdin');
  expect(log).not.toContain('drop table items');
});
