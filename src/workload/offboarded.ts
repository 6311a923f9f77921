/** Whether somebody has left by the policy's list: the caller themselves, the verified person behind a machine, or its owner. */
import type { Principal } from '../principal/principal.ts';
import { peopleBehind } from './people-behind.ts';
import type { Workloads } from './workload.ts';

/** Who has left, by name where the policy has one, and the reason that the policy gives. */
export function offboardingOf(machines: Workloads, principal: Principal): { readonly who: string; readonly reason: string } | undefined {
  if (machines.offboarded.length === 0) return undefined;
  const people = peopleBehind(machines, principal);
  for (const { person, subject, reason } of machines.offboarded) {
    const gone = person === undefined ? subject : machines.people.get(person)?.subject;
    const found = people.find((one) => one.subject === gone || (person !== undefined && one.name === person && one.as === 'owner'));
    if (found !== undefined) return { who: person ?? found.name, reason };
  }
  return undefined;
}
