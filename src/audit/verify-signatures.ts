/** Judges all that is signed: the checkpoint, rotations of the key, witnesses, checkpoints and receipts that others have kept. Pure. */
import { formatVerifierKey, type NoteKey } from './checkpoint.ts';
import { KeyRing, parseSignedCheckpoint, readKey, signatureBy, type SignedCheckpoint } from './verify-keys.ts';
import { isIncluded, type Receipt } from './verify-receipt.ts';
import type { Findings } from './verify-report.ts';
import type { Rotation } from './verify-sessions.ts';
import type { Source } from './verify-source.ts';

/** The largest checkpoint with all its signatures. */
export const noteBytesMax = 64 * 1024;

/** The entry at a leaf, as far as a receipt speaks of it. */
export type LeafWords = { readonly session: string; readonly sha256: string; readonly leaf: Buffer };

export type Judging = {
  readonly findings: Findings;
  readonly signed: SignedCheckpoint;
  readonly ring: KeyRing;
  /** The roots at all sizes that anything signed speaks of; undefined where the tree does not lead to its own root. */
  readonly roots: ReadonlyMap<number, Buffer> | undefined;
};

export type RotationFile = { readonly path: string; readonly size: number; readonly signed: SignedCheckpoint };

export async function readRotations(source: Source, findings: Findings): Promise<RotationFile[]> {
  const files: RotationFile[] = [];
  for (const { name, isDirectory } of await source.list('rotations')) {
    const path = `rotations/${name}`;
    const bytes = isDirectory ? 'failed' : await source.read(path, noteBytesMax);
    const signed = typeof bytes === 'string' ? undefined : signedOf(bytes);
    if (signed !== undefined && String(signed.checkpoint.size) === name) files.push({ path, size: signed.checkpoint.size, signed });
    else findings.tampered('rotation-broken', `${path} is not a checkpoint of that size`, { file: path });
  }
  return files.toSorted((one, other) => one.size - other.size);
}

export function signedOf(bytes: Buffer): SignedCheckpoint | undefined {
  try {
    return parseSignedCheckpoint(bytes);
  } catch {
    return undefined;
  }
}

/** Ties keys together by the checkpoints that two of them have signed, and says which rotations lack one. */
export function judgeRotations({ findings, signed, ring, roots }: Judging, rotations: readonly Rotation[], files: readonly RotationFile[]): void {
  const announced = rotations.flatMap(({ index, from, to }) => {
    const [one, other] = [readKey(from), readKey(to)];
    if (one !== undefined && other !== undefined) return [{ index, from: one, to: other }];
    findings.unknown('rotation-unknown', `entry ${index} announces a key that cannot be read`, { index });
    return [];
  });
  const notes = [...files, { path: 'checkpoint', size: signed.checkpoint.size, signed }];
  const connected = announced.filter((rotation) => notes.some((file) => isOf(file, rotation)));
  ring.connect(connected.map(({ from, to }) => [from, to] as const));
  for (const file of files) {
    if (!announced.some((rotation) => isOf(file, rotation))) {
      findings.tampered('rotation-unsigned', `${file.path} is not signed by both keys of any rotation that the log announces`, { file: file.path });
    } else judgeRoot({ findings, signed, ring, roots }, file.signed, file.path);
  }
  for (const rotation of announced) {
    if (connected.includes(rotation)) continue;
    const isPending = rotation === announced.at(-1) && signatureBy(signed.note, rotation.to) === 'none';
    const place = { index: rotation.index };
    const isGivenUp = announced.some(({ index, from }) => index > rotation.index && formatVerifierKey(from) === formatVerifierKey(rotation.from));
    if (isGivenUp) findings.note(`entry ${rotation.index} announces the key ${idOf(rotation.to)}, which was never used: another one took its place`);
    else if (isPending) findings.incomplete('rotation-pending', `entry ${rotation.index} announces the key ${rotation.to.name}+${idOf(rotation.to)}, which has signed nothing yet`, place);
    else findings.tampered('rotation-missing', `no checkpoint ties the keys ${idOf(rotation.from)} and ${idOf(rotation.to)} of entry ${rotation.index} together`, place);
  }
  const current = connected.at(-1);
  if (current !== undefined && signatureBy(signed.note, current.to) === 'none') {
    findings.tampered('key-retired', `the checkpoint is not signed with the key that entry ${current.index} announces, ${idOf(current.to)}`, { file: 'checkpoint' });
  }
}

function isOf({ signed, size }: RotationFile, { index, from, to }: { index: number; from: NoteKey; to: NoteKey }): boolean {
  return size > index && signatureBy(signed.note, from) === 'good' && signatureBy(signed.note, to) === 'good';
}

function idOf({ keyId }: NoteKey): string {
  return keyId.toString('hex');
}

/** Answers the keys that have signed the checkpoint of the log. */
export function judgeCheckpoint({ findings, signed, ring }: Judging, published: readonly NoteKey[]): readonly string[] {
  const signers = ring.signersOf(signed.note);
  // Without a single key that can be used nothing is tied to anything, and that was said.
  if (ring.keys.length === 0) return [];
  judgeSignatures(findings, ring, signed, 'checkpoint', 'tampered');
  for (const [place, key] of published.entries()) {
    const text = `${key.name}+${idOf(key)}`;
    if (!ring.has(key)) findings.tampered('key-unconnected', `log-key.pub names ${text}, which no rotation ties to a trusted key`, { file: 'log-key.pub' });
    else if (place === 0 && !signers.includes(ring.keys.find((one) => formatVerifierKey(one) === formatVerifierKey(key)) ?? key)) {
      findings.tampered('key-unconnected', `log-key.pub names ${text} as the key of the log, and the checkpoint is not signed with it`, { file: 'log-key.pub' });
    }
  }
  return signers.map(formatVerifierKey);
}

/** Whether a trusted key has signed; `none`: how bad it is where none has. */
function judgeSignatures(findings: Findings, ring: KeyRing, { note }: SignedCheckpoint, file: string, none: 'tampered' | 'unknown'): boolean {
  const states = ring.keys.map((key) => ({ key, state: signatureBy(note, key) }));
  const bad = states.filter(({ state }) => state === 'bad');
  for (const { key } of bad) findings.tampered('signature-bad', `${file}: the signature of ${key.name}+${idOf(key)} is wrong`, { file });
  if (states.some(({ state }) => state === 'good')) return bad.length === 0;
  if (bad.length === 0) findings.add(none, 'signature-missing', `${file} is signed by none of the keys that are trusted`, { file });
  return false;
}

/** How many witnesses have cosigned the checkpoint. */
export function judgeWitnesses(findings: Findings, { note }: SignedCheckpoint, witnesses: readonly NoteKey[], min: number): number {
  let count = 0;
  for (const key of witnesses) {
    const state = signatureBy(note, key);
    if (state === 'good') count++;
    if (state === 'bad') findings.tampered('cosignature-bad', `the cosignature of witness ${key.name} is wrong`, { file: 'checkpoint' });
  }
  if (count < min) findings.incomplete('witnesses-missing', `${count} of the witnesses have cosigned the checkpoint, and ${min} are asked for`, { file: 'checkpoint' });
  return count;
}

/** A checkpoint that somebody has kept: the log must still begin with that tree. True where it does. */
export function judgeKept(judging: Judging, kept: SignedCheckpoint, file: string): boolean {
  if (kept.checkpoint.origin !== judging.signed.checkpoint.origin) {
    judging.findings.unknown('other-log', `${file} is of another log, ${kept.checkpoint.origin}`, { file });
    return false;
  }
  const isSigned = judging.ring.keys.length === 0 || judgeSignatures(judging.findings, judging.ring, kept, file, 'unknown');
  return isSigned && judgeRoot(judging, kept, file);
}

function judgeRoot({ findings, signed, roots }: Judging, { checkpoint }: SignedCheckpoint, file: string): boolean {
  const { size, root } = checkpoint;
  const { checkpoint: own } = signed;
  if (checkpoint.origin !== own.origin) {
    findings.tampered('other-log', `${file} is of another log, ${checkpoint.origin}`, { file });
  } else if (size > own.size) {
    findings.tampered('truncated', `${file} has seen ${size} entries, and the log has ${own.size}: the last ${size - own.size} were cut off`, { file, index: own.size });
  } else if (roots !== undefined && roots.get(size)?.equals(root) !== true) {
    findings.tampered('equivocation', `${file} is signed for other first ${size} entries than the log has: there were two logs`, { file });
  } else return true;
  return false;
}

export function judgeReceipt(judging: Judging, receipt: Receipt, words: LeafWords | undefined, file: string): void {
  const { findings, ring, signed } = judging;
  const { session, index } = receipt;
  const place = { file, session, index };
  if (ring.keys.length > 0 && !ring.has(receipt.key)) {
    findings.unknown('key-unconnected', `${file} names the key ${receipt.key.name}+${idOf(receipt.key)}, which nothing ties to a trusted one`, place);
  } else if (signatureBy(receipt.signed.note, receipt.key) !== 'good') {
    findings.tampered('signature-bad', `${file}: its checkpoint is not signed with the key that it names`, place);
  }
  judgeKept(judging, receipt.signed, file);
  if (index >= signed.checkpoint.size) {
    findings.tampered('truncated', `${file} is about entry ${index} of ${session}, and the log has ${signed.checkpoint.size} entries`, place);
  } else if (words?.session !== session || words.sha256 !== receipt.entry) {
    findings.tampered('receipt-entry', `entry ${index} is not the one of ${session} that ${file} is about`, place);
  } else if (!isIncluded(receipt, words.leaf)) {
    findings.tampered('receipt-proof', `${file}: the proof does not lead from entry ${index} to its checkpoint`, place);
  }
}
