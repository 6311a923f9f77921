/** Grants and sessions in SQLite. */
import type { ExpressionBuilder, Selectable } from 'kysely';
import * as z from 'zod/mini';
import type { Grant, GrantStore, Session, SessionEnd } from '../grant/grant.ts';
import type { Database, Tables } from './database.ts';

export class SqliteGrantStore implements GrantStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** A grant never changes: saving an id a second time fails. */
  async saveGrant(grant: Grant): Promise<void> {
    await this.#database.insertInto('grants').values(grantRow(grant)).execute();
  }

  async loadGrant(id: string): Promise<Grant | undefined> {
    const row = await this.#database.selectFrom('grants').selectAll().where('id', '=', id).executeTakeFirst();
    return row && toGrant(row);
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

  async listSessions(filter: Parameters<GrantStore['listSessions']>[0]): Promise<Session[]> {
    const { principal, idPrefix, isOpen, limit } = filter;
    let query = this.#sessions().orderBy('started_at', 'desc').orderBy('sessions.id', 'desc').limit(limit);
    if (principal !== undefined) {
      query = query.where('issuer', '=', principal.issuer).where('subject', '=', principal.subject);
    }
    if (idPrefix !== undefined && idPrefix !== '') query = query.where((where) => startsWith(where, idPrefix));
    if (isOpen !== undefined) query = query.where('ended_at', isOpen ? 'is' : 'is not', null);
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
function startsWith(where: ExpressionBuilder<Tables, 'sessions'>, prefix: string) {
  const length = Array.from(prefix).length;
  return where(where.fn('substr', ['sessions.id', where.val(1), where.val(length)]), '=', prefix);
}

const Groups = z.array(z.string());

type GrantRow = Selectable<Tables['grants']>;
type SessionRow = Selectable<Tables['sessions']>;

function grantRow(grant: Grant): GrantRow {
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
    },
    target: row.target,
    role: row.role,
    ...(row.reason !== null && { reason: row.reason }),
    createdAt: new Date(row.created_at),
    expiresAt: new Date(row.expires_at),
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
