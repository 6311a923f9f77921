/** How much a text may hold for anybody to look it up and decide on it: what no program sends is not worked through. Pure. */
import type { Condition, StatementOutline } from './outline.ts';
import type { Statement } from './statement.ts';

/** Statements in one text. */
export const statementsMax = 20_000;
/** What one text prepares, deallocates and executes by name in SQL. */
export const nameChangesMax = 500;
/** Relations, functions, operators, types, settings, changes and conditions that one statement names. */
export const namesMax = 5000;

/** Why a text is refused; undefined for one that may be decided on. */
export function extentProblem({ statementCount, nameChanges, executes, outlines }: Statement): string | undefined {
  if (statementCount > statementsMax) return `it holds ${statementCount} statements, and at most ${statementsMax} are examined in one text`;
  const changes = nameChanges.length + executes.length;
  if (changes > nameChangesMax) return `it prepares, deallocates and executes ${changes} times, and at most ${nameChangesMax} are followed in one text`;
  const most = outlines.reduce((sum, outline) => Math.max(sum, namesIn(outline)), 0);
  return most > namesMax ? `one statement names ${most} relations, functions, conditions and the like, and at most ${namesMax} are looked up` : undefined;
}

/** As far as looking it up costs time: values of constants do not. */
function namesIn({ reads, changes, locks, functions, operators, types, settingChanges, fetches }: StatementOutline): number {
  let sum = reads.length + changes.length + locks.length + functions.length + operators.length + types.length + settingChanges.length + fetches.length;
  for (const { rows, columns } of changes) sum += (columns?.length ?? 0) + termsIn(rows);
  for (const { rows } of locks) sum += termsIn(rows);
  return sum;
}

type Rows = StatementOutline['locks'][number]['rows'];

function termsIn(rows: Rows): number {
  if (rows === undefined || 'isCurrent' in rows) return 0;
  const calls = 'calls' in rows ? (rows.calls?.length ?? 0) : 0;
  if ('where' in rows) return calls + sizeOf(rows.where);
  return calls + ('join' in rows ? sizeOf(rows.join) : 0);
}

/** Its nesting is bounded where it is made. */
function sizeOf(condition: Condition): number {
  if (condition.op === 'equal') return 1 + condition.columns.length + condition.types.length;
  return condition.terms.reduce((sum, term) => sum + sizeOf(term), 1);
}
