/** No password or key that stands in a statement may reach the record, whatever the statement is or was meant to be. */
import { beforeAll, describe, expect, test } from 'vitest';
import { loadParser, ParserBroken, type ParsedSql } from '../../src/sql/parser.ts';
import { cutAtSecret } from '../../src/sql/secrets.ts';

const canary = 'hunter2canary';

let parse: (sql: string) => ParsedSql;
beforeAll(async () => {
  parse = await loadParser();
});

describe('a secret in a statement that runs', () => {
  test.each([
    `create role r password '${canary}'`,
    `create user r encrypted password '${canary}'`,
    `alter role r with login password '${canary}' valid until 'infinity'`,
    `alter user current_user password E'${canary}\\''`,
    `alter role r password U&'${canary}\\0041'`,
    `alter role r password $ü1$${canary}$ü1$`,
    `alter role r password 'x'\n'${canary}'`,
    `select 1; alter role r password '${canary}'; select 2`,
    `create user mapping for r server s options (user '${canary}', whatever '${canary}')`,
    `alter user mapping for r server s options (set pass_phrase '${canary}')`,
    `create server s foreign data wrapper w options (api_key '${canary}')`,
    `alter server s options (set sslpassword '${canary}')`,
    `create subscription s connection 'host=h password=${canary}' publication p`,
    `alter subscription s connection 'postgres://u:${canary}@h/d'`,
    `select * from dblink('host=h password=${canary}', 'select 1') as t(a int)`,
    `explain select * from dblink('host=h ' || 'pass' || 'word=${canary}', 'select 1') as t(a int)`,
    `select dblink_connect_u('c', '${canary}')`,
    `prepare p as select dblink_exec('${canary}', 'x')`,
    `copy t to program 'PGPASSWORD=${canary} psql'`,
    `copy t from program 'curl http://u:${canary}@h/'`,
    `alter system set primary_conninfo = 'host=h password=${canary}'`,
    `alter system set ssl_passphrase_command = 'echo ${canary}'`,
    `alter database d set "app.settings.jwt_secret" to '${canary}'`,
    `alter role r set app.api_key = '${canary}'`,
    `set app.jwt_secret = '${canary}'`,
    `set app.jwt_secret = ${canary}`,
    `set local app.api_key to "${canary}"`,
    `alter database d set app.token to ${canary}`,
    `select set_config('app.secret', '${canary}', false)`,
    `select set_config(new_value => '${canary}', setting_name => 'app.secret', is_local => true)`,
    `do $$ begin execute 'alter role r password ''${canary}'''; end $$`,
    `do $x$ begin perform dblink('host=h password=${canary}'); end $x$`,
    `create function f() returns void language sql as $$ alter role r password '${canary}' $$`,
    `select pgp_sym_encrypt('data', '${canary}')`,
    `select pgp_pub_decrypt(data, dearmor('x'), '${canary}') from t`,
    `update users set hash = crypt('${canary}', gen_salt('bf'))`,
    `select encode(hmac('data', '${canary}', 'sha256'), 'hex')`,
    `select decrypt_iv(a, '${canary}', 'iv', 'aes') from t`,
    `alter role r password 'x' -- was ${canary}`,
    `/* ${canary} */ alter role r password 'x'`,
  ])('%j', (sql) => {
    const parsed = parse(sql);
    expect(parsed.ok).toBe(true);
    expect(parsed.isRedacted).toBe(true);
    expect(parsed.recordedSql).not.toContain(canary);
  });

  test('the rest of the text stays, also behind characters of several bytes', () => {
    expect(parse(`alter role "é𝄞" /* hint */ password '${canary}' connection limit 3`).recordedSql).toBe(
      `alter role "é𝄞" /* … */ password '…' connection limit 3`,
    );
    expect(parse(`set app.secret to ${canary}, "${canary}"`).recordedSql).toBe(`set app.secret to '…', '…'`);
  });

  test.each([
    `select * from users where token = 'abc'`,
    `select 'it''s a password'`,
    'select "password", $1::text from users where id = 7',
    `insert into log values ('see http://h:80/@x')`,
    `set application_name = 'x'`,
    `select md5('x')`,
  ])('%j is recorded as it is', (sql) => {
    expect(parse(sql)).toMatchObject({ ok: true, recordedSql: sql, isRedacted: false });
  });
});

describe('a secret in a text that cannot be parsed', () => {
  test.each([
    `alter role r pasword '${canary}'`,
    `alter role r password "${canary}"`,
    `alter role r password ${canary}`,
    `alter role r set password '${canary}'`,
    `alter role r password = '${canary}'`,
    `alter role r pass E'x\\'${canary}'`,
    `alter role r password '${canary}`,
    `alter role r pass $x$${canary}`,
    `alter role r pass U&'${canary}`,
    `creat user mapping options (secret ${canary})`,
    `'${canary}'`,
    `select 1 /* ${canary}`,
    `select 1 -- ${canary}\nfrom from`,
    `select x'${canary}' y z`,
    `alter role r pass '${canary}\0'`,
    `alter role r password '${canary}' '${canary}'`,
    `$tag$ ${canary} $tag$ ${canary} from`,
  ])('%j', (sql) => {
    const parsed = parse(sql);
    expect(parsed.ok).toBe(false);
    expect(JSON.stringify(parsed)).not.toContain(canary);
    expect(parsed.isRedacted).toBe(true);
  });

  test('without anything to hide it stays as it is, with the place of the error', () => {
    expect(parse('selec 1')).toEqual({
      ok: false,
      message: 'syntax error at or near "selec"',
      position: 1,
      recordedSql: 'selec 1',
      isRedacted: false,
    });
  });

  test('the message still quotes what is no secret', () => {
    expect(parse(`select 'a' frm t x`)).toMatchObject({ message: 'syntax error at or near "t"', recordedSql: 'select …' });
  });
});

test('a text that breaks the parser is an error of its own, and can be written down without its secrets', () => {
  expect(new ParserBroken('x')).toMatchObject({ code: 'denied', rule: 'parse' });
  expect(cutAtSecret(`alter role r password '${canary}'`)).toBe('alter role r …');
});
