/** The facts against a real server: what is called a read must change nothing there, and errors must stand where it says. */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { functionKind } from '../../src/sql/functions.ts';
import { loadParser, type ParsedSql } from '../../src/sql/parser.ts';

let postgres: Postgres;
let admin: Client;
let parse: (sql: string) => ParsedSql;

beforeAll(async () => {
  [postgres, parse] = await Promise.all([
    startPostgres({ settings: { max_prepared_transactions: '5', wal_level: 'logical' } }),
    loadParser(),
  ]);
  admin = await connect();
  await admin.query('create table items (id int); insert into items values (1); create sequence s; select lo_create(4711)');
});

afterAll(async () => {
  await admin?.end();
  await postgres?.stop();
});

async function connect(options?: string): Promise<Client> {
  const client = new Client({ connectionString: postgres.url(), ...(options !== undefined && { options }) });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Volatile functions that were looked at and found to change nothing that outlives the session. */
const harmless = new RegExp(
  `^(?:${[
    // Values and chance.
    'array_sample|array_shuffle|clock_timestamp|timeofday|gen_random_\\w+|gen_salt|random\\w*|normal_rand|setseed|uuid\\w*|fips_mode',
    'current_query|currtid2|currval|lastval|set_config|pgp_\\w+',
    // Waiting, and unlocking what was locked.
    'pg_sleep\\w*|pg_advisory_unlock\\w*',
    // Large objects, read only.
    'lo_(?:close|get|lseek|lseek64|open|tell|tell64)|loread',
    // Sizes, catalogs, transactions and progress, as they are.
    'amvalidate|pg_\\w*size|pg_blocking_pids|pg_safe_snapshot_blocking_pids|pg_isolation_test_session_is_blocked|pg_partition_\\w+',
    'pg_collation_actual_version|pg_database_collation_actual_version|pg_control_\\w+|pg_current_wal_\\w+|pg_last_\\w+|pg_is_\\w+',
    'pg_get_(?:aios|backend_memory_contexts|loaded_modules|multixact_members|sequence_data|shmem_\\w+|wait_events|wal_(?:replay_pause_state|resource_managers|summarizer_state))',
    'pg_jit_available|pg_lock_status|pg_notification_queue_usage|pg_prepared_xact|pg_sequence_last_value|pg_show_replication_origin_status',
    'pg_stat_get_\\w+|pg_stat_have_stats|pg_stat_clear_snapshot|pg_stat_force_next_flush|pg_xact_\\w+|txid_\\w+|pg_export_snapshot',
    // Extensions: checks, statistics, the session's own limits, the session's certificate.
    'bt_index_\\w+|gin_index_check|verify_heapam|pgstat\\w+|pg_relpages|pgrowlocks|pg_freespace|pg_visibility\\w*|pg_check_\\w+|ssl_\\w+',
    'pg_stat_statements\\w*|pg_buffercache_(?:pages|numa_pages|summary|usage_counts|os_pages)|isn_weak|set_limit|file_fdw_validator|plpgsql_validator',
    // They take pages as bytes, which only other functions give.
    'brin_(?:metapage_info|page_items|page_type|revmap_data)|gin_\\w+_info|gin_leafpage_items|gist_\\w+|hash_(?:metapage_info|page_\\w+)|heap_tuple_infomask_flags|page_\\w+',
  ].join('|')})$`,
);

describe('functions of the server and the extensions that come with it', () => {
  test('each volatile one is known to write, to administer, or to be harmless', async () => {
    const { rows: extensions } = await admin.query<{ name: string }>('select name from pg_available_extensions order by 1');
    const missing: string[] = [];
    for (const { name } of extensions) {
      // Languages whose libraries are not on this machine bring no functions of their own.
      await admin.query(`create extension if not exists "${name}" cascade`).catch(() => missing.push(name));
    }
    expect(missing.every((name) => /perl|python|tcl/.test(name))).toBe(true);
    const { rows } = await admin.query<{ name: string }>(`
      select distinct proname as name from pg_proc
      where provolatile = 'v' and prokind <> 'p' and not ('internal'::regtype = any (proargtypes)) and prorettype not in
        ('trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype, 'fdw_handler'::regtype)`);
    expect(rows.length).toBeGreaterThan(250);
    const names = rows.map(({ name }) => name);
    expect(names.filter((name) => functionKind(name) === undefined && !harmless.test(name))).toEqual([]);
    // A name in both lists would hide that one of the two is wrong.
    expect(names.filter((name) => functionKind(name) !== undefined && harmless.test(name) && !/^(?:pgp|pg_stat_statements)/.test(name))).toEqual([]);
  });

  test('no operator and no cast calls a volatile function behind the text', async () => {
    const { rows } = await admin.query(`
      select p.oid::regprocedure from pg_operator o join pg_proc p on p.oid = o.oprcode where provolatile = 'v'
      union all select p.oid::regprocedure from pg_cast c join pg_proc p on p.oid = c.castfunc where provolatile = 'v'`);
    expect(rows).toEqual([]);
  });

  test('settings that the server keeps to superusers are admin', async () => {
    const { rows } = await admin.query<{ name: string }>(
      `select name from pg_settings where context in ('superuser', 'superuser-backend') and name <> 'lc_messages'`,
    );
    expect(rows.length).toBeGreaterThan(40);
    const open = rows.filter(({ name }) => {
      const parsed = parse(`set ${name} = 1`);
      return !parsed.ok || !parsed.statement.kinds.includes('admin');
    });
    expect(open).toEqual([]);
  });
});

describe('a session that is opened read-only and runs only what is called a read', () => {
  /** Each attack in one session, statement by statement; what is refused is left out, as the relay would. */
  const attacks: readonly (readonly string[])[] = [
    ["select nextval('s')"],
    ["select ('s'::regclass).nextval"],
    ["select x.nextval from unnest(array['s'::regclass]) x"],
    ['prepare p(bigint) as select $1', "explain execute p(nextval('s'))"],
    ['prepare p(text) as select $1', "explain execute p(set_config('default_transaction_read_only', 'off', false))", 'insert into items values (2)'],
    ["select set_config('default_transaction_read_only', 'off', false)", 'select lo_create(0)'],
    ["select set_config('default_' || 'transaction_read_only', 'off', false)"],
    ['set default_transaction_read_only = off'],
    ['set session characteristics as transaction read write'],
    ['begin read write', 'truncate items', 'commit'],
    ['begin', 'set transaction read write', 'truncate items', 'commit'],
    ['begin', 'reset transaction_read_only', 'delete from items', 'commit'],
    ['begin', 'set transaction_read_only to default', 'commit'],
    ['reset all', 'insert into items values (2)'],
    ['reset default_transaction_read_only'],
    ['discard all'],
    ['set session authorization default'],
    ['reset role'],
    ["update pg_settings set setting = 'off' where name = 'default_transaction_read_only'"],
    ["do $$ begin perform set_config('default_transaction_read_only', 'off', false); end $$"],
    ["copy items to program 'cat'"],
    ['copy (delete from items returning *) to stdout'],
    ['explain analyze delete from items'],
    ['explain analyze create table x as select 1'],
    ['select 1 into x'],
    ['create temp table x (a int)'],
    ['select * from items for update'],
    ["select pg_notify('a', 'b')"],
    ['notify a'],
    ["select pg_create_physical_replication_slot('a')"],
    ["select pg_create_logical_replication_slot('b', 'pgoutput')"],
    ["select pg_logical_emit_message(false, 'a', 'b')"],
    ["select lo_put(4711, 0, 'x')", 'select lowrite(lo_open(4711, 131072), \'x\')', 'select lo_unlink(4711)'],
    ["select lo_import('/etc/hostname')", "select lo_export(4711, '/tmp/gate-test-export')"],
    ["select query_to_xml('select nextval(''s'')', true, false, '')"],
    ["select dblink_exec('host=127.0.0.1', 'delete from items')"],
    ['select pg_advisory_lock(1)'],
    ["select setval('s', 99)"],
    ['begin', "prepare transaction 'x'"],
    ['alter role postgres set default_transaction_read_only = off'],
    ['alter system set work_mem = 64'],
    ['vacuum items'],
    ['select pg_stat_reset()'],
    ['select pg_reload_conf()'],
    ['select pg_switch_wal()'],
    ['lock table items in access exclusive mode'],
    ['select pg_export_snapshot()', 'select txid_current()', 'select gen_random_uuid()', 'select setseed(0.5)'],
    ['declare c cursor with hold for select 1', 'fetch c', 'close c', 'listen x', 'unlisten *', 'discard temp', 'discard sequences'],
  ];

  async function state(): Promise<unknown> {
    const { rows } = await admin.query(`select
      (select array_agg(id order by id) from items) items, (select last_value || ':' || is_called from s) sequence,
      (select array_agg(loid || encode(data, 'hex') order by loid) from pg_largeobject) large,
      (select count(*) from pg_largeobject_metadata) objects, (select array_agg(relname order by oid) from pg_class) relations,
      (select count(*) from pg_replication_slots) slots, (select count(*) from pg_prepared_xacts) prepared,
      (select array_agg(setconfig::text) from pg_db_role_setting) settings,
      (select count(*) from pg_locks where locktype = 'advisory') advisory`);
    return rows[0];
  }

  test.each(attacks.map((statements) => [statements]))('%j', async (statements) => {
    const before = await state();
    const client = await connect('-c default_transaction_read_only=on');
    try {
      for (const sql of statements) {
        const parsed = parse(sql);
        if (!parsed.ok || parsed.statement.kinds.some((kind) => kind !== 'read')) continue;
        await client.query(sql).catch(() => undefined);
      }
      await client.query('rollback');
      expect((await client.query('show default_transaction_read_only')).rows).toEqual([{ default_transaction_read_only: 'on' }]);
      expect((await client.query('show transaction_read_only')).rows).toEqual([{ transaction_read_only: 'on' }]);
      expect(await state()).toEqual(before);
    } finally {
      await client.end();
    }
  });

  test('the hidden calls are real: without the relay they write', async () => {
    const client = await connect('-c default_transaction_read_only=on');
    try {
      await client.query('prepare p(text) as select $1');
      await client.query("explain execute p(set_config('default_transaction_read_only', 'off', false))");
      expect((await client.query("select ('s'::regclass).nextval")).rows).toHaveLength(1);
    } finally {
      await client.end();
    }
  });
});

describe('syntax errors', () => {
  test.each([
    'selec 1',
    'select',
    'select 1 frm t x',
    'select * from t where',
    "select 'é', 𝄞, '日本語' frm x y",
    'é select',
    'select "日本" from from t',
    'select 1;\n\tselect 2 2;',
    "select 'abc",
    'select "abc',
    "select 'é' || $$abc",
    '/* é */ select /* x',
    'select ""',
    "select U&'\\zzzz'",
    "select E'\\xé' E'\\u12'",
    'select 1 +',
    'select (1, 2',
    'select 1)',
    'create table t (a int,)',
    'insert into t values (1,,2)',
    'update t set',
    'explain (analyze, select 1',
    'with x as (select 1) delete x',
    'select $0',
    'select 123abc',
    'select 0x',
    'select x.y.z.',
    'alter role r pasword 1',
    '日本語日本語 🎉',
    'select * from t; drop tabel t',
  ])('%j stands where the server says', async (sql) => {
    const refused = (await admin.query(sql).then(
      () => undefined,
      (error: unknown) => error,
    )) as { position?: string; code?: string; message?: string } | undefined;
    const parsed = parse(sql);
    if (parsed.ok) return expect(refused?.code).not.toBe('42601');
    expect(refused).toBeDefined();
    expect(parsed.position?.toString()).toBe(refused?.position);
    // The relay leaves out what it quotes of a literal.
    expect(refused?.message?.startsWith(parsed.message)).toBe(true);
  });
});
