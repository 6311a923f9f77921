/** Whether a rewritten statement is the one that it was, but for what the edits have put there. Pure. */
import { kindOf, listOf, nodeOf, type Node } from './tree.ts';

/** Whether a byte of the rewritten text was put there by an edit. */
export type IsInserted = (at: number) => boolean;

/** Where something stands says nothing about what it is. */
const places = /^(?:\w*location|stmt_len|(?:rexpr_)?list_(?:start|end))$/;

export function isSameTree(before: unknown, after: unknown, isInserted: IsInserted): boolean {
  if (Array.isArray(before) || Array.isArray(after)) return areSame(listOf(before), listOf(after), isInserted);
  if (typeof before !== 'object' || before === null || typeof after !== 'object' || after === null) return before === after;
  const [was, is] = [kindOf(before), kindOf(after)];
  if (was !== undefined && is !== undefined && isReplacement(was, is, isInserted)) return true;
  const fields = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...fields].every((field) => places.test(field) || isSameField(field, before as Node, after as Node, isInserted));
}

function areSame(before: readonly unknown[], after: readonly unknown[], isInserted: IsInserted): boolean {
  return before.length === after.length && before.every((item, index) => isSameTree(item, after[index], isInserted));
}

const replaced: ReadonlySet<string> = new Set(['RangeVar', 'RangeTableSample', 'RangeFunction']);

/** A relation for which a sub-select of the same name stands now. */
function isReplacement([kind, node]: readonly [string, Node], [now, subselect]: readonly [string, Node], isInserted: IsInserted): boolean {
  if (!replaced.has(kind) || now !== 'RangeSubselect' || !isPutThere(subselect['subquery'], isInserted)) return false;
  const relation = kind === 'RangeTableSample' ? (nodeOf(node['relation'], 'RangeVar') ?? {}) : node;
  const alias = subselect['alias'] as Node | undefined;
  if (relation['alias'] !== undefined) return isSameTree(relation['alias'], alias, isInserted);
  return alias?.['colnames'] === undefined && (kind === 'RangeFunction' || alias?.['aliasname'] === relation['relname']);
}

function isSameField(field: string, before: Node, after: Node, isInserted: IsInserted): boolean {
  const [was, is] = [before[field], after[field]];
  switch (field) {
    case 'funcname':
    case 'fields': {
      const [long, short] = [listOf(was), listOf(is)];
      if (isSameTree(long, short, isInserted)) return true;
      // The server's own function is written out; the schema of a relation that is no relation any more is left out.
      if (field === 'funcname') return isAt(after, isInserted) && isSameTree([catalog, ...long], short, isInserted);
      return long.length === 3 && isSameTree(long.slice(1), short, isInserted);
    }
    case 'schemaname':
      return was === is || (was === undefined && isAt(after, isInserted));
    case 'groupClause':
    case 'returningList':
    case 'exprs':
    case 'options':
      return isExtended(listOf(was), listOf(is), isInserted);
    // COPY of a table is COPY of a query over it.
    case 'relation':
    case 'attlist':
    case 'query':
      return isSameTree(was, is, isInserted) || (before['relation'] !== undefined && before['query'] === undefined && isPutThere(after['query'], isInserted));
    default:
      return isSameTree(was, is, isInserted);
  }
}

const catalog = { String: { sval: 'pg_catalog' } };

function isAt(node: Node, isInserted: IsInserted): boolean {
  return isInserted(Number(node['location'] ?? 0));
}

/** Each item is there still, or others that were put there stand for it; more of those may stand before and behind it. */
function isExtended(before: readonly unknown[], after: readonly unknown[], isInserted: IsInserted): boolean {
  let at = 0;
  for (const item of before) {
    const start = at;
    // Each is compared once: clauses nest, and twice at each level would be without end.
    let isThere = false;
    for (; at < after.length; at++) {
      isThere = isSameTree(item, after[at], isInserted);
      if (isThere || !isPutThere(after[at], isInserted)) break;
    }
    if (isThere) at += 1;
    else if (at === start && !isPutThere(after[at - 1], isInserted)) return false;
  }
  return after.slice(at).every((item) => isPutThere(item, isInserted));
}

/** By the first place that it names. */
function isPutThere(value: unknown, isInserted: IsInserted): boolean {
  const at = firstPlace(value);
  return at !== undefined && isInserted(at);
}

function firstPlace(value: unknown): number | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const own = (value as Node)['location'];
  if (typeof own === 'number' && own > 0) return own;
  for (const child of Object.values(value)) {
    const found = firstPlace(child);
    if (found !== undefined) return found;
  }
  return undefined;
}
