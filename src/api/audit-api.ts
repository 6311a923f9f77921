/** What the CLI and the relay say to each other about the record as a whole: its tree, its keys, its erasure. */
import * as z from 'zod/mini';
import { StoredEntry } from '../audit/line.ts';
import { PrincipalInfo, reasonLengthMax } from './api.ts';

/** Most entries that one call of GET /v1/log/entries answers. */
export const entriesLimitMax = 10_000;
/** How long GET /v1/log/entries?follow=true waits for a first entry. */
export const followSecondsMax = 25;

/** A line of GET /v1/log/entries: an entry as it stands in the record, with the place of its leaf. */
export const IndexedEntry = z.extend(StoredEntry, { index: z.int().check(z.nonnegative()) });
export type IndexedEntry = z.infer<typeof IndexedEntry>;

/** A line of GET /v1/sessions/:id/sealed, and of a file in `sealed/` of a bundle. `data` is base64. */
export const SealedContent = z.object({ sha256: z.string(), data: z.string() });
export type SealedContent = z.infer<typeof SealedContent>;

/** GET /v1/log/rotations → { rotations }: the notes that hand the log over from one key to the next, by size of the tree. */
export const Rotations = z.object({ rotations: z.array(z.object({ size: z.int().check(z.nonnegative()), note: z.string() })) });
export type Rotation = z.infer<typeof Rotations>['rotations'][number];

/** GET /v1/sessions/:id/receipt: that the last entry of a session stands in the tree of a signed checkpoint. */
export const Receipt = z.object({
  v: z.literal(1),
  session: z.string(),
  /** Of the entry's leaf. */
  index: z.int().check(z.nonnegative()),
  /** SHA-256 of the entry's JSON, in hex. */
  entry: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
  /** A signed note. */
  checkpoint: z.string(),
  /** Hashes in base64, from the leaf up. */
  proof: z.array(z.string()),
  /** The verifier key of the log. */
  key: z.string(),
});
export type Receipt = z.infer<typeof Receipt>;

const reason = z.string().check(z.trim(), z.minLength(1), z.maxLength(reasonLengthMax));

/** POST /v1/sessions/:id/shred, by two administrators one after the other. */
export const ShredBody = z.strictObject({ reason });
/** 202 `requested` until a second one asks for the same within a day; 200 `shredded`. */
export const ShredAnswer = z.object({
  state: z.enum(['requested', 'shredded']),
  by: z.optional(PrincipalInfo),
  at: z.optional(z.string()),
});
export type ShredAnswer = z.infer<typeof ShredAnswer>;

/** POST /v1/sessions/:id/hold: while a legal hold is set, the keys of the session stay. */
export const HoldBody = z.strictObject({ reason, isSet: z.boolean() });
export const HoldAnswer = z.object({ session: z.string(), isSet: z.boolean() });
export type HoldAnswer = z.infer<typeof HoldAnswer>;
