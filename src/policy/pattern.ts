/** Patterns of the policy file: names of tables, functions and commands with whole-segment wildcards, and RE2 for texts. */
import { RE2JS } from 're2js';

/** Longest pattern for a text. */
export const textPatternLengthMax = 500;
/** Names with more dots than a schema and a name can be cut in several ways. */
type Name = { readonly schema: string; readonly bare: string; readonly isUnknown: boolean; readonly isAmbiguous: boolean };

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
  const exact = new Set(sources.filter((source) => !source.endsWith('*')));
  const starts = sources.filter((source) => source.endsWith('*')).map((source) => source.slice(0, -1));
  const test = (name: string) => exact.has(name) || starts.some((start) => name.startsWith(start));
  return { sources, covers: test, meets: test };
}

function createQualifiedPattern(qualified: readonly string[], sources: readonly string[] = qualified): NamePattern {
  const hasAll = qualified.includes('*');
  const exact = new Set<string>();
  const schemas = new Set<string>();
  const bareNames = new Set<string>();
  let hasEverySchema = false;
  for (const source of qualified.filter((one) => one !== '*')) {
    const { schema, bare } = cut(source);
    if (schema !== '*' && bare !== '*') exact.add(source);
    else if (schema !== '*') schemas.add(schema);
    else if (bare !== '*') bareNames.add(bare);
    else hasEverySchema = true;
  }
  const isListed = (schema: string, bare: string) =>
    hasEverySchema || exact.has(`${schema}.${bare}`) || schemas.has(schema) || bareNames.has(bare);
  const listedBare = new Set([...exact].map((source) => cut(source).bare).concat([...bareNames]));
  const hasAnyBare = hasEverySchema || schemas.size > 0;
  const listedSchemas = new Set([...exact].map((source) => cut(source).schema).concat([...schemas]));
  /** "public.*" is every relation of a schema, whichever there are. */
  const meetsSome = (schema: string) => schema === '?' || hasEverySchema || bareNames.size > 0 || listedSchemas.has(schema);
  return {
    sources,
    covers(text) {
      if (hasAll) return true;
      const { schema, bare, isUnknown, isAmbiguous } = readName(text);
      return !isUnknown && !isAmbiguous && isListed(schema, bare);
    },
    meets(text) {
      if (hasAll) return true;
      const { schema, bare, isUnknown, isAmbiguous } = readName(text);
      if (bare === '*') return meetsSome(schema);
      if (isUnknown) return hasAnyBare || listedBare.has(bare);
      if (!isAmbiguous) return isListed(schema, bare);
      return splits(text).some((one) => isListed(one.schema, one.bare));
    },
  };
}

function cut(source: string): { schema: string; bare: string } {
  const dot = source.indexOf('.');
  return { schema: source.slice(0, dot), bare: source.slice(dot + 1) };
}

function readName(text: string): Name {
  const dot = text.indexOf('.');
  if (dot === -1) return { schema: 'pg_catalog', bare: text, isUnknown: false, isAmbiguous: false };
  const schema = text.slice(0, dot);
  return { schema, bare: text.slice(dot + 1), isUnknown: schema === '?', isAmbiguous: schema !== '?' && text.includes('.', dot + 1) };
}

function splits(text: string): { schema: string; bare: string }[] {
  const found = [];
  for (let dot = text.indexOf('.'); dot !== -1; dot = text.indexOf('.', dot + 1)) {
    found.push({ schema: text.slice(0, dot), bare: text.slice(dot + 1) });
  }
  return found;
}

/** Fails with the library's words for a text that is no RE2 pattern. `isWhole`: the text must match from end to end. */
export function createTextPattern(source: string, options: { readonly isWhole: boolean }): TextPattern {
  const compiled = RE2JS.compile(source);
  return {
    source,
    matches: (text) => (options.isWhole ? compiled.testExact(text) : compiled.test(text)),
  };
}
