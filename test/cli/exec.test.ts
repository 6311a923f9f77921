/** gate exec as the built program on a whole stack: formats, refusals, exit codes, memory, pipes and interrupts. */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Context } from '../../src/cli/context.ts';
import { resolveGrantRequest } from '../../src/cli/grant-flags.ts';
import { createIo, type IoStreams } from '../../src/cli/io.ts';
import { ended, eventually, peakMemoryMiB, startExecStage, type ExecStage } from './exec-stage.ts';

let stage: ExecStage;
let admin: Client;
beforeAll(async () => {
  stage = await startExecStage();
  admin = new Client({ connectionString: stage.stack.postgres.url('shop') });
  await admin.connect();
});
afterAll(async () => {
  await admin?.end();
  await stage?.[Symbol.asyncDispose]();
});

/** The newest session of the engineer as the relay tells it. */
async function newestSession(): Promise<{ id: string; state: string; command: string }> {
  const { stdout } = await stage.run('engineer', ['sessions', 'list', '--json']);
  return JSON.parse(stdout).sessions[0];
}

async function running(sql: string): Promise<number> {
  const { rows } = await admin.query(`select 1 from pg_stat_activity where state = 'active' and query = $1`, [sql]);
  return rows.length;
}

const mixed = `
  select 7 as id, '価格 é' as name, null::text as note, 1.50::numeric as price, true as ok
  union all select 10, E'say "hi", twice\\nor\\tso', '', 20, false order by 1`;

describe('what comes out', () => {
  test('a table, aligned on terminal columns, of several lines where a value has them', async () => {
    const { code, stdout, stderr } = await stage.exec(mixed);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatchInlineSnapshot(`
      " id |      name       | note | price | ok 
      ----+-----------------+------+-------+----
        7 | 価格 é          |      |  1.50 | t
       10 | say "hi", twice+|      |    20 | f
          | or\\tso          |      |       | 
      (2 rows)

      "
    `);
  });

  test('csv', async () => {
    const { code, stdout } = await stage.exec(mixed, '--output', 'csv');
    expect(code).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "id,name,note,price,ok
      7,価格 é,,1.50,t
      10,"say ""hi"", twice
      or	so","",20,f
      "
    `);
  });

  test('json, also where --json alone asks for it', async () => {
    const { code, stdout } = await stage.exec(mixed, '--output', 'json');
    expect(code).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "[{"fields":[{"name":"id","key":"id","typeOid":23},{"name":"name","key":"name","typeOid":25},{"name":"note","key":"note","typeOid":25},{"name":"price","key":"price","typeOid":1700},{"name":"ok","key":"ok","typeOid":16}],"rows":[
      {"id":7,"name":"価格 é","note":null,"price":"1.50","ok":true},
      {"id":10,"name":"say \\"hi\\", twice\\nor\\tso","note":"","price":"20","ok":false}
      ],"command":"SELECT 2"}]
      "
    `);
    expect((await stage.exec(mixed, '--json')).stdout).toBe(stdout);
  });

  test('ndjson', async () => {
    const { code, stdout } = await stage.exec(mixed, '--output', 'ndjson');
    expect(code).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "{"id":7,"name":"価格 é","note":null,"price":"1.50","ok":true}
      {"id":10,"name":"say \\"hi\\", twice\\nor\\tso","note":"","price":"20","ok":false}
      "
    `);
  });

  test('several statements are several results in order, with tags on stderr', async () => {
    const sql = `select 1 as a; update products set stock = stock where id = 1; select 2 as b where false`;
    const table = await stage.exec(sql);
    expect(table).toEqual({ code: 0, stdout: ' a \n---\n 1\n(1 row)\n\n b \n---\n(0 rows)\n\n', stderr: 'UPDATE 1\n' });
    const json = await stage.exec(sql, '--json');
    expect(json.stderr).toBe('');
    expect(JSON.parse(json.stdout)).toEqual([
      { fields: [{ name: 'a', key: 'a', typeOid: 23 }], rows: [{ a: 1 }], command: 'SELECT 1' },
      { command: 'UPDATE 1' },
      { fields: [{ name: 'b', key: 'b', typeOid: 23 }], rows: [], command: 'SELECT 0' },
    ]);
  });

  test('rows of RETURNING come with their tag', async () => {
    const returned = await stage.exec('update products set stock = stock where id = 2 returning id', '--output', 'csv');
    expect(returned).toEqual({ code: 0, stdout: 'id\n2\n', stderr: 'UPDATE 1\n' });
  });

  test('COPY TO STDOUT is the data itself', async () => {
    const sql = `copy (values (1, null), (2, 'x')) to stdout`;
    expect(await stage.exec(sql)).toEqual({ code: 0, stdout: '1\t\\N\n2\tx\n', stderr: 'COPY 2\n' });
    const json = await stage.exec(sql, '--output', 'json');
    expect(JSON.parse(json.stdout)).toEqual([{ copy: ['1\t\\N\n', '2\tx\n'], command: 'COPY 2' }]);
  });

  test('notices are on stderr, and a warning event under --json', async () => {
    // A transaction command outside of a transaction is the warning that needs no rights.
    const sql = 'commit';
    expect(await stage.exec(sql)).toEqual({
      code: 0,
      stdout: '',
      stderr: 'WARNING:  there is no transaction in progress\nCOMMIT\n',
    });
    const { stderr } = await stage.exec(sql, '--json');
    expect(JSON.parse(stderr)).toEqual({ event: 'warning', message: 'WARNING:  there is no transaction in progress' });
  });
});

describe('where the SQL comes from', () => {
  const words = ['exec', 'prod-db', '--reason', 'testing', '--output', 'csv'];

  test('a file, with a byte order mark', async () => {
    const file = join(stage.directory, 'query.sql');
    await writeFile(file, '\ufeffselect 42 as answer;\n');
    expect(await stage.run('engineer', [...words, '--file', file])).toMatchObject({ code: 0, stdout: 'answer\n42\n' });
  });

  test.each([[['-']], [['--file', '-']]])('standard input by %j', async (flags) => {
    const { code, stdout } = await stage.run('engineer', [...words, ...flags], "select 'ü' as letter");
    expect([code, stdout]).toEqual([0, 'letter\nü\n']);
  });
});

describe('how it ends', () => {
  test('an error in the second of three statements: exit 9, and all of them undone', async () => {
    const sql = `update products set name = 'gone' where id = 1 returning id;\nselect wrong from products;\nselect 3`;
    const { code, stdout, stderr } = await stage.exec(sql, '--output', 'csv');
    expect([code, stdout]).toEqual([9, 'id\n1\n']);
    expect(stderr).toBe(
      'UPDATE 1\n' +
        'gate: ERROR:  column "wrong" does not exist (SQLSTATE 42703)\n' +
        'LINE 2: select wrong from products;\n' +
        '               ^\n',
    );
    expect((await admin.query(`select 1 from products where name = 'gone'`)).rowCount).toBe(0);
    expect(await newestSession()).toMatchObject({ state: 'ended', command: 'exec' });
  });

  test('an error under --json: whole JSON on stdout that says what is missing, an error object on stderr', async () => {
    const { code, stdout, stderr } = await stage.exec('select 1 / (n - 2000) as x from generate_series(1, 3000) n', '--json');
    expect(code).toBe(9);
    const [result] = JSON.parse(stdout);
    expect(result).toMatchObject({ incomplete: true });
    expect(result).not.toHaveProperty('command');
    expect(JSON.parse(stderr).error).toMatchObject({ code: 'sql-error' });
  });

  test('a syntax error that the relay finds is an SQL error with its place', async () => {
    const { code, stderr } = await stage.exec('select 1;\n  selec 2');
    expect(code).toBe(9);
    expect(stderr).toContain('syntax error at or near "selec" (SQLSTATE 42601)\nLINE 2:   selec 2\n          ^\n');
  });

  test('a refusal by policy: exit 3 with the rule, and the database never saw it', async () => {
    const { code, stdout, stderr } = await stage.exec('select 1; drop table payments');
    expect([code, stdout]).toEqual([3, '']);
    expect(stderr).toContain('rule: prod-db/engineer/allow');
    expect((await admin.query(`select to_regclass('payments') as found`)).rows).toEqual([{ found: 'payments' }]);
    const json = await stage.exec('drop table payments', '--json');
    expect(JSON.parse(json.stderr).error).toMatchObject({ code: 'denied', rule: 'prod-db/engineer/allow' });
  });

  test('a transaction that is left open did not happen', async () => {
    const { code, stderr } = await stage.exec(`begin; update products set name = 'gone' where id = 1`);
    expect(code).toBe(9);
    expect(stderr).toContain('ended inside a transaction, which was rolled back');
    expect((await admin.query(`select 1 from products where name = 'gone'`)).rowCount).toBe(0);
  });

  test('COPY FROM STDIN fails with a way out, and writes nothing', async () => {
    const { code, stderr } = await stage.exec('copy products (name, price_cents, stock) from stdin');
    expect(code).toBe(3);
    expect(stderr).toContain('Use gate connect with psql and \\copy');
  });

  test.each<[string, readonly string[], string]>([
    ['no SQL', [], 'there is no SQL to run'],
    ['two sources', ['--sql', 'select 1', '-'], 'given in more than one way'],
    ['an operand', ['select 1'], 'one argument too many'],
    ['an empty text', ['--sql', ' \n'], 'the SQL text is empty'],
    ['only a comment', ['--sql', '-- nothing'], 'holds no statement'],
    ['an unknown format', ['--sql', 'select 1', '--output', 'xml'], 'Allowed choices are table, json, ndjson, csv'],
    ['a bad duration', ['--sql', 'select 1', '--duration', 'soon'], 'Write a duration like 90s'],
    ['a file that is not there', ['--file', '/nonexistent.sql'], 'cannot read /nonexistent.sql'],
  ])('usage: %s', async (_, flags, text) => {
    const { code, stdout, stderr } = await stage.run('engineer', ['exec', 'prod-db', '--reason', 'testing', ...flags]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(text);
  });

  test('usage: bytes that are not UTF-8', async () => {
    const file = join(stage.directory, 'latin1.sql');
    await writeFile(file, Buffer.from("select 'caf\u00e9'", 'latin1'));
    const { code, stderr } = await stage.run('engineer', ['exec', 'prod-db', '--reason', 'testing', '--file', file]);
    expect([code, stderr]).toEqual([2, `gate: ${file} is not UTF-8 text\n`]);
  });

  test('without a required reason: exit 2, naming the flag', async () => {
    const { code, stderr } = await stage.run('engineer', ['exec', 'prod-db', '--sql', 'select 1']);
    expect(code).toBe(2);
    expect(stderr).toContain('--reason');
  });

  test('without a login: exit 4', async () => {
    const { code, stderr } = await stage.run(undefined, ['exec', 'prod-db', '--reason', 'testing', '--sql', 'select 1']);
    expect(code).toBe(4);
    expect(stderr).toContain('gate login');
  });

  test('without a relay: exit 6', async () => {
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', 'select 1'], {
      GATE_RELAY: 'http://127.0.0.1:9',
    });
    expect(await ended(child)).toMatchObject({ code: 6, stdout: '' });
  });

  test('a relay that dies in mid-statement: exit 6', async () => {
    const sql = 'select pg_sleep(601)';
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', sql]);
    const end = ended(child);
    await eventually('the statement runs', async () => (await running(sql)) === 1);
    process.kill(stage.stack.relayPid(), 'SIGKILL');
    const { code, stderr } = await end;
    expect([code, stderr]).toEqual([6, expect.stringContaining('the connection to the relay broke')]);
    await stage.stack.relayReady();
  });

  test('a role other than the first, for a while', async () => {
    const words = ['exec', 'prod-db', '--role', 'dba', '--duration', '90s', '--reason', 'testing'];
    const sql = 'create table made (id int); drop table made';
    expect(await stage.run('dba', [...words, '--sql', sql])).toMatchObject({ code: 0, stderr: 'CREATE TABLE\nDROP TABLE\n' });
  });
});

describe('streams', () => {
  test.each([['csv'], ['json'], ['table']])('a million rows as %s in bounded memory', async (format) => {
    const sql = `select n, repeat('x', 100) as filler from generate_series(1, 1000000) n`;
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', sql, '--output', format]);
    let [lines, bytes, peak] = [0, 0, 0];
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines++;
    });
    const timer = setInterval(() => {
      void peakMemoryMiB(child.pid as number).then((now) => (peak = Math.max(peak, now)));
    }, 50);
    const [code] = await once(child, 'close');
    clearInterval(timer);
    expect(code).toBe(0);
    expect(lines).toBeGreaterThan(1_000_000);
    expect(bytes).toBeGreaterThan(100_000_000);
    expect(peak).toBeGreaterThan(0);
    expect(peak).toBeLessThan(256);
  });

  test('a reader that stands still holds up the server, not the memory', async () => {
    const sql = `select n, repeat('y', 1000) as filler from generate_series(1, 300000) n`;
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', sql, '--output', 'csv']);
    await once(child.stdout, 'readable');
    await eventually('the server waits for its reader', async () => {
      const found = `select 1 from pg_stat_activity where query = $1 and wait_event = 'ClientWrite'`;
      return (await admin.query(found, [sql])).rowCount === 1;
    });
    expect(await peakMemoryMiB(child.pid as number)).toBeLessThan(256);
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
    const [code] = await once(child, 'close');
    expect([code, bytes > 300_000_000]).toEqual([0, true]);
  });

  test('a reader that goes away ends it without a word', async () => {
    const sql = `select n from generate_series(1, 5000000) n`;
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', sql, '--output', 'csv']);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const closed = once(child, 'close');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    expect([(await closed)[0], stderr]).toEqual([141, '']);
    await eventually('the server has stopped', async () => (await running(sql)) === 0);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s cancels on the server and exits %i', async (signal, expected) => {
    const sql = `select pg_sleep(600) as ${signal.toLowerCase()}`;
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', sql]);
    const end = ended(child);
    await eventually('the statement runs', async () => (await running(sql)) === 1);
    child.kill(signal);
    const { code, stdout, stderr } = await end;
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toBe('ERROR:  canceling statement due to user request (SQLSTATE 57014)\n');
    expect(await running(sql)).toBe(0);
    expect(await newestSession()).toMatchObject({ state: 'ended' });
  });

  test('an interrupt reaches a statement whose reader stands still', async () => {
    const sql = `select n, repeat('z', 1000) as filler from generate_series(1, 3000000) n`;
    const child = stage.start('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', sql, '--output', 'csv']);
    await once(child.stdout, 'readable');
    await eventually('the server waits for its reader', async () => {
      const found = `select 1 from pg_stat_activity where query = $1 and wait_event = 'ClientWrite'`;
      return (await admin.query(found, [sql])).rowCount === 1;
    });
    child.kill('SIGINT');
    await eventually('the server has stopped', async () => (await running(sql)) === 0);
    child.stdout.resume();
    const [code] = await once(child, 'close');
    expect(code).toBe(130);
  });
});

describe('the request for a grant on a terminal', () => {
  /** A person at a terminal who types these lines. */
  function atTerminal(account: string, typed: readonly string[]): { context: Context; asked: () => string; calls: () => number } {
    const [stdin, stderr] = [new PassThrough(), new PassThrough()];
    let [asked, calls] = ['', 0];
    const lines = [...typed];
    stderr.on('data', (chunk: Buffer) => {
      asked += chunk.toString();
      const line = chunk.toString().includes('?') ? lines.shift() : undefined;
      if (line !== undefined) setImmediate(() => stdin.write(`${line}\n`));
    });
    const terminal = { isTTY: true };
    const streams: unknown = { stdin: Object.assign(stdin, terminal), stdout: new PassThrough(), stderr: Object.assign(stderr, terminal) };
    const context: Context = {
      io: createIo(streams as IoStreams, { json: false }),
      config: () => Promise.reject(new Error('not needed')),
      relay: async () => {
        calls++;
        return stage.relayOf(account);
      },
      stopSignal: () => new AbortController().signal,
    };
    return { context, asked: () => asked, calls: () => calls };
  }

  test('asks why, again after an empty answer', async () => {
    const { context, asked } = atTerminal('engineer', ['', 'ticket 12']);
    expect(await resolveGrantRequest(context, 'prod-db', {})).toEqual({ target: 'prod-db', reason: 'ticket 12' });
    expect(asked().match(/Why do you need prod-db as engineer\?/g)?.length).toBeGreaterThanOrEqual(2);
  });

  test('asks nothing where the role needs no reason, or where all that it needs was given', async () => {
    const free = atTerminal('operator', []);
    expect(await resolveGrantRequest(free.context, 'prod-db', { role: 'reader' })).toEqual({ target: 'prod-db', role: 'reader' });
    const given = atTerminal('engineer', []);
    const flags = { reason: 'ticket 12', role: 'engineer', duration: 90 };
    const request = { target: 'prod-db', role: 'engineer', reason: 'ticket 12', durationSeconds: 90 };
    expect(await resolveGrantRequest(given.context, 'prod-db', flags)).toEqual(request);
    expect([free.asked(), given.asked()]).toEqual(['', '']);
    const all = atTerminal('engineer', []);
    expect(await resolveGrantRequest(all.context, 'prod-db', { ...flags, ticket: 'OPS-1' })).toEqual({ ...request, ticket: 'OPS-1' });
    // What is needed has to be looked up only where something is missing.
    expect([given.calls(), all.calls()]).toEqual([0, 0]);
  });

  test('leaves a target or role that is not open to the relay to refuse', async () => {
    const { context, asked } = atTerminal('engineer', []);
    expect(await resolveGrantRequest(context, 'nowhere', {})).toEqual({ target: 'nowhere' });
    expect(await resolveGrantRequest(context, 'prod-db', { role: 'dba' })).toEqual({ target: 'prod-db', role: 'dba' });
    expect(asked()).toBe('');
  });
});
