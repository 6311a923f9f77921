/** What tools send when they connect, and to look around. */

/** As these tools send them (statement logs of a server that they were connected to), shortened where only more columns follow. */
export const startUp: Readonly<Record<string, readonly string[]>> = {
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
