/** Who may vote on a request, and whether enough people could exist to decide it. Pure. */
import type { AccessRequest } from '../grant/request.ts';
import { isSamePrincipal, type Principal } from '../principal/principal.ts';
import { offboardingOf } from '../workload/offboarded.ts';
import { principalValue, requestValue, type RequestFacts } from './condition-values.ts';
import type { ApproverSet, Policy } from './role.ts';

export type VoteAnswer = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/**
 * Whether `voter`, with the groups that they have now, may vote on the request. Never the requester, whatever else they
 * are; never twice; people only, because a quorum counts heads.
 */
export function canVote(input: { policy: Policy; request: RequestFacts; voter: Principal }): VoteAnswer {
  const { policy, request, voter } = input;
  if (isSamePrincipal(request.requester, voter)) return no('nobody votes on their own request');
  if (voter.kind !== 'human') return no(`only people vote, and ${voter.name} is ${voter.kind === 'agent' ? 'an agent' : 'a workload'}`);
  if (offboardingOf(policy.machines, voter) !== undefined) return no(`${voter.name} has left`);
  if (isBehind(voter, request.requester)) return no(`you are the person behind ${request.requester.name}`);
  if (request.votes.some(({ by }) => isSamePrincipal(by, voter))) return no('you have voted on this request already');
  const problems: string[] = [];
  for (const name of request.approval.by) {
    const answer = isIn(policy.approvers.get(name), request, voter);
    if (answer.ok) return answer;
    problems.push(`${name}: ${answer.reason}`);
  }
  return no(`you are not in ${request.approval.by.join(' or ') || 'any approver set'} (${problems.join('; ') || 'the rule names none'})`);
}

/** Whether a person stands behind a machine, also where that is only claimed: who may have caused a run does not approve it. */
export function isBehind({ subject }: Pick<Principal, 'subject'>, { chain = [] }: Pick<Principal, 'chain'>): boolean {
  return chain.some(({ kind, id }) => kind === 'human' && id === subject);
}

function isIn(set: ApproverSet | undefined, request: RequestFacts, voter: Principal): VoteAnswer {
  if (set === undefined) return no('the policy no longer has this set');
  const isNamed = set.groups.some((group) => voter.groups.includes(group)) || set.subjects.includes(voter.subject);
  const isForAll = set.groups.length === 0 && set.subjects.length === 0 && set.when !== undefined;
  if (!isNamed && !isForAll) return no(set.groups.length === 0 ? 'it names other people' : `its groups are ${set.groups.join(', ')}`);
  if (set.when === undefined) return { ok: true };
  const { holds, problem } = set.when.test({ approver: principalValue(voter), request: requestValue(request) });
  if (holds) return { ok: true };
  return no(problem === undefined ? 'its condition does not let you in' : `its condition could not be evaluated: ${problem}`);
}

/**
 * False only where it is known that too few people exist: all of the sets name people one by one, and without the
 * requester they are fewer than the quorum; or the policy has none of the sets.
 */
export function isApprovable(policy: Policy, request: Pick<AccessRequest, 'requester' | 'approval'>): boolean {
  const sets = request.approval.by.flatMap((name) => policy.approvers.get(name) ?? []);
  if (sets.some(({ groups, subjects }) => groups.length > 0 || subjects.length === 0)) return true;
  const people = new Set(sets.flatMap(({ subjects }) => subjects));
  people.delete(request.requester.subject);
  return people.size >= request.approval.count;
}

/** Who may approve, in words for people: the sets with their groups. */
export function describeApprovers(policy: Policy, by: readonly string[]): string {
  return by.map((name) => describeSet(name, policy.approvers.get(name))).join(' or ');
}

function describeSet(name: string, set: ApproverSet | undefined): string {
  const who = [...(set?.groups ?? []), ...(set === undefined || set.subjects.length === 0 ? [] : [`${set.subjects.length === 1 ? 'one person' : `${set.subjects.length} people`} by name`])];
  return who.length === 0 || (who.length === 1 && who[0] === name) ? name : `${name} (${who.join(', ')})`;
}

function no(reason: string): VoteAnswer {
  return { ok: false, reason };
}
