/** Who stands behind a machine, in words: one line for tables and sentences, and whether two callers are one and the same run. */
import { humanBehind, type Link, type Principal } from './principal.ts';

/** A machine with the person behind it, `nightly (for erin)`; `erin?` where that is only claimed. A human by name alone. */
export function nameOf(principal: Principal): string {
  if (principal.kind === 'human') return principal.name;
  const human = humanBehind(principal);
  const name = withoutMarks(principal.name);
  return human === undefined ? name : `${name} (for ${withoutMarks(human.value)}${human.strength === 'verified' ? '' : '?'})`;
}

/** No name may bring the marks that tell what is claimed, or that somebody stands behind it. */
function withoutMarks(name: string): string {
  return name.replaceAll('(', '[').replaceAll(')', ']').replaceAll('?', '.');
}

/** `verified by token`: how sure a link is, and who says so. */
export function strengthOf({ strength, source }: Link): string {
  return `${strength} by ${source}`;
}

/** The links that lead from a principal to a person; of a human, who stands behind themselves, that one link. */
export function linksOf(principal: Principal): readonly Link[] {
  if (principal.chain !== undefined || principal.kind !== 'human') return principal.chain ?? [];
  const human = humanBehind(principal);
  return human === undefined ? [] : [human];
}

/** Links that are about a person, or an account of one. */
export const personKinds: readonly Link['kind'][] = ['actor', 'author', 'owner', 'human'];

/** A link without its strength: what people read, the id where it says more, and where to look. */
export function describeLink({ value, id, url }: Link): string {
  return [value, ...(id === undefined || id === value ? [] : [`(${id})`]), ...(url === undefined ? [] : [url])].join(' ');
}

/**
 * What makes two callers of one account the same run: their kind, the agent that they say they are, and what is verified
 * of workload, run and human. Where this differs, what one was granted is not for the other.
 */
export function isSameRun(one: Principal, other: Principal): boolean {
  return one.kind === other.kind && JSON.stringify(identityOf(one)) === JSON.stringify(identityOf(other));
}

/**
 * Whether the same person is known to stand behind both, or, where nobody is known, the same account of the platform: what
 * was approved for one run of a workload is for its next run only as long as the same person causes it.
 */
export function isForSamePerson(one: Pick<Principal, 'chain'>, other: Pick<Principal, 'chain'>): boolean {
  const [first, second] = [one, other].map(({ chain = [] }) => {
    const verified = (wanted: Link['kind']) => chain.find(({ kind, strength }) => kind === wanted && strength === 'verified');
    const link = verified('human') ?? verified('actor');
    return link && JSON.stringify([link.kind, link.id ?? link.value]);
  });
  return first === second;
}

function identityOf({ chain = [] }: Principal): string[] {
  const counts = ({ kind, strength }: Link) => kind === 'agent' || (strength === 'verified' && ['workload', 'run', 'human'].includes(kind));
  return chain.filter(counts).map(({ kind, value, id }) => JSON.stringify([kind, id ?? value])).toSorted();
}
