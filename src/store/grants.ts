/** Grants and sessions in SQLite. */
import { sql, type ExpressionBuilder, type RawBuilder, type ReferenceExpression, type Selectable } from 'kysely';
import * as z from 'zod/mini';
import { Link } from '../audit/entry.ts';
import type { Grant, GrantStore, Revocation, Session, SessionEnd, SessionFilter, SessionUsage } from '../grant/grant.ts';
import { personKinds } from '../principal/behind.ts';
import type { Database, Tables } from './database.ts';
import { StoredPrincipal } from './request-tables.ts';
import { kindBits } from './usage-tables.ts';

export class SqliteGrantStore implements GrantStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Saving an id a second time fails: but for its revocation, a grant never changes. */
  async saveGrant(grant: Grant): Promise<void> {
    await this.#database.insertInto('grants').values(grantRow(grant)).execute();
  }

  async loadGrant(id: string): Promise<Grant | undefined> {
    const row = await this.#database.selectFrom('grants').selectAll().where('id', '=', id).executeTakeFirst();
    return row && toGrant(row);
  }

  async revokeGrant(id: string, revocation: Revocation): Promise<boolean> {
    const result = await this.#database
      .updateTable('grants')
      .set(revocationColumns(revocation))
      .where('id', '=', id)
      .where('revoked_at', 'is', null)
      .executeTakeFirst();
    return result.numUpdatedRows > 0n;
  }

  async listGrants({ principal, idPrefix, liveAt, limit }: Parameters<GrantStore['listGrants']>[0]): Promise<Grant[]> {
    let query = this.#database.selectFrom('grants').selectAll().orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit);
    if (principal !== undefined) {
      query = query.where('issuer', '=', principal.issuer).where('subject', '=', principal.subject);
    }
    if (idPrefix !== undefined && idPrefix !== '') query = query.where((where) => startsWith(where, 'grants.id', idPrefix));
    if (liveAt !== undefined) query = query.where('revoked_at', 'is', null).where('expires_at', '>', liveAt.toISOString());
    return (await query.execute()).map(toGrant);
  }

  async approvalsIn(session: string): Promise<string[]> {
    const rows = await this.#database.selectFrom('session_approvals').select('request_id').where('session_id', '=', session).execute();
    return rows.map((row) => row.request_id);
  }

  async addUsage(session: string, { kinds, rows, requests }: SessionUsage): Promise<void> {
    for (const request of requests) {
      const row = { session_id: session, request_id: request };
      await this.#database.insertInto('session_approvals').values(row).onConflict((conflict) => conflict.doNothing()).execute();
    }
    const row = { session_id: session, kinds: kindBits(kinds), rows };
    await this.#database
      .insertInto('session_usage')
      .values(row)
      .onConflict((conflict) =>
        conflict.column('session_id').doUpdateSet({
          kinds: sql<number>`session_usage.kinds | ${row.kinds}`,
          rows: sql<number>`session_usage.rows + ${row.rows}`,
        }),
      )
      .execute();
  }

  /** The session's grant has been saved before; saving an id a second time fails. */
  async saveSession(session: Session): Promise<void> {
    await this.#database.insertInto('sessions').values(sessionRow(session)).execute();
  }

  async loadSession(id: string): Promise<Session | undefined> {
    const row = await this.#sessions().where('sessions.id', '=', id).executeTakeFirst();
    return row && toSession(row);
  }

  async endSession(id: string, end: SessionEnd): Promise<boolean> {
    const result = await this.#database
      .updateTable('sessions')
      .set(endColumns(end))
      .where('id', '=', id)
      .where('ended_at', 'is', null)
      .executeTakeFirst();
    return result.numUpdatedRows > 0n;
  }

  async listSessions(filter: SessionFilter): Promise<Session[]> {
    const { principal, idPrefix, isOpen, target, role, namePart, humanPart, from, to, after, limit } = filter;
    let query = this.#sessions().orderBy('started_at', 'desc').orderBy('sessions.id', 'desc').limit(limit);
    if (principal !== undefined) {
      query = query.where('issuer', '=', principal.issuer).where('subject', '=', principal.subject);
    }
    if (idPrefix !== undefined && idPrefix !== '') query = query.where((where) => startsWith(where, 'sessions.id', idPrefix));
    if (isOpen !== undefined) query = query.where('ended_at', isOpen ? 'is' : 'is not', null);
    if (target !== undefined) query = query.where('target', '=', target);
    if (role !== undefined) query = query.where('role', '=', role);
    if (namePart !== undefined) query = query.where(isNamed(namePart));
    if (humanPart !== undefined) {
      query = query.where((where) => where.or([where.and([where('principal_kind', '=', 'human'), isNamed(humanPart)]), hasPerson(humanPart)]));
    }
    if (from !== undefined) query = query.where((where) => where.or([where('ended_at', 'is', null), where('ended_at', '>=', from.toISOString())]));
    if (to !== undefined) query = query.where('started_at', '<=', to.toISOString());
    if (after !== undefined) {
      const at = after.startedAt.toISOString();
      query = query.where((where) =>
        where.or([where('started_at', '<', at), where.and([where('started_at', '=', at), where('sessions.id', '<', after.id)])]),
      );
    }
    return (await query.execute()).map(toSession);
  }

  #sessions() {
    return this.#database
      .selectFrom('sessions')
      .innerJoin('grants', 'grants.id', 'grant_id')
      .selectAll('grants')
      .selectAll('sessions');
  }
}

/** Neither `like`, whose wildcards a prefix could hold, nor a range, which depends on the collation. */
export function startsWith<T extends keyof Tables>(
  where: ExpressionBuilder<Tables, T>,
  column: ReferenceExpression<Tables, T>,
  prefix: string,
) {
  const length = Array.from(prefix).length;
  return where(where.fn('substr', [column, where.val(1), where.val(length)]), '=', prefix);
}

function isNamed(part: string) {
  return sql<boolean>`(${contains(sql.ref('name'), part)} or ${contains(sql.ref('subject'), part)})`;
}

/** Whether a link of the chain that is about a person holds the part. */
function hasPerson(part: string) {
  const field = (name: string) => contains(sql`json_extract(link.value, ${`$.${name}`})`, part);
  const kinds = sql.join(personKinds.map((kind) => sql`${kind}`));
  return sql<boolean>`exists (select 1 from json_each(grants.chain) as link
    where json_extract(link.value, '$.kind') in (${kinds}) and (${field('value')} or ${field('id')}))`;
}

/** `like` of SQLite folds the letters of ASCII only; any other character may stand for one beyond. */
function contains(text: RawBuilder<unknown>, part: string) {
  const pattern = Array.from(part, (character) => {
    if (/[%_\\]/.test(character)) return `\\${character}`;
    return /[\0-\x7f]/.test(character) ? character : '_';
  });
  return sql<boolean>`${text} like ${`%${pattern.join('')}%`} escape '\\'`;
}

const Groups = z.array(z.string());
const Chain = z.array(Link);

type GrantRow = Selectable<Tables['grants']>;
type SessionRow = Selectable<Tables['sessions']>;

export function grantRow(grant: Grant): GrantRow {
  const { principal } = grant;
  return {
    id: grant.id,
    issuer: principal.issuer,
    subject: principal.subject,
    principal_kind: principal.kind,
    name: principal.name,
    groups: JSON.stringify(principal.groups),
    target: grant.target,
    role: grant.role,
    reason: grant.reason ?? null,
    created_at: grant.createdAt.toISOString(),
    expires_at: grant.expiresAt.toISOString(),
    ticket: grant.ticket ?? null,
    request_id: grant.request ?? null,
    chain: principal.chain === undefined ? null : JSON.stringify(principal.chain),
    read_only: grant.isReadOnly ? 1 : 0,
    ...revocationColumns(grant.revocation),
  };
}

function revocationColumns(revocation: Revocation | undefined) {
  return {
    revoked_at: revocation?.at.toISOString() ?? null,
    revoked_by: revocation === undefined ? null : JSON.stringify(revocation.by),
    revoke_reason: revocation?.reason ?? null,
  };
}

function toGrant(row: GrantRow): Grant {
  return {
    id: row.id,
    principal: {
      issuer: row.issuer,
      subject: row.subject,
      kind: row.principal_kind,
      name: row.name,
      groups: Groups.parse(JSON.parse(row.groups)),
      ...(row.chain !== null && { chain: Chain.parse(JSON.parse(row.chain)) }),
    },
    target: row.target,
    role: row.role,
    ...(row.reason !== null && { reason: row.reason }),
    ...(row.ticket !== null && { ticket: row.ticket }),
    ...(row.request_id !== null && { request: row.request_id }),
    ...(row.read_only === 1 && { isReadOnly: true as const }),
    createdAt: new Date(row.created_at),
    expiresAt: new Date(row.expires_at),
    ...(row.revoked_at !== null && {
      revocation: {
        at: new Date(row.revoked_at),
        by: StoredPrincipal.parse(JSON.parse(row.revoked_by ?? '')),
        ...(row.revoke_reason !== null && { reason: row.revoke_reason }),
      },
    }),
  };
}

function sessionRow(session: Session): SessionRow {
  return {
    id: session.id,
    grant_id: session.grant.id,
    command: session.command,
    user: session.user,
    verifier: session.verifier,
    started_at: session.startedAt.toISOString(),
    ...endColumns(session.end),
  };
}

function endColumns(end: SessionEnd | undefined) {
  return {
    ended_at: end?.at.toISOString() ?? null,
    end_reason: end?.reason ?? null,
    connections: end?.counts.connections ?? null,
    statements: end?.counts.statements ?? null,
    refused: end?.counts.refused ?? null,
  };
}

function toSession(row: Omit<GrantRow, 'id'> & SessionRow): Session {
  const { connections, statements, refused } = row;
  const counts = { connections: connections ?? 0, statements: statements ?? 0, refused: refused ?? 0 };
  return {
    id: row.id,
    grant: toGrant({ ...row, id: row.grant_id }),
    command: row.command,
    user: row.user,
    verifier: row.verifier,
    startedAt: new Date(row.started_at),
    ...(row.ended_at !== null && { end: { at: new Date(row.ended_at), reason: row.end_reason ?? '', counts } }),
  };
}
