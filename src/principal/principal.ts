/** Who is asking: a human, a workload or an agent, as a verified token said it, and who stands behind a machine. */

/** What a link of a chain is about, from the machine to the person. */
export const linkKinds = ['agent', 'workload', 'run', 'repository', 'ref', 'commit', 'environment', 'actor', 'author', 'owner', 'human'] as const;

/**
 * One step on the way from a workload or an agent back to a person. It is verified where a signed token says so, a
 * commit's signature, or the policy's own list of people for an account that is itself verified; else somebody claimed it.
 */
export type Link = {
  readonly kind: (typeof linkKinds)[number];
  /** What people read. */
  readonly value: string;
  /** What never changes and is never used again, where the platform has such: a repository's number, a login's `sub`. */
  readonly id?: string;
  readonly url?: string;
  readonly strength: 'verified' | 'claimed';
  /** Who says so: the token, the signature of the commit, the policy, or the client. */
  readonly source: 'token' | 'signature' | 'policy' | 'client';
};

export type Principal = {
  readonly issuer: string;
  /** The token's `sub`, or what the relay makes of a workload's fixed claims: stable and unique within the issuer. Identity is issuer and subject together. */
  readonly subject: string;
  readonly kind: 'human' | 'workload' | 'agent';
  /** What people read. Never used to decide. */
  readonly name: string;
  readonly groups: readonly string[];
  /** Of a workload or an agent: from itself to a person. Absent for a human. */
  readonly chain?: readonly Link[];
};

/** Whether two principals are the same one. Names and groups may change between logins; these two claims do not. */
export function isSamePrincipal(
  one: Pick<Principal, 'issuer' | 'subject'>,
  other: Pick<Principal, 'issuer' | 'subject'>,
): boolean {
  return one.issuer === other.issuer && one.subject === other.subject;
}

/** As `isSamePrincipal`, and in the same part: an agent is not its person here, nor another agent of theirs. */
export function isSameActor(one: Pick<Principal, 'issuer' | 'subject' | 'kind' | 'name'>, other: Pick<Principal, 'issuer' | 'subject' | 'kind' | 'name'>): boolean {
  if (!isSamePrincipal(one, other)) return false;
  if (one.kind !== 'agent' && other.kind !== 'agent') return true;
  return one.kind === other.kind && one.name === other.name;
}

/**
 * The person behind a principal, whose `id` is the subject of their own login: themselves, or the human at the end of the
 * chain, a verified one before one that is claimed.
 */
export function humanBehind({ kind, name, subject, chain = [] }: Principal): Link | undefined {
  if (kind === 'human') return { kind: 'human', value: name, id: subject, strength: 'verified', source: 'token' };
  const humans = chain.filter((link) => link.kind === 'human');
  return humans.find(({ strength }) => strength === 'verified') ?? humans[0];
}
