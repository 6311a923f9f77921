/** The desk of requests: asked for, voted on, waited for, used, and over in time. On record before it counts. */
import { decisionsChain, type Event } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { GateError } from '../errors/errors.ts';
import type { Grant } from '../grant/grant.ts';
import {
  annul,
  castVote,
  createRequest,
  expire,
  isWaiting,
  refusalOf,
  statementApprovalOf,
  tally,
  use,
  withdraw,
  type Asked,
  type Counts,
} from '../grant/life-cycle.ts';
import type { PrincipalStore, RequestStore } from '../grant/request-store.ts';
import type {
  AccessRequest,
  Approval,
  ApprovalDesk,
  ApprovalRule,
  Notice,
  Notifier,
  StatementApproval,
  StatementKey,
} from '../grant/request.ts';
import type { Policy } from '../policy/policy.ts';
import { isForSamePerson } from '../principal/behind.ts';
import { canVote, describeApprovers, isApprovable, isBehind } from '../policy/vote.ts';
import { isSameActor, isSamePrincipal, type Principal } from '../principal/principal.ts';
import { Deadlines } from './deadlines.ts';
import { createId } from './ids.ts';
import { Lanes } from './lanes.ts';
import type { RelayLog } from './relay-log.ts';
import { endEvent, requestEvent, voteEvent } from './request-events.ts';

/** Requests of one kind that one principal may have pending at a time. */
export const pendingPerPrincipalMax = 20;
/** Those who can wait for one request at a time. */
export const waitersPerRequestMax = 100;
/** How soon an end that could not be recorded is tried again. */
const retryMs = 1000;
/** Requests that a start takes up again. */
const adoptedMax = 100_000;

export type RequestsOptions = {
  readonly store: RequestStore;
  readonly people: PrincipalStore;
  readonly recorder: Recorder;
  readonly policy: () => Policy;
  readonly notifier: Notifier;
  readonly log: RelayLog;
};

export class Requests implements ApprovalDesk {
  readonly #options: RequestsOptions;
  readonly #lanes = new Lanes();
  readonly #deadlines = new Deadlines((id) => this.#expire(id));
  readonly #waiters = new Map<string, Set<() => void>>();
  #stopped: GateError | undefined;

  private constructor(options: RequestsOptions) {
    this.#options = options;
  }

  /** Takes up what was waiting when the relay stopped. The clients of held statements are gone, so those are withdrawn. */
  static async load(options: RequestsOptions): Promise<Requests> {
    const requests = new Requests(options);
    for (const request of await options.store.listRequests({ states: ['pending', 'approved'], limit: adoptedMax })) {
      if (request.state === 'pending' && request.statement?.isWaiting === true) {
        await requests.#end(request.id, (waiting) => withdraw(waiting, 'the relay was restarted while the statement waited'));
      } else {
        requests.#arm(request);
      }
    }
    return requests;
  }

  ask(asked: Parameters<ApprovalDesk['ask']>[0]): Promise<AccessRequest> {
    return this.open({ ...asked, kind: 'statement' });
  }

  /**
   * Makes a request. Fails with `approval-impossible` where nobody could approve it, `too-many` where the requester has
   * too many waiting.
   */
  open(asked: Asked): Promise<AccessRequest> {
    const { requester, kind } = asked;
    return this.#lanes.run(`of ${requester.issuer} ${requester.subject}`, async () => {
      const { store, policy } = this.#options;
      if (!isApprovable(policy(), asked)) throw impossible(policy(), asked);
      const same = await this.#findSame(asked);
      if (same !== undefined) return same;
      const pending = await store.countRequests({ requester, kind, states: ['pending'] });
      if (pending >= pendingPerPrincipalMax) throw tooMany(pending);
      const request = createRequest(asked, createId('r'), new Date());
      await this.#record([requestEvent(request)]);
      await store.saveRequest(request);
      this.#arm(request);
      await this.#notify(kind === 'review' ? 'opened-for-review' : 'created', request);
      return request;
    });
  }

  /** Who asks for the same statement again, and does not wait for it, has asked already. */
  async #findSame({ requester, target, role, statement }: Asked): Promise<AccessRequest | undefined> {
    if (statement === undefined || statement.isWaiting) return undefined;
    const pending = await this.#options.store.listRequests({ requester, kind: 'statement', states: ['pending'], limit: pendingPerPrincipalMax });
    return pending.find((request) => {
      const isSame = request.statement?.fingerprint === statement.fingerprint && request.statement.parameterHash === statement.parameterHash;
      return isSame && isForSamePerson(request.requester, requester) && !request.statement?.isWaiting && request.target === target && request.role === role;
    });
  }

  /** One person's vote. Fails with `denied` when it is not theirs to give. */
  vote(id: string, vote: Approval): Promise<AccessRequest> {
    return this.#inLane(id, async (request) => {
      const policy = this.#options.policy();
      const answer = canVote({ policy, request, voter: vote.by });
      if (request.state === 'pending' && !answer.ok) throw notTheirs(policy, request, answer.reason);
      const voted = castVote(request, vote, await this.#counts(request, request.approval));
      const approval = statementApprovalOf(voted);
      const events: Event[] = [voteEvent(id, vote), ...(voted.state === 'pending' ? [] : [endEvent(voted)])];
      await this.#change(request, voted, events, { ...(approval !== undefined && { approval }) });
      return voted;
    });
  }

  /** The requester takes it back. Fails with `denied` for others, with what became of it when it is decided. */
  cancel(caller: Principal, id: string, reason: string | undefined): Promise<AccessRequest> {
    return this.#inLane(id, async (request) => {
      if (!(caller.kind === 'agent' ? isSameActor : isSamePrincipal)(caller, request.requester)) {
        throw new GateError('denied', `request ${id} is not yours to withdraw`, {
          rule: 'request/requester',
          requestId: id,
          hint: `Whoever may approve it can turn it down: gate deny ${id} --reason "…"`,
        });
      }
      const after = withdraw(request, reason ?? `by ${caller.name}`);
      if (after === undefined) throw decidedAlready(request);
      await this.#change(request, after, [endEvent(after)]);
      return after;
    });
  }

  async withdraw(id: string, reason: string): Promise<void> {
    await this.#end(id, (request) => withdraw(request, reason));
  }

  decided(id: string, signal: AbortSignal): Promise<AccessRequest> {
    return this.changed(id, undefined, signal);
  }

  /** Resolves when the request is no longer pending, or has another number of votes. */
  async changed(id: string, votes: number | undefined, signal: AbortSignal): Promise<AccessRequest> {
    if ((this.#waiters.get(id)?.size ?? 0) >= waitersPerRequestMax) {
      throw new GateError('too-many', `${waitersPerRequestMax} callers wait for request ${id} already`, { requestId: id });
    }
    for (;;) {
      const change = this.#nextChange(id, signal);
      try {
        const request = await this.#load(id);
        if (request.state !== 'pending' || request.votes.length !== (votes ?? request.votes.length)) return request;
        if (this.#stopped !== undefined) throw this.#stopped;
        await change.happened;
      } finally {
        change.forget();
      }
    }
  }

  async take(key: StatementKey): Promise<StatementApproval | undefined> {
    const { store } = this.#options;
    for (const { request: id } of await store.findApprovals(key, new Date())) {
      const taken = await this.#inLane(id, async (request) => {
        if (!isForSamePerson(request.requester, key.principal) || !(await this.#isStillApproved(request, request.approval))) return undefined;
        if (!(await this.#isApprovedByOthers(request, request.approval, key.principal))) return undefined;
        return store.takeUse(id, new Date());
      });
      if (taken !== undefined) return taken;
    }
    return undefined;
  }

  /**
   * Turns an approved request into its grant, once. `rule` is what the policy asks for now. `record` says what the
   * grant's record is. Fails with what became of the request when it gives none.
   */
  collect(id: string, make: (request: AccessRequest) => { grant: Grant; rule: ApprovalRule; events: Event[] }): Promise<Grant> {
    return this.#inLane(id, async (request) => {
      if (request.state !== 'approved') throw refusalOf(request);
      if (new Date() >= request.expiresAt) throw refusalOf({ ...request, state: 'expired' });
      const { grant, rule, events } = make(request);
      if (!(await this.#isStillApproved(request, rule))) throw refusalOf(await this.#load(id));
      if (!(await this.#isApprovedByOthers(request, rule, grant.principal))) throw ownVotes(id, grant.principal);
      await this.#change(request, use(request, grant.id), events, { grant });
      return grant;
    });
  }

  /** Ends all waits. What waits in the state goes on after the next start. */
  stop(error: GateError): void {
    this.#stopped = error;
    this.#deadlines.stop();
    for (const waiters of this.#waiters.values()) for (const wake of waiters) wake();
  }

  #expire(id: string): void {
    this.#end(id, (request) => expire(request, new Date())).catch(() => undefined);
  }

  /** Whether its approvals suffice, with the groups and the policy of now; if not, it is over. */
  async #isStillApproved(request: AccessRequest, rule: ApprovalRule): Promise<boolean> {
    if (request.state !== 'approved') return false;
    const counts = await this.#counts(request, rule);
    if (tally(request.votes, rule, counts) === 'approved') return true;
    const after = annul(request, counts);
    await this.#change(request, after, [endEvent(after)]);
    return false;
  }

  /** One run of a workload may take what was approved for another; who approved it must not be behind this one either. */
  async #isApprovedByOthers(request: AccessRequest, rule: ApprovalRule, taker: Pick<Principal, 'chain'>): Promise<boolean> {
    const counts = await this.#counts(request, rule);
    return tally(request.votes, rule, (vote) => counts(vote) && !isBehind(vote.by, taker)) === 'approved';
  }

  async #counts(request: AccessRequest, approval: ApprovalRule): Promise<Counts> {
    const policy = this.#options.policy();
    const counting = new Set<Approval>();
    for (const vote of request.votes) {
      const voter = (await this.#options.people.newest(vote.by)) ?? vote.by;
      if (canVote({ policy, request: { ...request, approval, votes: [] }, voter }).ok) counting.add(vote);
    }
    return (vote) => counting.has(vote);
  }

  /** Ends a request in the way that `step` says, if it says one; tried again until it is on record. */
  async #end(id: string, step: (request: AccessRequest) => AccessRequest | undefined): Promise<void> {
    try {
      await this.#inLane(id, async (request) => {
        const after = step(request);
        if (after !== undefined) await this.#change(request, after, [endEvent(after)]);
      });
    } catch (error) {
      if (error instanceof GateError && error.code === 'not-found') throw error;
      this.#options.log.error({ err: error, request: id }, 'the end of the request could not be recorded');
      if (this.#stopped === undefined) setTimeout(() => void this.#end(id, step).catch(() => undefined), retryMs).unref();
      throw error;
    }
  }

  async #change(
    before: AccessRequest,
    after: AccessRequest,
    events: readonly Event[],
    outcome: Parameters<RequestStore['replaceRequest']>[2] = {},
  ): Promise<void> {
    await this.#record(events);
    if (!(await this.#options.store.replaceRequest(before, after, outcome))) {
      throw new Error(`request ${before.id} was changed by another process`);
    }
    this.#arm(after);
    for (const wake of this.#waiters.get(after.id) ?? []) wake();
    const { state } = after;
    // What lapses after its approval is no news to those who approved it.
    if (before.state === 'pending' && state !== 'pending' && state !== 'used') await this.#notify(state, after);
  }

  #inLane<T>(id: string, work: (request: AccessRequest) => Promise<T>): Promise<T> {
    return this.#lanes.run(id, async () => work(await this.#load(id)));
  }

  async #load(id: string): Promise<AccessRequest> {
    const request = await this.#options.store.loadRequest(id);
    if (request === undefined) throw new GateError('not-found', `there is no request "${id}"`);
    return request;
  }

  #record(events: readonly Event[]): Promise<void> {
    return this.#options.recorder.record(decisionsChain, events);
  }

  #arm(request: AccessRequest): void {
    if (isWaiting(request) && this.#stopped === undefined) this.#deadlines.set(request.id, request.expiresAt);
    else this.#deadlines.clear(request.id);
  }

  /** What people hear late is no reason to refuse what is decided. */
  async #notify(kind: Notice['kind'], request: AccessRequest): Promise<void> {
    const { notifier, log } = this.#options;
    await notifier.notify({ kind, at: new Date(), request }).catch((error: unknown) => {
      log.error({ err: error, request: request.id, notice: kind }, 'the notice could not be stored');
    });
  }

  /** Resolves at the next change of the request, rejects with the signal's reason. */
  #nextChange(id: string, signal: AbortSignal): { happened: Promise<void>; forget: () => void } {
    let forget: () => void = () => undefined;
    const happened = new Promise<void>((resolve, reject) => {
      const abort = () => reject(signal.reason as Error);
      const waiters = this.#waiters.get(id) ?? new Set();
      this.#waiters.set(id, waiters.add(resolve));
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      forget = () => {
        signal.removeEventListener('abort', abort);
        waiters.delete(resolve);
        if (waiters.size === 0 && this.#waiters.get(id) === waiters) this.#waiters.delete(id);
      };
    });
    happened.catch(() => undefined);
    return { happened, forget };
  }
}

function impossible(policy: Policy, { approval, rule, requester }: Asked): GateError {
  const { by, count } = approval;
  const wanted = `${count === 1 ? 'the approval' : `${count} approvals`} of ${by.length === 0 ? 'nobody' : describeApprovers(policy, by)}`;
  return new GateError('approval-impossible', `this needs ${wanted}, and too few people other than ${requester.name} could approve it`, {
    rule,
    hint: 'Ask whoever keeps the policy to name more approvers.',
  });
}

function tooMany(pending: number): GateError {
  return new GateError('too-many', `you have ${pending} requests waiting already`, {
    hint: 'See them with gate requests list --mine, and withdraw one with gate requests cancel <id>.',
  });
}

function notTheirs(policy: Policy, { id, approval, requester }: AccessRequest, why: string): GateError {
  return new GateError('denied', `you may not vote on request ${id} of ${requester.name}: ${why}`, {
    rule: 'request/approvers',
    requestId: id,
    hint: `It waits for ${describeApprovers(policy, approval.by)}.`,
  });
}

function decidedAlready({ id, state }: AccessRequest): GateError {
  return new GateError('denied', `request ${id} is ${state} already`, { rule: 'request/state', requestId: id });
}

function ownVotes(id: string, { name }: Principal): GateError {
  return new GateError('denied', `request ${id} was approved by the person behind this run of ${name}, and nobody approves their own`, {
    rule: 'request/human',
    requestId: id,
    hint: 'Run it without --request, so that somebody else is asked.',
  });
}
