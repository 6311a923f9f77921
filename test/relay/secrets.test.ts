/** Canary values: each secret is where it belongs, and in no log, record, error, argument or open file besides. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawTunnel } from './raw-tunnel.ts';
import { RelayChild } from './relay-child.ts';

const child = new RelayChild();
/** What the clients were told, to be searched as well. */
const errors: string[] = [];
let fixture: RelayFixture;
let tunnel: OpenTunnel;
let token: string;

beforeAll(async () => {
  fixture = await startRelayFixture({ start: child.start });
  tunnel = await fixture.connect('dba');
  token = await (await fixture.clientFor('dba')).accessToken();
  await use();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

const upstream = 'upstream-canary-7261';
const inSql = 'sql-canary-5512';
const guess = 'guess-canary-9034';

/** Everything that goes right and wrong in a day, with a secret in hand. */
async function use(): Promise<void> {
  const client = await tunnel.client();
  await client.query('select 1');
  const padding = `/* ${'x'.repeat(5 * 1024 * 1024)} */`;
  for (const sql of [
    `create role secret_holder login password '${inSql}'`,
    `alter role secret_holder password '${inSql}'`,
    `alter role secret_holder with encrypted password $q$${inSql}$q$ valid until '2030-01-01'`,
    `alter role secret_holder password '${inSql}' oops`,
    `alter role secret_holder password '${inSql}`,
    `alter user mapping for public server nowhere options (set password '${inSql}')`,
    `create subscription s connection 'host=localhost password=${inSql}' publication p with (connect = false)`,
    `do $$ begin execute 'alter role secret_holder password ''${inSql}'''; end $$`,
    `select 1; alter role secret_holder password '${inSql}'`,
    `prepare bad as alter role secret_holder password '${inSql}'`,
    `explain alter role secret_holder password '${inSql}'`,
    `alter role secret_holder password '${inSql}' ${padding}`,
    `set password_of_mine = '${inSql}' oops`,
  ]) {
    await client.query(sql).catch((error: Error) => errors.push(JSON.stringify(error), error.message));
  }
  await client.query(`drop role if exists secret_holder`).catch(() => undefined);
  const { session, port } = tunnel;
  const login = { host: port.host, port: port.port, user: session.user, database: session.database };
  for (const wrong of [{ password: guess }, { password: session.password, user: 'somebody' }, { password: session.password, database: 'other' }]) {
    const other = new Client({ ...login, ...wrong });
    other.on('error', () => undefined);
    await other.connect().catch((error: Error) => errors.push(JSON.stringify(error), error.message));
  }
  for (const [path, headers] of [
    [`/v1/sessions/${session.id}/tunnel?token=${token}`, { authorization: `Bearer ${token}` }],
    [`/v1/sessions/${session.id}/tunnel`, { authorization: `Bearer ${token}x` }],
    [`/v1/sessions/${session.id}/tunnel`, { authorization: `Bearer ${token}`, cookie: `token=${token}` }],
  ] as const) {
    const answer = await RawTunnel.open(fixture.relayUrl, path, headers);
    if (answer.tunnel === undefined) errors.push(answer.body.replace(`?token=${token}`, '?token=…'));
  }
  for (const path of ['/v1/whoami', '/v1/nothing', '/v1/grants']) {
    const response = await fetch(`${fixture.relayUrl}${path}`, { method: 'POST', headers: { authorization: `Bearer ${token}x` }, body: token });
    errors.push(await response.text());
  }
  // A database that refuses the relay's own login has seen a password; neither it nor the account may be told.
  await fixture.admin.query('alter role gate_relay password $$changed$$');
  await tunnel.client().catch((error: Error) => errors.push(JSON.stringify(error), error.message));
  await fixture.admin.query(`alter role gate_relay password '${upstream}'`);
}

function secrets(): [string, string][] {
  return [
    ['the password of the database', upstream],
    ['the access token', token],
    ['the signature of the access token', token.split('.')[2] as string],
    ['the password of the tunnel', tunnel.session.password],
    ['a password in SQL', inSql],
    ['a wrong password', guess],
  ];
}

async function filesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

test('the relay said something, and clients were told something: there is something to search', async () => {
  expect((await child.log()).split('\n').length).toBeGreaterThan(1);
  expect(errors.length).toBeGreaterThan(10);
  expect((await fixture.entries(tunnel.session.id)).length).toBeGreaterThan(10);
});

test('no secret in the log of the relay, in an error, or in the record', async () => {
  const record = JSON.stringify(await fixture.entries(tunnel.session.id));
  const log = await child.log();
  for (const [what, secret] of secrets()) {
    expect([what, 'log', log.includes(secret)]).toEqual([what, 'log', false]);
    expect([what, 'error', errors.filter((error) => error.includes(secret))]).toEqual([what, 'error', []]);
    const at = record.indexOf(secret);
    expect([what, 'record', at === -1 ? '' : record.slice(at - 200, at + 50)]).toEqual([what, 'record', '']);
  }
});

test('no file of the relay holds a secret but the one that was given to it for that', async () => {
  const holders: string[] = [];
  for (const file of await filesIn(fixture.directory)) {
    const bytes = await readFile(file);
    for (const [what, secret] of secrets()) if (bytes.includes(secret)) holders.push(`${what}: ${file.slice(fixture.directory.length + 1)}`);
  }
  expect(holders).toEqual(['the password of the database: password']);
});

test('everything in the state directory is for its owner alone', async () => {
  const state = join(fixture.directory, 'state');
  const open: string[] = [];
  // Directories inside may be anything: nobody gets past the first.
  const paths = [state, join(state, 'log'), ...(await filesIn(state))];
  expect(paths.length).toBeGreaterThan(4);
  for (const path of paths) {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) open.push(`${path} ${(mode & 0o777).toString(8)}`);
  }
  expect(open).toEqual([]);
});

test.skipIf(process.platform !== 'linux')('no secret is an argument or in the environment of a process of ours', async () => {
  const found: string[] = [];
  let searched = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const file of ['cmdline', 'environ']) {
      const text = await readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '');
      searched += text.length > 0 ? 1 : 0;
      for (const [what, secret] of [...secrets(), ['the password of the superuser', fixture.postgres.password] as [string, string]]) {
        if (text.includes(secret)) found.push(`${what}: ${file} of ${pid}`);
      }
    }
  }
  expect(searched).toBeGreaterThan(2);
  expect(found).toEqual([]);
});

test('the password of a session is told to nobody: the relay keeps what can check it, not what can use it', async () => {
  const operator = await fixture.clientFor('operator');
  const told = JSON.stringify([await operator.session(tunnel.session.id), await operator.sessions()]);
  expect(told).not.toContain('SCRAM-SHA-256$');
  expect(told).not.toContain(tunnel.session.password);
});

test('a path with a token in it is not repeated to whoever asks for it', async () => {
  const response = await fetch(`${fixture.relayUrl}/v1/sessions/x/tunnel?access_token=${token}`);
  expect(await response.text()).not.toContain(token);
  const answer = await RawTunnel.open(fixture.relayUrl, `/v1/sessions/x/tunnel?access_token=${token.slice(0, 100)}`, { authorization: `Bearer ${token}` });
  expect(answer).toMatchObject({ status: 404 });
  expect(answer.tunnel === undefined ? answer.body : '').not.toContain(token.slice(0, 100));
});
