/** What becomes of an AccessRequest: made, voted on, withdrawn, expired, used. Each step is a function of what was before. */
import { GateError } from '../errors/errors.ts';
import { isSamePrincipal } from '../principal/principal.ts';
import type { AccessRequest, Allowance, Approval, ApprovalRule, RequestState, StatementApproval } from './request.ts';

/** How long an approval waits for its use, where its approvers name no time. */
export const approvedSeconds = 3600;
/** The longest time that an approver may give. */
export const approvedSecondsMax = 24 * 3600;
/** The most runs that an approver may give. */
export const usesMax = 1000;

/** Whether a vote counts: its voter may still vote, by the newest that is known of them. */
export type Counts = (vote: Approval) => boolean;

export type Asked = Omit<AccessRequest, 'id' | 'createdAt' | 'expiresAt' | 'state' | 'votes' | 'endReason'>;

export function createRequest(asked: Asked, id: string, now: Date): AccessRequest {
  return {
    ...asked,
    id,
    createdAt: now,
    expiresAt: after(now, asked.approval.withinSeconds),
    state: 'pending',
    votes: [],
  };
}

/**
 * The request with one more vote, and what that makes of it. Fails with `denied` when this person may not vote on it,
 * `approval-expired` when the vote comes too late, `usage` when it gives more than an approver may.
 */
export function castVote(request: AccessRequest, vote: Approval, counts: Counts): AccessRequest {
  checkVote(request, vote);
  const voted = { ...request, votes: [...request.votes, vote] };
  switch (tally(voted.votes, request.approval, (one) => one === vote || counts(one))) {
    case 'pending':
      return voted;
    case 'denied':
      return { ...voted, state: 'denied', endReason: describeDenial(vote) };
    case 'approved':
      return { ...voted, state: 'approved', ...(request.kind !== 'review' && { expiresAt: approvedUntil(voted, vote.at) }) };
  }
}

function checkVote({ id, state, requester, votes, expiresAt, kind }: AccessRequest, vote: Approval): void {
  const refuse = (reason: string, rule: string) => new GateError('denied', reason, { rule: `request/${rule}`, requestId: id });
  if (state !== 'pending') throw refuse(`request ${id} is ${state} already`, 'state');
  if (vote.at >= expiresAt) throw new GateError('approval-expired', `request ${id} expired at ${expiresAt.toISOString()}`, { requestId: id });
  if (vote.by.kind !== 'human') throw refuse('only people may vote on a request', 'people');
  if (isSamePrincipal(vote.by, requester)) throw refuse('nobody may vote on a request of their own', 'requester');
  if (votes.some(({ by }) => isSamePrincipal(by, vote.by))) throw refuse(`you have voted on request ${id} already`, 'once');
  if (vote.allows !== undefined) checkAllowance(vote.allows, kind, vote);
}

function checkAllowance({ uses, until }: Allowance, kind: AccessRequest['kind'], { at, decision }: Approval): void {
  const refuse = (reason: string) => new GateError('usage', reason);
  if (kind !== 'statement') throw refuse('a number of uses, a time and "any parameters" are for requests of one statement');
  if (decision !== 'approve') throw refuse('a denial gives no uses');
  if (!Number.isInteger(uses) || uses < 1 || uses > usesMax) throw refuse(`an approval is good for 1 to ${usesMax} uses`);
  if (until <= at) throw refuse('an approval must last for some time');
  if (until > after(at, approvedSecondsMax)) throw refuse(`an approval lasts for at most ${approvedSecondsMax / 3600} hours`);
}

/** What the votes that count come to; a sufficient no outweighs every yes. */
export function tally(
  votes: readonly Approval[],
  rule: Pick<ApprovalRule, 'count' | 'denials'>,
  counts: Counts,
): Extract<RequestState, 'pending' | 'approved' | 'denied'> {
  const distinct = votes.filter((vote, index) => votes.findIndex(({ by }) => isSamePrincipal(by, vote.by)) === index && counts(vote));
  const of = (decision: Approval['decision']) => distinct.filter((vote) => vote.decision === decision).length;
  if (of('deny') >= rule.denials) return 'denied';
  return of('approve') >= rule.count ? 'approved' : 'pending';
}

/** Nobody gives more than any one of the approvers would: the fewest uses, the shortest time, exact parameters. */
export function allowanceOf(votes: readonly Approval[], now: Date): Allowance {
  const given = votes
    .filter(({ decision }) => decision === 'approve')
    .map(({ allows }) => allows ?? { uses: 1, until: after(now, approvedSeconds), anyParameters: false });
  return {
    uses: Math.min(...given.map(({ uses }) => uses)),
    until: new Date(Math.min(...given.map(({ until }) => until.getTime()))),
    anyParameters: given.every(({ anyParameters }) => anyParameters),
  };
}

function approvedUntil({ kind, votes }: AccessRequest, now: Date): Date {
  return kind === 'statement' ? allowanceOf(votes, now).until : after(now, approvedSeconds);
}

/** What an approved request of a statement is good for. Undefined for other requests. */
export function statementApprovalOf(request: AccessRequest): StatementApproval | undefined {
  const { id, state, statement, requester, target, role, votes, expiresAt } = request;
  if (state !== 'approved' || statement === undefined) return undefined;
  const { uses, anyParameters } = allowanceOf(votes, expiresAt);
  return {
    request: id,
    principal: { issuer: requester.issuer, subject: requester.subject },
    target,
    role,
    fingerprint: statement.fingerprint,
    parameterHash: anyParameters ? null : statement.parameterHash,
    usesLeft: uses,
    expiresAt,
  };
}

/** The request whose time is up. Undefined when it is not, or when it waits for nothing. */
export function expire(request: AccessRequest, now: Date): AccessRequest | undefined {
  if (!isWaiting(request) || now < request.expiresAt) return undefined;
  return { ...request, state: 'expired', endReason: describeExpiry(request) };
}

/** Undefined when it is decided: nothing happens to it then. */
export function withdraw(request: AccessRequest, reason: string): AccessRequest | undefined {
  return request.state === 'pending' ? { ...request, state: 'withdrawn', endReason: reason } : undefined;
}

/** An approved request that gives a grant. */
export function use(request: AccessRequest, grant: string): AccessRequest {
  return { ...request, state: 'used', grant };
}

/** An approval whose voters may not vote any more is none. */
export function annul(request: AccessRequest, counts: Counts): AccessRequest {
  const lost = request.votes.filter((vote) => vote.decision === 'approve' && !counts(vote)).map(({ by }) => by.name);
  const endReason =
    lost.length > 0
      ? `the approval of ${lost.join(' and ')} no longer counts, because they may not approve this any more`
      : 'the policy asks for more approvals by now';
  return { ...request, state: 'denied', endReason };
}

/** Whether time can still change it: it waits for votes, or approved for its use. A review that was passed waits for nothing. */
export function isWaiting({ kind, state }: Pick<AccessRequest, 'kind' | 'state'>): boolean {
  return state === 'pending' || (state === 'approved' && kind !== 'review');
}

/** The failure of whoever asked for something that they did not get. `used` counts as not had: it was somebody else's use. */
export function refusalOf(request: Pick<AccessRequest, 'id' | 'state'> & { readonly endReason?: string | undefined }): GateError {
  const { id, state, endReason } = request;
  const why = endReason === undefined ? '' : `: ${endReason}`;
  const details = { requestId: id };
  switch (state) {
    case 'expired':
      return new GateError('approval-expired', `request ${id} expired${why}`, details);
    case 'denied':
      return new GateError('approval-rejected', `request ${id} was denied${why}`, details);
    case 'withdrawn':
      return new GateError('approval-rejected', `request ${id} was withdrawn${why}`, details);
    case 'pending':
      return new GateError('approval-pending', `request ${id} waits for approval`, {
        ...details,
        hint: `Wait for it with: gate requests wait ${id}`,
      });
    case 'approved':
    case 'used':
      return new GateError('denied', `request ${id} has been used already`, { ...details, rule: 'request/used' });
  }
}

function describeDenial({ by, reason }: Approval): string {
  return reason === undefined ? `${by.name} denied it` : `${by.name} denied it: ${reason}`;
}

function describeExpiry({ kind, state, expiresAt }: AccessRequest): string {
  const at = expiresAt.toISOString();
  if (kind === 'review') return `nobody has looked at it by ${at}: the review is overdue`;
  return state === 'approved' ? `it was approved, and not used up by ${at}` : `not enough people approved it by ${at}`;
}

function after(moment: Date, seconds: number): Date {
  return new Date(moment.getTime() + seconds * 1000);
}
