/** Decides on a masked principal's text node by node: admitted whole, with masks spliced in, or refused. Pure and total. */
import type { Catalog } from '../sql/catalog.ts';
import type { RelationDetails } from '../sql/catalog-details.ts';
import type { Syntax } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';
import type { Masked } from './masked.ts';
import type { MaskPlan } from './plan.ts';

export type MaskedText = {
  readonly sql: string;
  readonly syntax: Syntax;
  /** Of the session; its path is pinned, and never unknown. `prepared` holds the names that EXECUTE may run. */
  readonly names: SessionNames;
  readonly plan: MaskPlan;
  /** Type OIDs that Parse declares. */
  readonly parameterTypes: readonly number[];
  /** Parses what came out, to check it. */
  readonly parse: (sql: string) => Syntax | undefined;
};

export function maskStatement(text: MaskedText): Masked {
  void text;
  return { ok: false, rule: 'masks/statement', reason: 'not yet', hint: '' };
}

/** Code that is stored in the catalog: an expression over `relation`'s columns, or a whole query of a view. */
export type StoredText = {
  readonly sql: string;
  readonly kind: 'expression' | 'query';
  readonly syntax: Syntax | undefined;
  readonly catalog: Catalog;
  readonly relation?: RelationDetails;
  /** Functions of users that policy trusts, "schema.name". */
  readonly trusts: ReadonlySet<string>;
};

/** `columns`: of `relation`, as far as the text tells; `relations`: what it reads, by OID. */
export type StoredCode =
  | { readonly ok: true; readonly columns: readonly string[]; readonly isWholeRow: boolean; readonly relations: readonly number[] }
  | { readonly ok: false; readonly reason: string };

export function checkStored(text: StoredText): StoredCode {
  void text;
  return { ok: false, reason: 'not yet' };
}
