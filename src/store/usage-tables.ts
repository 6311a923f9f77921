/** The table of what sessions did: which kinds of statement they ran, so that nobody has to read their record for it. */
import type { Kysely, Migration } from 'kysely';
import { statementKinds, type StatementKind } from '../sql/kind.ts';

export type UsageTables = {
  session_usage: {
    session_id: string;
    /** One bit for each kind, from the right: read, write, schema, admin, unknown. */
    kinds: number;
    /** Returned. */
    rows: number;
  };
  /** By which requests statements of it ran. */
  session_approvals: { session_id: string; request_id: string };
};

export const usageMigration: Migration = {
  up: async (database: Kysely<unknown>) => {
    const { schema } = database;
    await schema
      .createTable('session_usage')
      .addColumn('session_id', 'text', (column) => column.primaryKey().references('sessions.id'))
      .addColumn('kinds', 'integer', (column) => column.notNull())
      .addColumn('rows', 'integer', (column) => column.notNull())
      .execute();
    await schema.createIndex('grants_by_end').on('grants').column('expires_at').execute();
  },
};

export const approvalsMigration: Migration = {
  up: async (database: Kysely<unknown>) => {
    await database.schema
      .createTable('session_approvals')
      .addColumn('session_id', 'text', (column) => column.notNull().references('sessions.id'))
      .addColumn('request_id', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('session_approvals_once', ['session_id', 'request_id'])
      .execute();
  },
};

/** Never changed: what is stored goes by it. */
const bits: Readonly<Record<StatementKind, number>> = { read: 1, write: 2, schema: 4, admin: 8, unknown: 16 };

export function kindBits(kinds: readonly StatementKind[]): number {
  return kinds.reduce((sum, kind) => sum | bits[kind], 0);
}

export function kindsOfBits(sum: number): StatementKind[] {
  return statementKinds.filter((kind) => (sum & bits[kind]) !== 0);
}
