/** A relation while the closure of masks is computed over it. */
import type { CatalogRelation } from '../sql/catalog.ts';
import type { RelationDetails } from '../sql/catalog-details.ts';
import type { MaskRule } from './plan.ts';

export type Draft = {
  readonly relation: CatalogRelation;
  readonly details: RelationDetails;
  /** Column → the rule that masks it. */
  readonly masks: Map<string, MaskRule>;
  readonly hidden: Set<string>;
  /** Shown as their base type: a literal beside a domain is made into one where a function takes both, and its check is not proven. */
  readonly recast: Set<string>;
  /** Why it cannot be read at all. */
  refused?: string;
  hint?: string;
  /** A view over masked columns that no rule names: its definition is taken in. */
  isExpanded?: boolean;
};

export function isMasked({ masks, hidden }: Draft): boolean {
  return masks.size > 0 || hidden.size > 0;
}

/** Whether something else stands in its place where it is read. */
export function isSpliced(draft: Draft): boolean {
  return isMasked(draft) || draft.recast.size > 0;
}

/** Whether nobody with masks may see the column as it is. */
export function isRaw({ masks, hidden }: Draft, column: string): boolean {
  return masks.has(column) || hidden.has(column);
}

export function nameOf({ relation }: Draft): string {
  return `${relation.schema}.${relation.name}`;
}
