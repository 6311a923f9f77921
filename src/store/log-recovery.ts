/** What a start reads back: which segments count and how far, where each session stands, what was left unfinished. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditEntry, Event } from '../audit/entry.ts';
import { chainProblem, hashOf, openEntry, parseBody, parseStored, unframeLine, type StoredEntry } from '../audit/line.ts';
import { parseSegmentName, segmentName, type SegmentEnd, type SegmentHeader } from '../audit/segment.ts';
import {
  advanceTip,
  describeIndex,
  loadIndex,
  saveIndex,
  sessionState,
  type Sessions,
  type Span,
} from './log-index.ts';
import { isSealedLine, type SegmentRange } from './log-entries.ts';
import { damaged, readHeader, readLines, type RawLine } from './log-reader.ts';

export type LoadedLog = {
  readonly sessions: Sessions;
  /** The end of the newest segment; undefined for a new log. */
  readonly end: SegmentEnd | undefined;
  /** A number that no file has. */
  readonly nextNumber: number;
  readonly segments: readonly SegmentRange[];
  /** Entries in all of them. */
  readonly leaves: number;
};

/** A segment that counts. The newest one has no `end` yet: it goes as far as its lines are whole. */
type Link = { readonly number: number; readonly firstLeaf: number; readonly end: SegmentEnd | undefined };

type Scanned = { readonly end: SegmentEnd; readonly leaves: number };

/** Reads a log directory. Throws `record-damaged` for anything but a torn end of the newest segment. */
export async function loadLog(directory: string): Promise<LoadedLog> {
  const names = await readdir(directory);
  const numbers = names.map(parseSegmentName).filter((number) => number !== undefined);
  numbers.sort((one, other) => one - other);
  const sessions: Sessions = new Map();
  const segments: SegmentRange[] = [];
  let end: SegmentEnd | undefined;
  let leaves = 0;
  const links = await linkSegments(directory, numbers);
  for (const [place, link] of links.entries()) {
    const { number, firstLeaf } = link;
    const next = links[place + 1]?.firstLeaf;
    if (link.end !== undefined && next !== undefined && (await loadIndex(directory, link.end, sessions))) {
      leaves = next;
      segments.push({ number, firstLeaf, bytes: link.end.bytes });
      continue;
    }
    const scanned = await scanSegment(directory, link, sessions);
    end = scanned.end;
    leaves = firstLeaf + scanned.leaves;
    segments.push({ number, firstLeaf, bytes: end.bytes });
    if (next !== undefined && next !== leaves) {
      throw damaged(join(directory, segmentName(number)), { line: 1 }, `it holds ${scanned.leaves} entries, and the next file says ${next - firstLeaf}`);
    }
    await saveIndex(directory, number, describeIndex(sessions, end));
  }
  return { sessions, end, nextNumber: (numbers.at(-1) ?? 0) + 1, segments, leaves };
}

/** The segments that count, oldest first: the newest with a header, and from there back along the headers. */
async function linkSegments(directory: string, numbers: readonly number[]): Promise<Link[]> {
  const links: Link[] = [];
  let header: SegmentHeader | undefined;
  for (const number of numbers.toReversed()) {
    header = await readHeader(join(directory, segmentName(number)));
    if (header !== undefined) {
      links.unshift({ number, firstLeaf: header.firstLeaf, end: undefined });
      break;
    }
  }
  while (header?.previous !== undefined) {
    const end: SegmentEnd = header.previous;
    const path = join(directory, segmentName(end.number));
    const laterPath = join(directory, segmentName(header.number));
    if (end.number >= header.number) throw damaged(laterPath, { line: 1 }, 'it claims to follow a later file');
    const { size } = await stat(path).catch(() => ({ size: -1 }));
    if (size === -1) throw damaged(path, { line: 1 }, 'the file is missing');
    if (size < end.bytes) throw damaged(path, { byte: size }, `the file is cut short: it held ${end.bytes} bytes`);
    header = await readHeader(path);
    if (header === undefined) throw damaged(path, { line: 1 }, 'the header is gone');
    links.unshift({ number: end.number, firstLeaf: header.firstLeaf, end });
  }
  return links;
}

/** Reads one segment whole, checks every line and chain, and adds its sessions. */
async function scanSegment(directory: string, link: Link, sessions: Sessions): Promise<Scanned> {
  const path = join(directory, segmentName(link.number));
  let lineNumber = 0;
  let leaves = 0;
  let valid = { bytes: 0, hash: '' };
  /** A sealed content whose entry has not come yet. */
  let sealed: { readonly from: number; readonly body: Buffer } | undefined;
  let tear: { readonly line: number; readonly problem: unknown } | undefined;
  for await (const line of readLines(path, { from: 0, to: link.end?.bytes ?? Infinity })) {
    lineNumber += 1;
    const checked = checkFrame(line);
    if (!('body' in checked)) {
      if (link.end !== undefined) throw damaged(path, { line: lineNumber }, checked.problem);
      tear ??= { line: lineNumber, problem: checked.problem };
      continue;
    }
    // A torn write leaves nothing whole behind it, so a good line after a bad one means that someone was here.
    if (tear !== undefined) throw damaged(path, { line: tear.line }, tear.problem);
    const hash = hashOf(checked.body);
    if (isSealedLine(checked.body)) {
      sealed = { from: line.from, body: checked.body };
      continue;
    }
    if (lineNumber > 1) {
      const span = { segment: link.number, from: sealed?.from ?? line.from, to: line.to };
      const problem = addEntry(sessions, { ...checked, hash, sealed: sealed?.body, leaf: link.firstLeaf + leaves }, span);
      if (problem !== undefined) throw damaged(path, { line: lineNumber }, problem);
      leaves += 1;
    }
    sealed = undefined;
    valid = { bytes: line.to, hash };
  }
  if (link.end !== undefined && (valid.bytes !== link.end.bytes || valid.hash !== link.end.hash)) {
    throw damaged(path, { line: lineNumber }, 'it does not end as the next file says');
  }
  // A sealed content without its entry is the beginning of what was never whole.
  const isTorn = tear !== undefined || sealed !== undefined;
  return { end: link.end ?? { number: link.number, ...valid, reason: isTorn ? 'torn' : 'restart' }, leaves };
}

function checkFrame(line: RawLine): { body: Buffer } | { problem: unknown } {
  if (!line.isWhole) return { problem: 'the line has no end' };
  try {
    return { body: unframeLine(line.bytes) };
  } catch (problem) {
    return { problem };
  }
}

/** Puts an entry at the end of its session; returns what is wrong when it does not belong there. */
function addEntry(sessions: Sessions, line: { body: Buffer; hash: string; sealed: Buffer | undefined; leaf: number }, span: Span): unknown {
  const { body, hash, sealed, leaf } = line;
  let stored: StoredEntry;
  let event: Event;
  try {
    stored = parseStored(body);
    ({ event } = openEntry(stored, stored.sealed === undefined ? {} : 'not-allowed'));
  } catch (problem) {
    return problem;
  }
  if (stored.sealed?.sha256 !== (sealed && sealedHash(sealed))) return 'what the entry has sealed does not stand before it';
  const state = sessionState(sessions, stored.session);
  const problem = chainProblem(state.tip, stored);
  if (problem !== undefined) return problem;
  state.tip = { ...advanceTip(state.tip, event, hash), lastLeaf: leaf };
  state.commit(state.tip, span);
  return undefined;
}

function sealedHash(body: Buffer): string | undefined {
  const line = parseBody(body);
  return 'sealed' in line ? hashOf(line.sealed) : undefined;
}

/** The reason in the close of every connection that the end of a process cut. */
export const crashReason = 'the relay stopped without warning';

/** What a session's record still owes: an unknown outcome per statement sent without one, a close per connection. */
export async function findUnfinished(entries: AsyncIterable<AuditEntry>, reason = crashReason): Promise<Event[]> {
  const connections = new Set<number>();
  const statements = new Map<number, number>();
  for await (const { event } of entries) {
    if (event.kind === 'connection.open') connections.add(event.connection);
    else if (event.kind === 'connection.close') connections.delete(event.connection);
    else if (event.kind === 'statement' && event.effect === 'allow') statements.set(event.statement, event.connection);
    else if (event.kind === 'outcome') statements.delete(event.statement);
  }
  const outcomes = [...statements].map(([statement, connection]): Event => {
    const nothing = { tags: [], rows: 0, bytesOut: 0, bytesIn: 0, durationMs: 0 };
    return { kind: 'outcome', connection, statement, state: 'unknown', ...nothing };
  });
  const closes = [...connections].map((connection): Event => {
    return { kind: 'connection.close', connection, reason, bytesIn: 0, bytesOut: 0 };
  });
  return [...outcomes, ...closes];
}
