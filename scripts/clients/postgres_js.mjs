/** postgres.js: pipelined prepared statements, cursors, COPY streams, cancel. One line of output per check. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import postgres from 'postgres';

const sql = postgres({ max: 2, onnotice: () => undefined });
console.log('simple', (await sql`select 1 + 1 as n`)[0].n);
console.log('parameters', (await sql`select ${21}::int * 2 as n, ${'grün 🌱'}::text as t`)[0]);
console.log('error', await sql`select 1/0`.catch((error) => error.code));
const many = await Promise.all(Array.from({ length: 50 }, (_, n) => sql`select ${n}::int as n`));
console.log('pipelined', many.reduce((sum, [row]) => sum + row.n, 0));
await sql.begin(async (transaction) => {
  await transaction`create temp table t (n int, v text)`;
  await pipeline(Readable.from(Array.from({ length: 1000 }, (_, n) => `${n}\tx${n}\n`)), await transaction`copy t from stdin`.writable());
  console.log('copy', (await transaction`select count(*)::int as n from t`)[0].n);
  let rows = 0;
  for await (const batch of transaction`select * from t`.cursor(100)) rows += batch.length;
  console.log('cursor', rows);
});
const sleeping = sql`select pg_sleep(30)`;
setTimeout(() => sleeping.cancel(), 500);
console.log('cancel', await sleeping.catch((error) => error.code));
console.log('after', (await sql`select 7 as n`)[0].n);
await sql.end();
