/** GET /v1/targets/:name/masking: how surely a target is masked, and for those who keep the policy what stands in the way. */
import type { Context, Hono } from 'hono';
import type { MaskingInfo } from '../api/masking-api.ts';
import { GateError } from '../errors/errors.ts';
import { examineTarget } from '../mask/doctor.ts';
import type { MaskRules } from '../mask/plan.ts';
import { isAdministrator, isAuditor, rolesFor } from '../policy/decide.ts';
import { maskRulesFor } from '../policy/masks.ts';
import { grammarFor } from '../sql/parser.ts';
import type { Target } from './config.ts';
import { readRoleFacts, sampleColumns } from './doctor-queries.ts';
import type { ExplainRouteOptions } from './explain-route.ts';
import { SideConnection } from './side-connection.ts';

/** One table that is locked or large must not hold up the rest. */
const tableTimeoutMs = 2000;
const samplingMsMax = 20_000;

export function addDoctorRoute(app: Hono, { config, callers, policies, services }: ExplainRouteOptions): void {
  /** One examination of a target at a time, whoever asks. */
  const running = new Map<string, Promise<MaskingInfo>>();
  app.get('/v1/targets/:name/masking', async (context: Context) => {
    const { principal } = await callers.authenticate(context.req.header('authorization'));
    const name = context.req.param('name') ?? '';
    const policy = policies.current;
    const target = config.targets.get(name);
    const now = new Date();
    const mayKnow = isAuditor(policy, principal) || isAdministrator(policy, principal);
    if (target === undefined || (!mayKnow && rolesFor(policy, principal, target, now).length === 0)) {
      throw new GateError('target-unknown', `there is no target "${name}", or none of your groups may reach it`);
    }
    // As for somebody who is exempt from nothing.
    const rules = maskRulesFor(policy, { target: name, role: '', principal: { ...principal, groups: [] }, now });
    if (rules.rules.length === 0) return context.json<MaskingInfo>({ target: name });
    const key = `${name} ${rules.digest}`;
    let examination = running.get(key);
    if (examination === undefined) {
      examination = examine(target, rules, services).finally(() => running.delete(key));
      running.set(key, examination);
    }
    const { level, ...rest } = await examination;
    return context.json<MaskingInfo>(mayKnow ? { level, ...rest } : { target: name, level });
  });
}

async function examine(target: Target, rules: MaskRules, { catalogOf, parser, maskPlans }: ExplainRouteOptions['services']): Promise<MaskingInfo> {
  const watch = catalogOf(target);
  watch.wantDetails();
  const use = watch.use();
  try {
    await use.ready;
    const { current: catalog, serverMajor } = watch;
    if (catalog?.data.details === undefined || serverMajor === undefined) {
      throw new GateError('upstream-unreachable', `the catalog of ${target.name} cannot be read`, {
        hint: "The relay's log says why.",
      });
    }
    const grammar = grammarFor(serverMajor);
    await parser.loadGrammar(grammar);
    const { plan, problems } = await maskPlans.planFor(catalog, grammar, rules);
    const settings = { search_path: 'pg_catalog', statement_timeout: String(tableTimeoutMs), lock_timeout: '500' };
    const connection = await SideConnection.open(target, settings);
    try {
      const end = performance.now() + samplingMsMax;
      const role = await readRoleFacts(connection);
      const samples = await sampleColumns(connection, { catalog, plan, isOver: () => performance.now() > end });
      const { level, reasons, findings, sql } = examineTarget({ catalog, plan, problems, role, samples });
      return { target: target.name, level, reasons: [...reasons], findings: [...findings], sql };
    } finally {
      connection.close();
    }
  } finally {
    use.release();
  }
}
