/** Tokens that were used, and the logins that came of them, in SQLite. */
import * as z from 'zod/mini';
import type { Database } from './database.ts';

/** What a login is judged by anew at each use. */
export const StoredLogin = z.object({
  /** All that the policy said of the issuer. */
  settings: z.string(),
  url: z.string(),
  claims: z.array(z.tuple([z.string(), z.union([z.string(), z.array(z.string())])])),
  links: z.array(
    z.object({
      kind: z.enum(['run', 'repository', 'ref', 'commit', 'environment', 'actor']),
      value: z.string(),
      id: z.exactOptional(z.string()),
      url: z.exactOptional(z.string()),
    }),
  ),
  /** The commit object, in base64. */
  commit: z.exactOptional(z.string()),
});
export type StoredLogin = z.infer<typeof StoredLogin>;

export type KeptLogin = { readonly login: StoredLogin; readonly issuedAt: Date; readonly expiresAt: Date };

/** So long after its end a token is remembered, should the clock be set back. */
const afterEndMs = 3600_000;
/** How often what is over is deleted, at most. */
const sweepMs = 60_000;

/** Names of tokens are SHA-256 in hex. Every write is durable when its promise resolves. */
export class WorkloadLoginStore {
  readonly #database: Database;
  #sweptAtMs = Number.NEGATIVE_INFINITY;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Uses a platform's token up; of several callers at once one gets true, and nobody does afterwards. */
  async useUp(token: string, expiresAt: Date, now: Date): Promise<boolean> {
    await this.#sweep(now);
    const result = await this.#database
      .insertInto('used_tokens')
      .values({ token, expires_at: new Date(expiresAt.getTime() + afterEndMs).toISOString() })
      .onConflict((conflict) => conflict.column('token').doNothing())
      .executeTakeFirst();
    return (result.numInsertedOrUpdatedRows ?? 0n) > 0n;
  }

  async save(token: string, { login, issuedAt, expiresAt }: KeptLogin): Promise<void> {
    await this.#database
      .insertInto('workload_logins')
      .values({ token, login: JSON.stringify(login), issued_at: issuedAt.toISOString(), expires_at: expiresAt.toISOString() })
      .execute();
  }

  /** Also one that is over, as long as it has not been deleted. */
  async find(token: string): Promise<KeptLogin | undefined> {
    const row = await this.#database.selectFrom('workload_logins').selectAll().where('token', '=', token).executeTakeFirst();
    return row && { login: StoredLogin.parse(JSON.parse(row.login)), issuedAt: new Date(row.issued_at), expiresAt: new Date(row.expires_at) };
  }

  async #sweep(now: Date): Promise<void> {
    // A clock that was set back must not stop it.
    if (Math.abs(now.getTime() - this.#sweptAtMs) < sweepMs) return;
    this.#sweptAtMs = now.getTime();
    await this.#database.deleteFrom('used_tokens').where('expires_at', '<', now.toISOString()).execute();
    const over = new Date(now.getTime() - afterEndMs).toISOString();
    await this.#database.deleteFrom('workload_logins').where('expires_at', '<', over).execute();
  }
}
