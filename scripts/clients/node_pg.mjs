/** node-postgres, with its own pipelining off and on, and Drizzle on top of it. One line of output per check. */
import { drizzle } from 'drizzle-orm/node-postgres';
import { eq, sql } from 'drizzle-orm';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import pg from 'pg';

for (const pipeline of [false, true]) {
  const client = new pg.Client({ pipeline });
  await client.connect();
  console.log('pipeline', pipeline);
  console.log('simple', (await client.query('select 1 + 1 as n')).rows[0].n);
  console.log('parameters', (await client.query('select $1::int * 2 as n, $2::text as t', [21, 'grün 🌱'])).rows[0]);
  console.log('error', await client.query('select 1/0').catch((error) => error.code));
  const named = { name: 'p', text: 'select $1::int + 1 as n' };
  for (let n = 0; n < 3; n++) await client.query({ ...named, values: [n] });
  console.log('prepared', (await client.query({ ...named, values: [41] })).rows[0].n);
  const many = await Promise.all(Array.from({ length: 50 }, (_, n) => client.query('select $1::int as n', [n])));
  console.log('queued', many.reduce((sum, { rows }) => sum + rows[0].n, 0));
  const mixed = await Promise.allSettled(['select 1', 'select 1/0', 'select 2'].map((text) => client.query(text)));
  console.log('mixed', mixed.map(({ status }) => status).join(' '));
  await client.query('listen news');
  const heard = new Promise((resolve) => client.once('notification', ({ payload }) => resolve(payload)));
  await client.query(`notify news, 'hello'`);
  console.log('notify', await heard);
  await client.end();
}

const pool = new pg.Pool({ max: 10 });
const pids = await Promise.all(Array.from({ length: 10 }, () => pool.query('select pg_sleep(0.1), pg_backend_pid() as pid')));
console.log('pool', new Set(pids.map(({ rows }) => rows[0].pid)).size > 1);

const notes = pgTable('gate_clients_notes', { id: integer('id').primaryKey(), note: text('note').notNull() });
const database = drizzle(pool);
await database.execute(sql`create table if not exists gate_clients_notes (id int primary key, note text not null)`);
await database.delete(notes);
await database.insert(notes).values([{ id: 1, note: 'one' }, { id: 2, note: 'two' }]);
console.log('drizzle', await database.select().from(notes).where(eq(notes.id, 2)));
await database.transaction(async (transaction) => {
  await transaction.update(notes).set({ note: 'changed' });
  transaction.rollback();
}).catch((error) => console.log('drizzle rollback', error.constructor.name));
console.log('drizzle after', (await database.select().from(notes)).length);
await database.execute(sql`drop table gate_clients_notes`);
await pool.end();
