/** The HTTP API: what each path takes and answers. Every request but the public ones carries an access token. */
import { Hono, type Context } from 'hono';
import {
  SessionRequest,
  type RelayInfo,
  type TargetInfo,
  type WhoAmI,
} from '../api/api.ts';
import type { AuditEntry } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import type { TokenVerifier } from '../oidc/verify.ts';
import type { ApprovalRule } from '../grant/request.ts';
import { rolesFor } from '../policy/decide.ts';
import type { Policy } from '../policy/policy.ts';
import type { PolicySource } from './policy-source.ts';
import { describeApprovers } from '../policy/vote.ts';
import type { Principal } from '../principal/principal.ts';
import { statementKinds } from '../sql/kind.ts';
import type { Log } from '../store/log.ts';
import type { Callers } from './callers.ts';
import type { RelayConfig } from './config.ts';
import { errorBody, readBody, readLimit } from './exchange.ts';
import type { Grants } from './grants.ts';
import type { RelayLog } from './relay-log.ts';
import type { RequestReader } from './request-reader.ts';
import { addRequestRoutes } from './request-routes.ts';
import type { Requests } from './requests.ts';
import type { Sessions } from './sessions.ts';

const listLimitMax = 1000;

export type RoutesOptions = {
  readonly config: RelayConfig;
  readonly policies: PolicySource;
  readonly verifier: TokenVerifier;
  readonly callers: Callers;
  readonly sessions: Sessions;
  readonly requests: Requests;
  readonly reader: RequestReader;
  readonly grants: Grants;
  readonly recorder: Log;
  readonly log: RelayLog;
  readonly version: string;
  readonly isStopping: () => boolean;
};

export function createRoutes(options: RoutesOptions): Hono {
  const { config, verifier, sessions, recorder, log } = options;
  const app = new Hono();
  const caller = (context: Context) => options.callers.authenticate(context.req.header('authorization'));

  app.get('/livez', (context) => context.text('ok\n'));
  app.get('/readyz', async (context) => {
    const { error } = options.policies;
    const checks = {
      policy: error === undefined,
      issuer: await verifier.isReady(),
      record: recorder.isAvailable,
      serving: !options.isStopping(),
    };
    // The policy before a bad one stays in force, so the relay serves; but nobody should have to find out by chance.
    const isReady = Object.entries(checks).every(([name, isGood]) => isGood || name === 'policy');
    return context.json({ ready: isReady, checks, ...(error !== undefined && { policyError: error }) }, isReady ? 200 : 503);
  });
  app.get('/.well-known/gate', (context) => context.json(relayInfo(config, options.version)));

  app.get('/v1/whoami', async (context) => {
    const { principal, expiresAt } = await caller(context);
    return context.json<WhoAmI>({ ...principal, groups: [...principal.groups], expiresAt: expiresAt.toISOString() });
  });
  app.get('/v1/targets', async (context) => {
    const { principal } = await caller(context);
    return context.json({ targets: targetsFor(config, options.policies.current, principal) });
  });
  app.post('/v1/sessions', async (context) => {
    const { principal } = await caller(context);
    const session = await sessions.open(principal, await readBody(context, SessionRequest));
    log.info({ session: session.id, grant: session.grant, subject: principal.subject }, 'session opened');
    return context.json(session, 201);
  });
  app.get('/v1/sessions', async (context) => {
    const { principal } = await caller(context);
    return context.json({ sessions: await sessions.list(principal, readLimit(context, listLimitMax)) });
  });
  app.get('/v1/sessions/:id', async (context) => {
    const { principal } = await caller(context);
    return context.json(await sessions.find(principal, context.req.param('id')));
  });
  app.get('/v1/sessions/:id/entries', async (context) => {
    const { principal } = await caller(context);
    const { id } = await sessions.find(principal, context.req.param('id'));
    // A reader must never take a part for the whole: what is damaged is said in the last line, a bug breaks the answer off.
    return context.body(ReadableStream.from(encodeEntries(recorder.entries(id))), 200, {
      'content-type': 'application/x-ndjson',
    });
  });
  app.post('/v1/sessions/:id/end', async (context) => {
    const { principal } = await caller(context);
    const live = await sessions.forTunnel(principal, context.req.param('id'));
    await sessions.end(live.id, new GateError('session-ended', 'ended by its owner'));
    return context.body(null, 204);
  });

  addRequestRoutes(app, options);

  app.notFound((context) => sendError(context, new GateError('not-found', `there is no ${context.req.method} ${context.req.path}`)));
  app.onError((error, context) => {
    const known = error instanceof GateError ? error : new GateError('internal', 'the relay failed on this request');
    if (known.code === 'internal') log.error({ err: error, path: context.req.path }, 'request failed');
    return sendError(context, known);
  });
  return app;
}

async function* encodeEntries(entries: AsyncIterable<AuditEntry>): AsyncGenerator<Uint8Array> {
  try {
    for await (const entry of entries) yield Buffer.from(`${JSON.stringify(entry)}\n`);
  } catch (error) {
    if (!(error instanceof GateError)) throw error;
    yield Buffer.from(`${JSON.stringify(errorBody(error))}\n`);
  }
}

function sendError(context: Context, error: GateError): Response {
  return context.json(errorBody(error), error.httpStatus as 400);
}

function relayInfo({ issuer }: RelayConfig, version: string): RelayInfo {
  const { url, clientId, resource, scopes } = issuer;
  return {
    service: 'gate',
    version,
    issuer: url,
    clientId,
    ...(resource !== undefined && { resource }),
    scopes: [...scopes],
  };
}

function targetsFor(config: RelayConfig, policy: Policy, principal: Principal): TargetInfo[] {
  return [...config.targets.values()].flatMap(({ name, description, database }) => {
    const roles = rolesFor(policy, principal, { name, description }, new Date()).map((role) => ({
      name: role.name,
      denies: statementKinds.filter((kind) => !role.allow.includes(kind)),
      requires: [...role.require],
      durationMaxSeconds: role.maxDuration,
      ...(role.approval && { approval: approvalInfo(policy, role.approval) }),
      ...(role.review && { review: approvalInfo(policy, role.review) }),
    }));
    return roles.length === 0 ? [] : [{ name, database, roles, ...(description !== undefined && { description }) }];
  });
}

function approvalInfo(policy: Policy, { by, count }: ApprovalRule): { by: string[]; count: number } {
  return { by: by.map((name) => describeApprovers(policy, [name])), count };
}
