/** Reads the log back: the entries of a session, opened as far as the reader may, and the leaves of the tree in order. */
import { hash } from 'node:crypto';
import { join } from 'node:path';
import type { AuditEntry, Sealed } from '../audit/entry.ts';
import { ChainChecker, openEntry, parseLine, unframeLine, type Body, type LogLine, type StoredEntry } from '../audit/line.ts';
import { unseal } from '../audit/seal.ts';
import { segmentName } from '../audit/segment.ts';
import type { Span } from './log-index.ts';
import { damaged, readLines } from './log-reader.ts';
import type { SealingKeys } from './session-keys.ts';

export type EntriesQuery = {
  readonly directory: string;
  readonly session: string;
  readonly spans: readonly Span[];
  /** Of the last entry that counts. */
  readonly lastHash: string;
  /** Undefined: what is sealed stays sealed. */
  readonly keys: SealingKeys | undefined;
  /** Aborted: the reading ends where it is. */
  readonly signal?: AbortSignal | undefined;
};

export async function* readEntries({ directory, session, spans, lastHash, keys, signal }: EntriesQuery): AsyncGenerator<AuditEntry> {
  const chain = new ChainChecker();
  let last = '';
  for await (const { line, contents, path, from } of readLinesOf(directory, session, spans)) {
    if (signal?.aborted === true) return;
    const found = chain.add(line);
    if (found !== undefined) throw damaged(path, { byte: from }, found.problem);
    last = line.hash;
    yield await openStored(line.entry, contents, keys);
  }
  if (last === lastHash) return;
  const end = spans.at(-1);
  const path = end === undefined ? directory : join(directory, segmentName(end.segment));
  throw damaged(path, { byte: end?.to ?? 0 }, `the last entries of session ${session} are missing`);
}

/** What the entries of a session have sealed, in order. A content whose entry did not follow is no part of the record. */
export async function* readSealed(directory: string, session: string, spans: readonly Span[]): AsyncGenerator<Buffer> {
  for await (const { contents } of readLinesOf(directory, session, spans)) if (contents !== undefined) yield contents;
}

type SessionLine = { readonly line: LogLine; readonly contents: Buffer | undefined; readonly path: string; readonly from: number };

async function* readLinesOf(directory: string, session: string, spans: readonly Span[]): AsyncGenerator<SessionLine> {
  const needle = Buffer.from(JSON.stringify(session));
  for (const span of spans) {
    const path = join(directory, segmentName(span.segment));
    let contents: Buffer | undefined;
    for await (const raw of readLines(path, span)) {
      // Most lines between are other sessions'; what is not this session's need not be decoded to know that.
      if (!raw.bytes.includes(needle)) continue;
      const body = parseAt(path, raw);
      if ('sealed' in body) {
        if (body.session === session) contents = body.sealed;
      } else if (body.entry.session === session) {
        yield { line: body, contents, path, from: raw.from };
        contents = undefined;
      }
    }
  }
}

/** Whose data key has sealed it: that of the held statement's session, for a request. */
export function sealingSession({ session, event }: { readonly session: string; readonly event: object }): string {
  const statement = 'statement' in event ? event.statement : undefined;
  if (typeof statement === 'object' && statement !== null && 'session' in statement) return String(statement.session);
  return session;
}

/** As a reader gets it; without keys what is sealed stays sealed. */
export async function openStored(stored: StoredEntry, contents: Buffer | undefined, keys: SealingKeys | undefined): Promise<AuditEntry> {
  const { sealed, session, seq } = stored;
  if (sealed === undefined) return openEntry(stored, {});
  if (keys === undefined) return openEntry(stored, 'not-allowed');
  if (contents === undefined || hash('sha256', contents, 'hex') !== sealed.sha256) return openEntry(stored, 'missing');
  const key = await keys.find(sealingSession(stored), sealed.key);
  if (!Buffer.isBuffer(key)) return openEntry(stored, key satisfies Sealed['closed']);
  return openEntry(stored, unseal(contents, { session, seq, key: sealed.key }, key));
}

/** A leaf of the tree: the JSON of an entry, and what it has sealed. */
export type Leaf = { readonly index: number; readonly body: Buffer; readonly contents: Buffer | undefined };

/** A segment as far as it counts. */
export type SegmentRange = { readonly number: number; readonly firstLeaf: number; readonly bytes: number };

/** The leaves from `from` on up to `to`, in order. */
export async function* readLeaves(directory: string, segments: readonly SegmentRange[], from: number, to: number): AsyncGenerator<Leaf> {
  for (const [place, segment] of segments.entries()) {
    if ((segments[place + 1]?.firstLeaf ?? to) <= from) continue;
    const path = join(directory, segmentName(segment.number));
    let index = segment.firstLeaf;
    let contents: Buffer | undefined;
    let isHeader = true;
    for await (const raw of readLines(path, { from: 0, to: segment.bytes })) {
      if (isHeader) {
        isHeader = false;
        continue;
      }
      if (index >= to) return;
      const body = unframeAt(path, raw);
      if (isSealedLine(body)) {
        if (index >= from) contents = sealedAt(path, raw);
        continue;
      }
      if (index >= from) yield { index, body, contents };
      contents = undefined;
      index += 1;
    }
  }
}

const sealedStart = Buffer.from('{"v":1,"kind":"sealed"');

/** By its beginning: no entry begins so. */
export function isSealedLine(body: Buffer): boolean {
  return body.subarray(0, sealedStart.length).equals(sealedStart);
}

function sealedAt(path: string, raw: { bytes: Buffer; from: number }): Buffer | undefined {
  const body = parseAt(path, raw);
  return 'sealed' in body ? body.sealed : undefined;
}

function unframeAt(path: string, raw: { bytes: Buffer; from: number }): Buffer {
  try {
    return unframeLine(raw.bytes);
  } catch (error) {
    throw damaged(path, { byte: raw.from }, error);
  }
}

export function parseAt(path: string, raw: { bytes: Buffer; from: number }): Body {
  try {
    return parseLine(raw.bytes);
  } catch (error) {
    throw damaged(path, { byte: raw.from }, error);
  }
}
