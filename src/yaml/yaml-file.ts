/** YAML text against a schema: a value, or one error that names file, line, column and what was expected. Pure. */
import { LineCounter, parseDocument, type Document, type Node } from 'yaml';
import type * as z from 'zod/mini';
import { GateError } from '../errors/errors.ts';

/** Parses and checks `text`. Fails with `config-invalid`; every problem is on a line of its own. */
export function parseYaml<Schema extends z.ZodMiniType>(text: string, file: string, schema: Schema): z.infer<Schema> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw invalid(document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`));
  }
  const result = schema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {});
  if (result.success) return result.data as z.infer<Schema>;
  throw invalid(result.error.issues.map((issue) => describeIssue(document, issue, at)));
}

function describeIssue(document: Document, issue: z.core.$ZodIssue, at: (offset: number) => string): string {
  const where = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    return `${at(offsetOf(document, [...issue.path, key]))}: ${where}unknown key ${issue.keys.map((name) => `"${name}"`).join(', ')}`;
  }
  return `${at(offsetOf(document, issue.path))}: ${where}${issue.message}`;
}

/** Where the node of a path begins, or its nearest parent that exists. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as Node | undefined;
    if (node?.range) return node.range[0];
  }
  return 0;
}

function invalid(problems: readonly string[]): GateError {
  return new GateError('config-invalid', problems.join('\n'));
}
