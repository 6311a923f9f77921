/** One entry as one line of the log, `<crc32, 8 hex digits> <JSON>\n`, and the chain that ties a session's lines. */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { GateError } from '../errors/errors.ts';
import { AuditEntry } from './entry.ts';

/** Longest line, with its line feed. A longer entry is refused, so that every reader can bound its memory. */
export const lineBytesMax = 16 * 1024 * 1024;

/** The checksum and the blank before the JSON. */
const prefixBytes = 9;

/** A line ready to append. `hash` is the SHA-256 of its JSON bytes in lower-case hex. */
export type FramedLine = { readonly bytes: Buffer; readonly hash: string };

/** A line read back and checked. `hash` is what the session's next entry carries as `prev`. */
export type LogLine = { readonly entry: AuditEntry; readonly hash: string };

/** Frames one JSON text, which holds no line feed. Throws `too-large` past `lineBytesMax`. */
export function frameLine(json: string): FramedLine {
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
  return { bytes, hash: hash('sha256', body, 'hex') };
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

export function formatLine(entry: AuditEntry): FramedLine {
  const { v, session, seq, prev, time, event } = entry;
  return frameLine(JSON.stringify({ v, session, seq, prev, time, event }));
}

/** Reads a line that comes without its line feed. Throws `record-damaged` on a bad checksum, JSON or shape. */
export function parseLine(line: Buffer): LogLine {
  const body = unframeLine(line);
  return { entry: parseEntry(body), hash: hashOf(body) };
}

export function parseEntry(body: Buffer): AuditEntry {
  const result = AuditEntry.safeParse(parseJson(body));
  if (!result.success) {
    const where = result.error.issues[0]?.path.join('.') ?? '';
    throw new GateError('record-damaged', `the line is no entry that this version knows${where && ` (at ${where})`}`);
  }
  return result.data;
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
  entry: Pick<AuditEntry, 'session' | 'seq' | 'prev'>,
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
