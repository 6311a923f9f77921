/** Which masks a text would get where no relay stands behind it: tables and their columns are those that a file writes down. Pure. */
import type { ExplainAnswer } from '../api/policy-api.ts';
import { maskStatement } from '../mask/analyse.ts';
import { buildPlan, storedTexts } from '../mask/closure.ts';
import { cutRules } from '../mask/custom.ts';
import type { Principal } from '../principal/principal.ts';
import type { Syntax } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';
import { masksInfo, type MasksAnswer } from './explain.ts';
import { maskRulesFor } from './masks.ts';
import type { Policy } from './role.ts';

export type MasksQuestion = {
  readonly policy: Policy;
  readonly principal: Principal;
  /** What policy says to it. */
  readonly said: ExplainAnswer;
  readonly now: Date;
  readonly sql: string;
  readonly names: SessionNames;
  /** Undefined for a text that cannot be parsed. */
  readonly parse: (sql: string) => Syntax | undefined;
};

/** Undefined for a principal without masks, and where no columns are written down: then nothing can be told. */
export function masksOf({ policy, principal, said, now, sql, names, parse }: MasksQuestion): MasksAnswer | undefined {
  const rules = maskRulesFor(policy, { target: said.target, role: said.role, principal, now });
  const { catalog, path = [] } = names;
  if (rules.rules.length === 0 || catalog?.data.details === undefined) return undefined;
  if (rules.level === 'display') return { level: 'display', columns: [] };
  const trees = new Map(storedTexts(catalog).map((text) => [text, parse(text)]));
  const { plan } = buildPlan({ catalog, rules: cutRules(rules, parse).rules, syntaxOf: (text) => trees.get(text) });
  const syntax = parse(sql);
  if (syntax === undefined) return undefined;
  return masksInfo(plan.level, maskStatement({ sql, syntax, names: { catalog, path }, plan, parameterTypes: [], isHeld: said.decision.effect === 'hold', parse }));
}
