/** What a write stores as it stands in the text. */
import type { StoredValue } from './masked.ts';
import { nodeOf, type Node } from './tree.ts';

export function storedValue(wrapped: unknown): StoredValue | undefined {
  const cast = nodeOf(wrapped, 'TypeCast');
  if (cast !== undefined) return storedValue(cast['arg']);
  const parameter = nodeOf(wrapped, 'ParamRef');
  if (parameter !== undefined) return { parameter: Number(parameter['number'] ?? 0) };
  const text = nodeOf(wrapped, 'A_Const')?.['sval'];
  return text === undefined ? undefined : { text: String((text as Node)['sval'] ?? '') };
}
