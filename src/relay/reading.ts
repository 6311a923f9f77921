/** Who may read what of the record, and that they did: on record before the first byte is sent. */
import { decisionsChain, type EventOf } from '../audit/entry.ts';
import type { Recorder } from '../audit/recorder.ts';
import { isAdministrator, isAuditor } from '../policy/decide.ts';
import type { Policy } from '../policy/policy.ts';
import { isSamePrincipal, type Principal } from '../principal/principal.ts';
import { who } from './request-events.ts';

/** Whether somebody sees the sessions of others at all. */
export function seesAll(policy: Policy, reader: Principal): boolean {
  return isAuditor(policy, reader) || isAdministrator(policy, reader);
}

/** Owners and auditors read everything; administrators, who are to operate and not to know, all but what is sealed. */
export function accessOf(policy: Policy, reader: Principal, owner: Pick<Principal, 'issuer' | 'subject'>): 'opened' | 'closed' | 'none' {
  if (isSamePrincipal(reader, owner) || isAuditor(policy, reader)) return 'opened';
  return isAdministrator(policy, reader) ? 'closed' : 'none';
}

/** Whether nothing of what somebody sees is closed for them. */
export function seesWhole(policy: Policy, reader: Principal): boolean {
  return isAuditor(policy, reader) || !isAdministrator(policy, reader);
}

export type Reading = Omit<EventOf<'read'>, 'kind' | 'by'>;

/** Durable when this resolves. Fails with `record-unavailable`: what cannot be recorded is not read. */
export async function recordReading(recorder: Recorder, reader: Principal, reading: Reading): Promise<void> {
  await recorder.record(decisionsChain, [{ kind: 'read', by: who(reader), ...reading }]);
}
