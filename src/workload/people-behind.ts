/** The people whom a principal stands and falls with: themselves, the verified person behind a machine, and its owner. */
import { humanBehind, type Principal } from '../principal/principal.ts';
import type { Workload, Workloads } from './workload.ts';

export type PersonBehind = {
  /** As the policy's list of people has it, else as the token or the chain says. */
  readonly name: string;
  /** The `sub` of their login; undefined for an owner whom the policy no longer knows. */
  readonly subject: string | undefined;
  readonly as: 'self' | 'human' | 'owner';
};

/**
 * A person who is only claimed is not among them: anybody could be claimed. Of a workload's owners both count, the one of
 * the chain and the one that the policy names now.
 */
export function peopleBehind(machines: Workloads, principal: Principal): readonly PersonBehind[] {
  const behind = humanBehind(principal);
  const self: PersonBehind[] = [];
  if (behind?.strength === 'verified') {
    const subject = behind.id ?? machines.people.get(behind.value)?.subject;
    self.push({ name: nameOf(machines, subject) ?? behind.value, subject, as: principal.kind === 'human' ? 'self' : 'human' });
  }
  const linked = (principal.chain ?? []).filter(({ kind }) => kind === 'owner').map(({ value, id }) => ownerOf(machines, value, id));
  const owner = workloadOf(machines, principal)?.owner;
  const named = owner === undefined ? [] : [ownerOf(machines, owner, undefined)];
  const owners = [...linked, ...named].filter((one, index, all) => all.findIndex(({ name, subject }) => name === one.name && subject === one.subject) === index);
  return [...self, ...owners];
}

/** The name of the policy's entry that a principal came by, an agent with a workload's login as well; undefined for people and their agents. */
export function workloadNameOf({ chain = [] }: Principal): string | undefined {
  return chain.find(({ kind, strength }) => kind === 'workload' && strength === 'verified')?.value;
}

/** The policy's entry of now. */
export function workloadOf(machines: Workloads, principal: Principal): Workload | undefined {
  const name = workloadNameOf(principal);
  return name === undefined ? undefined : machines.workloads.find((one) => one.name === name);
}

function ownerOf({ people }: Workloads, name: string, id: string | undefined): PersonBehind {
  return { name, subject: people.get(name)?.subject ?? id, as: 'owner' };
}

function nameOf({ people }: Workloads, subject: string | undefined): string | undefined {
  return subject === undefined ? undefined : [...people.values()].find((one) => one.subject === subject)?.name;
}
