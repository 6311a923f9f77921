/** The receipt that a client keeps of its session: that its last entry stood in the log, with the proof. Pure. */
import * as z from 'zod/mini';
import { hashBytes } from './tiles.ts';
import { rootFromInclusion } from './tree.ts';
import { parseSignedCheckpoint, readKey, type SignedCheckpoint } from './verify-keys.ts';
import { decodeBase64 } from './verify-source.ts';
import type { NoteKey } from './checkpoint.ts';

const ReceiptFile = z.strictObject({
  v: z.literal(1),
  session: z.string(),
  index: z.int().check(z.nonnegative()),
  entry: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
  checkpoint: z.string(),
  proof: z.array(z.string()).check(z.maxLength(64)),
  key: z.string(),
});

export type Receipt = {
  readonly session: string;
  readonly index: number;
  /** SHA-256 of the entry's JSON in hex. */
  readonly entry: string;
  readonly signed: SignedCheckpoint;
  readonly proof: readonly Buffer[];
  readonly key: NoteKey;
};

/** Undefined for anything but a receipt of this version. */
export function parseReceipt(bytes: Buffer): Receipt | undefined {
  try {
    const text = bytes.toString('utf8');
    if (!Buffer.from(text).equals(bytes)) return undefined;
    const { session, index, entry, checkpoint, ...rest } = ReceiptFile.parse(JSON.parse(text));
    const key = readKey(rest.key);
    const proof = rest.proof.map((hash) => decodeBase64(hash));
    if (key === undefined || !proof.every((hash) => hash?.length === hashBytes)) return undefined;
    return { session, index, entry, signed: parseSignedCheckpoint(Buffer.from(checkpoint)), proof: proof.filter((hash) => hash !== undefined), key };
  } catch {
    return undefined;
  }
}

/** Whether the proof leads from this leaf to the root of the receipt's checkpoint. */
export function isIncluded({ index, signed, proof }: Receipt, leaf: Buffer): boolean {
  const { size, root } = signed.checkpoint;
  return rootFromInclusion(leaf, index, size, proof)?.equals(root) === true;
}
