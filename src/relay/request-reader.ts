/** Requests as people see them: which ones, and what of them. */
import type { Recorder } from '../audit/recorder.ts';
import type { RequestInfo, RequestState, RequestSummary } from '../api/request-api.ts';
import { GateError } from '../errors/errors.ts';
import type { RequestStore } from '../grant/request-store.ts';
import type { AccessRequest, HeldStatement } from '../grant/request.ts';
import { isAdministrator, isAuditor } from '../policy/decide.ts';
import type { Policy } from '../policy/policy.ts';
import { canVote, describeApprovers } from '../policy/vote.ts';
import { isSamePrincipal, type Principal } from '../principal/principal.ts';
import { shapeOf } from '../sql/shape.ts';
import { recordReading } from './reading.ts';

/** Requests that are looked through for those that the viewer may see. */
const scannedMax = 1000;
/** Of a statement this much stands in a list. */
const listedSqlMax = 500;

export type ReaderOptions = { readonly store: RequestStore; readonly recorder: Recorder; readonly policy: () => Policy };

export type ListFilter = {
  readonly states?: readonly RequestState[];
  readonly isMine: boolean;
  /** Only those that wait for the viewer's vote. */
  readonly isToApprove: boolean;
  readonly limit: number;
};

export class RequestReader {
  readonly #options: ReaderOptions;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** By id or a prefix that only one request has, among those that the viewer may see. */
  async find(viewer: Principal, idPrefix: string): Promise<AccessRequest> {
    const { store } = this.#options;
    const exact = await store.loadRequest(idPrefix);
    const candidates = exact === undefined ? await store.listRequests({ idPrefix, limit: scannedMax }) : [exact];
    const [request, second] = candidates.filter((candidate) => this.#isVisible(viewer, candidate));
    if (second !== undefined) throw new GateError('usage', `more than one request begins with "${idPrefix}"`);
    if (request !== undefined) return request;
    throw new GateError('not-found', `there is no request "${idPrefix}", or you may not see it`, { hint: 'See gate requests list.' });
  }

  /** Newest first. */
  async list(viewer: Principal, filter: ListFilter): Promise<RequestSummary[]> {
    const { store } = this.#options;
    const states = filter.isToApprove ? (['pending'] as const) : filter.states;
    const shared = states === undefined ? {} : { states };
    const own = filter.isToApprove ? [] : await store.listRequests({ ...shared, requester: viewer, limit: filter.limit });
    const all = filter.isMine ? [] : await store.listRequests({ ...shared, limit: scannedMax });
    const others = all.filter(
      (request) =>
        !isSamePrincipal(request.requester, viewer) &&
        (filter.isToApprove ? this.#mayVote(viewer, request) : this.#isVisible(viewer, request)),
    );
    const requests = [...own, ...others].toSorted((one, other) => other.createdAt.getTime() - one.createdAt.getTime());
    return requests.slice(0, filter.limit).map((request) => {
      const text = request.statement?.sql;
      // A list is no reading of the record: whoever has no part in a statement sees its shape.
      const sql = text && (this.#takesPart(viewer, request) ? text : shapeOf(text)).slice(0, listedSqlMax);
      return { ...this.#summarize(viewer, request), ...(sql !== undefined && { sql }) };
    });
  }

  /**
   * With the statement as it will run for its author, approvers and auditors, of whom it is on record that they read it;
   * for administrators with its shape. Fails with `record-unavailable`.
   */
  async describe(viewer: Principal, request: AccessRequest): Promise<RequestInfo> {
    const { votes } = request;
    const statement = request.statement && (await this.#shown(viewer, request, request.statement));
    const allowed = request.kind === 'statement' ? await this.#options.store.loadApproval(request.id) : undefined;
    return {
      ...this.#summarize(viewer, request),
      votes: votes.map(({ by, decision, reason, at }) => ({
        by: { ...by, groups: [...by.groups] },
        decision,
        ...(reason !== undefined && { reason }),
        at: at.toISOString(),
      })),
      ...(statement !== undefined && { statement: structuredClone(statement) as NonNullable<RequestInfo['statement']> }),
      ...(allowed !== undefined && {
        allowed: { usesLeft: allowed.usesLeft, until: allowed.expiresAt.toISOString(), anyParameters: allowed.parameterHash === null },
      }),
    };
  }

  #summarize(viewer: Principal, request: AccessRequest): RequestSummary {
    const { id, kind, state, requester, target, role, reason, ticket, rule, approval, votes, endReason, durationSeconds, isReadOnly, grant } = request;
    const count = (decision: 'approve' | 'deny') => votes.filter((vote) => vote.decision === decision).length;
    return {
      id,
      kind,
      state,
      requester: { ...requester, groups: [...requester.groups] },
      target,
      role,
      ...(reason !== undefined && { reason }),
      ...(ticket !== undefined && { ticket }),
      rule,
      approval: {
        by: approval.by.map((name) => describeApprovers(this.#options.policy(), [name])),
        count: approval.count,
        denials: approval.denials,
      },
      approvals: count('approve'),
      denials: count('deny'),
      createdAt: request.createdAt.toISOString(),
      expiresAt: request.expiresAt.toISOString(),
      ...(endReason !== undefined && { endReason }),
      ...(durationSeconds !== undefined && { durationSeconds }),
      ...(isReadOnly && { isReadOnly }),
      ...(grant !== undefined && { grant }),
      mayVote: this.#mayVote(viewer, request),
    };
  }

  #mayVote(viewer: Principal, request: AccessRequest): boolean {
    return request.state === 'pending' && canVote({ policy: this.#options.policy(), request, voter: viewer }).ok;
  }

  async #shown(viewer: Principal, request: AccessRequest, statement: HeldStatement): Promise<HeldStatement & { isClosed?: true }> {
    if (this.#takesPart(viewer, request)) return statement;
    const { recorder, policy } = this.#options;
    if (!isAuditor(policy(), viewer)) {
      return { ...statement, sql: shapeOf(statement.sql), parameters: [], fingerprint: '', parameterHash: '', isClosed: true };
    }
    await recordReading(recorder, viewer, { what: 'decisions', session: statement.session, isOpened: true, detail: `the statement of request ${request.id}` });
    return statement;
  }

  #isVisible(viewer: Principal, request: AccessRequest): boolean {
    const policy = this.#options.policy();
    return this.#takesPart(viewer, request) || isAuditor(policy, viewer) || isAdministrator(policy, viewer);
  }

  /** Requester and approvers, those who have voted as well. */
  #takesPart(viewer: Principal, request: AccessRequest): boolean {
    const policy = this.#options.policy();
    // What its person approves is not for an agent to see.
    if (viewer.kind === 'agent') return isSamePrincipal(request.requester, viewer);
    return (
      isSamePrincipal(request.requester, viewer) ||
      request.votes.some(({ by }) => isSamePrincipal(by, viewer)) ||
      canVote({ policy, request, voter: viewer }).ok
    );
  }
}
