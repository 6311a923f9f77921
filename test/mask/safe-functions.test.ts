/** Every function of a real server has been looked at: it is safe, or on the list of those that are refused. A new one fails this test. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { safeFunctions } from '../../src/mask/safe-functions.ts';
import { startPostgres } from '../../src/dev/postgres.ts';

const refused = new Set(readFileSync(join(import.meta.dirname, 'testdata', 'refused-functions.txt'), 'utf8').split(/\s+/));

test('names of pg_catalog are either safe or refused, and never both', async () => {
  expect([...safeFunctions].filter((name) => refused.has(name))).toEqual([]);
  const postgres = await startPostgres();
  const client = new Client({ connectionString: postgres.url('postgres') });
  try {
    await client.connect();
    const { rows } = await client.query<{ proname: string }>(`select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace`);
    expect(rows.length).toBeGreaterThan(2000);
    expect(rows.map(({ proname }) => proname).filter((name) => !safeFunctions.has(name) && !refused.has(name))).toEqual([]);
  } finally {
    await client.end();
    await postgres.stop();
  }
});

test.each(['query_to_xml', 'pg_read_file', 'lo_get', 'set_config', 'current_setting', 'nextval', 'pg_sleep', 'pg_notify', 'pg_advisory_lock', 'txid_current', 'ts_stat', 'ts_rewrite', 'pg_stat_get_activity', 'pg_ls_dir', 'dblink', 'currtid2', 'pg_terminate_backend'])(
  '%s is not safe',
  (name) => {
    expect(safeFunctions.has(name)).toBe(false);
  },
);
