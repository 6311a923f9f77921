/** What the relay answers when it is asked for everybody who came by: GET /v1/inventory. */
import * as z from 'zod/mini';
import { findingNames } from '../principal/findings.ts';
import { StatementKind } from './api.ts';

/** Principals in one answer. */
export const inventoryPageMax = 500;

export const Finding = z.object({
  finding: z.enum(findingNames),
  /** A sentence without its end. */
  detail: z.string(),
  target: z.optional(z.string()),
  role: z.optional(z.string()),
});
export type Finding = z.infer<typeof Finding>;

const Person = z.object({ name: z.string(), subject: z.optional(z.string()) });

export const InventoryEntry = z.object({
  issuer: z.string(),
  /** Absent for a workload of the policy that never came by. */
  subject: z.optional(z.string()),
  name: z.string(),
  kind: z.enum(['human', 'workload', 'agent']),
  /** The name of the workload in the policy. */
  workload: z.optional(z.string()),
  owner: z.optional(Person),
  /** Of a machine: the person behind its newest run or grant. */
  human: z.optional(z.extend(Person, { strength: z.enum(['verified', 'claimed']) })),
  lastLoginAt: z.optional(z.string()),
  firstUsedAt: z.optional(z.string()),
  lastUsedAt: z.optional(z.string()),
  /** In the period, as all that follows but `roles` and `findings`. */
  grants: z.number(),
  sessions: z.number(),
  statements: z.number(),
  refused: z.number(),
  rows: z.number(),
  kinds: z.array(StatementKind),
  uses: z.array(
    z.object({
      target: z.string(),
      role: z.string(),
      grants: z.number(),
      sessions: z.number(),
      statements: z.number(),
      refused: z.number(),
      rows: z.number(),
      kinds: z.array(StatementKind),
    }),
  ),
  /** That the policy gives now. */
  roles: z.array(z.object({ target: z.string(), role: z.string() })),
  findings: z.array(Finding),
});
export type InventoryEntry = z.infer<typeof InventoryEntry>;

/** Query: `since` and `dormant` (RFC 3339), `offset`, `limit`. */
export const InventoryPage = z.object({
  since: z.string(),
  /** Who was not used from then on is dormant. */
  dormant: z.string(),
  principals: z.array(InventoryEntry),
  /** The offset of the next page, where there is one. */
  next: z.optional(z.number()),
  /** There are more principals than are looked at. */
  isCut: z.optional(z.literal(true)),
});
export type InventoryPage = z.infer<typeof InventoryPage>;

/** All pages together. */
export type Inventory = Omit<InventoryPage, 'next'>;
