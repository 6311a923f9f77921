/** What a policy is once its file has been read: who may take which role on which target, and what runs under it. */
import type { ApprovalRule } from '../grant/request.ts';
import type { DetectorKind, MaskLevel, MaskRule } from '../mask/plan.ts';
import type { StatementKind } from '../sql/kind.ts';
import type { Workloads } from '../workload/workload.ts';
import type { Condition } from './condition.ts';
import type { NamePattern, TextPattern } from './pattern.ts';

/** `human`: a verified person stands behind it. */
export type Requirement = 'reason' | 'ticket' | 'human';

export type Effect = 'allow' | 'hold' | 'deny';

/** Who may vote: members of any of the groups and the named subjects, or everybody where neither is named, as far as `when` lets them. */
export type ApproverSet = {
  readonly name: string;
  readonly groups: readonly string[];
  readonly subjects: readonly string[];
  /** Over `approver` and `request`. */
  readonly when?: Condition;
};

/**
 * One rule of a role. A field that is absent says nothing. For `allow` each field that is there must cover everything
 * that the statement does; for `hold` and `deny` each must meet anything of it.
 */
export type Rule = {
  /** As it stands in decisions and in the record: `<target>/<role>/<rule>`. */
  readonly path: string;
  readonly name: string;
  readonly effect: Effect;
  readonly kinds?: readonly StatementKind[];
  /** Command tags in capitals; `DROP *` stands for every one that begins so. */
  readonly commands?: NamePattern;
  readonly tables?: NamePattern;
  readonly functions?: NamePattern;
  /** Whether a bound on the rows that it changes is proven at all. */
  readonly bounded?: boolean;
  /** It is proven to change at most so many rows. */
  readonly maxRows?: number;
  /** Over `principal`, `grant`, `target`, `statement` and `now`. */
  readonly when?: Condition;
  /** What people are told; without it the decision says what the rule is. */
  readonly reason?: string;
  /** Always there with `hold`. */
  readonly approval?: ApprovalRule;
  readonly require: readonly Requirement[];
  readonly rowsMax?: RowLimits;
  readonly statementTimeoutMs?: number;
  /** In place of the role's. */
  readonly recordRows?: boolean;
};

/** Most rows that one statement may return, and change. */
export type RowLimits = { readonly read?: number; readonly write?: number };

export type Role = {
  readonly name: string;
  /** Any of these groups may take the role. */
  readonly groups: readonly string[];
  /** Over `principal`, `target` and `now`. Read at each decision, too: a role ends when it no longer holds. */
  readonly when?: Condition;
  /** The kinds that run where no rule has decided; everything else is refused. */
  readonly allow: readonly StatementKind[];
  readonly require: readonly Requirement[];
  /** What a ticket must look like, as a whole. */
  readonly ticketPattern?: TextPattern;
  /** Longest grant, in seconds. */
  readonly maxDuration: number;
  /** Database sessions are opened read-only, and statements that would lift that are denied. */
  readonly isReadOnly: boolean;
  /** Longest time that one statement may run. */
  readonly statementTimeoutMs?: number;
  readonly rowsMax?: RowLimits;
  /** What the client gets is recorded, not only how much. */
  readonly recordRows?: boolean;
  /** The grant itself needs these approvals before it is given. */
  readonly approval?: ApprovalRule;
  /** The grant opens at once; approvers are told, and must look at it afterwards. */
  readonly review?: ApprovalRule;
  /** The first that matches a statement decides it. */
  readonly rules: readonly Rule[];
};

/** Who is shown raw values by a rule of masks, and until when. Both lists that are there must be met. */
export type MaskExemption = {
  readonly groups?: readonly string[];
  readonly roles?: readonly string[];
  readonly reason: string;
  readonly until: Date;
};

/** Of a target, for everybody; which apply to a principal says masks.ts. */
export type TargetMasks = {
  readonly level: MaskLevel;
  readonly detect: readonly DetectorKind[];
  readonly trusts: ReadonlySet<string>;
  readonly rules: readonly (MaskRule & { readonly exempt: readonly MaskExemption[]; readonly source: string })[];
};

export type Policy = {
  /** Groups that may list and replay everybody's sessions; others see their own. */
  readonly auditors: readonly string[];
  /** Groups that may revoke grants and end sessions of others. They approve nothing by that. */
  readonly administrators: readonly string[];
  readonly approvers: ReadonlyMap<string, ApproverSet>;
  /** Target name → its roles in the order of the file. */
  readonly targets: ReadonlyMap<string, readonly Role[]>;
  /** By target. */
  readonly masks: ReadonlyMap<string, TargetMasks>;
  /** Machines and the people behind them. */
  readonly machines: Workloads;
  /** Of the file. */
  readonly text: string;
  /** SHA-256 of the file's text, in hex; stands in every session's record. */
  readonly digest: string;
};
