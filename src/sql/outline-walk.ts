/** From a parse tree to an outline: every node once, on an own stack, with the CTE names that are in sight there. */
import { commandTag } from './command-tag.ts';
import type { StatementKind } from './kind.ts';
import { noteExpression } from './outline-expressions.ts';
import type { StatementOutline } from './outline.ts';
import { noteStatement } from './outline-statements.ts';
import { isRelation, Notes, type Node } from './outline-notes.ts';

/** Names of WITH queries, innermost first. */
type Scope = { readonly name: string; readonly outer: Scope | undefined };

type Step = { readonly type: string; readonly node: unknown; readonly scope: Scope | undefined };

/** Fields that point to a node without naming its type, where the type matters. */
const typeOfField: Readonly<Record<string, string>> = { larg: 'SelectStmt', rarg: 'SelectStmt', base: 'CreateStmt', funccall: 'FuncCall' };

/** `isPlanOnly`: EXPLAIN without ANALYZE, which reads but changes nothing. */
export function outlineStatement(statement: Node, kinds: readonly StatementKind[], isPlanOnly: boolean): StatementOutline {
  const notes = new Notes(statement);
  const [type = '', body = {}] = Object.entries(statement)[0] ?? [];
  if (type !== '') notes.command(commandTag(type, body as Node));
  const stack: Step[] = [{ type: '', node: statement, scope: undefined }];
  for (let step = stack.pop(); step !== undefined; step = stack.pop()) {
    const { node, scope } = step;
    if (Array.isArray(node)) {
      // Backwards, so that what stands first is noted first.
      for (let index = node.length - 1; index >= 0; index--) stack.push({ type: step.type, node: node[index], scope });
    } else if (typeof node === 'object' && node !== null) {
      if (isRelation(node)) noteRelation(node, step.type, scope, notes);
      else for (const below of stepsBelow(step.type, node as Node, scope, notes)) stack.push(below);
    }
  }
  return notes.finish(kinds, isPlanOnly);
}

function stepsBelow(type: string, node: Node, scope: Scope | undefined, notes: Notes): Step[] {
  const done = noteStatement(type, node, notes);
  noteExpression(type, node, notes);
  const { inner, steps } = openScope(node, scope);
  const below: Step[] = [];
  for (const [key, child] of Object.entries(node)) {
    if (typeof child !== 'object' || child === null || key === 'withClause' || done.includes(key)) continue;
    below.push({ type: /^[A-Z]/.test(key) ? key : (typeOfField[key] ?? `.${key}`), node: child, scope: inner });
  }
  return [...below.toReversed(), ...steps.toReversed()];
}

/** WITH: its queries see those before them, or all of them when it is RECURSIVE; the rest of the statement sees all. */
function openScope(node: Node, scope: Scope | undefined): { inner: Scope | undefined; steps: Step[] } {
  const clause = node['withClause'] as { ctes?: readonly { CommonTableExpr?: Node }[]; recursive?: boolean } | undefined;
  if (clause === undefined) return { inner: scope, steps: [] };
  let inner = scope;
  const steps: Step[] = [];
  for (const { CommonTableExpr: cte } of clause.ctes ?? []) {
    steps.push({ type: 'CommonTableExpr', node: cte, scope: inner });
    inner = { name: String(cte?.['ctename']), outer: inner };
  }
  return { inner, steps: clause.recursive === true ? steps.map((step) => ({ ...step, scope: inner })) : steps };
}

/** A relation in a list stands where rows come from; in a field of its own, where something is done to it. */
function noteRelation(node: Node, type: string, scope: Scope | undefined, notes: Notes): void {
  if (type === 'RangeVar') {
    if (node['schemaname'] === undefined && isInSight(String(node['relname']), scope)) return;
    notes.read(node);
  } else if (type === '.pktable') notes.read(node);
  else notes.define(node, type === '.rel' ? { isNew: true } : {});
}

function isInSight(name: string, scope: Scope | undefined): boolean {
  for (let at = scope; at !== undefined; at = at.outer) if (at.name === name) return true;
  return false;
}
