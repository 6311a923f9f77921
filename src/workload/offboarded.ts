/** Whether policy says of somebody that they have left, and so also of the machines that act for them. */
import type { Principal } from '../principal/principal.ts';
import type { Workloads } from './workload.ts';

export type Offboarding = {
  /** The person, by their name in the policy where they have one. */
  readonly who: string;
  /** A sentence for whoever is refused. */
  readonly reason: string;
};

/** A person by the subject of their login; a workload or an agent by its owner and by the verified people behind it. */
export function offboardingOf(machines: Workloads, { kind, subject, chain = [] }: Principal): Offboarding | undefined {
  const bySubject = new Map<string, Offboarding>();
  for (const { person, subject: named, reason } of machines.offboarded) {
    const left = named ?? (person === undefined ? undefined : machines.people.get(person)?.subject);
    if (left === undefined || bySubject.has(left)) continue;
    const name = person ?? [...machines.people.values()].find((one) => one.subject === left)?.name ?? left;
    bySubject.set(left, { who: name, reason });
  }
  if (kind === 'human') {
    const left = bySubject.get(subject);
    return left && { who: left.who, reason: `${left.who} has no access any more: ${left.reason}` };
  }
  for (const { kind: link, id, strength } of chain) {
    if ((link !== 'owner' && link !== 'human') || strength !== 'verified' || id === undefined) continue;
    const left = bySubject.get(id);
    const what = link === 'owner' ? 'its owner' : 'the person behind it';
    if (left !== undefined) return { who: left.who, reason: `${left.who}, ${what}, has no access any more: ${left.reason}` };
  }
  return undefined;
}
