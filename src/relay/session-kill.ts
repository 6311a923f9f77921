/** Ends a session before its time: who may, and that they did. */
import type { SessionSummary } from '../api/api.ts';
import { GateError } from '../errors/errors.ts';
import type { Session } from '../grant/grant.ts';
import type { Policy } from '../policy/policy.ts';
import type { Principal } from '../principal/principal.ts';
import type { Grants } from './grants.ts';
import { accessOf } from './reading.ts';
import type { Sessions } from './sessions.ts';

/** Sessions that are looked through for those that the caller may see or end. */
const scannedMax = 1000;

export type KillOptions = { readonly sessions: Sessions; readonly grants: Grants; readonly policy: () => Policy };

/**
 * Its owner, administrators, and whoever may revoke its grant can. `id` may be a unique prefix. Resolves when the
 * session has ended; fails with `session-ended` when it had already, and with `record-unavailable` when it cannot be
 * recorded, and then the session goes on.
 */
export async function killSession(options: KillOptions, caller: Principal, id: string, reason: string | undefined): Promise<SessionSummary> {
  const { sessions, grants, policy } = options;
  const candidates = await sessions.stored({ idPrefix: id, limit: scannedMax });
  const visible: { session: Session; mayEnd: boolean }[] = [];
  for (const session of candidates) {
    const mayEnd = await grants.mayRevoke(caller, session.grant);
    if (mayEnd || accessOf(policy(), caller, session.grant.principal) !== 'none') visible.push({ session, mayEnd });
    if (visible.length > 1) throw new GateError('usage', `more than one session begins with "${id}"`);
  }
  const [found] = visible;
  if (found === undefined) throw new GateError('not-found', `there is no session "${id}", or you may not end it`, { hint: 'See gate sessions list.' });
  if (!found.mayEnd) {
    throw new GateError('denied', `you may not end session ${found.session.id} of ${found.session.grant.principal.name}`, {
      rule: 'session/kill',
      hint: 'Its owner, who approved its grant, and administrators may.',
    });
  }
  return sessions.kill(found.session.id, caller, reason);
}
