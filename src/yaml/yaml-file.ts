/** YAML text against a schema: a value, or one error that names file, line, column and what was expected. Pure. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node, type Scalar } from 'yaml';
import type * as z from 'zod/mini';
import { GateError, messageOf } from '../errors/errors.ts';
import { describeProblem, keysAt } from './problem.ts';

/** Longest text that is read; a policy for thousands of targets is far below it. */
export const yamlLengthMax = 4 * 1024 * 1024;
/** How often aliases may be followed in all: a few lines of them can otherwise expand to gigabytes. */
const aliasesMax = 100;

/**
 * Tells of a problem that the schema cannot see: at the value of `path`, at its key with `ofKey`, or at the character
 * `offset` of a value that is text.
 */
export type Report = (path: readonly PropertyKey[], message: string, place?: { ofKey?: boolean; offset?: number }) => void;

/** Parses and checks `text`. Fails with `config-invalid`; every problem is on a line of its own. */
export function parseYaml<Schema extends z.ZodMiniType>(text: string, file: string, schema: Schema): z.infer<Schema>;
/** The same, and goes on with `resolve` where the schema has no objection; what it reports counts as a problem. */
export function parseYaml<Schema extends z.ZodMiniType, Result>(
  text: string,
  file: string,
  schema: Schema,
  resolve: (value: z.infer<Schema>, report: Report) => Result,
): Result;
export function parseYaml<Schema extends z.ZodMiniType>(
  text: string,
  file: string,
  schema: Schema,
  resolve: (value: z.infer<Schema>, report: Report) => unknown = (value) => value,
): unknown {
  if (text.length > yamlLengthMax) throw invalid([`${file}: the file is longer than ${yamlLengthMax} characters`]);
  const lines = new LineCounter();
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const document = read(text, file, lines);
  // A tag that is not known is only a warning to the library; the value would be something else than was written.
  const problems = [...document.errors, ...document.warnings];
  if (problems.length > 0) throw invalid(problems.map((error) => `${at(error.pos[0])}: ${error.message}`));
  const value = toValue(document, file);
  const checked = schema.safeParse(value);
  if (!checked.success) {
    throw invalid(checked.error.issues.map((issue) => describeIssue({ document, value, schema, at }, issue)));
  }
  const found = new Set<string>();
  const result = resolve(checked.data, (path, message, { ofKey = false, offset } = {}) => {
    const { start, node } = find(document, path, ofKey);
    const place = offset === undefined ? start : start + shiftInside(text, node, offset);
    found.add(`${at(place)}: ${path.join('.')}: ${message}`);
  });
  if (found.size > 0) throw invalid([...found]);
  return result;
}

function read(text: string, file: string, lines: LineCounter): Document {
  try {
    return parseDocument(text, { lineCounter: lines, prettyErrors: false });
  } catch (error) {
    // The parser is recursive: a text of brackets alone exhausts the stack.
    throw invalid([`${file}: this is not readable as YAML: ${messageOf(error)}`]);
  }
}

function toValue(document: Document, file: string): unknown {
  try {
    return (document.toJS({ maxAliasCount: aliasesMax }) as unknown) ?? {};
  } catch (error) {
    throw invalid([`${file}: ${messageOf(error)}`]);
  }
}

type Checked = {
  readonly document: Document;
  readonly value: unknown;
  readonly schema: z.ZodMiniType;
  readonly at: (offset: number) => string;
};

function describeIssue({ document, value, schema, at }: Checked, issue: z.core.$ZodIssue): string {
  const where = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  const isAboutKey = issue.code === 'unrecognized_keys' || issue.code === 'invalid_key';
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
  const { start } = find(document, path, isAboutKey);
  return `${at(start)}: ${where}${describeProblem(issue, value, keysAt(schema, issue.path))}`;
}

/** Where the node of a path begins, or its key; for what is not there, the nearest parent that is. */
function find(document: Document, path: readonly PropertyKey[], ofKey: boolean): { start: number; node: unknown } {
  let node: unknown = document.contents;
  let offset = document.contents?.range?.[0] ?? 0;
  for (const [index, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    const isLast = index === path.length - 1;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (pair === undefined) return { start: offset, node: undefined };
      // A key without a value has a node without a place of its own.
      offset = rangeStart(isLast && ofKey ? pair.key : pair.value) ?? rangeStart(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = rangeStart(node) ?? offset;
    } else return { start: offset, node: undefined };
  }
  return { start: offset, node: isAlias(node) ? undefined : node };
}

function rangeStart(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}

/**
 * How far from the beginning of a text value's source its character `offset` stands: 0 where that cannot be told, as
 * behind an escape. A block keeps its lines, each behind the same indentation.
 */
function shiftInside(text: string, node: unknown, offset: number): number {
  if (!isScalar(node) || typeof node.value !== 'string' || !Array.isArray(node.range)) return 0;
  const { value, range, type } = node as Scalar<string> & { range: [number, number, number] };
  const source = text.slice(range[0], range[1]);
  if (type === 'BLOCK_LITERAL') {
    const before = value.slice(0, offset).split('\n');
    const rows = source.split('\n');
    const column = (rows[before.length] ?? '').indexOf((value.split('\n')[before.length - 1] ?? '').trimStart());
    const lead = (value.split('\n')[before.length - 1] ?? '').search(/\S|$/);
    const start = rows.slice(0, before.length).reduce((sum, row) => sum + row.length + 1, 0);
    return start + Math.max(0, column - lead) + (before.at(-1) ?? '').length;
  }
  const quote = type === 'QUOTE_DOUBLE' || type === 'QUOTE_SINGLE' ? 1 : 0;
  return source.slice(quote, source.length - quote) === value ? quote + offset : 0;
}

function invalid(problems: readonly string[]): GateError {
  return new GateError('config-invalid', problems.join('\n'));
}
