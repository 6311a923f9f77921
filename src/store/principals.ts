/** What the newest token of each person said, in SQLite. */
import type { PrincipalStore } from '../grant/request-store.ts';
import type { Principal } from '../principal/principal.ts';
import type { Database } from './database.ts';
import { StoredPrincipal } from './request-tables.ts';

export class SqlitePrincipalStore implements PrincipalStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async see(principal: Principal, issuedAt: Date): Promise<void> {
    const { issuer, subject } = principal;
    const row = { issuer, subject, principal: JSON.stringify(principal), issued_at: issuedAt.toISOString() };
    await this.#database
      .insertInto('principals')
      .values(row)
      .onConflict((conflict) =>
        conflict
          .columns(['issuer', 'subject'])
          .doUpdateSet({ principal: row.principal, issued_at: row.issued_at })
          // Of two tokens of the same second the one that is seen later counts.
          .where('principals.issued_at', '<=', row.issued_at),
      )
      .execute();
  }

  async newest({ issuer, subject }: Pick<Principal, 'issuer' | 'subject'>): Promise<Principal | undefined> {
    const row = await this.#database
      .selectFrom('principals')
      .select('principal')
      .where('issuer', '=', issuer)
      .where('subject', '=', subject)
      .executeTakeFirst();
    return row && StoredPrincipal.parse(JSON.parse(row.principal));
  }
}
