/** Verifies a record from its files alone, and names what is wrong with it. Pure: files come from an `Evidence`. */
import { hash } from 'node:crypto';
import type { NoteKey } from './checkpoint.ts';
import type { StoredEntry } from './line.ts';
import { parseSegmentName } from './segment.ts';
import { checkpointFile, hashBytes, tileWidth } from './tiles.ts';
import { KeyRing, readKey, type SignedCheckpoint } from './verify-keys.ts';
import { parseReceipt, type Receipt } from './verify-receipt.ts';
import { exitCodes, Findings, type Counts, type Report } from './verify-report.ts';
import { checkSealed, reportMissing } from './verify-sealed.ts';
import { readSegments } from './verify-segments.ts';
import { promiseOf, SessionsReview, type SealedPromise } from './verify-sessions.ts';
import { judgeCheckpoint, judgeKept, judgeReceipt, judgeRotations, judgeWitnesses, noteBytesMax, readRotations, signedOf, type LeafWords, type RotationFile } from './verify-signatures.ts';
import { readStored, Source, type Evidence } from './verify-source.ts';
import { checkHashTiles, checkOtherTiles, reportEntries } from './verify-tiles.ts';
import { findTruth, listTiles, readBundles, readHashTiles, rootsAt, type LeafTiles } from './verify-tree.ts';

/** A file from elsewhere, by the name that findings use; undefined where it could not be read. */
export type KeptFile = { readonly name: string; readonly bytes: Buffer | undefined };

export type VerifyInput = {
  readonly evidence: Evidence;
  /** Verifier keys that the reader trusts. */
  readonly keys: readonly string[];
  /** Without any: the public part of a key that lies beside the log. The one in `log-key.pub` goes before it. */
  readonly keyBeside?: string | undefined;
  readonly checkpoints?: readonly KeptFile[];
  readonly receipts?: readonly KeptFile[];
  readonly witnesses?: readonly string[];
  /** Default: all of them. */
  readonly witnessesMin?: number | undefined;
};

/** Larger trees than this are beyond the numbers that the code counts with. */
const sizeMax = 2 ** 31;
const receiptBytesMax = 256 * 1024;
const keyFileBytesMax = 64 * 1024;

export async function verifyRecord(input: VerifyInput): Promise<Report> {
  const findings = new Findings();
  const source = new Source(input.evidence, findings);
  const counts: Counts = { entries: 0, sessions: 0, statements: 0, refused: 0, sealed: 0, witnesses: 0, checkpoints: 0, receipts: 0, findings: 0 };
  const signed = await readCheckpoint(source, findings);
  let signedBy: readonly string[] = [];
  if (signed !== undefined) signedBy = await new Verification(input, { findings, source, counts, signed }).run();
  counts.findings = findings.count;
  const { origin = '', size = 0, root } = signed?.checkpoint ?? {};
  const log = { origin, size, root: root?.toString('base64') ?? '', signedBy };
  const result = findings.verdict;
  return { result, exitCode: exitCodes[result], log, counts, findings: findings.all, notes: findings.notes };
}

async function readCheckpoint(source: Source, findings: Findings): Promise<SignedCheckpoint | undefined> {
  const bytes = await source.read(checkpointFile, noteBytesMax);
  if (bytes === 'absent') findings.unknown('no-checkpoint', 'there is no checkpoint: nothing says what the record should be', { file: checkpointFile });
  if (typeof bytes === 'string') return undefined;
  const signed = signedOf(bytes);
  if (signed === undefined) findings.tampered('checkpoint-broken', 'the checkpoint is not a signed checkpoint', { file: checkpointFile });
  else if (signed.checkpoint.size > sizeMax) findings.unknown('too-large', `the checkpoint speaks of ${signed.checkpoint.size} entries, which is more than this version can count`, { file: checkpointFile });
  else return signed;
  return undefined;
}

type Base = { readonly findings: Findings; readonly source: Source; readonly counts: Counts; readonly signed: SignedCheckpoint };

class Verification {
  readonly #input: VerifyInput;
  readonly #base: Base;
  readonly #review: SessionsReview;
  readonly #promises = new Map<string, SealedPromise[]>();
  /** By leaf index: of entries that receipts speak of. */
  readonly #wanted = new Map<number, LeafWords | undefined>();
  /** Of entries that are not where a tile has them, by place. */
  readonly #strange = new Map<string, StoredEntry>();

  constructor(input: VerifyInput, base: Base) {
    this.#input = input;
    this.#base = base;
    this.#review = new SessionsReview(base.findings);
  }

  /** Answers the keys that have signed the checkpoint. */
  async run(): Promise<readonly string[]> {
    const { findings, source, counts, signed } = this.#base;
    const published = await this.#readPublished();
    const ring = new KeyRing(this.#anchors(published));
    const receipts = await this.#readReceipts();
    const kept = this.#readKept();
    const rotations = await readRotations(source, findings);
    for (const { receipt } of receipts) this.#wanted.set(receipt.index, undefined);
    const truth = await this.#readLog(published !== undefined);
    const roots = truth && rootsAt(truth, sizesOf(rotations, kept, receipts));
    const judging = { findings, signed, ring, roots };
    judgeRotations(judging, this.#review.rotations, rotations);
    const signedBy = judgeCheckpoint(judging, published ?? []);
    for (const { name, signed: one } of kept) if (judgeKept(judging, one, name)) counts.checkpoints++;
    for (const { name, receipt } of receipts) judgeReceipt(judging, receipt, this.#wanted.get(receipt.index), name);
    counts.receipts = receipts.length;
    // Whoever is named twice is one witness all the same.
    const named = [...new Set((this.#input.witnesses ?? []).map((text) => text.trim()))];
    const witnesses = this.#parseKeys(named, 'cosignature/v1');
    counts.witnesses = judgeWitnesses(findings, signed, witnesses, this.#input.witnessesMin ?? named.length);
    Object.assign(counts, this.#review.counts);
    return signedBy;
  }

  #anchors(published: readonly NoteKey[] | undefined): readonly NoteKey[] {
    const { keys, keyBeside } = this.#input;
    if (keys.length > 0) return this.#parseKeys(keys, 'ed25519');
    const [own] = published ?? [];
    if (own !== undefined) return [own];
    if (keyBeside !== undefined) return this.#parseKeys([keyBeside], 'ed25519');
    this.#base.findings.unknown('no-key', 'there is no key to check signatures with');
    return [];
  }

  #parseKeys(texts: readonly string[], type: NoteKey['type']): NoteKey[] {
    return texts.flatMap((text) => {
      const key = readKey(text.trim());
      if (key?.type === type) return [key];
      const what = type === 'ed25519' ? 'a log' : 'a witness';
      this.#base.findings.unknown('key-unusable', `this is not the verifier key of ${what}: ${text.trim().slice(0, 80)}`);
      return [];
    });
  }

  /** The keys that a bundle brings along; undefined where it is none. */
  async #readPublished(): Promise<NoteKey[] | undefined> {
    const file = 'log-key.pub';
    const bytes = await this.#base.source.read(file, keyFileBytesMax);
    if (bytes === 'absent') return undefined;
    const lines = typeof bytes === 'string' ? [] : bytes.toString('utf8').split('\n');
    const keys = lines.slice(0, -1).map(readKey);
    const good = keys.filter((key) => key?.type === 'ed25519');
    if (lines.at(-1) !== '' || good.length === 0 || good.length !== keys.length) {
      this.#base.findings.tampered('key-broken', 'log-key.pub does not hold one verifier key in each line', { file });
    }
    return good.filter((key) => key !== undefined);
  }

  #readKept(): { name: string; signed: SignedCheckpoint }[] {
    return (this.#input.checkpoints ?? []).flatMap(({ name, bytes }) => {
      const signed = bytes && signedOf(bytes);
      if (signed === undefined) this.#base.findings.unknown('checkpoint-unreadable', `${name} is not a signed checkpoint that can be read`, { file: name });
      return signed ? [{ name, signed }] : [];
    });
  }

  async #readReceipts(): Promise<{ name: string; receipt: Receipt }[]> {
    const files: KeptFile[] = [...(this.#input.receipts ?? [])];
    for (const { name, isDirectory } of await this.#base.source.list('receipts')) {
      const path = `receipts/${name}`;
      const bytes = isDirectory ? 'failed' : await this.#base.source.read(path, receiptBytesMax);
      files.push({ name: path, bytes: typeof bytes === 'string' ? undefined : bytes });
    }
    return files.flatMap(({ name, bytes }) => {
      const receipt = bytes && parseReceipt(bytes);
      if (receipt === undefined) this.#base.findings.unknown('receipt-unreadable', `${name} is not a receipt that can be read`, { file: name });
      return receipt ? [{ name, receipt }] : [];
    });
  }

  /** Reads tiles, bundles and segments, and holds them against each other. Answers the leaves that lead to the signed root. */
  async #readLog(isBundle: boolean): Promise<LeafTiles | undefined> {
    const { findings, source, signed, counts } = this.#base;
    const { size } = signed.checkpoint;
    const isLog = (await source.list('')).some(({ name, isDirectory }) => !isDirectory && parseSegmentName(name) !== undefined);
    const listing = await listTiles(source, findings);
    const reading = { source, findings, listing };
    const leaves = await readHashTiles(reading, 0, size);
    let place = 0;
    const entries = await readBundles(reading, size, (index, body, leaf) => {
      this.#readEntry({ index, body, leaf, place: place++ }, leaves, !isLog);
      counts.entries++;
    });
    this.#review.finish();
    const segments = isLog ? await this.#readSegments(leaves, size) : undefined;
    if (!isLog && !isBundle) findings.tampered('segment-missing', 'there are no segments, as a log has, and no log-key.pub, as a bundle has');
    if (!isLog && isBundle) await checkSealed({ source, findings, review: this.#review, promises: this.#promises });
    const candidates = [leaves, entries, ...(segments ? [tilesOfLeaves(segments)] : [])];
    const parents = size > tileWidth ? await readHashTiles({ ...reading, findings: new Findings() }, 1, Math.floor(size / tileWidth)) : [];
    const truth = findTruth(signed.checkpoint, candidates, parents);
    if (truth === undefined) findings.tampered('root-mismatch', `neither tiles nor entries lead to the root that the checkpoint names for ${size} entries`, { file: checkpointFile });
    const expected = joined(truth ?? leaves);
    reportEntries(findings, 'tile/entries', { truth: expected, found: joined(entries) }, (at) => this.#strange.get(`bundle/${at}`));
    if (segments) reportEntries(findings, 'segments', { truth: expected, found: segments }, (at) => this.#strange.get(`segment/${at}`));
    if (truth !== undefined) {
      await checkHashTiles({ ...reading, size, truth }, leaves);
      await checkOtherTiles({ ...reading, size, truth });
    }
    return truth;
  }

  #readEntry({ index, body, leaf, place }: { index: number; body: Buffer; leaf: Buffer; place: number }, leaves: LeafTiles, isSealedApart: boolean): void {
    const isAtHome = hashAt(leaves, index)?.equals(leaf) === true;
    const entry = readStored(body);
    if (entry === undefined) {
      if (isAtHome) this.#review.addUnread(index);
      return;
    }
    const sha256 = hash('sha256', body, 'hex');
    if (!isAtHome && this.#strange.size < 10_000) this.#strange.set(`bundle/${place}`, entry);
    if (this.#wanted.has(index)) this.#wanted.set(index, { session: entry.session, sha256, leaf });
    this.#review.add(index, entry, sha256);
    const promise = promiseOf(index, entry);
    if (promise === undefined) return;
    this.#base.counts.sealed++;
    if (!isSealedApart) return;
    const own = this.#promises.get(entry.session);
    if (own === undefined) this.#promises.set(entry.session, [promise]);
    else own.push(promise);
  }

  /** Answers the leaf hashes of the entries that the checkpoint covers. */
  async #readSegments(leaves: LeafTiles, size: number): Promise<Buffer> {
    const { source, findings } = this.#base;
    const hashes: Buffer[] = [];
    let beyond = 0;
    await readSegments({
      source,
      findings,
      size,
      onEntry: ({ leaf, body, entry }) => {
        const at = hashes.length;
        if (at >= size) {
          if (entry !== undefined) this.#review.addUncovered(at + beyond, entry, hash('sha256', body, 'hex'));
          beyond++;
          return;
        }
        hashes.push(leaf);
        if (entry !== undefined && hashAt(leaves, at)?.equals(leaf) !== true && this.#strange.size < 10_000) this.#strange.set(`segment/${at}`, entry);
      },
      onSealed: (promise, isThere, { session }) => {
        if (!isThere) reportMissing({ findings, review: this.#review }, promise, session);
      },
    });
    if (beyond > 0) findings.incomplete('uncovered', `${beyond} entries behind the first ${size} are in the segments, not covered by the checkpoint`, { index: size });
    return Buffer.concat(hashes);
  }
}

function sizesOf(rotations: readonly RotationFile[], kept: readonly { signed: SignedCheckpoint }[], receipts: readonly { receipt: Receipt }[]): Set<number> {
  const all = [...rotations, ...kept, ...receipts.map(({ receipt }) => receipt)];
  return new Set(all.map(({ signed }) => signed.checkpoint.size));
}

function tilesOfLeaves(hashes: Buffer): LeafTiles {
  const bytes = tileWidth * hashBytes;
  return Array.from({ length: Math.ceil(hashes.length / bytes) }, (_, index) => hashes.subarray(index * bytes, (index + 1) * bytes));
}

function joined(tiles: LeafTiles): Buffer {
  return Buffer.concat(Array.from(tiles, (tile) => tile ?? Buffer.alloc(0)));
}

function hashAt(leaves: LeafTiles, index: number): Buffer | undefined {
  const at = (index % tileWidth) * hashBytes;
  return leaves[Math.floor(index / tileWidth)]?.subarray(at, at + hashBytes);
}
