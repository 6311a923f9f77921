/** What tools send by themselves, at start-up and to look around, passes for the presets: nothing of it is held or denied. */
import { execFile } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findOnPath } from '../../src/dev/config.ts';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';

const policy = `
auditors: [audit]
approvers: { dbas: { groups: [dba] } }
targets:
  prod-db:
    roles:
      read-only: { preset: read-only, groups: [engineering] }
      engineer: { preset: engineer, groups: [engineering], approvers: [dbas] }
  plain-db:
    roles:
      read-only: { preset: read-only, groups: [engineering] }
      engineer: { preset: engineer, groups: [engineering], approvers: [dbas] }
`;
/** Its login is not a superuser: pg_dump then leaves out what only those may read. */
const targets = '  plain-db: { host: 127.0.0.1, port: @PORT@, database: postgres, user: gate_plain, passwordFile: ./password, tls: disable }';
const presets = ['read-only', 'engineer'] as const;

let fixture: RelayFixture;
const tunnels = new Map<string, OpenTunnel>();
const tunnelOf = (preset: string, target = 'prod-db') => tunnels.get(`${target} ${preset}`) as OpenTunnel;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy, targets });
  await fixture.admin.query(`create role gate_plain login password 'upstream-canary-7261' in role pg_read_all_data`);
  // What is held fails at once.
  for (const target of ['prod-db', 'plain-db']) {
    for (const preset of presets) tunnels.set(`${target} ${preset}`, await fixture.connect('engineer', preset, undefined, target, 0));
  }
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

const psql = findOnPath('psql');
const pgDump = findOnPath('pg_dump');

/** A program that is told where the database is. */
async function run(program: string | undefined, tunnel: OpenTunnel, args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { host, port } = tunnel.port;
  const { user, database, password } = tunnel.session;
  const env = { PATH: process.env['PATH'], PGPASSWORD: password };
  const all = ['-h', host, '-p', String(port), '-U', user, '-d', database, ...args];
  return new Promise((resolve) =>
    execFile(program as string, all, { env }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })),
  );
}

const backslashCommands = String.raw`\d \d+ \da \dA \db \dc \dC \dconfig \dd \dD \ddp \dE \des \det \dew \df \dF \dFd \dFp
  \dFt \dg \di \dl \dL \dm \dn \do \dO \dp \dP \drds \ds \dS \dt \dT \du \dv \dx \dX \dy \l \z \encoding \conninfo`.split(/\s+/);

describe.skipIf(psql === undefined)('psql (where it is installed)', () => {
  const commands = [...backslashCommands, String.raw`\d items`, String.raw`\d+ items`, String.raw`\sf lower(text)`, String.raw`\df+ now`, String.raw`\dRs`, String.raw`\dRp`];

  test.each(presets.flatMap((preset) => commands.map((command) => [preset, command] as const)))('%s: %s', async (preset, command) => {
    const { stderr } = await run(psql, tunnelOf(preset), ['-X', '-c', command]);
    expect(stderr).not.toContain('Rule: ');
    // psql 15 does not know \dconfig's newer columns; anything else that is an error is not gate's either.
    expect(stderr.replace(/^Did not find any .*\n/gm, '')).not.toContain('may not run');
  });
});

describe.skipIf(pgDump === undefined)('pg_dump (where it is installed)', () => {
  test.each([
    ['read-only', 'plain-db', []],
    ['engineer', 'plain-db', []],
    // As a superuser it would read the connection strings of subscriptions.
    ['read-only', 'prod-db', ['--no-subscriptions']],
    ['engineer', 'prod-db', ['--no-subscriptions']],
  ])('%s on %s: the schema', async (preset, target, flags) => {
    const { code, stdout, stderr } = await run(pgDump, tunnelOf(preset, target), ['--schema-only', ...flags]);
    // It refuses servers that are newer than it by itself.
    if (stderr.includes('server version mismatch')) return;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('CREATE TABLE public.items');
  });
});

/** As these tools send them (statement logs of a server that they were connected to), shortened where only more columns follow. */
const startUp: Readonly<Record<string, readonly string[]>> = {
  pgAdmin: [
    `SET DateStyle=ISO; SET client_min_messages=notice; SELECT set_config('bytea_output','hex',false) FROM pg_show_all_settings() WHERE name = 'bytea_output'; SET client_encoding='UTF8';`,
    `SELECT version()`,
    `SELECT db.oid as did, db.datname, db.datallowconn, pg_encoding_to_char(db.encoding) AS serverencoding, has_database_privilege(db.oid, 'CREATE') as cancreate FROM pg_catalog.pg_database db WHERE db.datname = current_database()`,
    `SELECT gss_authenticated, encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_backend_pid()`,
    `SELECT roles.oid as id, roles.rolname as name, roles.rolsuper as is_superuser, CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreaterole END as can_create_role FROM pg_catalog.pg_roles as roles WHERE rolname = current_user`,
    `SELECT CASE WHEN usesuper THEN pg_catalog.pg_is_in_recovery() ELSE FALSE END as inrecovery FROM pg_catalog.pg_user WHERE usename=current_user`,
    `SELECT pid, datname, usename, application_name, client_addr, state, query FROM pg_catalog.pg_stat_activity ORDER BY pid`,
  ],
  'DBeaver and JDBC': [
    `SET extra_float_digits = 3`,
    `SET application_name = 'DBeaver 23.0 - Main'`,
    `SELECT current_schema(),session_user`,
    `SHOW search_path`,
    `SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate OR db.datname = current_database() ORDER BY db.datname`,
    `select * from pg_catalog.pg_settings where name = 'standard_conforming_strings'`,
    `SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass ORDER BY nspname`,
    `SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid WHERE t.typname IS NOT NULL ORDER BY t.oid`,
    `SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED`,
  ],
  DataGrip: [
    `set application_name = 'DataGrip 2023.1'`,
    `select version()`,
    `select round(extract(epoch from pg_postmaster_start_time() at time zone 'UTC')) as startup_time`,
    `select L.transactionid::varchar::bigint as transaction_id from pg_catalog.pg_locks L where L.transactionid is not null order by pg_catalog.age(L.transactionid) desc limit 1`,
    `select case when pg_catalog.pg_is_in_recovery() then null else (pg_catalog.txid_current() % 4294967296)::varchar::bigint end as current_txid`,
    `select name, is_dst from pg_catalog.pg_timezone_names union distinct select abbrev as name, is_dst from pg_catalog.pg_timezone_abbrevs`,
  ],
  'Prisma, Knex, Drizzle and TypeORM': [
    `SET search_path = "public"`,
    `SELECT 1`,
    `select version()`,
    `SELECT * FROM current_schema()`,
    `select * from information_schema.tables where table_schema = current_schema()`,
    `SELECT n.nspname FROM pg_namespace n JOIN pg_class c ON n.oid = c.relnamespace WHERE n.nspname = ANY ( '{public}' )`,
    `BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE`,
    `COMMIT`,
  ],
  'SQLAlchemy, Django and pgx': [
    `select pg_catalog.version()`,
    `select current_schema()`,
    `show standard_conforming_strings`,
    `show transaction isolation level`,
    `SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'`,
    `SELECT set_config('TimeZone', 'UTC', false)`,
    `select pg_catalog.pg_get_serial_sequence('items', 'id')`,
    `BEGIN`,
    `ROLLBACK`,
  ],
};

describe('start-up queries', () => {
  const all = Object.entries(startUp).flatMap(([tool, texts]) => texts.map((text) => [tool, text] as const));

  test.each(presets.flatMap((preset) => all.map(([tool, text]) => [preset, tool, text] as const)))('%s: %s: %s', async (preset, _, text) => {
    const client = await tunnelOf(preset).client();
    const failure = await client.query(text).then(
      () => undefined,
      (error: { routine?: string; message: string }) => error,
    );
    await client.end();
    expect(failure?.message).toBeUndefined();
  });
});
