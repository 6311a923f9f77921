/** The HTTP API of machines: a platform's token for a login. It takes no Authorization header. */
import type { Hono } from 'hono';
import { exchangeBytesMax, TokenExchange, type TokenAnswer } from '../api/workload-api.ts';
import { readBody } from './exchange.ts';
import type { RelayLog } from './relay-log.ts';
import type { WorkloadLogins } from './workload-logins.ts';

export type WorkloadRoutesOptions = { readonly workloads: WorkloadLogins; readonly log: RelayLog };

export function addWorkloadRoutes(app: Hono, { workloads, log }: WorkloadRoutesOptions): void {
  app.post('/v1/token', async (context) => {
    const answer = await workloads.exchange(await readBody(context, TokenExchange, exchangeBytesMax));
    log.info({ subject: answer.principal.subject, expiresAt: answer.expiresAt }, 'login of a machine');
    context.header('cache-control', 'no-store');
    return context.json<TokenAnswer>(answer, 201);
  });
}
