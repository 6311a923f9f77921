/** The ports of requests: where they wait with their votes, and where the newest groups of each person are kept. */
import type { Principal } from '../principal/principal.ts';
import type { Grant } from './grant.ts';
import type { AccessRequest, RequestState, StatementApproval, StatementKey } from './request.ts';

export type RequestFilter = {
  readonly requester?: Pick<Principal, 'issuer' | 'subject'>;
  readonly kind?: AccessRequest['kind'];
  readonly states?: readonly RequestState[];
  readonly idPrefix?: string;
  readonly limit: number;
};

/** Every write is durable when its promise resolves. */
export interface RequestStore {
  /** Saving an id a second time fails. */
  saveRequest(request: AccessRequest): Promise<void>;
  /** By whole id. */
  loadRequest(id: string): Promise<AccessRequest | undefined>;
  /** Newest first. */
  listRequests(filter: RequestFilter): Promise<AccessRequest[]>;
  countRequests(filter: Omit<RequestFilter, 'limit' | 'idPrefix'>): Promise<number>;
  /**
   * Puts `after` in the place of `before`, together with what comes of it, whole or not at all. False, and nothing
   * changed, when the request is no longer as `before` says: another state, or more votes.
   */
  replaceRequest(
    before: AccessRequest,
    after: AccessRequest,
    outcome?: { readonly approval?: StatementApproval; readonly grant?: Grant },
  ): Promise<boolean>;
  /** What is left to use of an approved request, whatever its time. Undefined where there never was any. */
  loadApproval(request: string): Promise<StatementApproval | undefined>;
  /** With uses left at that moment, the one that ends first before the others. */
  findApprovals(key: StatementKey, now: Date): Promise<StatementApproval[]>;
  /**
   * Takes one use; of many callers at once as many get one as there are uses. The last use makes the request `used`.
   * Undefined when nothing is left, or the request is not approved any more.
   */
  takeUse(request: string, now: Date): Promise<StatementApproval | undefined>;
}

/** What the newest token of each person said. */
export interface PrincipalStore {
  /** Keeps what a token issued at that moment says, unless a newer one was seen. */
  see(principal: Principal, issuedAt: Date): Promise<void>;
  newest(of: Pick<Principal, 'issuer' | 'subject'>): Promise<Principal | undefined>;
}
