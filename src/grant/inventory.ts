/** What the state knows of everybody who ever came by: who they are, and what they used in a period. */
import type { Principal } from '../principal/principal.ts';
import type { StatementKind } from '../sql/kind.ts';

/** One role on one target, in the period. */
export type RoleUse = {
  readonly target: string;
  readonly role: string;
  readonly grants: number;
  readonly sessions: number;
  /** All that were sent in these sessions, also the refused ones. */
  readonly statements: number;
  readonly refused: number;
  readonly rows: number;
  /** Of those that ran. */
  readonly kinds: readonly StatementKind[];
  /** The kinds of some of its sessions were never kept: they are older than the keeping of kinds. */
  readonly isPartial: boolean;
};

export type SeenPrincipal = {
  /** As their newest token or grant has them. */
  readonly principal: Principal;
  /** When the newest token that was seen was issued. */
  readonly lastLoginAt?: Date;
  readonly firstGrantAt?: Date;
  /** Of their sessions, whenever that was. */
  readonly firstUsedAt?: Date;
  readonly lastUsedAt?: Date;
  readonly uses: readonly RoleUse[];
};
