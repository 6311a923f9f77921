/** Reading parse trees: what a node holds, as far as it is what it should be. Pure. */

export type Node = Readonly<Record<string, unknown>>;

/** `[kind, node]` of a node that names its kind. */
export function kindOf(wrapped: unknown): readonly [string, Node] | undefined {
  if (typeof wrapped !== 'object' || wrapped === null || Array.isArray(wrapped)) return undefined;
  const [entry] = Object.entries(wrapped);
  return entry === undefined ? undefined : [entry[0], entry[1] as Node];
}

export function nodeOf(wrapped: unknown, kind: string): Node | undefined {
  return (wrapped as Node | undefined)?.[kind] as Node | undefined;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** Of a String node; undefined for any other. */
export function stringOf(wrapped: unknown): string | undefined {
  const node = nodeOf(wrapped, 'String');
  return node === undefined ? undefined : String(node['sval'] ?? '');
}

/** Of a list of String nodes, as names are written. */
export function namesOf(list: unknown): readonly string[] {
  return listOf(list).map((item) => stringOf(item) ?? '');
}

/** Byte offset in the text; undefined where the grammar made the node up. */
export function locationOf(node: Node | undefined): number | undefined {
  if (node === undefined) return undefined;
  const location = node['location'];
  // The library leaves out what is zero.
  if (location === undefined) return 0;
  return typeof location === 'number' && location >= 0 ? location : undefined;
}

/** The value of a constant as text, numbers and booleans included; undefined for NULL and for anything else. */
export function constantOf(wrapped: unknown): string | undefined {
  const cast = nodeOf(wrapped, 'TypeCast');
  if (cast !== undefined) return constantOf(cast['arg']);
  const constant = nodeOf(wrapped, 'A_Const');
  if (constant === undefined || constant['isnull'] === true) return undefined;
  const { sval, ival, fval, boolval } = constant as Record<string, Node | undefined>;
  if (sval !== undefined) return String(sval['sval'] ?? '');
  if (ival !== undefined) return String(ival['ival'] ?? 0);
  if (fval !== undefined) return String(fval['fval'] ?? '');
  if (boolval !== undefined) return String(boolval['boolval'] ?? false);
  return undefined;
}
