/** What a constant in a parse tree says as text, where the text alone tells it. */

type Node = { readonly [field: string]: unknown };

/** Undefined for NULL and for whatever is computed: a cast to anything but text may change the value. */
export function constantText(node: unknown): string | undefined {
  const cast = (node as Node | undefined)?.['TypeCast'] as Node | undefined;
  if (cast !== undefined) return isText(cast['typeName'] as Node | undefined) ? constantText(cast['arg']) : undefined;
  const constant = (node as Node | undefined)?.['A_Const'] as Node | undefined;
  if (constant === undefined) return undefined;
  if (constant['sval'] !== undefined) return String((constant['sval'] as Node)['sval'] ?? '');
  if (constant['fval'] !== undefined) return String((constant['fval'] as Node)['fval']);
  if (constant['ival'] !== undefined) return String((constant['ival'] as Node)['ival'] ?? 0);
  if (constant['boolval'] !== undefined) return String((constant['boolval'] as Node)['boolval'] ?? false);
  return undefined;
}

function isText(type: Node | undefined): boolean {
  const names = (type?.['names'] ?? []) as readonly { readonly String?: { readonly sval?: string } }[];
  const [first, second] = names.map((name) => name.String?.sval);
  return (first === 'text' && names.length === 1) || (first === 'pg_catalog' && second === 'text');
}
