/** Reads the segments that a log directory keeps beside its tree: which count, what each holds, and whether what is sealed is there. Pure. */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { StoredEntry } from './line.ts';
import { parseSegmentHeader, parseSegmentName, segmentName, type SegmentEnd, type SegmentHeader } from './segment.ts';
import { leafHash } from './tree.ts';
import type { Findings } from './verify-report.ts';
import { promiseOf, type SealedPromise } from './verify-sessions.ts';
import { decodeBase64, readStored, type Source, type SourceLine } from './verify-source.ts';

type Link = { readonly header: SegmentHeader; readonly path: string; end: SegmentEnd | undefined };

/** Told of each entry that counts, with what stands before it, in the order of the tree. */
export type SegmentEntry = { readonly index: number; readonly leaf: Buffer; readonly body: Buffer; readonly entry: StoredEntry | undefined };

export type SegmentsReading = {
  readonly source: Source;
  readonly findings: Findings;
  /** Leaves that the checkpoint covers. */
  readonly size: number;
  readonly onEntry: (entry: SegmentEntry) => void;
  /** Told of each sealed content: whether it is there. */
  readonly onSealed: (promise: SealedPromise, isThere: boolean, entry: StoredEntry) => void;
};

/** Answers how many entries there are; undefined where there is no segment at all. */
export async function readSegments(reading: SegmentsReading): Promise<number | undefined> {
  const names = (await reading.source.list('')).filter(({ name, isDirectory }) => !isDirectory && parseSegmentName(name) !== undefined);
  if (names.length === 0) return undefined;
  const links = await linkSegments(reading, new Set(names.map(({ name }) => parseSegmentName(name) ?? 0)));
  let leaves = links[0]?.header.firstLeaf ?? 0;
  if (leaves !== 0) reading.findings.tampered('segment-missing', `the first segment begins with entry ${leaves}: those before it are missing`, { file: links[0]?.path ?? '' });
  for (const link of links) {
    const { header, path } = link;
    if (header.firstLeaf !== leaves) reading.findings.tampered('segment-header', `${path} says that it begins with entry ${header.firstLeaf}, and it is ${leaves}`, { file: path });
    leaves = await readSegment(reading, link, leaves);
  }
  return leaves;
}

/** From the newest segment back along the headers, which say what came before; oldest first. */
async function linkSegments({ source, findings }: SegmentsReading, numbers: ReadonlySet<number>): Promise<Link[]> {
  const links: Link[] = [];
  const linked = new Set<number>();
  for (const number of [...numbers].toSorted((one, other) => other - one)) {
    const header = await readHeader(source, findings, number);
    const path = segmentName(number);
    if (header === 'unfinished') {
      if (links.length === 0) findings.incomplete('segment-unfinished', `${path} was just being made when the relay stopped`, { file: path });
      continue;
    }
    if (header === undefined) continue;
    const next = links[0];
    // What no header names never counted: it is left over from a write that failed.
    if (next !== undefined && next.header.previous?.number !== number) continue;
    if (next !== undefined) next.end = next.header.previous;
    links.unshift({ header, path, end: undefined });
    linked.add(number);
  }
  for (const { header, path } of links) {
    const { previous } = header;
    if (previous !== undefined && !linked.has(previous.number)) findings.tampered('segment-missing', `${segmentName(previous.number)} is missing: ${path} follows it`, { file: segmentName(previous.number) });
  }
  // The end of a segment stands in the header of the one after it.
  return links.map((link, place) => ({ ...link, end: links[place + 1]?.header.previous }));
}

async function readHeader(source: Source, findings: Findings, number: number): Promise<SegmentHeader | 'unfinished' | undefined> {
  const path = segmentName(number);
  for await (const line of source.lines(path)) {
    if (!line.isWhole) return 'unfinished';
    try {
      const header = parseSegmentHeader(line.bytes);
      if (header.number === number && (header.previous?.number ?? 0) < number) return header;
    } catch {
      // Said below.
    }
    if (bodyOf(line)?.toString('utf8').startsWith('{"v":1,') === false) findings.unknown('segment-version', `${path} is of a version that is not known`, { file: path });
    else findings.tampered('segment-header', `${path} does not begin with the header of that segment`, { file: path });
    return undefined;
  }
  return 'unfinished';
}

/** The JSON of a line whose checksum is right. */
function bodyOf({ bytes, isWhole }: SourceLine): Buffer | undefined {
  const body = bytes.subarray(9);
  const isGood = isWhole && /^[0-9a-f]{8} $/.test(bytes.toString('latin1', 0, 9)) && crc32(body) === Number.parseInt(bytes.toString('latin1', 0, 8), 16);
  return isGood ? body : undefined;
}

type SealedLine = { readonly session: string; readonly sha256: string; readonly bytes: number };

function sealedOf(body: Buffer): SealedLine | 'broken' | undefined {
  if (!body.subarray(0, 22).equals(sealedStart)) return undefined;
  try {
    const { session, data } = JSON.parse(body.toString('utf8')) as { session?: unknown; data?: unknown };
    const bytes = typeof data === 'string' ? decodeBase64(data) : undefined;
    if (bytes === undefined || typeof session !== 'string') return 'broken';
    return { session, sha256: hash('sha256', bytes, 'hex'), bytes: bytes.length };
  } catch {
    return 'broken';
  }
}
const sealedStart = Buffer.from('{"v":1,"kind":"sealed"');

/** Answers the number of the leaf behind its last entry. */
async function readSegment(reading: SegmentsReading, { path, end }: Link, firstLeaf: number): Promise<number> {
  const { findings } = reading;
  let index = firstLeaf;
  let line = 0;
  let sealed: SealedLine | 'broken' | undefined;
  let last = { to: 0, hash: '' };
  let tear: number | undefined;
  for await (const one of reading.source.lines(path, end?.bytes)) {
    line++;
    const body = bodyOf(one);
    if (body === undefined) {
      if (end !== undefined) findings.tampered('segment-line', `${path}, line ${line}, is damaged`, { file: path, index });
      tear ??= line;
      continue;
    }
    // A torn write leaves nothing whole behind it.
    if (tear !== undefined && end === undefined) findings.tampered('segment-line', `${path}, line ${tear}, is damaged, and others follow it`, { file: path, index });
    if (tear !== undefined) tear = undefined;
    if (line === 1) {
      last = { to: one.to, hash: hash('sha256', body, 'hex') };
      continue;
    }
    const content = sealedOf(body);
    if (content !== undefined) {
      if (sealed !== undefined) findings.tampered('sealed-unowned', `${path}, line ${line - 1}, is sealed, and no entry follows it`, { file: path, index });
      sealed = content;
      continue;
    }
    checkEntry(reading, { path, line, index, body, sealed });
    sealed = undefined;
    index++;
    last = { to: one.to, hash: hash('sha256', body, 'hex') };
  }
  checkEnd(reading, { path, end, last, index, isTorn: tear !== undefined || sealed !== undefined });
  return index;
}

function checkEnd(
  { findings, size }: SegmentsReading,
  { path, end, last, index, isTorn }: { path: string; end: SegmentEnd | undefined; last: { to: number; hash: string }; index: number; isTorn: boolean },
): void {
  if (end !== undefined) {
    if (last.to !== end.bytes || last.hash !== end.hash) findings.tampered('segment-end', `${path} does not end as the next segment says`, { file: path, index });
  } else if (isTorn && index >= size) {
    findings.incomplete('segment-torn', `${path} ends in the middle of a write, not covered by the checkpoint`, { file: path, index });
  }
}

function checkEntry(reading: SegmentsReading, { path, line, index, body, sealed }: { path: string; line: number; index: number; body: Buffer; sealed: SealedLine | 'broken' | undefined }): void {
  const { findings, size } = reading;
  const entry = readStored(body);
  if (entry === undefined && index >= size) findings.tampered('segment-line', `${path}, line ${line}, is no entry`, { file: path, index });
  reading.onEntry({ index, leaf: leafHash(body), body, entry });
  const promise = entry && promiseOf(index, entry);
  // What an entry that cannot be read has sealed is not known; one that was changed is found by its hash.
  if (sealed !== undefined && (entry !== undefined || index >= size)) {
    const isGood = sealed !== 'broken' && promise !== undefined && sealed.sha256 === promise.sha256 && sealed.bytes === promise.bytes && sealed.session === entry?.session;
    if (!isGood) {
      findings.tampered('sealed-changed', `what entry ${index} has sealed is not what stands before it, in ${path}, line ${line - 1}`, {
        index,
        file: path,
        ...(entry && { session: entry.session, seq: entry.seq }),
      });
    }
  }
  if (promise !== undefined && entry !== undefined) reading.onSealed(promise, sealed !== undefined, entry);
}
