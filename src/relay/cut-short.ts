/** What somebody ended and a crash kept from taking effect: it was on record, so it counts, and is made good at the next start. */
import { decisionsChain, type EventOf } from '../audit/entry.ts';
import type { GrantStore } from '../grant/grant.ts';
import type { Log } from '../store/log.ts';

/** Revocations of grants that the state has not heard of. Before sessions are taken up: those of a revoked grant end then. */
export async function finishRevocations(recorder: Log, store: GrantStore): Promise<void> {
  if (recorder.after !== 'crash') return;
  for await (const { event, time } of recorder.entries(decisionsChain, { isOpened: false })) {
    if (event.kind !== 'grant.revoke') continue;
    const grant = await store.loadGrant(event.grant);
    if (grant === undefined || grant.revocation !== undefined) continue;
    await store.revokeGrant(event.grant, { at: new Date(time), by: event.by, ...(event.reason !== undefined && { reason: event.reason }) });
  }
}

/** Who had ended the session, where its record says so and does not close it. */
export async function findKill(recorder: Log, session: string): Promise<EventOf<'session.kill'> | undefined> {
  if (recorder.after !== 'crash') return undefined;
  for await (const { event } of recorder.entries(session, { isOpened: false })) if (event.kind === 'session.kill') return event;
  return undefined;
}
