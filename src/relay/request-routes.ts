/** The HTTP API of requests, votes and grants. Whatever asks or decides needs a token that knows the groups of now. */
import type { Context, Hono } from 'hono';
import { GrantRequest, type GrantInfo } from '../api/api.ts';
import { Approve, Because, RequestState, waitSecondsMax } from '../api/request-api.ts';
import { agentHeader } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import type { Grant } from '../grant/grant.ts';
import { approvedSeconds } from '../grant/life-cycle.ts';
import type { Approval } from '../grant/request.ts';
import type { Principal } from '../principal/principal.ts';
import type { Callers } from './callers.ts';
import { isSet, readBody, readLimit } from './exchange.ts';
import type { Grants } from './grants.ts';
import type { RelayLog } from './relay-log.ts';
import type { RequestReader } from './request-reader.ts';
import type { Requests } from './requests.ts';

const listLimitMax = 1000;

export type RequestRoutesOptions = {
  readonly callers: Callers;
  readonly requests: Requests;
  readonly reader: RequestReader;
  readonly grants: Grants;
  readonly log: RelayLog;
};

export function addRequestRoutes(app: Hono, options: RequestRoutesOptions): void {
  addGrantRoutes(app, options);
  addVoteRoutes(app, options);
  const { callers, requests, reader, grants, log } = options;
  const caller = async (context: Context) => (await callers.authenticate(context.req.header('authorization'), context.req.header(agentHeader))).principal;

  app.post('/v1/requests', async (context) => {
    const { principal, said } = await callers.authenticateFresh(context.req.header('authorization'), context.req.header(agentHeader));
    const request = await grants.ask(principal, { ...said, ...(await readBody(context, GrantRequest)) });
    log.info({ request: request.id, target: request.target, role: request.role, subject: principal.subject }, 'grant asked for');
    return context.json(await reader.describe(principal, request), 201);
  });
  app.get('/v1/requests', async (context) => {
    const principal = await caller(context);
    const state = context.req.query('state');
    const parsed = state === undefined ? undefined : state.split(',').map((one) => RequestState.safeParse(one));
    if (parsed?.some(({ success }) => !success)) {
      throw new GateError('usage', `state must be of ${RequestState.options.join(', ')}`);
    }
    const list = await reader.list(principal, {
      ...(parsed !== undefined && { states: parsed.flatMap(({ data }) => data ?? []) }),
      isMine: isSet(context, 'mine'),
      isToApprove: isSet(context, 'to-approve'),
      limit: readLimit(context, listLimitMax),
    });
    return context.json({ requests: list });
  });
  app.get('/v1/requests/:id', async (context) => {
    const principal = await caller(context);
    return context.json(await reader.describe(principal, await reader.find(principal, context.req.param('id'))));
  });
  // Answers once it is decided, or with `?votes=N` has another number of votes; as it stands after half a minute.
  app.get('/v1/requests/:id/wait', async (context) => {
    const principal = await caller(context);
    const { id } = await reader.find(principal, context.req.param('id'));
    const votes = Number(context.req.query('votes') ?? Number.NaN);
    const timeout = AbortSignal.timeout(waitSecondsMax * 1000);
    // The answer to a caller who has gone is nobody's.
    const signal = AbortSignal.any([timeout, context.req.raw.signal]);
    const request = await requests.changed(id, Number.isNaN(votes) ? undefined : votes, signal).catch((error: unknown) => {
      if (signal.aborted) return reader.find(principal, id);
      throw error;
    });
    return context.json(await reader.describe(principal, request));
  });
  app.post('/v1/requests/:id/cancel', async (context) => {
    const principal = await caller(context);
    const { reason } = await readBody(context, Because);
    const { id } = await reader.find(principal, context.req.param('id'));
    return context.json(await reader.describe(principal, await requests.cancel(principal, id, reason)));
  });
}

function addVoteRoutes(app: Hono, { callers, requests, reader, grants, log }: RequestRoutesOptions): void {
  const vote = async (context: Context, idPrefix: string, make: (at: Date) => Omit<Approval, 'by' | 'at'>, principal: Principal) => {
    const { id } = await reader.find(principal, idPrefix);
    const at = new Date();
    const request = await requests.vote(id, { ...make(at), by: principal, at });
    await grants.settleReview(request, principal);
    log.info({ request: id, state: request.state, subject: principal.subject }, 'vote');
    return context.json(await reader.describe(principal, request));
  };
  app.post('/v1/requests/:id/approve', async (context) => {
    const { principal } = await callers.authenticateFresh(context.req.header('authorization'), context.req.header(agentHeader));
    const body = await readBody(context, Approve);
    return vote(context, context.req.param('id'), (at) => approvalOf(body, at), principal);
  });
  app.post('/v1/requests/:id/deny', async (context) => {
    const { principal } = await callers.authenticateFresh(context.req.header('authorization'), context.req.header(agentHeader));
    const { reason } = await readBody(context, Because);
    return vote(context, context.req.param('id'), () => ({ decision: 'deny', ...(reason !== undefined && { reason }) }), principal);
  });
}

function addGrantRoutes(app: Hono, { callers, reader, grants, log }: RequestRoutesOptions): void {
  app.post('/v1/grants', async (context) => {
    const { principal, said } = await callers.authenticateFresh(context.req.header('authorization'), context.req.header(agentHeader));
    const given = await grants.give(principal, { ...said, ...(await readBody(context, GrantRequest)) });
    if ('request' in given) {
      log.info({ request: given.request.id, subject: principal.subject }, 'grant waits for approval');
      return context.json({ request: await reader.describe(principal, given.request) }, 202);
    }
    const { grant } = given;
    log.info({ grant: grant.id, target: grant.target, role: grant.role, subject: principal.subject }, 'grant given');
    return context.json(grantInfo(grant), 201);
  });
  app.get('/v1/grants', async (context) => {
    const { principal } = await callers.authenticate(context.req.header('authorization'), context.req.header(agentHeader));
    return context.json({ grants: await grants.list(principal, readLimit(context, listLimitMax)) });
  });
  app.post('/v1/grants/:id/revoke', async (context) => {
    const { principal } = await callers.authenticateFresh(context.req.header('authorization'), context.req.header(agentHeader));
    const { reason } = await readBody(context, Because);
    const grant = await grants.revoke(principal, context.req.param('id'), reason);
    log.info({ grant: grant.id, subject: principal.subject }, 'grant revoked');
    return context.json(grants.summarize(grant, new Date()));
  });
}

function approvalOf({ reason, uses, forSeconds, anyParameters }: Approve, at: Date): Omit<Approval, 'by' | 'at'> {
  const isMore = uses !== undefined || forSeconds !== undefined || anyParameters !== undefined;
  return {
    decision: 'approve',
    ...(reason !== undefined && { reason }),
    ...(isMore && {
      allows: {
        uses: uses ?? 1,
        until: new Date(at.getTime() + (forSeconds ?? approvedSeconds) * 1000),
        anyParameters: anyParameters ?? false,
      },
    }),
  };
}

function grantInfo(grant: Grant): GrantInfo {
  const { id, target, role, reason, ticket } = grant;
  return {
    id,
    target,
    role,
    ...(reason !== undefined && { reason }),
    ...(ticket !== undefined && { ticket }),
    createdAt: grant.createdAt.toISOString(),
    expiresAt: grant.expiresAt.toISOString(),
  };
}
