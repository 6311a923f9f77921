/** The part of the relay's API that is about its record as a whole. */
import type * as z from 'zod/mini';
import { HoldAnswer, IndexedEntry, Receipt, Rotations, SealedContent, ShredAnswer, followSecondsMax, type Rotation } from '../api/audit-api.ts';
import { InventoryPage, inventoryPageMax, type Inventory, type InventoryEntry } from '../api/inventory-api.ts';
import { entryBytesMax, tilePath, tileWidth, type TileId } from '../audit/tiles.ts';
import type { RelayRequest } from './relay-http.ts';

export interface AuditCalls {
  /** The newest checkpoint, as a signed note, for a bundle or an export of entries. It covers all that is on record as of the call. For auditors, as what follows. */
  logCheckpoint(use?: 'bundle' | 'export'): Promise<string>;
  /** A file of the tree, also a partial one of an older checkpoint. */
  logTile(id: TileId): Promise<Buffer>;
  /** Verifier keys: that of now, and those before it, newest first. For everybody. */
  logKeys(): Promise<string[]>;
  rotations(): Promise<Rotation[]>;
  /** Open entries in order, `limit` at most; while following it waits half a minute for a first one. Rejects when the signal aborts. */
  logEntries(query: EntriesQuery): AsyncIterable<IndexedEntry>;
  /** What a session's entries have sealed, in order, still sealed. `decisions`: beside the sessions. */
  sealed(session: string): AsyncIterable<SealedContent>;
  /** For the owner of a session and for auditors. `timeoutMs` bounds the exchange. */
  receipt(session: string, timeoutMs?: number): Promise<Receipt>;
  /** A version of the policy, by the SHA-256 of its text. For auditors and administrators. */
  policyText(digest: string): Promise<string>;
  /** For administrators: `requested` until a second one asks for it as well. Takes the whole id, as does `hold`. */
  shred(session: string, reason: string): Promise<ShredAnswer>;
  /** Sets or lifts a legal hold. For auditors and administrators. */
  hold(session: string, isSet: boolean, reason: string): Promise<HoldAnswer>;
  /** Everybody who came by. Times are RFC 3339. For auditors and administrators. */
  inventory(times?: InventoryTimes): Promise<Inventory>;
}

export type InventoryTimes = { readonly since?: string; readonly dormant?: string };

export type EntriesQuery = {
  readonly from: number;
  readonly limit: number;
  readonly isFollowing?: boolean;
  readonly signal?: AbortSignal;
};

type Call = Omit<RelayRequest, 'relay' | 'token'>;

/** How the calls reach the relay, as the person who is logged in. */
export type AuditTransport = {
  readonly json: <T extends z.ZodMiniType>(call: Call, schema: T) => Promise<z.infer<T>>;
  readonly bytes: (call: Call, bytesMax: number) => Promise<Buffer>;
  readonly lines: <T extends z.ZodMiniType>(call: Call, schema: T) => AsyncIterable<z.infer<T>>;
};

const followTimeoutMs = (followSecondsMax + 15) * 1000;
const tileBytesMax = tileWidth * (entryBytesMax + 2);
const textBytesMax = 16 * 1024 * 1024;

export function createAuditCalls({ json, bytes, lines }: AuditTransport): AuditCalls {
  const text = async (path: string) => (await bytes({ method: 'GET', path }, textBytesMax)).toString('utf8');
  return {
    logCheckpoint: (use) => text(`/v1/log/checkpoint${use === 'export' ? '?for=export' : ''}`),
    logTile: (id) => bytes({ method: 'GET', path: `/v1/log/${tilePath(id)}`, timeoutMs: 60_000 }, tileBytesMax),
    logKeys: async () => (await text('/v1/log/key')).split('\n').filter((line) => line !== ''),
    rotations: async () => (await json({ method: 'GET', path: '/v1/log/rotations' }, Rotations)).rotations,
    logEntries({ from, limit, isFollowing = false, signal }) {
      const path = `/v1/log/entries?from=${from}&limit=${limit}${isFollowing ? '&follow=true' : ''}`;
      return lines({ method: 'GET', path, timeoutMs: followTimeoutMs, ...(signal && { signal }) }, IndexedEntry);
    },
    sealed: (session) => lines({ method: 'GET', path: `${sessionPath(session)}/sealed` }, SealedContent),
    receipt: (session, timeoutMs) =>
      json({ method: 'GET', path: `${sessionPath(session)}/receipt`, ...(timeoutMs !== undefined && { timeoutMs }) }, Receipt),
    policyText: (digest) => text(`/v1/policies/${encodeURIComponent(digest)}`),
    shred: (session, reason) => json({ method: 'POST', path: `${sessionPath(session)}/shred`, body: { reason } }, ShredAnswer),
    hold: (session, isSet, reason) => json({ method: 'POST', path: `${sessionPath(session)}/hold`, body: { isSet, reason } }, HoldAnswer),
    inventory: (times) => readInventory(json, times),
  };
}

/** The times of the first page hold for all, so that they are of one period. */
async function readInventory(json: AuditTransport['json'], times: InventoryTimes = {}): Promise<Inventory> {
  // Somebody new moves those behind them to the next page: whoever stands in two counts once.
  const principals = new Map<string, InventoryEntry>();
  let page: InventoryPage | undefined;
  for (let offset: number | undefined = 0; offset !== undefined; offset = page.next) {
    const { since = times.since, dormant = times.dormant } = page ?? {};
    const query = new URLSearchParams({ limit: String(inventoryPageMax), offset: String(offset), ...(since !== undefined && { since }), ...(dormant !== undefined && { dormant }) });
    page = await json({ method: 'GET', path: `/v1/inventory?${query.toString()}`, timeoutMs: 60_000 }, InventoryPage);
    for (const one of page.principals) principals.set(JSON.stringify([one.issuer, one.subject, one.name]), one);
  }
  const { next: _, ...rest } = page as InventoryPage;
  return { ...rest, principals: [...principals.values()] };
}

function sessionPath(id: string): string {
  return `/v1/sessions/${encodeURIComponent(id)}`;
}
