/** The relay's API as functions, called as the person who is logged in. */
import * as z from 'zod/mini';
import {
  GrantInfo,
  RelayInfo,
  SessionInfo,
  SessionList,
  SessionSummary,
  TargetList,
  WhoAmI,
  type GrantRequest,
  type SessionRequest,
  type TargetInfo,
} from '../api/api.ts';
import { ExplainAnswer, type ExplainRequest } from '../api/policy-api.ts';
import { AuditEntry } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import { createAccessTokens, type AccessTokens } from './access-token.ts';
import { requireRelay, type ClientConfig } from './config.ts';
import { createCredentialStore } from './credentials.ts';
import { requestJson, requestLines, requestText, type RelayRequest } from './relay-http.ts';

/**
 * Every call fails with the relay's own error, with `login-required`, or with `relay-unreachable`; a call that the
 * relay turns down for its token is repeated once with a renewed one.
 */
export interface RelayClient {
  /** Without a trailing slash. */
  readonly url: string;
  /** Public: needs no login. */
  info(): Promise<RelayInfo>;
  whoAmI(): Promise<WhoAmI>;
  targets(): Promise<TargetInfo[]>;
  createGrant(request: GrantRequest): Promise<GrantInfo>;
  createSession(request: SessionRequest): Promise<SessionInfo>;
  /** `timeoutMs` bounds the exchange with the relay, where 15 s are too long. */
  endSession(id: string, timeoutMs?: number): Promise<void>;
  /** Newest first. */
  sessions(query?: { limit?: number }): Promise<SessionSummary[]>;
  /** `id` may be a unique prefix. */
  session(id: string): Promise<SessionSummary>;
  /** The record of a session in order, read as fast as it is consumed. */
  entries(id: string): AsyncIterable<AuditEntry>;
  /** What policy says to a text, without running it. */
  explain(request: ExplainRequest): Promise<ExplainAnswer>;
  /** For the tunnel's Authorization header: fresh for at least 60 s, wherever the login can be renewed. */
  accessToken(): Promise<string>;
}

export type RelayClientOptions = {
  /** Takes a line for the user that must be seen. */
  readonly warn: (line: string) => void;
};

/** Opens nothing yet. Fails with `usage` where no relay is known. */
export function createRelayClient(config: ClientConfig, options: RelayClientOptions): RelayClient {
  const relay = requireRelay(config);
  const store = createCredentialStore(config, { warn: options.warn });
  return createCalls(relay, createAccessTokens({ config, relay, store, warn: options.warn }));
}

type Call = Omit<RelayRequest, 'relay' | 'token'>;

function createCalls(relay: string, tokens: AccessTokens): RelayClient {
  const ask = <T extends z.ZodMiniType>(call: Call, schema: T): Promise<z.infer<T>> =>
    withToken(tokens, (token) => requestJson({ relay, token, ...call }, schema));
  const get = <T extends z.ZodMiniType>(path: string, schema: T): Promise<z.infer<T>> =>
    ask({ method: 'GET', path }, schema);
  return {
    url: relay,
    info: () => fetchRelayInfo(relay),
    whoAmI: () => get('/v1/whoami', WhoAmI),
    targets: async () => (await get('/v1/targets', TargetList)).targets,
    createGrant: (body) => ask({ method: 'POST', path: '/v1/grants', body }, GrantInfo),
    createSession: (body) => ask({ method: 'POST', path: '/v1/sessions', body }, SessionInfo),
    async endSession(id, timeoutMs) {
      const call = { relay, method: 'POST', path: `${sessionPath(id)}/end`, ...(timeoutMs !== undefined && { timeoutMs }) } as const;
      await withToken(tokens, (token) => requestText({ ...call, token }));
    },
    async sessions(query = {}) {
      const search = query.limit === undefined ? '' : `?limit=${query.limit}`;
      return (await get(`/v1/sessions${search}`, SessionList)).sessions;
    },
    session: (id) => get(sessionPath(id), SessionSummary),
    entries: (id) => readEntries(tokens, { relay, method: 'GET', path: `${sessionPath(id)}/entries` }),
    explain: (body) => ask({ method: 'POST', path: '/v1/policy/explain', body }, ExplainAnswer),
    accessToken: () => tokens.current(),
  };
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
async function* readEntries(tokens: AccessTokens, request: Omit<RelayRequest, 'token'>): AsyncGenerator<AuditEntry> {
  const token = await tokens.current();
  let lines = requestLines({ ...request, token }, AuditEntry);
  let next = await lines.next().catch(async (error: unknown) => {
    const renewed = await renewAfter(error, tokens, token);
    if (renewed === undefined) throw error;
    lines = requestLines({ ...request, token: renewed }, AuditEntry);
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
  return tokens.renew(token);
}
