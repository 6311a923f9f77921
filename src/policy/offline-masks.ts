/** Which masks a text would get where no relay stands behind it: tables and their columns are those that a file writes down. Pure. */
import type { ExplainAnswer } from '../api/policy-api.ts';
import { maskStatement } from '../mask/analyse.ts';
import { buildPlan, storedTexts } from '../mask/closure.ts';
import { cutRules } from '../mask/custom.ts';
import type { Principal } from '../principal/principal.ts';
import type { Syntax } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';
import { maskRulesFor } from './masks.ts';
import type { Policy } from './role.ts';

export type MasksQuestion = {
  readonly policy: Policy;
  readonly principal: Principal;
  readonly target: string;
  readonly role: string;
  readonly now: Date;
  readonly sql: string;
  readonly names: SessionNames;
  /** The policy holds the text for people. */
  readonly isHeld: boolean;
  /** Undefined for a text that cannot be parsed. */
  readonly parse: (sql: string) => Syntax | undefined;
};

export type MasksAnswer = NonNullable<ExplainAnswer['masks']>;

/** Undefined for a principal without masks, and where no columns are written down: then nothing can be told. */
export function masksOf({ policy, principal, target, role, now, sql, names, isHeld, parse }: MasksQuestion): MasksAnswer | undefined {
  const rules = maskRulesFor(policy, { target, role, principal, now });
  const { catalog, path = [] } = names;
  if (rules.rules.length === 0 || catalog?.data.details === undefined) return undefined;
  if (rules.level === 'display') return { level: 'display', columns: [] };
  const trees = new Map(storedTexts(catalog).map((text) => [text, parse(text)]));
  const { plan } = buildPlan({ catalog, rules: cutRules(rules, parse).rules, syntaxOf: (text) => trees.get(text) });
  const syntax = parse(sql);
  if (syntax === undefined) return undefined;
  const masked = maskStatement({ sql, syntax, names: { catalog, path }, plan, parameterTypes: [], isHeld, parse });
  if (masked.ok) return { level: plan.level, columns: [...masked.columns], sent: masked.sql };
  return { level: plan.level, columns: [], refusal: { rule: masked.rule, reason: masked.reason, hint: masked.hint } };
}
