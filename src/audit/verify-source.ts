/** The files that a verification reads, whoever stores them, in bounded pieces; what cannot be read becomes a finding. Pure. */
import { isUtf8 } from 'node:buffer';
import { messageOf } from '../errors/errors.ts';
import { lineBytesMax, parseStored, type StoredEntry } from './line.ts';
import type { Findings } from './verify-report.ts';

/** Paths are relative, with "/" between names. */
export interface Evidence {
  /** The file up to `bytesMax` + 1 bytes, so that one that is too large is known by its length; undefined where there is none. */
  read(path: string, bytesMax: number): Promise<Buffer | undefined>;
  /** The file in order, in pieces of any size; nothing where there is none. */
  stream(path: string): AsyncIterable<Buffer>;
  /** None where there is no such directory. */
  list(path: string): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]>;
}

/** A line without its line feed; `to` is the byte after it. Not whole: what follows the last line feed, or is too long. */
export type SourceLine = { readonly bytes: Buffer; readonly from: number; readonly to: number; readonly isWhole: boolean };

export class Source {
  readonly #evidence: Evidence;
  readonly #findings: Findings;

  constructor(evidence: Evidence, findings: Findings) {
    this.#evidence = evidence;
    this.#findings = findings;
  }

  /** `failed` where a finding says why already. */
  async read(path: string, bytesMax: number): Promise<Buffer | 'absent' | 'failed'> {
    try {
      const bytes = await this.#evidence.read(path, bytesMax);
      if (bytes === undefined) return 'absent';
      if (bytes.length <= bytesMax) return bytes;
      this.#findings.tampered('file-too-large', `${path} is larger than such a file can be (${bytesMax} bytes)`, { file: path });
    } catch (error) {
      this.#findings.unknown('unreadable', `${path} cannot be read: ${messageOf(error)}`, { file: path });
    }
    return 'failed';
  }

  /** Without the drafts of files that were never finished. */
  async list(path: string): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]> {
    try {
      const all = await this.#evidence.list(path);
      return all.filter(({ name, isDirectory }) => isDirectory || !name.endsWith('.new'));
    } catch (error) {
      this.#findings.unknown('unreadable', `${path} cannot be listed: ${messageOf(error)}`, { file: path });
      return [];
    }
  }

  /** Ends early, with a finding, where reading fails. Nothing comes after a line that is not whole. */
  async *lines(path: string, bytes = Infinity): AsyncGenerator<SourceLine> {
    try {
      yield* linesOf(upTo(this.#evidence.stream(path), bytes));
    } catch (error) {
      this.#findings.unknown('unreadable', `${path} cannot be read: ${messageOf(error)}`, { file: path });
    }
  }
}

async function* upTo(chunks: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes;
  for await (const chunk of chunks) {
    yield chunk.length > left ? chunk.subarray(0, left) : chunk;
    left -= chunk.length;
    if (left <= 0) return;
  }
}

async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<SourceLine> {
  let pieces: Buffer[] = [];
  let held = 0;
  let from = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, start)) {
      const piece = chunk.subarray(start, at);
      const bytes = held === 0 ? piece : Buffer.concat([...pieces, piece]);
      yield { bytes, from, to: from + bytes.length + 1, isWhole: true };
      from += bytes.length + 1;
      start = at + 1;
      pieces = [];
      held = 0;
    }
    pieces.push(chunk.subarray(start));
    held += chunk.length - start;
    if (held > lineBytesMax) break;
  }
  if (held > 0) yield { bytes: Buffer.concat(pieces), from, to: from + held, isWhole: false };
}

/** Undefined for what this version cannot read. Bytes that are no text are not guessed at: others might guess otherwise. */
export function readStored(body: Buffer): StoredEntry | undefined {
  try {
    return isUtf8(body) ? parseStored(body) : undefined;
  } catch {
    return undefined;
  }
}

/** Base64 as this record writes it; undefined for any other spelling of the same bytes. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
