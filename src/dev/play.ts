/** What the acts of the demo share. */
import type { Client } from 'pg';
import type { Run, Running, Stage } from './stage.ts';
import type { Stack } from './stack.ts';

export type Play = {
  readonly stage: Stage;
  readonly stack: Stack;
  /** A command of gate as one of the people runs it, each with a configuration directory of their own. */
  readonly gate: (who: 'engineer' | 'operator' | 'dba', ...args: string[]) => Run;
};

/** Stops everything and removes every file, however it ends; fails with `cancelled` when it was interrupted. */

export type Tunnel = { readonly session: string; readonly url: string; readonly connect: Running; readonly client: Client };
