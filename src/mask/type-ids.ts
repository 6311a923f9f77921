/** OIDs of types whose values are looked into on the way to a client: those of pg_type.dat, the same in every server. */

/** Text and binary are the same bytes: text, varchar, bpchar, name, "char", unknown, xml. */
export const textTypes: ReadonlySet<number> = new Set([25, 1043, 1042, 19, 18, 705, 142]);
export const jsonType = 114;
export const jsonbType = 3802;
export const int8Type = 20;
export const numericType = 1700;
/** With their ranges. */
export const wholeNumberBits: ReadonlyMap<number, number> = new Map([[21, 15], [23, 31], [int8Type, 63]]);
/** float4, float8. */
export const floatTypes: ReadonlySet<number> = new Set([700, 701]);
export const boolType = 16;
export const dateType = 1082;
export const timestampType = 1114;
export const uuidType = 2950;
/** Arrays of int8 and numeric. */
export const numberArrayTypes: ReadonlySet<number> = new Set([1016, 1231]);

export function isNumberType(type: number): boolean {
  return wholeNumberBits.has(type) || type === numericType || floatTypes.has(type);
}
