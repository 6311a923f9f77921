/** Entries and sealed contents as lines of the log, `<crc32, 8 hex digits> <JSON>\n`, and the chain that ties a session's entries. */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import * as z from 'zod/mini';
import { GateError } from '../errors/errors.ts';
import { Envelope, Sealed, type AuditEntry } from './entry.ts';
import { joinEvent } from './seal.ts';
import { entryBytesMax } from './tiles.ts';

/** Longest line, with its line feed. A longer entry is refused, so that every reader can bound its memory. */
export const lineBytesMax = 16 * 1024 * 1024;

/** The checksum and the blank before the JSON. */
const prefixBytes = 9;

/** A line ready to append. `hash` is the SHA-256 of its JSON bytes in lower-case hex. */
export type FramedLine = { readonly bytes: Buffer; readonly json: Buffer; readonly hash: string };

/** An entry as it stands in the record. What it has sealed stands in the line before it. */
export const StoredEntry = z.extend(Envelope, { event: z.record(z.string(), z.unknown()), sealed: z.optional(Sealed) });
export type StoredEntry = Readonly<z.infer<typeof StoredEntry>>;

/** An entry read back and checked. `hash` is what the session's next entry carries as `prev`. */
export type LogLine = { readonly entry: StoredEntry; readonly hash: string };

const SealedLine = z.object({ v: z.literal(1), kind: z.literal('sealed'), session: z.string(), data: z.string() });

/** Frames one JSON text, which holds no line feed. Throws `too-large` past `lineBytesMax`. */
export function frameLine(json: string): FramedLine {
  const bytes = frameBytes(json);
  const body = bytes.subarray(prefixBytes, bytes.length - 1);
  return { bytes, json: body, hash: hash('sha256', body, 'hex') };
}

function frameBytes(json: string): Buffer {
  const length = Buffer.byteLength(json);
  const lineBytes = prefixBytes + length + 1;
  if (lineBytes > lineBytesMax) {
    const sizes = `${lineBytes} bytes, of at most ${lineBytesMax}`;
    throw new GateError('too-large', `this is too large to be recorded (${sizes}), so it cannot run`);
  }
  const bytes = Buffer.allocUnsafe(lineBytes);
  bytes.write(json, prefixBytes, 'utf8');
  bytes[lineBytes - 1] = 0x0a;
  const body = bytes.subarray(prefixBytes, lineBytes - 1);
  bytes.write(`${crc32(body).toString(16).padStart(8, '0')} `, 0, 'latin1');
  return bytes;
}

/** The JSON bytes of a line that comes without its line feed. Throws `record-damaged` when the checksum is wrong. */
export function unframeLine(line: Buffer): Buffer {
  const checksum = line.toString('latin1', 0, prefixBytes);
  if (!/^[0-9a-f]{8} $/.test(checksum)) {
    throw new GateError('record-damaged', 'the line does not begin with a checksum');
  }
  const body = line.subarray(prefixBytes);
  if (crc32(body) !== Number.parseInt(checksum, 16)) {
    throw new GateError('record-damaged', 'the checksum does not match');
  }
  return body;
}

/** SHA-256 of a line's JSON bytes in hex: the link of the chain, and the text that a Merkle leaf will stand for. */
export function hashOf(body: Buffer): string {
  return hash('sha256', body, 'hex');
}

/** The line of an entry, made by `formatEntry`. Throws `too-large` past what a bundle of the tree can hold. */
export function frameEntry(json: string): FramedLine {
  const length = Buffer.byteLength(json);
  if (length > entryBytesMax) {
    throw new GateError('too-large', `this is too large to be recorded (${length} bytes beside its text, of at most ${entryBytesMax}), so it cannot run`);
  }
  return frameLine(json);
}

/** The line of what an entry has sealed; it stands right before that of the entry. */
export function frameSealed(session: string, bytes: Buffer): Buffer {
  return frameBytes(`{"v":1,"kind":"sealed","session":${JSON.stringify(session)},"data":"${bytes.toString('base64')}"}`);
}

export type Body = LogLine | { readonly sealed: Buffer; readonly session: string };

/** Reads a line that comes without its line feed. Throws `record-damaged` on a bad checksum, JSON or shape. */
export function parseLine(line: Buffer): Body {
  return parseBody(unframeLine(line));
}

export function parseBody(body: Buffer): Body {
  const json = parseJson(body);
  const sealed = SealedLine.safeParse(json);
  if (sealed.success) return { sealed: Buffer.from(sealed.data.data, 'base64'), session: sealed.data.session };
  return { entry: checkStored(json), hash: hashOf(body) };
}

/** The JSON of an entry, which a leaf of the tree stands for. Throws `record-damaged`. */
export function parseStored(body: Buffer): StoredEntry {
  return checkStored(parseJson(body));
}

function checkStored(json: unknown): StoredEntry {
  const result = StoredEntry.safeParse(json);
  if (!result.success) {
    const where = result.error.issues[0]?.path.join('.') ?? '';
    throw new GateError('record-damaged', `the line is no entry that this version knows${where && ` (at ${where})`}`);
  }
  return result.data;
}

/** An entry as readers get it: with the fields that were sealed, or with the reason why they are not there. */
export function openEntry(stored: StoredEntry, contents: Record<string, unknown> | NonNullable<Sealed['closed']>): AuditEntry {
  const { v, session, seq, prev, time, sealed } = stored;
  const isOpen = typeof contents === 'object';
  const event = joinEvent(stored.event, isOpen || sealed === undefined ? (isOpen ? contents : {}) : undefined);
  return { v, session, seq, prev, time, event, ...(sealed && { sealed: isOpen ? sealed : { ...sealed, closed: contents } }) };
}

export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new GateError('record-damaged', 'the line is not JSON', { cause: error });
  }
}

/** Where a session's entries stop following from each other. */
export type ChainBreak = { readonly session: string; readonly seq: number; readonly problem: string };

/** Follows the chains of any number of sessions, line by line, in the order of the log. */
export class ChainChecker {
  readonly #tips = new Map<string, { readonly seq: number; readonly hash: string }>();

  /** Returns what is wrong with this line; a broken line does not move the chain. */
  add(line: LogLine): ChainBreak | undefined {
    const { session, seq } = line.entry;
    const tip = this.#tips.get(session) ?? { seq: 0, hash: '' };
    const problem = chainProblem(tip, line.entry);
    if (problem !== undefined) return { session, seq, problem };
    this.#tips.set(session, { seq, hash: line.hash });
    return undefined;
  }
}

/** Why `entry` cannot follow an entry with this number and hash; undefined when it does. */
export function chainProblem(
  tip: { readonly seq: number; readonly hash: string },
  entry: Pick<StoredEntry, 'session' | 'seq' | 'prev'>,
): string | undefined {
  if (entry.seq !== tip.seq + 1) {
    const what = `entry ${entry.seq} of session ${entry.session} follows entry ${tip.seq}`;
    return `${what}: entries are missing, repeated or moved`;
  }
  if (entry.prev !== tip.hash) {
    return `entry ${entry.seq} of session ${entry.session} does not carry the hash of the entry before it`;
  }
  return undefined;
}

/** The first break in lines of any number of sessions, each from its first entry on; undefined when all chains hold. */
export function checkChain(lines: Iterable<LogLine>): ChainBreak | undefined {
  const checker = new ChainChecker();
  for (const line of lines) {
    const found = checker.add(line);
    if (found !== undefined) return found;
  }
  return undefined;
}
