/** How much a text may hold for anybody to look it up and decide on it: what no program sends is not worked through. Pure. */
import type { Condition, StatementOutline } from './outline.ts';
import type { Statement } from './statement.ts';

/** Statements in one text. */
export const statementsMax = 20_000;
/** What one text prepares, deallocates and executes by name in SQL. */
export const nameChangesMax = 500;
/** Relations, functions, operators, types, settings and changes that one statement names. */
export const namesMax = 5000;
/** Comparisons, and their combinations, in the WHERE of one statement; values in a list are one. */
export const conditionsMax = 20_000;

/** Why a text is refused; undefined for one that may be decided on. */
export function extentProblem({ statementCount, nameChanges, executes, outlines }: Statement): string | undefined {
  if (statementCount > statementsMax) return `it holds ${statementCount} statements, and at most ${statementsMax} are examined in one text`;
  const changes = nameChanges.length + executes.length;
  if (changes > nameChangesMax) return `it prepares, deallocates and executes ${changes} times, and at most ${nameChangesMax} are followed in one text`;
  const most = outlines.reduce((sum, outline) => Math.max(sum, namesIn(outline)), 0);
  if (most > namesMax) return `one statement names ${most} relations, functions and the like, and at most ${namesMax} are looked up`;
  const terms = outlines.reduce((sum, outline) => Math.max(sum, conditionsIn(outline)), 0);
  return terms > conditionsMax ? `the WHERE of one statement has ${terms} conditions, and at most ${conditionsMax} are followed` : undefined;
}

/** As far as looking it up costs time: values of constants do not. */
function namesIn({ reads, changes, locks, functions, operators, types, settingChanges, fetches }: StatementOutline): number {
  const own = reads.length + changes.length + locks.length + functions.length + operators.length + types.length + settingChanges.length + fetches.length;
  return changes.reduce((sum, { columns, rows }) => sum + (columns?.length ?? 0) + (rows !== undefined && 'calls' in rows ? (rows.calls?.length ?? 0) : 0), own);
}

function conditionsIn({ changes, locks }: StatementOutline): number {
  return [...changes, ...locks].reduce((sum, { rows }) => {
    if (rows === undefined) return sum;
    const condition = 'where' in rows ? rows.where : 'join' in rows ? rows.join : undefined;
    return condition === undefined ? sum : sum + sizeOf(condition);
  }, 0);
}

/** Its nesting is bounded where it is made. */
function sizeOf(condition: Condition): number {
  return condition.op === 'equal' ? 1 : condition.terms.reduce((sum, term) => sum + sizeOf(term), 1);
}
