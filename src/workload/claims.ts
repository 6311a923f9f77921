/** From the payload of a token to flat claims that can be compared: a name that is not certain is no name. */
import type { Claims } from './workload.ts';

/** Objects inside one another. */
const depthMax = 5;
/** Names in a token, those of inner objects included. */
const namesMax = 300;
const textsMax = 200;

/**
 * Nested objects become `outer/inner`; numbers and truth values become text, lists of texts stay. Two names that come out
 * the same are both left out, and of a payload with too many names nothing is taken.
 */
export function flattenClaims(payload: Readonly<Record<string, unknown>>): Claims {
  const claims = new Map<string, string | readonly string[]>();
  const seen = new Set<string>();
  let count = 0;
  const visit = (object: object, prefix: string, depth: number): void => {
    for (const [key, value] of Object.entries(object)) {
      if (++count > namesMax) return;
      const name = prefix + key;
      const isSecond = seen.has(name);
      seen.add(name);
      if (isSecond) claims.delete(name);
      const claim = claimOf(value);
      if (claim !== undefined) {
        if (!isSecond) claims.set(name, claim);
      } else if (typeof value === 'object' && value !== null && !Array.isArray(value) && depth < depthMax) {
        visit(value, `${name}/`, depth + 1);
      }
    }
  };
  visit(payload, '', 1);
  return count > namesMax ? new Map() : claims;
}

function claimOf(value: unknown): string | readonly string[] | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  // Beyond these two numbers could come out as the same text.
  if (typeof value === 'number') return Math.abs(value) <= Number.MAX_SAFE_INTEGER ? String(value) : undefined;
  if (!Array.isArray(value) || value.length > textsMax) return undefined;
  return value.every((one) => typeof one === 'string') ? value : undefined;
}

/** The claim where it is one text that is not empty. */
export function textOf(claims: Claims, name: string): string | undefined {
  const value = claims.get(name);
  return typeof value === 'string' && value !== '' ? value : undefined;
}
