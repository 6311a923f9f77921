/** Which statements a limit on rows is about, and which of them tell at their end how many rows they were. */
import type { StatementFacts } from '../sql/facts.ts';
import type { StatementOutline } from '../sql/outline.ts';

/** What only opens, closes or sets something has no rows, or few. */
const rowless = /^(?:SET|RESET|DISCARD|DEALLOCATE|PREPARE|LISTEN|UNLISTEN|CLOSE)/;
const changing = { INSERT: 'insert', UPDATE: 'update', DELETE: 'delete', MERGE: 'merge' } as const;

export function countsRows({ transaction, command }: StatementFacts): boolean {
  return transaction === undefined && !rowless.test(command);
}

/**
 * Whether a text can be taken back when its rows are too many: it is one statement, no COPY, whose rows stream past, and
 * changes nothing that its command tag does not count, as nested statements do; unless a bound is proven for them.
 */
export function isCountable(facts: readonly StatementFacts[], outlines: readonly StatementOutline[], rowsMax: number): boolean {
  if (facts.some(({ commands }) => commands.includes('COPY'))) return false;
  if (facts.length > 1) return !facts.some(countsRows);
  return facts.every((one) => one.rowsMax !== undefined && one.rowsMax <= rowsMax) || outlines.every(tellsAllChanges);
}

function tellsAllChanges({ command, commands, changes }: StatementOutline): boolean {
  const written = commands.filter((one) => Object.hasOwn(changing, one));
  if (written.length === 0) return true;
  const action = changing[command as keyof typeof changing] as string | undefined;
  if (written.length > 1 || action === undefined) return command === 'EXECUTE' || command === 'PREPARE';
  if (action === 'merge') return new Set(changes.map(({ schema, name }) => `${schema ?? ''}.${name}`)).size === 1;
  return changes.filter((change) => change.action === action).length === 1;
}
