/** Reads the inventory out of the state: everybody who came by, with what they used since a moment. */
import { sql } from 'kysely';
import * as z from 'zod/mini';
import { Link } from '../audit/entry.ts';
import type { SessionCounts } from '../grant/grant.ts';
import type { RoleUse, SeenPrincipal } from '../grant/inventory.ts';
import type { Principal } from '../principal/principal.ts';
import type { Database } from './database.ts';
import { StoredPrincipal } from './request-tables.ts';
import { kindsOfBits } from './usage-tables.ts';

/** Principals that an inventory holds; those who came by last before the others. */
export const inventoryMax = 10_000;
/** Rows of one sum over grants or sessions. */
const sumsMax = 200_000;

export type InventoryQuery = {
  readonly since: Date;
  readonly now: Date;
  /** Of a session that goes on; the state knows the counts of those that have ended. */
  readonly countsOf: (session: string) => SessionCounts;
};

export type ReadInventory = { readonly seen: readonly SeenPrincipal[]; readonly isCut: boolean };

type Sum = { -readonly [K in keyof Omit<RoleUse, 'kinds'>]: RoleUse[K] } & { bits: number };
type Draft = { principal?: Principal; lastLoginAt?: Date; firstGrantAt?: Date; firstUsedAt?: Date; lastUsedAt?: Date; readonly uses: Map<string, Sum> };
type Role = { readonly issuer: string; readonly subject: string; readonly target: string; readonly role: string };

class Drafts {
  readonly #all = new Map<string, Draft>();

  of({ issuer, subject }: { readonly issuer: string; readonly subject: string }): Draft {
    const key = JSON.stringify([issuer, subject]);
    const draft = this.#all.get(key) ?? { uses: new Map<string, Sum>() };
    this.#all.set(key, draft);
    return draft;
  }

  use(of: Role): Sum {
    const { uses } = this.of(of);
    const { target, role } = of;
    const key = JSON.stringify([target, role]);
    const sum = uses.get(key) ?? { target, role, grants: 0, sessions: 0, statements: 0, refused: 0, rows: 0, bits: 0, isPartial: false };
    uses.set(key, sum);
    return sum;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Whoever came by last before the others. */
  seen(): SeenPrincipal[] {
    const seen = [...this.#all.values()].flatMap(({ principal, uses, ...rest }): SeenPrincipal[] => {
      const list = [...uses.values()].map(({ bits, ...use }) => ({ ...use, kinds: kindsOfBits(bits) }));
      return principal === undefined ? [] : [{ principal, ...rest, uses: list }];
    });
    const last = ({ lastUsedAt, firstGrantAt, lastLoginAt }: SeenPrincipal) => Math.max(...[lastUsedAt, firstGrantAt, lastLoginAt].map((at) => at?.getTime() ?? 0));
    return seen.toSorted((one, other) => last(other) - last(one)).slice(0, inventoryMax);
  }
}

export async function readInventory(database: Database, { since, now, countsOf }: InventoryQuery): Promise<ReadInventory> {
  const drafts = new Drafts();
  const isCut = [
    await addGrants(database, drafts),
    await addLogins(database, drafts),
    await addSpans(database, drafts, now),
    await addGrantCounts(database, drafts, since),
    await addSessionSums(database, drafts, since),
    await addOpenSessions(database, drafts, countsOf),
  ].some(Boolean);
  return { seen: drafts.seen(), isCut: isCut || drafts.size > inventoryMax };
}

const Chain = z.array(Link);
const Groups = z.array(z.string());

async function addGrants(database: Database, drafts: Drafts): Promise<boolean> {
  const spans = database
    .selectFrom('grants')
    .groupBy(['issuer', 'subject'])
    .select((select) => ['issuer as of_issuer', 'subject as of_subject', select.fn.min('created_at').as('first_at'), select.fn.max('created_at').as('last_at')]);
  const rows = await database
    .selectFrom('grants')
    .innerJoin(spans.as('spans'), (join) => join.onRef('of_issuer', '=', 'issuer').onRef('of_subject', '=', 'subject').onRef('last_at', '=', 'created_at'))
    .select(['issuer', 'subject', 'principal_kind', 'name', 'groups', 'chain', 'first_at'])
    .orderBy('created_at', 'desc')
    .limit(inventoryMax + 1)
    .execute();
  for (const row of rows) {
    const draft = drafts.of(row);
    draft.firstGrantAt = new Date(row.first_at);
    draft.principal = {
      issuer: row.issuer,
      subject: row.subject,
      kind: row.principal_kind,
      name: row.name,
      groups: Groups.parse(JSON.parse(row.groups)),
      ...(row.chain !== null && { chain: Chain.parse(JSON.parse(row.chain)) }),
    };
  }
  return rows.length > inventoryMax;
}

/** What a token said is newer than what a grant of then says. */
async function addLogins(database: Database, drafts: Drafts): Promise<boolean> {
  const rows = await database.selectFrom('principals').selectAll().orderBy('issued_at', 'desc').limit(inventoryMax + 1).execute();
  for (const row of rows) {
    const draft = drafts.of(row);
    draft.lastLoginAt = new Date(row.issued_at);
    draft.principal = StoredPrincipal.parse(JSON.parse(row.principal));
  }
  return rows.length > inventoryMax;
}

async function addSpans(database: Database, drafts: Drafts, now: Date): Promise<boolean> {
  const rows = await database
    .selectFrom('sessions')
    .innerJoin('grants', 'grants.id', 'grant_id')
    .groupBy(['issuer', 'subject'])
    .select((select) => [
      'issuer',
      'subject',
      select.fn.min('started_at').as('first_at'),
      select.fn.max(select.fn.coalesce('ended_at', select.val(now.toISOString()))).as('last_at'),
    ])
    .limit(sumsMax)
    .execute();
  for (const row of rows) {
    const draft = drafts.of(row);
    draft.firstUsedAt = new Date(row.first_at);
    draft.lastUsedAt = new Date(row.last_at);
  }
  return rows.length === sumsMax;
}

async function addGrantCounts(database: Database, drafts: Drafts, since: Date): Promise<boolean> {
  const rows = await database
    .selectFrom('grants')
    .where('expires_at', '>=', since.toISOString())
    .groupBy(['issuer', 'subject', 'target', 'role'])
    .select((select) => ['issuer', 'subject', 'target', 'role', select.fn.countAll<number>().as('count')])
    .limit(sumsMax)
    .execute();
  for (const row of rows) drafts.use(row).grants = row.count;
  return rows.length === sumsMax;
}

async function addSessionSums(database: Database, drafts: Drafts, since: Date): Promise<boolean> {
  const rows = await database
    .selectFrom('sessions')
    .innerJoin('grants', 'grants.id', 'grant_id')
    .leftJoin('session_usage', 'session_usage.session_id', 'sessions.id')
    .where((where) => where.or([where('ended_at', 'is', null), where('ended_at', '>=', since.toISOString())]))
    .groupBy(['issuer', 'subject', 'target', 'role', 'kinds'])
    .select((select) => [
      'issuer', 'subject', 'target', 'role', 'kinds',
      select.fn.countAll<number>().as('count'),
      select.fn.sum<number | null>('statements').as('statements'),
      select.fn.sum<number | null>('refused').as('refused'),
      select.fn.sum<number | null>('rows').as('rows'),
      // Where something ran and no kind was kept, the session is older than the keeping.
      sql<number>`max(coalesce(statements, 0) > coalesce(refused, 0) and kinds is null)`.as('partial'),
    ])
    .limit(sumsMax)
    .execute();
  for (const row of rows) {
    const sum = drafts.use(row);
    sum.sessions += row.count;
    sum.statements += row.statements ?? 0;
    sum.refused += row.refused ?? 0;
    sum.rows += row.rows ?? 0;
    sum.bits |= row.kinds ?? 0;
    sum.isPartial ||= row.partial === 1;
  }
  return rows.length === sumsMax;
}

async function addOpenSessions(database: Database, drafts: Drafts, countsOf: InventoryQuery['countsOf']): Promise<boolean> {
  const rows = await database
    .selectFrom('sessions')
    .innerJoin('grants', 'grants.id', 'grant_id')
    .where('ended_at', 'is', null)
    .select(['sessions.id', 'issuer', 'subject', 'target', 'role'])
    .limit(sumsMax)
    .execute();
  for (const row of rows) {
    const sum = drafts.use(row);
    const { statements, refused } = countsOf(row.id);
    sum.statements += statements;
    sum.refused += refused;
  }
  return rows.length === sumsMax;
}
