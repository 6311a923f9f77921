/** The value of search_path as a list of schema names. */
import { quoteName } from './names.ts';

/** Undefined for a value that the server would refuse. `user` replaces "$user". */
export function parseSearchPath(value: string, user: string): readonly string[] | undefined {
  const names: string[] = [];
  const pattern = /[ \t\n\r\f\v]*(?:"((?:[^"]|"")+)"|([^",\s]+))[ \t\n\r\f\v]*(?:,|$)/y;
  if (/^[ \t\n\r\f\v]*$/.test(value)) return [];
  while (pattern.lastIndex < value.length) {
    const match = pattern.exec(value);
    if (match === null) return undefined;
    const name = match[1]?.replaceAll('""', '"') ?? (match[2] as string).toLowerCase();
    names.push(name === '$user' ? user : name);
    if (!match[0].endsWith(',')) return pattern.lastIndex === value.length ? names : undefined;
  }
  return undefined;
}

/** The value that has the server look into these schemas, and into temporary objects last. */
export function formatSearchPath(schemas: readonly string[]): string {
  const names = schemas.filter((schema) => schema !== 'pg_temp').map(quoteName);
  return [...names, 'pg_temp'].join(', ');
}

/** The parts of a name in a string, as regclass reads it: a."B".c; undefined where it is none. */
export function parseName(text: string): readonly string[] | undefined {
  const parts: string[] = [];
  const pattern = /(?:"((?:[^"]|"")+)"|([^".\s]+))(?:\.|$)/y;
  while (pattern.lastIndex < text.length) {
    const match = pattern.exec(text);
    if (match === null) return undefined;
    parts.push(match[1]?.replaceAll('""', '"') ?? (match[2] as string).toLowerCase());
    if (!match[0].endsWith('.')) return pattern.lastIndex === text.length ? parts : undefined;
  }
  return undefined;
}
