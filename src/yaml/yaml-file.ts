/** YAML text against a schema: a value, or one error that names file, line, column and what was expected. Pure. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml';
import type * as z from 'zod/mini';
import { GateError, messageOf } from '../errors/errors.ts';
import { describeProblem } from './problem.ts';

/** Longest text that is read; a policy for thousands of targets is far below it. */
export const yamlLengthMax = 4 * 1024 * 1024;
/** How often aliases may be followed in all: a few lines of them can otherwise expand to gigabytes. */
const aliasesMax = 100;

/** Parses and checks `text`. Fails with `config-invalid`; every problem is on a line of its own. */
export function parseYaml<Schema extends z.ZodMiniType>(text: string, file: string, schema: Schema): z.infer<Schema> {
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
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalid(result.error.issues.map((issue) => describeIssue(document, value, issue, at)));
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

function describeIssue(document: Document, value: unknown, issue: z.core.$ZodIssue, at: (offset: number) => string): string {
  const where = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  const isAboutKey = issue.code === 'unrecognized_keys' || issue.code === 'invalid_key';
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
  return `${at(offsetOf(document, path, isAboutKey))}: ${where}${describeProblem(issue, value)}`;
}

/** Where the node of a path begins, or its key; for what is not there, the nearest parent that is. */
function offsetOf(document: Document, path: readonly PropertyKey[], ofKey: boolean): number {
  let node: unknown = document.contents;
  let offset = document.contents?.range?.[0] ?? 0;
  for (const [index, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    const isLast = index === path.length - 1;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (pair === undefined) return offset;
      // A key without a value has a node without a place of its own.
      offset = rangeStart(isLast && ofKey ? pair.key : pair.value) ?? rangeStart(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = rangeStart(node) ?? offset;
    } else return offset;
  }
  return offset;
}

function rangeStart(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}

function invalid(problems: readonly string[]): GateError {
  return new GateError('config-invalid', problems.join('\n'));
}
