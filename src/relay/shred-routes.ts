/** The HTTP API of erasure: keys shredded by two administrators, and legal holds that keep them. */
import type { Hono } from 'hono';
import { HoldBody, ShredBody, type HoldAnswer, type ShredAnswer } from '../api/audit-api.ts';
import type { Log } from '../store/log.ts';
import type { AuditReads } from './audit-reads.ts';
import type { Callers } from './callers.ts';
import { Erasure } from './erasure.ts';
import { readBody } from './exchange.ts';
import type { RelayLog } from './relay-log.ts';

export type ShredRoutesOptions = { readonly callers: Callers; readonly recorder: Log; readonly log: RelayLog };

/** Both need a token that knows the groups of now. */
export function addShredRoutes(app: Hono, { callers, recorder, log }: ShredRoutesOptions, roles: AuditReads): void {
  const erasure = new Erasure(recorder);

  app.post('/v1/sessions/:id/shred', async (context) => {
    const { principal } = await callers.authenticateFresh(context.req.header('authorization'));
    roles.checkAdministrator(principal);
    const { reason } = await readBody(context, ShredBody);
    const session = context.req.param('id');
    const answer = await erasure.shred(session, principal, reason);
    log.info({ session, state: answer.state, subject: principal.subject }, 'shredding of keys');
    return context.json<ShredAnswer>(answer, answer.state === 'requested' ? 202 : 200);
  });
  app.post('/v1/sessions/:id/hold', async (context) => {
    const { principal } = await callers.authenticateFresh(context.req.header('authorization'));
    roles.checkKeeper(principal, 'legal holds are');
    const { reason, isSet } = await readBody(context, HoldBody);
    const session = context.req.param('id');
    await erasure.hold(session, principal, { reason, isSet });
    log.info({ session, isSet, subject: principal.subject }, 'legal hold');
    return context.json<HoldAnswer>({ session, isSet });
  });
}
