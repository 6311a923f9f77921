/** The HTTP API of the inventory: everybody who came by and what they used, for auditors and administrators. */
import type { Context, Hono } from 'hono';
import { inventoryPageMax, type InventoryPage } from '../api/inventory-api.ts';
import { GateError } from '../errors/errors.ts';
import { takeInventory } from '../policy/inventory.ts';
import { dormantDefaultDays, sinceDefaultDays } from '../principal/findings.ts';
import type { Database } from '../store/database.ts';
import { readInventory } from '../store/inventory.ts';
import type { Log } from '../store/log.ts';
import { AuditReads } from './audit-reads.ts';
import type { Callers } from './callers.ts';
import { readLimit } from './exchange.ts';
import type { PolicySource } from './policy-source.ts';
import type { Sessions } from './sessions.ts';

const dayMs = 86_400_000;

export type InventoryRouteOptions = {
  readonly callers: Callers;
  readonly sessions: Pick<Sessions, 'storeUsage'>;
  readonly recorder: Log;
  readonly database: Database;
  readonly policies: PolicySource;
};

export function addInventoryRoute(app: Hono, { callers, sessions, recorder, database, policies }: InventoryRouteOptions): void {
  const reads = new AuditReads(recorder, () => policies.current);

  app.get('/v1/inventory', async (context) => {
    const { principal } = await callers.authenticate(context.req.header('authorization'));
    reads.checkKeeper(principal, 'the inventory is');
    const now = new Date();
    const since = readTime(context, 'since', now, sinceDefaultDays);
    const dormantSince = readTime(context, 'dormant', now, dormantDefaultDays);
    const offset = Number(context.req.query('offset') ?? 0);
    if (!Number.isSafeInteger(offset) || offset < 0) throw new GateError('usage', 'offset must be a whole number');
    const limit = Math.min(readLimit(context, inventoryPageMax), inventoryPageMax);
    await reads.record(principal, 'inventory', 'everybody who came by');
    await sessions.storeUsage();
    const { seen, isCut } = await readInventory(database, { since, now, countsOf: (id) => recorder.counts(id) });
    const all = takeInventory(policies.current, seen, { since, dormantSince });
    const end = offset + limit;
    return context.json<InventoryPage>({
      since: since.toISOString(),
      dormant: dormantSince.toISOString(),
      principals: all.slice(offset, end),
      ...(end < all.length && { next: end }),
      ...(isCut && { isCut: true as const }),
    });
  });
}

function readTime(context: Context, name: string, now: Date, days: number): Date {
  const text = context.req.query(name);
  if (text === undefined) return new Date(now.getTime() - days * dayMs);
  const time = new Date(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text) ? text : Number.NaN);
  if (Number.isNaN(time.getTime())) throw new GateError('usage', `${name} must be a time like 2026-05-04T10:00:00Z`);
  return time;
}
