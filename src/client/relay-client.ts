/** The relay's API as functions, called as the person who is logged in. */
import * as z from 'zod/mini';
import {
  RelayInfo,
  SessionInfo,
  SessionList,
  SessionDetails,
  SessionSummary,
  TargetList,
  WhoAmI,
  type GrantInfo,
  type GrantRequest,
  type SessionRequest,
  type TargetInfo,
} from '../api/api.ts';
import { formatSessionQuery, hasStatementFilter, type SessionQuery } from '../api/session-query.ts';
import { MaskingInfo } from '../api/masking-api.ts';
import { ExplainAnswer, type ExplainRequest } from '../api/policy-api.ts';
import {
  GrantAnswer,
  GrantList,
  GrantSummary,
  RequestInfo,
  RequestList,
  waitSecondsMax,
  type Approve,
  type RequestState,
  type RequestSummary,
} from '../api/request-api.ts';
import { AuditEntry } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import { createAuditCalls, type AuditCalls } from './audit-calls.ts';
import { createAccessTokens } from './access-token.ts';
import { requireRelay, type ClientConfig } from './config.ts';
import { createCredentialStore } from './credentials.ts';
import { requestBytes, requestJson, requestLines, requestText, type RelayRequest } from './relay-http.ts';
import type { AccessTokens } from './token-source.ts';

/**
 * Every call fails with the relay's own error, with `login-required`, or with `relay-unreachable`; a call that the
 * relay turns down for its token is repeated once with a renewed one.
 */
export interface RelayClient extends AuditCalls {
  /** Without a trailing slash. */
  readonly url: string;
  /** Public: needs no login. */
  info(): Promise<RelayInfo>;
  whoAmI(): Promise<WhoAmI>;
  targets(): Promise<TargetInfo[]>;
  /** Fails with `approval-pending`, naming the request, where the grant waits for approval. */
  createGrant(request: GrantRequest): Promise<GrantInfo>;
  /** Newest first: those of the caller, those that they can end, and for auditors and administrators all. */
  grants(query?: { limit?: number }): Promise<GrantSummary[]>;
  /** `id` may be a unique prefix here and in all that follows. */
  revokeGrant(id: string, reason?: string): Promise<GrantSummary>;
  /** Asks for a grant without taking it. */
  createRequest(request: GrantRequest): Promise<RequestInfo>;
  /** Newest first. */
  requests(query?: RequestQuery): Promise<RequestSummary[]>;
  request(id: string): Promise<RequestInfo>;
  /**
   * Answers once the request is decided or has another number of votes, and after half a minute at the latest. Rejects
   * when the signal aborts.
   */
  waitRequest(id: string, votes: number, signal?: AbortSignal): Promise<RequestInfo>;
  approve(id: string, body: Approve): Promise<RequestInfo>;
  deny(id: string, reason?: string): Promise<RequestInfo>;
  /** `timeoutMs` bounds the exchange with the relay, where 15 s are too long. */
  cancelRequest(id: string, reason?: string, timeoutMs?: number): Promise<RequestInfo>;
  createSession(request: SessionRequest): Promise<SessionInfo>;
  /** `timeoutMs` bounds the exchange with the relay, where 15 s are too long. */
  endSession(id: string, timeoutMs?: number): Promise<void>;
  /** Newest first. */
  sessions(query?: { limit?: number }): Promise<SessionSummary[]>;
  /** The same, with what there is to know about the search itself. */
  findSessions(query: SessionQuery): Promise<SessionList>;
  /** `id` may be a unique prefix. */
  session(id: string): Promise<SessionDetails>;
  /** The record of a session in order, read as fast as it is consumed. */
  entries(id: string): AsyncIterable<AuditEntry>;
  /**
   * The record of a session from its beginning, each entry as soon as it is durable, until the session ends. Rejects with
   * the signal's reason, or with `relay-stopping`.
   */
  follow(id: string, signal: AbortSignal): AsyncIterable<AuditEntry>;
  /** What happens from now on in all sessions that the caller may see. Never ends by itself. */
  followAll(signal: AbortSignal): AsyncIterable<AuditEntry>;
  /** Ends a session early. Fails with `session-ended` when it has ended already. */
  killSession(id: string, reason?: string): Promise<SessionSummary>;
  /** What people decided beside the sessions, in order. Fails with `denied` for all but auditors. */
  decisions(): AsyncIterable<AuditEntry>;
  /** What policy says to a text, without running it. */
  explain(request: ExplainRequest): Promise<ExplainAnswer>;
  /** How surely a target is masked; all but the level for administrators and auditors only. It looks at the database, up to half a minute. */
  masking(target: string): Promise<MaskingInfo>;
  /** For the tunnel's Authorization header: fresh for at least 60 s, wherever the login can be renewed. */
  accessToken(): Promise<string>;
}

export type RequestQuery = {
  readonly states?: readonly RequestState[];
  readonly isMine?: boolean;
  /** Only those that wait for the caller's vote. */
  readonly isToApprove?: boolean;
  readonly limit?: number;
};

export type RelayClientOptions = {
  /** All is said and done by this program for the person who is logged in, as `name/version`. */
  readonly agent?: string;
  /** Takes a line for the user that must be seen. */
  readonly warn: (line: string) => void;
};

/** Opens nothing yet. Fails with `usage` where no relay is known. */
export function createRelayClient(config: ClientConfig, options: RelayClientOptions): RelayClient {
  const relay = requireRelay(config);
  const store = createCredentialStore(config, { warn: options.warn });
  const tokens = createAccessTokens({ config, relay, store, info: () => fetchRelayInfo(relay), warn: options.warn });
  return createCalls({ relay, ...(options.agent !== undefined && { agent: options.agent }) }, tokens);
}

type Call = Omit<RelayRequest, 'relay' | 'token' | 'agent'>;
/** What all calls have in common. */
type Caller = Pick<RelayRequest, 'relay' | 'agent'>;

function createCalls(caller: Caller, tokens: AccessTokens): RelayClient {
  const { relay } = caller;
  const ask = <T extends z.ZodMiniType>(call: Call, schema: T): Promise<z.infer<T>> =>
    withToken(tokens, (token) => requestJson({ ...caller, token, ...call }, schema));
  const get = <T extends z.ZodMiniType>(path: string, schema: T): Promise<z.infer<T>> =>
    ask({ method: 'GET', path }, schema);
  return {
    url: relay,
    info: () => fetchRelayInfo(relay),
    whoAmI: () => get('/v1/whoami', WhoAmI),
    targets: async () => (await get('/v1/targets', TargetList)).targets,
    ...createRequestCalls(ask, get),
    ...createAuditCalls({
      json: ask,
      bytes: (call, bytesMax) => withToken(tokens, (token) => requestBytes({ ...caller, token, ...call }, bytesMax)),
      lines: (call, schema) => readLines(tokens, { ...caller, ...call }, schema),
    }),
    createSession: (body) => ask({ method: 'POST', path: '/v1/sessions', body }, SessionInfo),
    async endSession(id, timeoutMs) {
      const call = { ...caller, method: 'POST', path: `${sessionPath(id)}/end`, ...(timeoutMs !== undefined && { timeoutMs }) } as const;
      await withToken(tokens, (token) => requestText({ ...call, token }));
    },
    async sessions(query = {}) {
      const search = query.limit === undefined ? '' : `?limit=${query.limit}`;
      return (await get(`/v1/sessions${search}`, SessionList)).sessions;
    },
    findSessions: (query) =>
      ask(
        { method: 'GET', path: `/v1/sessions${formatSessionQuery(query)}`, ...(hasStatementFilter(query) && { timeoutMs: searchTimeoutMs }) },
        SessionList,
      ),
    session: (id) => get(sessionPath(id), SessionDetails),
    killSession: (id, reason) => ask({ method: 'POST', path: `${sessionPath(id)}/kill`, body: reason === undefined ? {} : { reason } }, SessionSummary),
    entries: (id) => readLines(tokens, { ...caller, method: 'GET', path: `${sessionPath(id)}/entries` }, AuditEntry),
    follow: (id, signal) => readLines(tokens, { ...caller, method: 'GET', path: `${sessionPath(id)}/entries?follow=true`, signal }, AuditEntry),
    followAll: (signal) => readLines(tokens, { ...caller, method: 'GET', path: '/v1/sessions/tail', signal }, AuditEntry),
    decisions: () => readLines(tokens, { ...caller, method: 'GET', path: '/v1/decisions' }, AuditEntry),
    explain: (body) => ask({ method: 'POST', path: '/v1/policy/explain', body }, ExplainAnswer),
    masking: (target) => ask({ method: 'GET', path: `/v1/targets/${encodeURIComponent(target)}/masking`, timeoutMs: 40_000 }, MaskingInfo),
    accessToken: () => tokens.current(),
  };
}

/** The relay gives a search 20 s; this is for one that does not answer. */
const searchTimeoutMs = 40_000;

type Ask = <T extends z.ZodMiniType>(call: Call, schema: T) => Promise<z.infer<T>>;
type Get = <T extends z.ZodMiniType>(path: string, schema: T) => Promise<z.infer<T>>;
type RequestCalls = Pick<
  RelayClient,
  'createGrant' | 'grants' | 'revokeGrant' | 'createRequest' | 'requests' | 'request' | 'waitRequest' | 'approve' | 'deny' | 'cancelRequest'
>;

function createRequestCalls(ask: Ask, get: Get): RequestCalls {
  const post = <T extends z.ZodMiniType>(path: string, body: unknown, schema: T, more: Partial<Call> = {}) =>
    ask({ method: 'POST', path, body, ...more }, schema);
  const because = (reason: string | undefined) => (reason === undefined ? {} : { reason });
  return {
    async createGrant(body) {
      const answer = await post('/v1/grants', body, GrantAnswer);
      if (!('request' in answer)) return answer;
      throw pending(answer.request);
    },
    async grants({ limit } = {}) {
      return (await get(`/v1/grants${limit === undefined ? '' : `?limit=${limit}`}`, GrantList)).grants;
    },
    revokeGrant: (id, reason) => post(`/v1/grants/${encodeURIComponent(id)}/revoke`, because(reason), GrantSummary),
    createRequest: (body) => post('/v1/requests', body, RequestInfo),
    async requests({ states, isMine = false, isToApprove = false, limit } = {}) {
      const query = new URLSearchParams({
        ...(states !== undefined && { state: states.join(',') }),
        ...(isMine && { mine: 'true' }),
        ...(isToApprove && { 'to-approve': 'true' }),
        ...(limit !== undefined && { limit: String(limit) }),
      });
      return (await get(`/v1/requests${query.size === 0 ? '' : `?${query.toString()}`}`, RequestList)).requests;
    },
    request: (id) => get(requestPath(id), RequestInfo),
    waitRequest: (id, votes, signal) =>
      ask({ method: 'GET', path: `${requestPath(id)}/wait?votes=${votes}`, timeoutMs: waitTimeoutMs, ...(signal && { signal }) }, RequestInfo),
    approve: (id, body) => post(`${requestPath(id)}/approve`, body, RequestInfo),
    deny: (id, reason) => post(`${requestPath(id)}/deny`, because(reason), RequestInfo),
    cancelRequest: (id, reason, timeoutMs) =>
      post(`${requestPath(id)}/cancel`, because(reason), RequestInfo, { ...(timeoutMs !== undefined && { timeoutMs }) }),
  };
}

/** The relay answers a long poll by itself; this is for one that does not. */
const waitTimeoutMs = (waitSecondsMax + 15) * 1000;

function requestPath(id: string): string {
  return `/v1/requests/${encodeURIComponent(id)}`;
}

function pending({ id, target, role, approval }: RequestInfo): GateError {
  return new GateError('approval-pending', `${target} as ${role} needs approval by ${approval.count} of ${approval.by.join(' or ')}`, {
    requestId: id,
    hint: `Ask one of them to run: gate approve ${id}`,
  });
}

function sessionPath(id: string): string {
  return `/v1/sessions/${encodeURIComponent(id)}`;
}

/** GET /.well-known/gate: whom to log in with. */
export function fetchRelayInfo(relay: string): Promise<RelayInfo> {
  return requestJson({ relay, method: 'GET', path: '/.well-known/gate' }, RelayInfo);
}

/** GET /v1/whoami with a token of one's own, before it is stored. */
export function fetchWhoAmI(relay: string, token: string): Promise<WhoAmI> {
  return requestJson({ relay, token, method: 'GET', path: '/v1/whoami' }, WhoAmI);
}

/** Renews and repeats at most once: the relay checks the token before it does anything, so nothing is done twice. */
async function withToken<T>(tokens: AccessTokens, call: (token: string) => Promise<T>): Promise<T> {
  const token = await tokens.current();
  try {
    return await call(token);
  } catch (error) {
    const renewed = await renewAfter(error, tokens, token);
    if (renewed === undefined) throw error;
    return call(renewed);
  }
}

/** A stream is refused, if at all, before its first line: only then is it asked for again. */
async function* readLines<T extends z.ZodMiniType>(tokens: AccessTokens, request: Omit<RelayRequest, 'token'>, schema: T): AsyncGenerator<z.infer<T>> {
  const token = await tokens.current();
  let lines = requestLines({ ...request, token }, schema);
  let next = await lines.next().catch(async (error: unknown) => {
    const renewed = await renewAfter(error, tokens, token);
    if (renewed === undefined) throw error;
    lines = requestLines({ ...request, token: renewed }, schema);
    return lines.next();
  });
  try {
    while (next.done !== true) {
      yield next.value;
      next = await lines.next();
    }
  } finally {
    await lines.return(undefined);
  }
}

async function renewAfter(error: unknown, tokens: AccessTokens, token: string): Promise<string | undefined> {
  if (!(error instanceof GateError) || error.code !== 'login-required') return undefined;
  return tokens.renew(token, error);
}
