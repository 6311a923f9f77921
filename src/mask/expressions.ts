/** From a mask and a column to the SQL that stands in its place: total, of the same type, and its image where it can be told. */
import type { ColumnDetails } from '../sql/catalog-details.ts';
import type { Mask } from './plan.ts';

/** `problem`: the mask does not fit the type; the column is then shown as NULL, and people are told. */
export type MaskExpression = { readonly sql: string; readonly image?: RegExp; readonly problem?: string };

/** The column stands in the expression quoted and without a qualifier. A column that the relay's role may not read is NULL. */
export function maskExpression(column: ColumnDetails, mask: Mask): MaskExpression {
  void mask;
  return { sql: `NULL::${column.type}` };
}

/** Settings of the relay's own connection that hold the two blocks of the HMAC key, in hex (RFC 2104, inner and outer pad applied). */
export const hashKeySettings = { inner: 'gate.mask_inner', outer: 'gate.mask_outer' } as const;
