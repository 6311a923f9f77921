/** Requests, votes and approvals of statements in SQLite. */
import type { Selectable, Transaction } from 'kysely';
import type { AccessRequest, Approval, HeldStatement, StatementApproval, StatementKey } from '../grant/request.ts';
import type { RequestFilter, RequestStore } from '../grant/request-store.ts';
import type { ColumnSeal } from './column-seal.ts';
import type { Database, Tables } from './database.ts';
import { grantRow, startsWith } from './grants.ts';
import { StoredPrincipal, StoredRule, StoredStatement } from './request-tables.ts';

export class SqliteRequestStore implements RequestStore {
  readonly #database: Database;
  readonly #seal: ColumnSeal;

  constructor(database: Database, seal: ColumnSeal) {
    this.#database = database;
    this.#seal = seal;
  }

  async saveRequest(request: AccessRequest): Promise<void> {
    await this.#database.transaction().execute(async (transaction) => {
      await transaction.insertInto('requests').values(requestRow(request, this.#seal)).execute();
      await saveVotes(transaction, request, 0);
    });
  }

  async loadRequest(id: string): Promise<AccessRequest | undefined> {
    const row = await this.#database.selectFrom('requests').selectAll().where('id', '=', id).executeTakeFirst();
    return row && (await this.#withVotes([row]))[0];
  }

  async listRequests(filter: RequestFilter): Promise<AccessRequest[]> {
    const rows = await this.#matching(filter)
      .selectAll()
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .limit(filter.limit)
      .execute();
    return this.#withVotes(rows);
  }

  async countRequests(filter: Omit<RequestFilter, 'limit' | 'idPrefix'>): Promise<number> {
    const row = await this.#matching(filter).select((select) => select.fn.countAll<number>().as('count')).executeTakeFirst();
    return row?.count ?? 0;
  }

  async replaceRequest(
    before: AccessRequest,
    after: AccessRequest,
    outcome: Parameters<RequestStore['replaceRequest']>[2] = {},
  ): Promise<boolean> {
    const { approval, grant } = outcome;
    return this.#database.transaction().execute(async (transaction) => {
      const changed = { state: after.state, end_reason: after.endReason ?? null, expires_at: after.expiresAt.toISOString(), grant_id: after.grant ?? null };
      const votes = transaction.selectFrom('votes').where('request_id', '=', before.id).select((select) => select.fn.countAll<number>().as('count'));
      const { numUpdatedRows } = await transaction
        .updateTable('requests')
        .set(changed)
        .where('id', '=', before.id)
        .where('state', '=', before.state)
        .where(votes, '=', before.votes.length)
        .executeTakeFirst();
      if (numUpdatedRows === 0n) return false;
      await saveVotes(transaction, after, before.votes.length);
      if (approval !== undefined) await transaction.insertInto('statement_approvals').values(approvalRow(approval)).execute();
      if (grant !== undefined) await transaction.insertInto('grants').values(grantRow(grant)).execute();
      return true;
    });
  }

  /**
   * Takes the texts, parameters and hashes of the statements that were held in a session away, and what was left of their
   * approvals, which are bound to them. Answers the ids of their requests.
   */
  async eraseStatements(session: string, owner: RequestFilter['requester'] & object): Promise<string[]> {
    const rows = await this.#matching({ requester: owner, kind: 'statement' }).select('id').execute();
    const erased: string[] = [];
    for (const { id } of rows) {
      const statement = (await this.loadRequest(id))?.statement;
      if (statement?.session !== session) continue;
      const left: HeldStatement = { ...statement, sql: '(shredded)', parameters: [], fingerprint: '', parameterHash: '' };
      await this.#database.updateTable('requests').set({ statement: this.#seal.seal(JSON.stringify(left), `requests/${id}`) }).where('id', '=', id).execute();
      await this.#database.deleteFrom('statement_approvals').where('request_id', '=', id).execute();
      erased.push(id);
    }
    return erased;
  }

  async loadApproval(request: string): Promise<StatementApproval | undefined> {
    const row = await this.#database.selectFrom('statement_approvals').selectAll().where('request_id', '=', request).executeTakeFirst();
    return row && toApproval(row);
  }

  async findApprovals(key: StatementKey, now: Date): Promise<StatementApproval[]> {
    const rows = await this.#database
      .selectFrom('statement_approvals')
      .innerJoin('requests', 'requests.id', 'request_id')
      .selectAll('statement_approvals')
      .where('requests.state', '=', 'approved')
      .where('statement_approvals.issuer', '=', key.principal.issuer)
      .where('statement_approvals.subject', '=', key.principal.subject)
      .where('statement_approvals.target', '=', key.target)
      .where('statement_approvals.role', '=', key.role)
      .where('fingerprint', '=', key.fingerprint)
      .where((where) => where.or([where('parameter_hash', 'is', null), where('parameter_hash', '=', key.parameterHash)]))
      .where('uses_left', '>', 0)
      .where('statement_approvals.expires_at', '>', now.toISOString())
      .orderBy('statement_approvals.expires_at')
      .execute();
    return rows.map(toApproval);
  }

  async takeUse(request: string, now: Date): Promise<StatementApproval | undefined> {
    return this.#database.transaction().execute(async (transaction) => {
      const row = await transaction
        .updateTable('statement_approvals')
        .set((set) => ({ uses_left: set('uses_left', '-', 1) }))
        .where('request_id', '=', request)
        .where('uses_left', '>', 0)
        .where('expires_at', '>', now.toISOString())
        .where((where) =>
          where.exists(where.selectFrom('requests').select('id').where('id', '=', request).where('state', '=', 'approved')),
        )
        .returningAll()
        .executeTakeFirst();
      if (row === undefined) return undefined;
      if (row.uses_left === 0) await transaction.updateTable('requests').set({ state: 'used' }).where('id', '=', request).execute();
      return toApproval(row);
    });
  }

  #matching({ requester, kind, states, idPrefix }: Omit<RequestFilter, 'limit'>) {
    let query = this.#database.selectFrom('requests');
    if (requester !== undefined) query = query.where('issuer', '=', requester.issuer).where('subject', '=', requester.subject);
    if (kind !== undefined) query = query.where('kind', '=', kind);
    if (states !== undefined) query = query.where('state', 'in', states);
    if (idPrefix !== undefined && idPrefix !== '') query = query.where((where) => startsWith(where, 'requests.id', idPrefix));
    return query;
  }

  async #withVotes(rows: readonly RequestRow[]): Promise<AccessRequest[]> {
    if (rows.length === 0) return [];
    const votes: VoteRow[] = [];
    // A query takes a bounded number of values.
    for (let from = 0; from < rows.length; from += idsPerQuery) {
      const ids = rows.slice(from, from + idsPerQuery).map(({ id }) => id);
      votes.push(...(await this.#database.selectFrom('votes').selectAll().where('request_id', 'in', ids).orderBy('position').execute()));
    }
    const byRequest = new Map<string, VoteRow[]>(rows.map(({ id }) => [id, []]));
    for (const vote of votes) byRequest.get(vote.request_id)?.push(vote);
    return rows.map((row) => toRequest(row, byRequest.get(row.id) ?? [], this.#seal));
  }
}

const idsPerQuery = 500;

type RequestRow = Selectable<Tables['requests']>;
type VoteRow = Selectable<Tables['votes']>;
type ApprovalRow = Selectable<Tables['statement_approvals']>;

async function saveVotes(transaction: Transaction<Tables>, { id, votes }: AccessRequest, from: number): Promise<void> {
  for (const [position, vote] of votes.entries()) {
    if (position >= from) await transaction.insertInto('votes').values(voteRow(id, position, vote)).execute();
  }
}

function requestRow(request: AccessRequest, seal: ColumnSeal): RequestRow {
  const { requester, statement } = request;
  return {
    id: request.id,
    kind: request.kind,
    issuer: requester.issuer,
    subject: requester.subject,
    requester: JSON.stringify(requester),
    target: request.target,
    role: request.role,
    reason: request.reason ?? null,
    ticket: request.ticket ?? null,
    approval: JSON.stringify(request.approval),
    rule: request.rule,
    created_at: request.createdAt.toISOString(),
    expires_at: request.expiresAt.toISOString(),
    state: request.state,
    end_reason: request.endReason ?? null,
    duration_seconds: request.durationSeconds ?? null,
    read_only: request.isReadOnly ? 1 : 0,
    grant_id: request.grant ?? null,
    statement: statement === undefined ? null : seal.seal(JSON.stringify(statement), `requests/${request.id}`),
  };
}

function toRequest(row: RequestRow, votes: readonly VoteRow[], seal: ColumnSeal): AccessRequest {
  return {
    id: row.id,
    kind: row.kind,
    requester: StoredPrincipal.parse(JSON.parse(row.requester)),
    target: row.target,
    role: row.role,
    ...(row.reason !== null && { reason: row.reason }),
    ...(row.ticket !== null && { ticket: row.ticket }),
    approval: StoredRule.parse(JSON.parse(row.approval)),
    rule: row.rule,
    createdAt: new Date(row.created_at),
    expiresAt: new Date(row.expires_at),
    state: row.state,
    votes: votes.map(toVote),
    ...(row.end_reason !== null && { endReason: row.end_reason }),
    ...(row.duration_seconds !== null && { durationSeconds: row.duration_seconds }),
    ...(row.read_only === 1 && { isReadOnly: true as const }),
    ...(row.grant_id !== null && { grant: row.grant_id }),
    ...(row.statement !== null && { statement: StoredStatement.parse(JSON.parse(seal.open(row.statement, `requests/${row.id}`))) satisfies HeldStatement }),
  };
}

function voteRow(request: string, position: number, { by, decision, reason, at, allows }: Approval): VoteRow {
  return {
    request_id: request,
    position,
    issuer: by.issuer,
    subject: by.subject,
    voter: JSON.stringify(by),
    decision,
    reason: reason ?? null,
    at: at.toISOString(),
    uses: allows?.uses ?? null,
    until: allows?.until.toISOString() ?? null,
    any_parameters: allows === undefined ? null : Number(allows.anyParameters),
  };
}

function toVote(row: VoteRow): Approval {
  const { uses, until, any_parameters: anyParameters } = row;
  return {
    by: StoredPrincipal.parse(JSON.parse(row.voter)),
    decision: row.decision,
    ...(row.reason !== null && { reason: row.reason }),
    at: new Date(row.at),
    ...(uses !== null && until !== null && { allows: { uses, until: new Date(until), anyParameters: anyParameters === 1 } }),
  };
}

function approvalRow(approval: StatementApproval): ApprovalRow {
  return {
    request_id: approval.request,
    issuer: approval.principal.issuer,
    subject: approval.principal.subject,
    target: approval.target,
    role: approval.role,
    fingerprint: approval.fingerprint,
    parameter_hash: approval.parameterHash,
    uses_left: approval.usesLeft,
    expires_at: approval.expiresAt.toISOString(),
  };
}

function toApproval(row: ApprovalRow): StatementApproval {
  return {
    request: row.request_id,
    principal: { issuer: row.issuer, subject: row.subject },
    target: row.target,
    role: row.role,
    fingerprint: row.fingerprint,
    parameterHash: row.parameter_hash,
    usesLeft: row.uses_left,
    expiresAt: new Date(row.expires_at),
  };
}
