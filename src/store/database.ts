/** Opens the relay's database: the engine, the tables and their migrations. */
import { join } from 'node:path';
import type { Generated, Kysely, Migration } from 'kysely';
import { GateError, messageOf } from '../errors/errors.ts';
import type { Session } from '../grant/grant.ts';
import type { Principal } from '../principal/principal.ts';
import { FairTurns } from './fair-turns.ts';
import { readOnlyMigration, requestMigration, type RequestTables } from './request-tables.ts';
import { approvalsMigration, usageMigration, type UsageTables } from './usage-tables.ts';
import { workloadMigration, type WorkloadTables } from './workload-tables.ts';
import { availableEngines, openSqlite, type SqliteEngine } from './sqlite.ts';
import type { StateDirectory } from './state-directory.ts';

/** Times are RFC 3339 in UTC with milliseconds, as text: they sort, and mean the same in SQLite and PostgreSQL. */
export type Tables = {
  grants: {
    id: string;
    issuer: string;
    subject: string;
    principal_kind: Principal['kind'];
    name: string;
    /** A JSON array of strings. */
    groups: string;
    target: string;
    role: string;
    reason: string | null;
    created_at: string;
    expires_at: string;
    ticket: string | null;
    request_id: string | null;
    revoked_at: string | null;
    /** A Principal, as JSON. */
    revoked_by: string | null;
    revoke_reason: string | null;
    /** Links, as JSON: what leads from a workload or an agent back to a person. */
    chain: string | null;
    read_only: Generated<number>;
  };
  sessions: {
    id: string;
    grant_id: string;
    command: Session['command'];
    user: string;
    verifier: string;
    started_at: string;
    ended_at: string | null;
    end_reason: string | null;
    connections: number | null;
    statements: number | null;
    refused: number | null;
  };
  outbox: {
    /** In the order of what happened. */
    number: Generated<number>;
    delivery: string;
    sink: string;
    event: string;
    request: string;
    /** What is sent, to the byte; empty once it is delivered. */
    body: string;
    created_at: string;
    state: 'waiting' | 'delivered' | 'failed';
    attempts: number;
    refusals: number;
    due_at: string;
    ended_at: string | null;
    problem: string | null;
  };
} & RequestTables & WorkloadTables & UsageTables;

export type Database = Kysely<Tables>;

/**
 * Opens `gate.db` in a state directory whose lock the caller holds, and brings its tables up to date. Close it with
 * `destroy()`. Throws `config-invalid` when a newer version of gate has changed the tables.
 */
export async function openDatabase(state: StateDirectory, engine?: SqliteEngine): Promise<Database> {
  const { Kysely, SqliteDialect } = await import('kysely');
  const path = join(state.path, 'gate.db');
  const sqlite = await openSqlite(path, engine ?? availableEngines()[0] ?? 'wasm').catch((cause: unknown) => {
    throw new GateError('config-invalid', `the database ${path} cannot be opened: ${messageOf(cause)}`, { cause });
  });
  const database = new Kysely<Tables>({ dialect: new SqliteDialect({ database: sqlite }), plugins: [new FairTurns()] });
  try {
    await migrate(database, path);
  } catch (error) {
    await database.destroy();
    throw error;
  }
  return database;
}

/** What was deleted or overwritten goes from the files, too: `secure_delete` takes it from the tables, and this from the write-ahead log. */
export async function emptyWriteAheadLog(database: Database): Promise<void> {
  const { sql } = await import('kysely');
  await sql`pragma wal_checkpoint(truncate)`.execute(database);
}

async function migrate(database: Database, path: string): Promise<void> {
  const { Migrator } = await import('kysely');
  const migrator = new Migrator({ db: database, provider: { getMigrations: () => Promise.resolve(migrations) } });
  const unknown = await appliedMigrations(database).then((names) => names.find((name) => !(name in migrations)));
  if (unknown !== undefined) {
    throw new GateError('config-invalid', `the database ${path} was changed by a newer version of gate (${unknown})`, {
      hint: 'Run that version, or restore the state directory from before the upgrade.',
    });
  }
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}

async function appliedMigrations(database: Database): Promise<string[]> {
  const tables = await database.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === 'kysely_migration')) return [];
  const { sql } = await import('kysely');
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(database);
  return rows.map((row) => row.name);
}

/** In order of their names. One that has been released is never changed. */
const migrations: Record<string, Migration> = {
  '0001-grants-and-sessions': {
    up: async (database: Kysely<unknown>) => {
      await database.schema
        .createTable('grants')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('issuer', 'text', (column) => column.notNull())
        .addColumn('subject', 'text', (column) => column.notNull())
        .addColumn('principal_kind', 'text', (column) => column.notNull())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('groups', 'text', (column) => column.notNull())
        .addColumn('target', 'text', (column) => column.notNull())
        .addColumn('role', 'text', (column) => column.notNull())
        .addColumn('reason', 'text')
        .addColumn('created_at', 'text', (column) => column.notNull())
        .addColumn('expires_at', 'text', (column) => column.notNull())
        .execute();
      await database.schema
        .createTable('sessions')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('grant_id', 'text', (column) => column.notNull().references('grants.id'))
        .addColumn('command', 'text', (column) => column.notNull())
        .addColumn('user', 'text', (column) => column.notNull())
        .addColumn('verifier', 'text', (column) => column.notNull())
        .addColumn('started_at', 'text', (column) => column.notNull())
        .addColumn('ended_at', 'text')
        .addColumn('end_reason', 'text')
        .addColumn('connections', 'integer')
        .addColumn('statements', 'integer')
        .addColumn('refused', 'integer')
        .execute();
      const indexes = [
        ['grants_of_principal', 'grants', ['issuer', 'subject']],
        ['sessions_of_grant', 'sessions', ['grant_id']],
        ['sessions_by_start', 'sessions', ['started_at', 'id']],
      ] as const;
      for (const [name, table, columns] of indexes) {
        await database.schema.createIndex(name).on(table).columns([...columns]).execute();
      }
    },
  },
  '0002-requests': requestMigration,
  '0003-outbox': {
    up: async (database: Kysely<unknown>) => {
      await database.schema
        .createTable('outbox')
        .addColumn('number', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('delivery', 'text', (column) => column.notNull().unique())
        .addColumn('sink', 'text', (column) => column.notNull())
        .addColumn('event', 'text', (column) => column.notNull())
        .addColumn('request', 'text', (column) => column.notNull())
        .addColumn('body', 'text', (column) => column.notNull())
        .addColumn('created_at', 'text', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('attempts', 'integer', (column) => column.notNull())
        .addColumn('refusals', 'integer', (column) => column.notNull())
        .addColumn('due_at', 'text', (column) => column.notNull())
        .addColumn('ended_at', 'text')
        .addColumn('problem', 'text')
        .execute();
      await database.schema.createIndex('outbox_of_sink').on('outbox').columns(['sink', 'state', 'number']).execute();
    },
  },
  '0004-workloads': workloadMigration,
  '0005-usage': usageMigration,
  '0006-read-only-requests': readOnlyMigration,
  '0007-session-approvals': approvalsMigration,
};
