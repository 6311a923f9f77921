/** Asking and answering: an AccessRequest waits for the Approvals that its rule wants; a StatementApproval is what is left to use. */
import type { Parameter } from '../audit/entry.ts';
import type { Principal } from '../principal/principal.ts';
import type { StatementFacts } from '../sql/facts.ts';

/** How many distinct people out of which sets must say yes, how many a no takes, and how long they have. */
export type ApprovalRule = {
  /** Names of approver sets of the policy; a member of any of them may vote. */
  readonly by: readonly string[];
  readonly count: number;
  readonly denials: number;
  readonly withinSeconds: number;
};

/** One person's vote, with the groups that they had at that moment. */
export type Approval = {
  readonly by: Principal;
  readonly decision: 'approve' | 'deny';
  readonly reason?: string;
  readonly at: Date;
  /** On a statement: how far the approval shall reach, where it is more than one run of it as it stands. */
  readonly allows?: Allowance;
};

/** So many runs of one text until a moment; with the parameters as they were, or with any. */
export type Allowance = { readonly uses: number; readonly until: Date; readonly anyParameters: boolean };

/** `used`: what was approved has been used up. */
export type RequestState = 'pending' | 'approved' | 'denied' | 'withdrawn' | 'expired' | 'used';

export type AccessRequest = {
  readonly id: string;
  /** A grant that needs approval, one statement that is held, or a break-glass grant that must be looked at afterwards. */
  readonly kind: 'grant' | 'statement' | 'review';
  readonly requester: Principal;
  readonly target: string;
  readonly role: string;
  readonly reason?: string;
  readonly ticket?: string;
  readonly approval: ApprovalRule;
  /** The rule of the policy that asks for approval. */
  readonly rule: string;
  readonly createdAt: Date;
  /** When it stops waiting: for votes as long as it is pending, for its use once it is approved. */
  readonly expiresAt: Date;
  readonly state: RequestState;
  readonly votes: readonly Approval[];
  readonly endReason?: string;
  /** Of the grant that is asked for. */
  readonly durationSeconds?: number;
  /** Of the grant that is asked for: reads only, whatever the role allows. */
  readonly isReadOnly?: true;
  /** The grant that came of it, or that is under review. */
  readonly grant?: string;
  readonly statement?: HeldStatement;
};

/** What the approver sees, and what exactly may run. */
export type HeldStatement = {
  readonly session: string;
  readonly connection: number;
  readonly grant: string;
  /** As recorded: secrets replaced. */
  readonly sql: string;
  readonly parameters: readonly Parameter[];
  /** SHA-256 of the exact text, in hex. */
  readonly fingerprint: string;
  /** SHA-256 over all bound parameters with their formats, in hex. */
  readonly parameterHash: string;
  readonly facts: readonly StatementFacts[];
  /** Of the client's transaction: idle, in a transaction, or in a failed one. */
  readonly transaction: 'I' | 'T' | 'E';
  /** Locks that the open transaction keeps meanwhile, in words. */
  readonly locks?: readonly string[];
  /** The planner's estimate, where it could be had safely. */
  readonly rowEstimate?: number;
  /** A client waits for it at this moment. */
  readonly isWaiting: boolean;
};

/** A standing permission out of an approved request: so many uses of exactly this text until a moment. */
export type StatementApproval = {
  readonly request: string;
  /** With whom is behind the run that takes it: it may be another than the one that asked. */
  readonly principal: Pick<Principal, 'issuer' | 'subject' | 'chain'>;
  readonly target: string;
  readonly role: string;
  readonly fingerprint: string;
  /** Null: with any parameters. */
  readonly parameterHash: string | null;
  readonly usesLeft: number;
  readonly expiresAt: Date;
};

/** What an approval of a statement is good for: this text and these parameters, by this person, under this role. */
export type StatementKey = {
  /** With whom is behind the run that takes it: it may be another than the one that asked. */
  readonly principal: Pick<Principal, 'issuer' | 'subject' | 'chain'>;
  readonly target: string;
  readonly role: string;
  readonly fingerprint: string;
  readonly parameterHash: string;
};

/** The desk where held statements wait, as the data path sees it. Every change is durable and on record when it resolves. */
export interface ApprovalDesk {
  /** Takes one use of an unspent approval of exactly this statement, if there is one. */
  take(key: StatementKey): Promise<StatementApproval | undefined>;
  /** Asks. Fails with `approval-impossible` where nobody could approve. */
  ask(
    asked: Pick<AccessRequest, 'requester' | 'target' | 'role' | 'reason' | 'ticket' | 'approval' | 'rule'> & {
      readonly statement: HeldStatement;
    },
  ): Promise<AccessRequest>;
  /** Resolves when the request is no longer pending; rejects with the signal's reason. */
  decided(id: string, signal: AbortSignal): Promise<AccessRequest>;
  /** The client has gone, has cancelled, or its session has ended. Nothing happens to one that is decided. */
  withdraw(id: string, reason: string): Promise<void>;
}

/** Something about a request that people outside want to hear of. */
export type Notice = {
  readonly kind: 'created' | 'approved' | 'denied' | 'withdrawn' | 'expired' | 'opened-for-review';
  readonly at: Date;
  readonly request: AccessRequest;
};

/** Tells people outside. Resolves once the notice is durable in the outbox, long before it is delivered. */
export interface Notifier {
  notify(notice: Notice): Promise<void>;
}
