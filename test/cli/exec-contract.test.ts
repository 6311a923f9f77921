/** The contract of gate exec with scripts, as the built program on a whole stack: texts, parameters, limits, exit codes. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ended, eventually, startExecStage, type Ended, type ExecStage } from './exec-stage.ts';

let stage: ExecStage;
let admin: Client;
beforeAll(async () => {
  stage = await startExecStage();
  admin = new Client({ connectionString: stage.stack.postgres.url('shop') });
  await admin.connect();
  await admin.query('create table notes (id int primary key, body text, bytes bytea); grant all on notes to public; insert into notes values (0, null)');
});
afterAll(async () => {
  await admin?.end();
  await stage?.[Symbol.asyncDispose]();
});

const exec = (...words: readonly string[]): Promise<Ended> => stage.run('engineer', ['exec', 'prod-db', '--reason', 'testing', ...words]);
const ids = async () => (await admin.query('select id from notes where id > 0 order by id')).rows.map(({ id }) => id as number);
const events = (stderr: string) => stderr.split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>);
const clear = () => admin.query('delete from notes where id > 0');

async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(stage.directory, name);
  await writeFile(path, content);
  return path;
}

describe('texts and parameters', () => {
  test('run in the order of the command line, each with the parameters behind it, on one connection', async () => {
    const path = await file('second.sql', "select $1::text || '!' as b; ");
    const child = stage.run(
      'engineer',
      ['exec', 'prod-db', '--reason', 'testing', '--output', 'ndjson', '--param', 'int:41', '--sql', 'select $1 + 1 as a', '--file', path, '--param', 'text:int:7', '--file', '-'],
      "set application_name = 'mine'; select current_setting('application_name') as c",
    );
    expect(await child).toEqual({ code: 0, stdout: '{"a":42}\n{"b":"int:7!"}\n{"c":"mine"}\n', stderr: 'SET\n' });
  });

  test('of all types arrive as they are, whatever is in them', async () => {
    const bytes = await file('bytes', Buffer.from([0, 255, 10]));
    const more = await file('more.json', JSON.stringify(["it's; drop table notes --", 12, true, null, { type: 'jsonb', value: '{"a": 1}' }]));
    const sql = `select $1::text as t, $2 + 1 as i, $3 is null as n, encode($4, 'hex') as f, encode($5, 'hex') as h, $6::date as d,
      $7::text as s, $8::int as j, $9::bool as k, $10::text is null as m, $11->>'a' as o, pg_typeof($12)::text as p`;
    const words = ['text:', 'bigint:9007199254740993', 'null:uuid', `bytea@${bytes}`, 'bytea:\\x00ff', 'date:2024-02-29'];
    const { code, stdout, stderr } = await exec('--sql', sql, ...words.flatMap((word) => ['--param', word]), '--param-file', more, '--param', 'timestamptz:2026-01-31T09:30:00+01:00', '--output', 'ndjson');
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toEqual({
      t: '', i: '9007199254740994', n: true, f: '00ff0a', h: '00ff', d: '2024-02-29',
      s: "it's; drop table notes --", j: 12, k: true, m: true, o: '1', p: 'timestamp with time zone',
    });
  });

  test('several statements with parameters are a usage error, and none of them runs', async () => {
    const { code, stderr } = await exec('--sql', 'insert into notes values ($1); select 1', '--param', 'int:1');
    expect([code, await ids()]).toEqual([2, []]);
    expect(stderr).toContain('a text is one statement, and this one has several');
  });

  test.each<[string, readonly string[], string]>([
    ['no type', ['--param', '42'], 'parameter $1 does not begin with its type'],
    ['an unknown type', ['--param', 'int:1', '--param', 'itn:1'], 'parameter $2 does not begin'],
    ['a bad int', ['--param', 'int:secret'], 'parameter $1 is not a whole number of four bytes'],
    ['a file that is not there', ['--param', 'text@/nonexistent'], 'cannot read /nonexistent'],
    ['no rows', ['--max-rows', '0'], 'Write a number of rows'],
    ['standard input twice', ['--file', '-', '--param-file', '-'], 'can be read only once'],
    ['an operand among others', ['-'], 'given in more than one way'],
  ])('usage: %s', async (_, words, text) => {
    const { code, stdout, stderr } = await exec('--sql', 'select $1', ...words);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(text);
    expect(stderr).not.toContain('secret');
  });
});

describe('transactions', () => {
  const three = ['--sql', 'insert into notes values (1)', '--sql', 'insert into notes values (2), (0)', '--sql', 'insert into notes values (3)'];

  test('each text is one of its own, and a failure says how far it came', async () => {
    const { code, stderr } = await exec(...three);
    expect([code, await ids()]).toEqual([9, [1]]);
    expect(stderr).toContain('SQL 2 of 3 (--sql) failed; what it had not committed itself is undone. What came before it (1 of 3) has taken effect. What comes after it (1 of 3) was not run.\n');
    await clear();
    const json = await exec(...three, '--json');
    expect(JSON.parse(json.stdout)).toEqual([{ command: 'INSERT 0 1' }]);
    expect(events(json.stderr)).toEqual([
      { event: 'stopped', text: 2, texts: 3, fate: 'undone', singleTransaction: false, completed: 1, notRun: 1 },
      { error: expect.objectContaining({ code: 'sql-error', sqlstate: '23505' }) },
    ]);
    await clear();
  });

  test('--single-transaction takes all of them back, and otherwise none', async () => {
    const failed = await exec('--single-transaction', ...three);
    expect([failed.code, await ids()]).toEqual([9, []]);
    expect(failed.stderr).toContain('SQL 2 of 3 (--sql) failed; the transaction was rolled back, so none of the SQL has taken effect.');
    const done = await exec('--single-transaction', '--sql', 'insert into notes values ($1)', '--param', 'int:7', '--sql', 'savepoint s; insert into notes values (8); rollback to s');
    expect([done.code, await ids()]).toEqual([0, [7]]);
    await clear();
    const denied = await exec('--single-transaction', '--sql', 'insert into notes values (9)', '--sql', 'drop table notes');
    expect([denied.code, await ids(), denied.stderr.includes('none of the SQL')]).toEqual([3, [], true]);
  });

  test.each<[string, string, number[], string]>([
    ['COMMIT', 'insert into notes values (4); commit', [4], 'everything up to its COMMIT has taken effect'],
    ['COMMIT and BEGIN', 'insert into notes values (4); commit; begin', [4], 'everything up to its COMMIT has taken effect'],
    ['ROLLBACK AND CHAIN', 'insert into notes values (4); rollback and/**/chain', [], 'everything up to there was rolled back'],
    ['ROLLBACK and BEGIN', 'insert into notes values (4); rollback; begin', [], 'everything up to there was rolled back'],
  ])('%s inside of --single-transaction fails, saying what holds', async (_, sql, expected, text) => {
    const { code, stderr } = await exec('--single-transaction', '--sql', sql, '--sql', 'insert into notes values (5)');
    expect([code, await ids()]).toEqual([9, expected]);
    expect(stderr).toContain(text);
    await clear();
  });

  test('Ctrl-C takes all of it back as well', async () => {
    const sql = 'select pg_sleep(602)';
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--single-transaction', '--sql', 'insert into notes values (1)', '--sql', sql]);
    const end = ended(child);
    const isRunning = async () => (await admin.query(`select 1 from pg_stat_activity where state = 'active' and query = $1`, [sql])).rowCount === 1;
    await eventually('the second text runs', isRunning);
    child.kill('SIGINT');
    expect([(await end).code, await ids(), await isRunning()]).toEqual([130, [], false]);
  });

  test('what fails at COMMIT was rolled back', async () => {
    await admin.query('create table parts (id int primary key, of int references parts deferrable initially deferred); grant all on parts to public');
    const { code, stderr } = await exec('--single-transaction', '--sql', 'insert into parts values (1, 2)');
    expect([code, (await admin.query('select 1 from parts')).rowCount]).toEqual([9, 0]);
    expect(stderr).toContain('The SQL failed; the transaction was rolled back');
  });
});

describe('limits', () => {
  test('--max-rows stops a query, says so, and marks it', async () => {
    const sql = 'select generate_series(1, 100000000) as n';
    const note = 'gate: the first 2 rows only, as --max-rows asks; there are more, which were not read\n';
    expect(await exec('--sql', sql, '--max-rows', '2')).toEqual({ code: 0, stdout: ' n \n---\n 1\n 2\n(first 2 rows)\n\n', stderr: note });
    const json = await exec('--sql', sql, '--sql', 'select 1 as one', '--max-rows', '2', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject([{ rows: [{ n: 1 }, { n: 2 }], truncated: true }, { rows: [{ one: 1 }], command: 'SELECT 1' }]);
    expect(events(json.stderr)).toEqual([{ event: 'rows-cut', text: 1, rows: 2 }]);
  });

  test('--max-rows of a result with just so many says nothing, and a write runs whole', async () => {
    const exact = await exec('--sql', 'select n from generate_series(1, 2) n', '--max-rows', '2', '--output', 'csv');
    expect(exact).toEqual({ code: 0, stdout: 'n\n1\n2\n', stderr: '' });
    const write = await exec('--sql', 'insert into notes select n from generate_series(1, 5) n returning id', '--max-rows', '2', '--output', 'csv');
    expect([write.code, write.stdout, await ids()]).toEqual([0, 'id\n1\n2\n', [1, 2, 3, 4, 5]]);
    await clear();
  });

  test('--max-rows and parameters leave masks on', async () => {
    const sql = 'select name, card_number from customers where id < $1 order by id';
    const { code, stdout } = await exec('--sql', sql, '--param', 'int:10', '--max-rows', '1', '--output', 'ndjson');
    expect([code, JSON.parse(stdout)]).toEqual([0, { name: expect.any(String), card_number: expect.stringMatching(/^\*+\d{4}$/) }]);
  });

  test('--max-rows and COPY: neither out of it nor into it, and nothing hangs', async () => {
    const out = await exec('--sql', 'copy notes to stdout', '--max-rows', '2');
    expect([out.code, out.stdout, out.stderr.includes('Put a LIMIT into it')]).toEqual([3, '', true]);
    expect(await exec('--sql', 'copy notes from stdin', '--max-rows', '2')).toMatchObject({ code: 3, stdout: '' });
  });

  test('--timeout cancels on the server, undoes the text, and says what is known', async () => {
    const sql = 'insert into notes select 6 from pg_sleep(601)';
    const { code, stderr } = await exec('--sql', 'insert into notes values (5)', '--sql', sql, '--timeout', '2s', '--json');
    expect([code, await ids()]).toEqual([9, [5]]);
    expect(events(stderr)).toEqual([
      { event: 'stopped', text: 2, texts: 2, fate: 'undone', singleTransaction: false, completed: 1, notRun: 0 },
      { error: { code: 'statement-timeout', message: 'the SQL took longer than --timeout (2 s); it was cancelled, and what it had not committed itself is undone' } },
    ]);
    expect((await admin.query(`select 1 from pg_stat_activity where state = 'active' and query = $1`, [sql])).rowCount).toBe(0);
    await clear();
  });

  test('--read-only refuses writes that the role allows', async () => {
    const refused = await exec('--read-only', '--sql', 'insert into notes values (1)');
    expect([refused.code, refused.stderr.includes('read-only'), await ids()]).toEqual([3, true, []]);
    expect(await exec('--read-only', '--sql', 'select 1 as a', '--output', 'csv')).toMatchObject({ code: 0, stdout: 'a\n1\n' });
    const child = stage.start('engineer', ['connect', 'prod-db', '--read-only', '--reason', 'testing', '--port', '0', '--json']);
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const client = new Client({ connectionString: (JSON.parse(line.toString()) as { url: string }).url });
    await client.connect();
    await expect(client.query('insert into notes values (1)')).rejects.toThrow('read-only');
    await client.end();
    child.kill('SIGTERM');
    expect((await once(child, 'close'))[0]).toBe(143);
  });
});

describe('held statements', () => {
  const held = (value: string, ...words: string[]) => exec('--sql', 'update notes set body = $1', '--param', `text:${value}`, '--json', ...words);
  const approve = (id: string) => stage.run('dba', ['approve', id]);
  const wait = (id: string, ...words: string[]) => stage.run('engineer', ['requests', 'wait', id, ...words]);
  const requestOf = ({ code, stderr }: Ended) => {
    expect(code).toBe(8);
    return (events(stderr).at(-1) as { error: { requestId: string } }).error.requestId;
  };

  test('exit with 8 and their request; once approved, exactly the same runs, once', async () => {
    const id = requestOf(await held('a'));
    expect((await wait(id, '--timeout', '1s')).code).toBe(8);
    await approve(id);
    const waited = await wait(id);
    expect([waited.code, waited.stderr]).toEqual([0, 'Run the same statement again: it goes through once.\n']);
    const other = requestOf(await held('b'));
    expect(other).not.toBe(id);
    expect(await held('a')).toMatchObject({ code: 0, stderr: '' });
    expect((await admin.query('select distinct body from notes')).rows).toEqual([{ body: 'a' }]);
    expect([id, other]).not.toContain(requestOf(await held('a')));
    await stage.run('dba', ['deny', other, '--reason', 'no']);
    expect((await wait(other)).code).toBe(5);
    expect((await wait(id)).code).toBe(0);
  });

  test('with --wait go on in place, told as events', async () => {
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', "update notes set body = 'w'", '--wait', '5m', '--timeout', '2s', '--json']);
    const end = ended(child);
    let seen = '';
    child.stderr.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    await eventually('it is held', () => seen.includes('\n'));
    const [{ requestId }] = events(seen) as [{ requestId: string }];
    // Longer than the time limit, which the wait does not count towards.
    await new Promise((resolve) => setTimeout(resolve, 2300));
    await approve(requestId);
    const { code, stderr } = await end;
    expect([code, events(stderr)]).toEqual([0, [
      { event: 'held', requestId, message: expect.any(String), hint: expect.any(String), expiresAt: expect.any(String) },
      { event: 'released', requestId },
    ]]);
  });

  test('with --wait end with 5 when they are denied', async () => {
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', "update notes set body = 'x'", '--wait', '5m', '--json']);
    const end = ended(child);
    let seen = '';
    child.stderr.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    await eventually('it is held', () => seen.includes('\n'));
    await stage.run('dba', ['deny', String(events(seen)[0]?.['requestId']), '--reason', 'no']);
    expect((await end).code).toBe(5);
  });
});

describe('in GitHub Actions', () => {
  async function inActions(words: readonly string[], summary: string): Promise<Ended & { readonly summary: string }> {
    const path = join(stage.directory, summary);
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'a | <b>reason</b>', ...words], { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: path });
    const end = await ended(child);
    return { ...end, summary: await readFile(path, 'utf8') };
  }

  test('a summary without a value, whose fences and tables hold', async () => {
    const sql = "select 'row' || '-value' as v /* ``` */\n-- ````\n";
    const { code, summary } = await inActions(['--sql', sql, '--sql', 'update notes set body = $1 where id = 0', '--param', 'text:hidden'], 'done.md');
    expect(code).toBe(0);
    expect(summary.replace(/s\\?_\w+/, 's_1').replaceAll(/\d+ ms/g, '9 ms')).toMatchInlineSnapshot(`
      "### gate exec: prod\\-db as engineer: done

      | | |
      |---|---|
      | reason | a \\| \\<b\\>reason\\<\\/b\\> |
      | session | s_1 |

      **SQL 1** (\\-\\-sql): done, 9 ms

      \`\`\`\`\`sql
      select 'row' || '-value' as v /* \`\`\` */
      -- \`\`\`\`

      \`\`\`\`\`

      - SELECT 1

      **SQL 2** (\\-\\-sql, 1 parameter (values not shown)): done, 9 ms

      \`\`\`sql
      update notes set body = $1 where id = 0
      \`\`\`

      - UPDATE 1

      "
    `);
    expect(summary).not.toMatch(/row-value|hidden/);
  });

  test('a refusal with its rule, as a remark and in the summary', async () => {
    const { code, stderr, summary } = await inActions(['--sql', 'drop table notes'], 'denied.md');
    expect(code).toBe(3);
    expect(stderr).toMatch(/^::error title=gate exec prod-db%3A failed::.*; rule: prod-db\/engineer\/allow$/m);
    expect(summary).toContain('failed (exit 3)');
    expect(summary).toContain(String.raw`- rule: prod\-db\/engineer\/allow`);
  });

  test('nothing that comes from the database commands the runner', async () => {
    const evil = `select E'x\\n::add-mask::a\\n  ##[add-mask]b'::text::int`;
    const { code, stderr, summary } = await inActions(['--sql', evil], 'evil.md');
    expect([code, stderr.includes('add-mask')]).toEqual([9, true]);
    expect(stderr).not.toMatch(/##\[|^\s*::(?!error title=gate exec prod-db%3A failed::the database answered with SQLSTATE 22P02; [^:]*$)/m);
    expect(summary).toContain('SQLSTATE 22P02');
    const table = await inActions(['--sql', `select '::warning::1' as v, '##[add-mask]c' as w`], 'table.md');
    expect(table.stdout).not.toMatch(/##\[|^\s*::/m);
    const json = await inActions(['--sql', `select '::warning::1' as v, '##[add-mask]c' as w`, '--output', 'json'], 'json.md');
    expect(json.stdout).not.toMatch(/##\[|^\s*::/m);
    expect(JSON.parse(json.stdout)[0].rows).toEqual([{ v: '::warning::1', w: '##[add-mask]c' }]);
  });
});

test('7: nothing runs while the relay cannot record', async () => {
  const limit = (bytes: string) => execFileSync('prlimit', ['--pid', String(stage.stack.relayPid()), `--fsize=${bytes}`]);
  limit('0:unlimited');
  try {
    expect((await exec('--sql', 'insert into notes values (1)')).code).toBe(7);
  } finally {
    limit('unlimited:unlimited');
  }
  expect(await ids()).toEqual([]);
});
