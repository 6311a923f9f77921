/** A chain from a machine to a person, for people: one line per link, with how far it is proven. */
import type { Link } from '../principal/principal.ts';
import { displayWidth, oneLine } from './output.ts';

/** Lines without a line break: kind, value with what never changes of it, and who vouches for it. */
export function formatChain(chain: readonly Link[]): string[] {
  const rows = chain.map(({ kind, value, id, strength, source }) => ({
    kind,
    value: oneLine(id === undefined || id === value ? value : `${value} (${id})`),
    strength: `${strength} by ${source}`,
  }));
  const width = Math.max(0, ...rows.map(({ value }) => displayWidth(value)));
  return rows.map(({ kind, value, strength }) => `${kind.padEnd(12)}${value}${' '.repeat(width - displayWidth(value))}   ${strength}`);
}
