/** Who is asking: a human, a workload or an agent, as a verified token said it. */

export type Principal = {
  readonly issuer: string;
  /** The token's `sub`: stable and unique within the issuer. Identity is issuer and subject together. */
  readonly subject: string;
  readonly kind: 'human' | 'workload' | 'agent';
  /** What people read. Never used to decide. */
  readonly name: string;
  readonly groups: readonly string[];
};

/** Whether two principals are the same one. Names and groups may change between logins; these two claims do not. */
export function isSamePrincipal(
  one: Pick<Principal, 'issuer' | 'subject'>,
  other: Pick<Principal, 'issuer' | 'subject'>,
): boolean {
  return one.issuer === other.issuer && one.subject === other.subject;
}
