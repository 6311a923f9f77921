/** Facts of a text of which only the kinds are known. */
import type { StatementFacts } from '../sql/facts.ts';
import type { StatementKind } from '../sql/kind.ts';

export function factsOfKinds(kinds: readonly StatementKind[]): readonly StatementFacts[] {
  if (kinds.length === 0) return [];
  return [
    {
      command: '',
      commands: [],
      kinds,
      reads: [],
      writes: [],
      functions: [],
      locking: false,
      settings: [],
      changesRole: false,
      runsCode: false,
    },
  ];
}
