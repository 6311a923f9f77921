/** From the masks of a policy and a catalog to a plan: closed over children, views, generated columns, row security and code that writes run. */
import type { Catalog } from '../sql/catalog.ts';
import type { Syntax } from '../sql/parser.ts';
import type { MaskPlan, MaskRules } from './plan.ts';

export type PlanInput = {
  readonly catalog: Catalog;
  readonly rules: MaskRules;
  /** Of a text that `storedTexts` has named. */
  readonly syntaxOf: (sql: string) => Syntax | undefined;
};

/** Texts of the catalog that must be parsed before `buildPlan`. */
export function storedTexts(catalog: Catalog): readonly string[] {
  void catalog;
  return [];
}

/** `problems`: what an operator should know, a line each: masks that fit no type, rules that cover nothing, views that are refused. */
export function buildPlan(input: PlanInput): { readonly plan: MaskPlan; readonly problems: readonly string[] } {
  throw new Error(`not yet: ${input.rules.digest}`);
}
