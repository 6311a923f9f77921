/** The HTTP API: what each path takes and answers. Every request but the public ones carries an access token. */
import { Hono, type Context } from 'hono';
import {
  type RelayInfo,
  type TargetInfo,
  type WhoAmI,
} from '../api/api.ts';
import { agentHeader } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import type { TokenVerifier } from '../oidc/verify.ts';
import type { ApprovalRule } from '../grant/request.ts';
import type { MaskLevel, MaskRules } from '../mask/plan.ts';
import { rolesFor } from '../policy/decide.ts';
import { maskRulesFor } from '../policy/masks.ts';
import type { Policy } from '../policy/policy.ts';
import type { PolicySource } from './policy-source.ts';
import { describeApprovers } from '../policy/vote.ts';
import type { Principal } from '../principal/principal.ts';
import { statementKinds } from '../sql/kind.ts';
import type { Database } from '../store/database.ts';
import type { Log } from '../store/log.ts';
import { limitAgents } from './agents.ts';
import { addAuditRoutes } from './audit-routes.ts';
import type { Callers } from './callers.ts';
import type { RelayConfig } from './config.ts';
import type { ScimDirectory } from './directories.ts';
import { errorBody } from './exchange.ts';
import { addInventoryRoute } from './inventory-route.ts';
import { addDoctorRoute } from './doctor-route.ts';
import { addExplainRoute, type ExplainRouteOptions } from './explain-route.ts';
import type { Grants } from './grants.ts';
import { addRecordRoutes } from './record-routes.ts';
import type { RelayLog } from './relay-log.ts';
import type { RequestReader } from './request-reader.ts';
import { addRequestRoutes } from './request-routes.ts';
import type { Requests } from './requests.ts';
import { addSessionRoutes } from './session-routes.ts';
import type { Sessions } from './sessions.ts';
import type { WitnessClient } from './witness-client.ts';
import type { WorkloadLogins } from './workload-logins.ts';
import { addWorkloadRoutes } from './workload-routes.ts';

export type RoutesOptions = {
  readonly config: RelayConfig;
  readonly policies: PolicySource;
  readonly verifier: TokenVerifier;
  readonly callers: Callers;
  readonly workloads: WorkloadLogins;
  readonly sessions: Sessions;
  readonly services: ExplainRouteOptions['services'];
  readonly requests: Requests;
  readonly reader: RequestReader;
  readonly grants: Grants;
  readonly recorder: Log;
  readonly database: Database;
  readonly scim?: Pick<ScimDirectory, 'problem'> | undefined;
  readonly witnesses?: Pick<WitnessClient, 'problems'>;
  readonly log: RelayLog;
  readonly version: string;
  readonly isStopping: () => boolean;
};

export function createRoutes(options: RoutesOptions): Hono {
  const { config, verifier, recorder, log } = options;
  const app = new Hono();
  const caller = (context: Context) => options.callers.authenticate(context.req.header('authorization'), context.req.header(agentHeader));

  limitAgents(app);
  app.get('/livez', (context) => context.text('ok\n'));
  app.get('/readyz', async (context) => {
    const { error } = options.policies;
    const checks = {
      policy: error === undefined,
      issuer: await verifier.isReady(),
      record: recorder.isAvailable,
      checkpoints: recorder.publisher.problem === undefined,
      serving: !options.isStopping(),
      ...(options.scim && { directory: options.scim.problem === undefined }),
      ...(config.record.witnesses.length > 0 && { witnesses: options.witnesses?.problems.size === 0 }),
    };
    // The policy before a bad one stays in force, and a checkpoint, a cosignature or a directory may be late: the relay serves.
    const isReady = Object.entries(checks).every(([name, isGood]) => isGood || mayBeLate.has(name));
    return context.json({ ready: isReady, checks, ...(error !== undefined && { policyError: error }) }, isReady ? 200 : 503);
  });
  app.get('/.well-known/gate', (context) => context.json(relayInfo(options)));

  app.get('/v1/whoami', async (context) => {
    const { principal, expiresAt } = await caller(context);
    return context.json<WhoAmI>({ ...principal, groups: [...principal.groups], expiresAt: expiresAt.toISOString() });
  });
  app.get('/v1/targets', async (context) => {
    const { principal } = await caller(context);
    return context.json({ targets: targetsFor(options, principal) });
  });
  addWorkloadRoutes(app, options);
  addRecordRoutes(app, options);
  addSessionRoutes(app, options);
  addExplainRoute(app, options);
  addDoctorRoute(app, options);
  addRequestRoutes(app, options);
  addAuditRoutes(app, options);
  addInventoryRoute(app, options);

  app.notFound((context) => sendError(context, new GateError('not-found', `there is no ${context.req.method} ${context.req.path}`)));
  app.onError((error, context) => {
    const known = error instanceof GateError ? error : new GateError('internal', 'the relay failed on this request');
    if (known.code === 'internal') log.error({ err: error, path: context.req.path }, 'request failed');
    return sendError(context, known);
  });
  return app;
}

/** Checks that may fail for a while without anybody being worse served; nobody should have to find them out by chance. */
const mayBeLate: ReadonlySet<string> = new Set(['policy', 'checkpoints', 'witnesses', 'directory']);

function sendError(context: Context, error: GateError): Response {
  return context.json(errorBody(error), error.httpStatus as 400);
}

function relayInfo({ config, version, recorder, policies }: RoutesOptions): RelayInfo {
  const { url, clientId, resource, scopes } = config.issuer;
  const trusted = [...policies.current.machines.issuers.values()];
  return {
    service: 'gate',
    version,
    issuer: url,
    clientId,
    ...(resource !== undefined && { resource }),
    scopes: [...scopes],
    logKey: recorder.verifierKey,
    ...(trusted.length > 0 && { workloadIssuers: trusted.map(({ name, preset, url: iss, audience }) => ({ name, preset, url: iss, audience })) }),
  };
}

function targetsFor({ config, policies, services }: RoutesOptions, principal: Principal): TargetInfo[] {
  const policy = policies.current;
  const now = new Date();
  return [...config.targets.values()].flatMap(({ name, description, database }) => {
    const roles = rolesFor(policy, principal, { name, description }, now).map((role) => ({
      name: role.name,
      denies: statementKinds.filter((kind) => !role.allow.includes(kind)),
      requires: [...role.require],
      durationMaxSeconds: role.maxDuration,
      ...(role.approval && { approval: approvalInfo(policy, role.approval) }),
      ...(role.review && { review: approvalInfo(policy, role.review) }),
      ...maskingInfo(maskRulesFor(policy, { target: name, role: role.name, principal, now }), name, { config, services }),
    }));
    return roles.length === 0 ? [] : [{ name, database, roles, ...(description !== undefined && { description }) }];
  });
}

/** What the database itself adds to it is known once somebody has used the target. */
function maskingInfo(rules: MaskRules, target: string, { config, services }: Pick<RoutesOptions, 'config' | 'services'>): { masking?: { level: MaskLevel } } {
  if (rules.rules.length === 0) return {};
  const found = config.targets.get(target);
  const catalog = found === undefined ? undefined : services.catalogOf(found).current;
  const known = catalog === undefined ? undefined : services.maskPlans.known(catalog, rules);
  return { masking: { level: rules.level === 'display' ? 'display' : (known?.plan.level ?? 'proven') } };
}

function approvalInfo(policy: Policy, { by, count }: ApprovalRule): { by: string[]; count: number } {
  return { by: by.map((name) => describeApprovers(policy, [name])), count };
}
