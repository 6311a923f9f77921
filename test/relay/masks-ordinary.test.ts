/** Ordinary work under masks: nearly all of it is admitted, and gives what it gives without them, but for masked values. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findOnPath } from '../../src/dev/config.ts';
import { serialize } from 'pg-protocol';
import { loginOf, show, startMaskStage, type Stage } from './masks-stage.ts';
import { RawClient } from './raw-client.ts';
import { startUp } from './start-up-queries.ts';

const statements = readFileSync(join(import.meta.dirname, 'testdata', 'ordinary.sql'), 'utf8').trim().split('\n');

/** Of the sample schema; whole rows hold them as well. What EXPLAIN and the server's own catalogs say is not about values. */
const mentionsMasked = /\b(?:card|card_number|card_tail|ssn|pin|email|profile|tags|reach|notes|search|pan|cc|ref|label|msg)\b|\*|explain|pg_|copy (?:customers|orders)|table |^execute|^fetch|\bc from|to_json|json_agg\(c|search_path/i;

let stage: Stage;
let masked: RawClient;
let plain: RawClient;

beforeAll(async () => {
  stage = await startMaskStage();
  const { port, session } = await stage.tunnel('a', 'super');
  masked = await RawClient.logIn(port, loginOf(session));
  const { address, login } = stage.direct('b', 'super');
  plain = await RawClient.logIn(address, login);
});
afterAll(async () => {
  masked?.close();
  plain?.close();
  await stage?.[Symbol.asyncDispose]();
});

async function ask(client: RawClient, sql: string): Promise<string[]> {
  client.send(serialize.query(sql));
  const at = await client.until(() => client.replies.findIndex(({ type }) => type === 'Z'));
  return client.replies.splice(0, at + 1).filter(({ type }) => type !== 'N' && type !== 'S').map(show);
}

test(`of ${statements.length} statements at least 98 in 100 are admitted, with the same shape of answer`, async () => {
  const failures: string[] = [];
  let clear = 0;
  for (const sql of statements) {
    const [mine, theirs] = [await ask(masked, sql), await ask(plain, sql)];
    // The masked world is another one than the plain one, so equal values are equal for no other reason than that they are clear.
    const types = (replies: readonly string[]) => replies.map((reply) => (reply.startsWith('E ') ? reply : reply[0])).join('');
    const shape = (replies: readonly string[]) => types(replies).replace(/C.*Z$/, 'CZ');
    const rows = (replies: readonly string[]) => replies.filter((reply) => reply.startsWith('D ')).join('\n');
    const isClear = !mentionsMasked.test(sql);
    if (isClear) clear += 1;
    if (isClear && rows(mine) !== rows(theirs)) failures.push(`${sql}: other values`);
    if (shape(mine) !== shape(theirs)) failures.push(`${sql}: ${mine.find((reply) => reply.startsWith('E')) ?? `${shape(mine)} for ${shape(theirs)}`}`);
  }
  expect(failures).toEqual([]);
  expect(clear).toBeGreaterThan(100);
}, 120_000);

/** They show what others run, and counters of transactions. */
const refused = ['pg_stat_activity', 'pg_locks', 'txid_current'];

test('start-up queries of tools', async () => {
  const failures: string[] = [];
  const all = Object.values(startUp).flat();
  for (const sql of all) {
    const error = (await ask(masked, sql.replaceAll('items', 'scratch'))).find((reply) => reply.startsWith('E '));
    if (error !== undefined && !refused.some((name) => sql.includes(name))) failures.push(`${sql}: ${error}`);
  }
  expect(failures).toEqual([]);
});

const psql = findOnPath('psql');

test.skipIf(psql === undefined)('psql looks around (where it is installed)', async () => {
  const { port, session } = await stage.tunnel('a', 'full');
  const commands = String.raw`\d \d+ \da \dA \db \dc \dC \dd \dD \dE \dew \df \dF \dg \di \di+ \dl \dL \dm \dn \dn+ \do \dO \dp \ds \dS \dt \dt+ \dT \dT+ \du \dv \dv+ \dx \dy \l \z \encoding \conninfo`.split(' ');
  const all = [...commands, String.raw`\d customers`, String.raw`\d+ customers`, String.raw`\d orders`, String.raw`\df+ now`, String.raw`\sf card_of`, String.raw`\sv v_customers`];
  const failures: string[] = [];
  for (const command of all) {
    const args = ['-X', '-h', port.host, '-p', String(port.port), '-U', session.user, '-d', session.database, '-c', command];
    const stderr = await new Promise<string>((resolve) => execFile(psql as string, args, { env: { PATH: process.env['PATH'], PGPASSWORD: session.password } }, (_error, _stdout, text) => resolve(text)));
    if (stderr.includes('Rule: ')) failures.push(`${command}: ${stderr.split('\n')[0]}`);
  }
  expect(failures).toEqual([]);
}, 120_000);
