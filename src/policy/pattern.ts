/** Patterns of the policy file: names of tables, functions and commands with whole-segment wildcards, and RE2 for texts. */
import { RE2JS } from 're2js';

/** Longest pattern for a text. */
export const textPatternLengthMax = 500;
/** `isUnknown`: the catalog does not know its schema. `isWhole`: it stands for everything in its schema. */
type Name = { readonly schema: string; readonly bare: string; readonly isUnknown: boolean; readonly isWhole: boolean };

/** Names of one kind that a rule lists. */
export type NamePattern = {
  readonly sources: readonly string[];
  /** Whether this very name is meant, beyond doubt: what an allow rule needs. */
  covers(name: string): boolean;
  /** Whether the name could be meant: what a hold or deny rule asks. A name of an unknown schema could be in any. */
  meets(name: string): boolean;
};

export type TextPattern = {
  readonly source: string;
  /** Takes time linear in the text. */
  matches(text: string): boolean;
};

/** Finds the first group of an RE2 pattern in a text, or the whole match where it has none; in time linear in the text. */
export function createFinder(source: string): { readonly source: string; find(text: string): string | undefined } {
  const pattern = RE2JS.compile(source);
  return {
    source,
    find(text) {
      const matcher = pattern.matcher(text);
      if (!matcher.find()) return undefined;
      return (matcher.groupCount() > 0 ? matcher.group(1) : matcher.group()) ?? undefined;
    },
  };
}

/** "schema.table", `*` for a whole segment, or `*` alone for every name, also one that the catalog does not know. */
export function createTablePattern(sources: readonly string[]): NamePattern {
  return createQualifiedPattern(sources);
}

/** Like tables; a name without a schema is one of pg_catalog, which `pg_catalog.*` means as a whole. */
export function createFunctionPattern(sources: readonly string[]): NamePattern {
  return createQualifiedPattern(sources.map((source) => (source === '*' || source.includes('.') ? source : `pg_catalog.${source}`)), sources);
}

/** Command tags in capitals, or their first words with ` *` behind them. */
export function createCommandPattern(sources: readonly string[]): NamePattern {
  const exact = new Set(sources.filter((source) => !source.endsWith('*')).map((source) => (source === 'TRUNCATE TABLE' ? 'TRUNCATE' : source)));
  const starts = sources.filter((source) => source.endsWith('*')).map((source) => source.slice(0, -1));
  const test = (name: string) => exact.has(name) || starts.some((start) => `${name} `.startsWith(start));
  return { sources, covers: test, meets: test };
}

function createQualifiedPattern(qualified: readonly string[], sources: readonly string[] = qualified): NamePattern {
  const hasAll = qualified.includes('*');
  const exact = new Map<string, Set<string>>();
  const schemas = new Set<string>();
  const bareNames = new Set<string>();
  let hasEverySchema = false;
  for (const source of qualified.filter((one) => one !== '*')) {
    const { schema, bare } = cut(source);
    if (schema !== '*' && bare !== '*') exact.set(schema, (exact.get(schema) ?? new Set()).add(bare));
    else if (schema !== '*') schemas.add(schema);
    else if (bare !== '*') bareNames.add(bare);
    else hasEverySchema = true;
  }
  const isListed = ({ schema, bare }: Name) =>
    hasEverySchema || schemas.has(schema) || bareNames.has(bare) || exact.get(schema)?.has(bare) === true;
  const listedBare = new Set([...bareNames, ...[...exact.values()].flatMap((names) => [...names])]);
  const hasAnyBare = hasEverySchema || schemas.size > 0;
  return {
    sources,
    covers(text) {
      if (hasAll) return true;
      const name = readName(text);
      if (name.isUnknown) return false;
      return name.isWhole ? hasEverySchema || schemas.has(name.schema) : isListed(name);
    },
    meets(text) {
      if (hasAll) return true;
      const name = readName(text);
      if (name.isWhole) return name.isUnknown || hasEverySchema || bareNames.size > 0 || schemas.has(name.schema) || exact.has(name.schema);
      return name.isUnknown ? hasAnyBare || listedBare.has(name.bare) : isListed(name);
    },
  };
}

function cut(source: string): { schema: string; bare: string } {
  const dot = source.indexOf('.');
  return { schema: source.slice(0, dot), bare: source.slice(dot + 1) };
}

/** Names come again with every statement; reading one is most of the work of a pattern. */
const known = new Map<string, Name>();
const knownMax = 10_000;

function readName(text: string): Name {
  let name = known.get(text);
  if (name === undefined) {
    name = parseName(text);
    if (known.size >= knownMax) known.clear();
    known.set(text, name);
  }
  return name;
}

/** As src/sql/names.ts writes them: parts in double quotes where they could not be told apart otherwise. */
function parseName(text: string): Name {
  if (!text.includes('.')) return { schema: 'pg_catalog', bare: text, isUnknown: false, isWhole: false };
  const parts = /^("(?:[^"]|"")*"|[^."]*)\.("(?:[^"]|"")*"|[^."]*)$/.exec(text);
  // Nothing writes such a name: it could be any.
  if (parts === null) return { schema: '?', bare: '*', isUnknown: true, isWhole: true };
  const [, schema = '', bare = ''] = parts;
  return { schema: unquote(schema), bare: unquote(bare), isUnknown: schema === '?', isWhole: bare === '*' };
}

function unquote(part: string): string {
  return part.startsWith('"') ? part.slice(1, -1).replaceAll('""', '"') : part;
}

/** Fails with the library's words for a text that is no RE2 pattern. `isWhole`: the text must match from end to end. */
export function createTextPattern(source: string, options: { readonly isWhole: boolean }): TextPattern {
  const compiled = RE2JS.compile(source);
  return {
    source,
    matches: (text) => (options.isWhole ? compiled.testExact(text) : compiled.test(text)),
  };
}
