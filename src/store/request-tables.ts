/** The tables of requests, votes, approvals of statements and people, and the JSON that some of their columns hold. */
import type { CreateTableBuilder, Generated, Kysely, Migration } from 'kysely';
import * as z from 'zod/mini';
import { Link, Parameter } from '../audit/entry.ts';
import type { AccessRequest, Approval } from '../grant/request.ts';
import type { Principal } from '../principal/principal.ts';
import { statementKinds } from '../sql/kind.ts';

/** Times are RFC 3339 in UTC with milliseconds, as text. */
export type RequestTables = {
  requests: {
    id: string;
    kind: AccessRequest['kind'];
    issuer: string;
    subject: string;
    /** A Principal, as JSON: the requester with the groups of that moment. */
    requester: string;
    target: string;
    role: string;
    reason: string | null;
    ticket: string | null;
    /** An ApprovalRule, as JSON. */
    approval: string;
    rule: string;
    created_at: string;
    expires_at: string;
    state: AccessRequest['state'];
    end_reason: string | null;
    duration_seconds: number | null;
    read_only: Generated<number>;
    grant_id: string | null;
    /** A HeldStatement, as JSON. */
    statement: string | null;
  };
  votes: {
    request_id: string;
    /** From 0, in the order of voting. */
    position: number;
    issuer: string;
    subject: string;
    /** A Principal, as JSON: the voter with the groups of that moment. */
    voter: string;
    decision: Approval['decision'];
    reason: string | null;
    at: string;
    /** The three of an Allowance, or nulls. */
    uses: number | null;
    until: string | null;
    any_parameters: number | null;
  };
  statement_approvals: {
    request_id: string;
    issuer: string;
    subject: string;
    target: string;
    role: string;
    fingerprint: string;
    parameter_hash: string | null;
    uses_left: number;
    expires_at: string;
  };
  principals: {
    issuer: string;
    subject: string;
    /** A Principal, as JSON. */
    principal: string;
    issued_at: string;
  };
};

export const StoredPrincipal = z.object({
  issuer: z.string(),
  subject: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  name: z.string(),
  groups: z.array(z.string()),
  chain: z.exactOptional(z.readonly(z.array(Link))),
}) satisfies z.ZodMiniType<Principal>;

export const StoredRule = z.object({
  by: z.array(z.string()),
  count: z.number(),
  denials: z.number(),
  withinSeconds: z.number(),
});

const texts = z.array(z.string());
/** Facts that a later version adds are kept as well. */
const StoredFacts = z.looseObject({
  command: z.string(),
  commands: texts,
  kinds: z.array(z.enum(statementKinds)),
  reads: texts,
  writes: texts,
  functions: texts,
  rowsMax: z.exactOptional(z.number()),
  locking: z.boolean(),
  transaction: z.exactOptional(z.string()),
  settings: texts,
  changesRole: z.boolean(),
  runsCode: z.boolean(),
});

export const StoredStatement = z.looseObject({
  session: z.string(),
  connection: z.number(),
  grant: z.string(),
  sql: z.string(),
  parameters: z.array(Parameter),
  fingerprint: z.string(),
  parameterHash: z.string(),
  facts: z.array(StoredFacts),
  transaction: z.enum(['I', 'T', 'E']),
  locks: z.exactOptional(texts),
  rowEstimate: z.exactOptional(z.number()),
  isWaiting: z.boolean(),
});

export const requestMigration: Migration = {
  up: async (database: Kysely<unknown>) => {
    const { schema } = database;
    for (const column of ['ticket', 'request_id', 'revoked_at', 'revoked_by', 'revoke_reason']) {
      await schema.alterTable('grants').addColumn(column, 'text').execute();
    }
    const requests = textColumns(['kind', 'issuer', 'subject', 'requester', 'target', 'role', 'approval', 'rule', 'created_at', 'expires_at', 'state']);
    await requests(schema.createTable('requests').addColumn('id', 'text', (column) => column.primaryKey()))
      .addColumn('reason', 'text')
      .addColumn('ticket', 'text')
      .addColumn('end_reason', 'text')
      .addColumn('duration_seconds', 'integer')
      .addColumn('grant_id', 'text')
      .addColumn('statement', 'text')
      .execute();
    // One vote of each person is the table's own rule as well.
    await textColumns(['issuer', 'subject', 'voter', 'decision', 'at'])(
      schema.createTable('votes').addColumn('request_id', 'text', (column) => column.notNull().references('requests.id')),
    )
      .addColumn('position', 'integer', (column) => column.notNull())
      .addColumn('reason', 'text')
      .addColumn('uses', 'integer')
      .addColumn('until', 'text')
      .addColumn('any_parameters', 'integer')
      .addPrimaryKeyConstraint('votes_once', ['request_id', 'issuer', 'subject'])
      .addUniqueConstraint('votes_in_order', ['request_id', 'position'])
      .execute();
    await textColumns(['issuer', 'subject', 'target', 'role', 'fingerprint', 'expires_at'])(
      schema.createTable('statement_approvals').addColumn('request_id', 'text', (column) => column.primaryKey().references('requests.id')),
    )
      .addColumn('parameter_hash', 'text')
      .addColumn('uses_left', 'integer', (column) => column.notNull())
      .execute();
    await textColumns(['issuer', 'subject', 'principal', 'issued_at'])(schema.createTable<string>('principals'))
      .addPrimaryKeyConstraint('principals_once', ['issuer', 'subject'])
      .execute();
    const indexes = [
      ['requests_by_start', 'requests', ['created_at', 'id']],
      ['requests_by_state', 'requests', ['state', 'created_at']],
      ['requests_of_principal', 'requests', ['issuer', 'subject', 'created_at']],
      ['approvals_of_statement', 'statement_approvals', ['fingerprint', 'subject']],
      ['grants_by_start', 'grants', ['created_at', 'id']],
    ] as const;
    for (const [name, table, columns] of indexes) await schema.createIndex(name).on(table).columns([...columns]).execute();
  },
};

/** A request for a read-only grant stays one. */
export const readOnlyMigration: Migration = {
  up: async (database: Kysely<unknown>) => {
    await database.schema.alterTable('requests').addColumn('read_only', 'integer', (column) => column.notNull().defaultTo(0)).execute();
  },
};

/** Adds columns of text that are never null. */
function textColumns(names: readonly string[]) {
  return (table: CreateTableBuilder<string, string>): CreateTableBuilder<string, string> =>
    names.reduce((built, name) => built.addColumn(name, 'text', (column) => column.notNull()), table);
}
