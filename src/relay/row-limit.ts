/** Which statements a limit on rows is about. */
import type { StatementFacts } from '../sql/facts.ts';

/** What only opens, closes or sets something has no rows, or few. */
const rowless = /^(?:SET|RESET|DISCARD|DEALLOCATE|PREPARE|LISTEN|UNLISTEN|CLOSE)/;

export function countsRows({ transaction, command }: StatementFacts): boolean {
  return transaction === undefined && !rowless.test(command);
}
