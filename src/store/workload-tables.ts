/** The tables of machines: tokens that were used, and the logins that came of them. */
import type { Kysely, Migration } from 'kysely';

/** Times are RFC 3339 in UTC with milliseconds, as text. */
export type WorkloadTables = {
  used_tokens: {
    /** SHA-256, in hex, of issuer and `jti`, or of the whole token where it has none. */
    token: string;
    /** The token is refused for its age from then on. */
    expires_at: string;
  };
  workload_logins: {
    /** SHA-256 of the access token, in hex. */
    token: string;
    /** What the policy makes of it is asked again at each use: claims of the token and what the client said, as JSON. */
    login: string;
    issued_at: string;
    expires_at: string;
  };
};

export const workloadMigration: Migration = {
  up: async (database: Kysely<unknown>) => {
    const { schema } = database;
    await schema.alterTable('grants').addColumn('chain', 'text').execute();
    await schema.alterTable('grants').addColumn('read_only', 'integer', (column) => column.notNull().defaultTo(0)).execute();
    await schema
      .createTable('used_tokens')
      .addColumn('token', 'text', (column) => column.primaryKey())
      .addColumn('expires_at', 'text', (column) => column.notNull())
      .execute();
    await schema
      .createTable('workload_logins')
      .addColumn('token', 'text', (column) => column.primaryKey())
      .addColumn('login', 'text', (column) => column.notNull())
      .addColumn('issued_at', 'text', (column) => column.notNull())
      .addColumn('expires_at', 'text', (column) => column.notNull())
      .execute();
    for (const table of ['used_tokens', 'workload_logins']) {
      await schema.createIndex(`${table}_by_end`).on(table).column('expires_at').execute();
    }
  },
};
