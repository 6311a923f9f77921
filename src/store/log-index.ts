/** Where each session's entries lie in the log and how they end; saved with each finished segment, rebuilt from it. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';
import type { Event } from '../audit/entry.ts';
import { frameLine, parseJson, unframeLine } from '../audit/line.ts';
import type { SegmentEnd } from '../audit/segment.ts';
import type { SessionCounts } from '../grant/grant.ts';

/** The highest numbers that a session's entries bear. A number whose record failed is passed over for good. */
export type LastNumbers = { readonly lastConnection: number; readonly lastStatement: number };

/** What came back to the client, by the outcomes. */
export type Returned = { readonly rows: number; readonly bytesOut: number };

/** The end of a session's chain after some entry. `statements` counts the refused ones too. */
export type Tip = SessionCounts &
  Returned &
  LastNumbers & {
    readonly seq: number;
    readonly hash: string;
    readonly isClosed: boolean;
    /** The place of the entry among the leaves of the tree; known once it is durable, and -1 before the first entry. */
    readonly lastLeaf: number;
  };

/** Bytes `from` to `to` of a segment hold entries of the session, perhaps with those of others between them. */
export type Span = { readonly segment: number; readonly from: number; readonly to: number };

const emptyTip: Tip = {
  seq: 0,
  hash: '',
  isClosed: false,
  lastLeaf: -1,
  connections: 0,
  statements: 0,
  refused: 0,
  rows: 0,
  bytesOut: 0,
  lastConnection: 0,
  lastStatement: 0,
};

export function advanceTip(tip: Tip, event: Event, hash: string): Tip {
  const isStatement = event.kind === 'statement';
  return {
    seq: tip.seq + 1,
    hash,
    isClosed: event.kind === 'relay.start' ? false : tip.isClosed || event.kind === 'session.close' || event.kind === 'relay.stop',
    lastLeaf: tip.lastLeaf,
    connections: tip.connections + (event.kind === 'connection.open' ? 1 : 0),
    statements: tip.statements + (isStatement ? 1 : 0),
    refused: tip.refused + (isStatement && event.effect === 'deny' ? 1 : 0),
    rows: tip.rows + (event.kind === 'outcome' ? event.rows : 0),
    bytesOut: tip.bytesOut + (event.kind === 'outcome' ? event.bytesOut : 0),
    lastConnection: Math.max(tip.lastConnection, event.kind === 'connection.open' ? event.connection : 0),
    lastStatement: Math.max(tip.lastStatement, isStatement ? event.statement : 0),
  };
}

/** One session's place in the log. */
export class SessionState {
  /** The end of what is durable. Readers go by this one. */
  durable = emptyTip;
  /** The end of what has been given out to be written. A failed write sets it back to `durable`. */
  tip = emptyTip;
  spans: readonly Span[] = [];

  constructor(readonly id: string) {}

  /** These bytes of a segment, up to `tip`, are durable now. */
  commit(tip: Tip, span: Span): void {
    this.durable = tip;
    const last = this.spans.at(-1);
    this.spans =
      last?.segment === span.segment
        ? [...this.spans.slice(0, -1), { segment: span.segment, from: last.from, to: span.to }]
        : [...this.spans, span];
  }
}

export type Sessions = Map<string, SessionState>;

export function sessionState(sessions: Sessions, id: string): SessionState {
  let state = sessions.get(id);
  if (state === undefined) {
    state = new SessionState(id);
    sessions.set(id, state);
  }
  return state;
}

const SavedTip = z.object({
  id: z.string(),
  from: z.number(),
  to: z.number(),
  seq: z.number(),
  hash: z.string(),
  isClosed: z.boolean(),
  lastLeaf: z.number(),
  connections: z.number(),
  statements: z.number(),
  refused: z.number(),
  rows: z.number(),
  bytesOut: z.number(),
  lastConnection: z.number(),
  lastStatement: z.number(),
});

const SavedIndex = z.object({
  v: z.literal(1),
  kind: z.literal('index'),
  number: z.number(),
  bytes: z.number(),
  hash: z.string(),
});

/** Beside the log, not in it: an index is no evidence. */
function indexPath(directory: string, number: number): string {
  return join(`${directory}-index`, `log-${String(number).padStart(6, '0')}.idx`);
}

/** What to save about a segment: the durable end of every session with entries in it, one framed line each. */
export function describeIndex(sessions: Sessions, end: Omit<SegmentEnd, 'reason'>): Buffer {
  const { number, bytes, hash } = end;
  const lines = [frameLine(JSON.stringify({ v: 1, kind: 'index', number, bytes, hash })).bytes];
  for (const { id, durable, spans } of sessions.values()) {
    const span = spans.at(-1);
    if (span?.segment !== number) continue;
    lines.push(frameLine(JSON.stringify({ id, from: span.from, to: span.to, ...durable })).bytes);
  }
  return Buffer.concat(lines);
}

/** Best effort: an index that is missing is rebuilt from its segment, so a failure here loses nothing. */
export async function saveIndex(directory: string, number: number, text: Buffer): Promise<void> {
  const path = indexPath(directory, number);
  try {
    await mkdir(`${directory}-index`, { recursive: true, mode: 0o700 });
    await writeFile(`${path}.new`, text, { mode: 0o600 });
    await rename(`${path}.new`, path);
  } catch {
    // A full disk is reported by the log itself, where it matters.
  }
}

/** Adds a finished segment's saved index to `sessions`. False, with nothing added, when it is missing or wrong. */
export async function loadIndex(
  directory: string,
  end: Omit<SegmentEnd, 'reason'>,
  sessions: Sessions,
): Promise<boolean> {
  try {
    const text = await readFile(indexPath(directory, end.number));
    const [head, ...rows] = splitLines(text).map((line) => parseJson(unframeLine(line)));
    const saved = SavedIndex.parse(head);
    if (saved.number !== end.number || saved.bytes !== end.bytes || saved.hash !== end.hash) return false;
    const tips = rows.map((row) => SavedTip.parse(row));
    for (const { id, from, to, ...tip } of tips) {
      const state = sessionState(sessions, id);
      state.commit(tip, { segment: end.number, from, to });
      state.tip = tip;
    }
    return true;
  } catch {
    return false;
  }
}

function splitLines(text: Buffer): Buffer[] {
  const lines = [];
  let from = 0;
  for (let at = text.indexOf(0x0a); at !== -1; at = text.indexOf(0x0a, from)) {
    lines.push(text.subarray(from, at));
    from = at + 1;
  }
  return lines;
}
