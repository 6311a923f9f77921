/** POST /v1/policy/explain: what policy would say to a text, with the names of the target's own catalog. Nothing is run. */
import type { Context, Hono } from 'hono';
import { ExplainRequest } from '../api/policy-api.ts';
import { agentHeader } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import { isAdministrator, isAuditor, rolesFor } from '../policy/decide.ts';
import { examineParsed } from '../policy/examined.ts';
import { answer, explainedPrincipal, masksInfo } from '../policy/explain.ts';
import { hasMasks, maskRulesFor } from '../policy/masks.ts';
import { grammarFor, newestGrammar } from '../sql/parser.ts';
import type { Callers } from './callers.ts';
import type { RelayConfig } from './config.ts';
import { readBody } from './exchange.ts';
import type { SessionServices } from './live-session.ts';
import type { PolicySource } from './policy-source.ts';

export type ExplainRouteOptions = {
  readonly config: RelayConfig;
  readonly callers: Callers;
  readonly policies: PolicySource;
  readonly services: Pick<SessionServices, 'parser' | 'catalogOf' | 'maskPlans'>;
};

export function addExplainRoute(app: Hono, { config, callers, policies, services }: ExplainRouteOptions): void {
  app.post('/v1/policy/explain', async (context: Context) => {
    const { principal: caller } = await callers.authenticate(context.req.header('authorization'), context.req.header(agentHeader));
    const { target: name, role, sql, as } = await readBody(context, ExplainRequest);
    const policy = policies.current;
    const principal = explainedPrincipal(policy, caller, as);
    const target = config.targets.get(name);
    const now = new Date();
    const mayLook = isAuditor(policy, caller) || isAdministrator(policy, caller) || rolesFor(policy, caller, name, now).length > 0;
    // What tables there are is not told to those who may not reach them.
    if (target === undefined || !mayLook) {
      throw new GateError('target-unknown', `there is no target "${name}", or none of your groups may reach it`);
    }
    const watch = services.catalogOf(target);
    if (hasMasks(policy, name)) watch.wantDetails();
    const use = watch.use();
    await use.ready.finally(() => use.release());
    const grammar = watch.serverMajor === undefined ? newestGrammar : grammarFor(watch.serverMajor);
    const examined = examineParsed(await services.parser.parse(sql, grammar), { catalog: watch.current, path: watch.defaultSearchPath });
    const { description } = target;
    const facts = { name, ...(description !== undefined && { description }) };
    const answered = answer({ policy, principal, target: facts, role, examined, now });
    const rules = maskRulesFor(policy, { target: name, role: answered.role, principal, now });
    if (rules.rules.length === 0 || watch.current?.data.details === undefined) return context.json(answered);
    const prepared = await services.maskPlans.planFor(watch.current, grammar, rules);
    if (prepared.plan.level === 'display') return context.json({ ...answered, masks: { level: 'display', columns: [] } });
    const names = { catalog: watch.current, path: watch.defaultSearchPath ?? [] };
    const masked = await prepared.mask({ sql, parameterTypes: [], names, isHeld: answered.decision.effect === 'hold' });
    return context.json({ ...answered, masks: masksInfo(prepared.plan.level, masked) });
  });
}
