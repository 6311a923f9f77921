/** What is wrong with a value, in words: the schema library has none unless it loads a locale of its own. */
import type * as z from 'zod/mini';
import { nearest } from './nearest.ts';

const nouns: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping of keys to values',
  record: 'a mapping of names to values',
};

const wordless = 'Invalid input';

/** One issue of the schema as half a sentence; `root` is the whole value that was checked, `keys` what may stand there. */
export function describeProblem(issue: z.core.$ZodIssue, root: unknown, keys: readonly string[] = []): string {
  if (issue.code === 'unrecognized_keys') return describeUnknown(issue.keys, keys);
  if (issue.message !== wordless) return issue.message;
  switch (issue.code) {
    case 'invalid_type': {
      const expected = nouns[issue.expected] ?? issue.expected;
      return valueAt(root, issue.path) === undefined ? `missing, write ${expected}` : `expected ${expected}`;
    }
    case 'invalid_value':
      return `expected ${issue.values.map((value) => String(value)).join(' or ')}`;
    case 'invalid_key':
      return `the name is not valid: ${issue.issues.map((inner) => describeProblem(inner, root)).join(', ')}`;
    case 'invalid_union':
      return issue.errors.flatMap((errors) => errors.map((inner) => describeProblem(inner, root))).join(', or ');
    case 'too_small':
      return describeBound('at least', issue.origin, Number(issue.minimum));
    case 'too_big':
      return describeBound('at most', issue.origin, Number(issue.maximum));
    case 'invalid_format':
      return issue.format === 'url' ? 'expected a URL, as in https://example.com' : `expected the format ${issue.format}`;
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`;
    case 'invalid_element':
    case 'custom':
      return 'this value is not accepted here';
  }
}

function describeUnknown(unknown: readonly string[], known: readonly string[]): string {
  const words = `unknown key ${unknown.map((name) => `"${name}"`).join(', ')}`;
  const near = nearest(unknown[0] ?? '', known);
  if (near !== undefined) return `${words}, did you mean "${near}"?`;
  return known.length === 0 ? words : `${words}: write ${known.join(', ')}`;
}

/** The keys that the schema knows at a path, as far as they can be told. */
export function keysAt(schema: z.ZodMiniType, path: readonly PropertyKey[]): readonly string[] {
  let current: SchemaNode | undefined = schema as unknown as SchemaNode;
  for (const part of path) {
    current = unwrap(current);
    const def: SchemaDef | undefined = current?._zod.def;
    current = def?.shape?.[String(part)] ?? def?.valueType ?? def?.element;
  }
  return Object.keys(unwrap(current)?._zod.def.shape ?? {}).filter((key) => !key.startsWith('$'));
}

type SchemaNode = { readonly _zod: { readonly def: SchemaDef } };
type SchemaDef = {
  readonly shape?: Readonly<Record<string, SchemaNode>>;
  readonly valueType?: SchemaNode;
  readonly element?: SchemaNode;
  readonly innerType?: SchemaNode;
};

/** The schema inside optional and default ones. */
function unwrap(schema: SchemaNode | undefined): SchemaNode | undefined {
  let inner = schema;
  while (inner?._zod.def.innerType !== undefined) inner = inner._zod.def.innerType;
  return inner;
}

function describeBound(bound: string, origin: string, limit: number): string {
  if (origin === 'string') return limit === 1 && bound === 'at least' ? 'must not be empty' : `write ${bound} ${limit} characters`;
  if (origin === 'array') return `write ${bound} ${limit === 1 ? 'one entry' : `${limit} entries`}`;
  return `must be ${bound} ${limit}`;
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const part of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[part];
  return value;
}
