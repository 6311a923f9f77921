/** What came out of the edits, parsed again: the same statement, with nothing else in it than the edits have put there. */
import { rangesOf } from './edits.ts';
import type { Edit } from './masked.ts';
import type { Syntax } from '../sql/parser.ts';
import { isSameTree } from './same-tree.ts';
import { listOf, type Node } from './tree.ts';

/**
 * What a rewritten text is beside the one that it was made of. `relations`: those that it reads by name where the client
 * has written them, each once. Plain data: it crosses from the parser's worker thread.
 */
export type Rewritten = { readonly isSame: boolean; readonly relations: readonly Node[] };

/** The same statement, with nothing else in it than the edits have put there. */
export function checkRewritten(before: Syntax | undefined, after: Syntax | undefined, edits: readonly Edit[]): Rewritten {
  if (before === undefined || after === undefined) return { isSame: false, relations: [] };
  const isInserted = insertedBy(edits);
  if (before !== after && !isSameTree(before.tree.stmts, after.tree.stmts, isInserted)) return { isSame: false, relations: [] };
  const relations = new Map<string, Node>();
  for (const { schemaname, relname, location = 0 } of relationsOf(after.tree)) {
    if (isInserted(location)) continue;
    const key = JSON.stringify([schemaname, relname]);
    if (!relations.has(key)) relations.set(key, { ...(schemaname !== undefined && { schemaname }), relname, location });
  }
  return { isSame: true, relations: [...relations.values()] };
}

/** The edits are sorted and apart, and each node of the tree asks: the last that begins no later is found by halves. */
function insertedBy(edits: readonly Edit[]): (at: unknown) => boolean {
  const ranges = rangesOf(edits);
  return (at) => {
    if (typeof at !== 'number') return false;
    let [low, high] = [0, ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ranges[middle]?.start ?? Infinity) <= at) low = middle + 1;
      else high = middle;
    }
    return at < (ranges[low - 1]?.end ?? -1);
  };
}

/** Names of WITH queries in sight. */
type Names = ReadonlySet<string>;

/** Relations that are read by name, those that are names of WITH queries left out. */
function relationsOf(root: unknown): Node[] {
  const relations: Node[] = [];
  const visit = (value: unknown, names: Names): void => {
    if (Array.isArray(value)) {
      for (const item of value as unknown[]) visit(item, names);
      return;
    }
    if (typeof value !== 'object' || value === null) return;
    const inner = visitWith((value as Node)['withClause'] as Node | undefined, names, visit);
    for (const [field, child] of Object.entries(value)) {
      // Locked relations are names of the FROM beside them.
      if (field === 'withClause' || field === 'lockingClause') continue;
      if (field === 'RangeVar' || (field === 'CopyStmt' && isCopyOut(child as Node))) noteRelation(field === 'RangeVar' ? (child as Node) : ((child as Node)['relation'] as Node), inner, relations);
      visit(child, inner);
    }
  };
  visit(root, new Set());
  return relations;
}

function visitWith(clause: Node | undefined, names: Names, visit: (value: unknown, names: Names) => void): Names {
  if (clause === undefined) return names;
  const queries = listOf(clause['ctes']).map((item) => (item as Node)['CommonTableExpr'] as Node);
  const all = new Set([...names, ...queries.map((query) => String(query['ctename']))]);
  const seen = new Set(names);
  for (const query of queries) {
    visit(query, clause['recursive'] === true ? all : new Set(seen));
    seen.add(String(query['ctename']));
  }
  return all;
}

function isCopyOut(copy: Node): boolean {
  return copy['relation'] !== undefined && copy['is_from'] !== true;
}

function noteRelation(relation: Node, names: Names, relations: Node[]): void {
  if (relation['schemaname'] === undefined && names.has(String(relation['relname']))) return;
  relations.push(relation);
}
