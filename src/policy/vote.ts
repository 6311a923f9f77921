/** Who may vote on a request, and whether enough people could exist to decide it. Pure. */
import type { AccessRequest } from '../grant/request.ts';
import { isSamePrincipal, type Principal } from '../principal/principal.ts';
import type { Policy } from './policy.ts';

export type RequestFacts = Pick<AccessRequest, 'requester' | 'approval' | 'votes'>;
export type VoteAnswer = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Whether `voter`, with the groups that they have now, may vote on the request. */
export function canVote(input: { policy: Policy; request: RequestFacts; voter: Principal }): VoteAnswer {
  const { policy, request, voter } = input;
  if (isSamePrincipal(request.requester, voter)) return no('nobody votes on their own request');
  if (voter.kind !== 'human') return no('only people vote');
  if (request.votes.some(({ by }) => isSamePrincipal(by, voter))) return no('you have voted on this request already');
  const sets = request.approval.by.flatMap((name) => policy.approvers.get(name) ?? []);
  const isIn = sets.some(({ groups, subjects }) => subjects.includes(voter.subject) || groups.some((group) => voter.groups.includes(group)));
  return isIn ? { ok: true } : no(`you are not in ${request.approval.by.join(' or ') || 'any approver set'}`);
}

/** False only where it is known that too few people exist. */
export function isApprovable(policy: Policy, request: Pick<AccessRequest, 'requester' | 'approval'>): boolean {
  const sets = request.approval.by.flatMap((name) => policy.approvers.get(name) ?? []);
  if (sets.some(({ groups, subjects }) => groups.length > 0 || subjects.length === 0)) return true;
  const people = new Set(sets.flatMap(({ subjects }) => subjects));
  people.delete(request.requester.subject);
  return people.size >= request.approval.count;
}

/** Who may approve, in words for people: the sets with their groups. */
export function describeApprovers(policy: Policy, by: readonly string[]): string {
  return by.map((name) => `${name} (${policy.approvers.get(name)?.groups.join(', ') ?? ''})`).join(' or ');
}

function no(reason: string): VoteAnswer {
  return { ok: false, reason };
}
