/** The HTTP API of sessions: opened, looked for, shown, ended. */
import type { Context, Hono } from 'hono';
import { SessionKill, SessionRequest, type SessionDetails } from '../api/api.ts';
import { SessionQuery } from '../api/session-query.ts';
import { agentHeader } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import type { Log } from '../store/log.ts';
import type { Callers } from './callers.ts';
import { readBody, readLimit } from './exchange.ts';
import type { PolicySource } from './policy-source.ts';
import type { RelayLog } from './relay-log.ts';
import type { Grants } from './grants.ts';
import { killSession } from './session-kill.ts';
import { SessionSearch } from './session-search.ts';
import type { Sessions } from './sessions.ts';

const listLimitMax = 1000;

export type SessionRoutesOptions = {
  readonly callers: Callers;
  readonly sessions: Sessions;
  readonly recorder: Log;
  readonly policies: PolicySource;
  readonly grants: Grants;
  readonly log: RelayLog;
};

export function addSessionRoutes(app: Hono, { callers, sessions, recorder, policies, grants, log }: SessionRoutesOptions): void {
  const policy = () => policies.current;
  const search = new SessionSearch({ sessions, recorder, policy });
  const caller = (context: Context) => callers.authenticate(context.req.header('authorization'), context.req.header(agentHeader));

  app.post('/v1/sessions', async (context) => {
    const { principal } = await caller(context);
    const session = await sessions.open(principal, await readBody(context, SessionRequest));
    log.info({ session: session.id, grant: session.grant, subject: principal.subject }, 'session opened');
    return context.json(session, 201);
  });
  app.get('/v1/sessions', async (context) => {
    const { principal } = await caller(context);
    const query = { ...readQuery(context), limit: readLimit(context, listLimitMax) };
    return context.json(await search.find(principal, query, context.req.raw.signal));
  });
  app.get('/v1/sessions/:id', async (context) => {
    const { principal } = await caller(context);
    const session = await sessions.find(principal, context.req.param('id'));
    const approval = await grants.approvalOf(session.grant);
    await sessions.storeUsage(session.id);
    const statementApprovals = await grants.statementApprovalsIn(session.id);
    return context.json<SessionDetails>({ ...session, ...(approval && { approval }), ...(statementApprovals.length > 0 && { statementApprovals }) });
  });
  app.post('/v1/sessions/:id/kill', async (context) => {
    const { principal } = await callers.authenticateFresh(context.req.header('authorization'), context.req.header(agentHeader));
    const { reason } = await readBody(context, SessionKill);
    const session = await killSession({ sessions, grants, policy }, principal, context.req.param('id'), reason);
    log.info({ session: session.id, subject: principal.subject }, 'session ended early');
    return context.json(session);
  });
  app.post('/v1/sessions/:id/end', async (context) => {
    const { principal } = await caller(context);
    const live = await sessions.forTunnel(principal, context.req.param('id'));
    await sessions.end(live.id, new GateError('session-ended', 'ended by its owner'));
    return context.body(null, 204);
  });
}

/** Fails with `usage` for what it does not know, what comes twice, and what is malformed. */
function readQuery(context: Context): SessionQuery {
  const given = Object.entries(context.req.queries());
  const twice = given.find(([, values]) => values.length > 1);
  if (twice !== undefined) throw new GateError('usage', `${twice[0]} stands there more than once`);
  const parsed = SessionQuery.safeParse(Object.fromEntries(given.map(([name, [value]]) => [name, value])));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    if (issue?.code === 'unrecognized_keys') throw new GateError('usage', `sessions cannot be asked for by ${issue.keys.join(', ')}`);
    throw new GateError('usage', `${issue?.path.join('.') ?? 'the query'}: ${issue?.message ?? 'is not valid'}`);
  }
  const { limit: _, ...query } = parsed.data;
  if (query.since !== undefined && query.until !== undefined && Date.parse(query.since) > Date.parse(query.until)) {
    throw new GateError('usage', 'since must not be later than until');
  }
  return query;
}
