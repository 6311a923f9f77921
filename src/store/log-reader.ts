/** Reads log files line by line in bounded memory, and names file and line of whatever is damaged. */
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { GateError, messageOf } from '../errors/errors.ts';
import { lineBytesMax } from '../audit/line.ts';
import { parseSegmentHeader, type SegmentHeader } from '../audit/segment.ts';

const chunkBytes = 256 * 1024;

/** A line without its line feed; `from` and `to` are its place in the file, `to` after the line feed. */
export type RawLine = {
  readonly bytes: Buffer;
  readonly from: number;
  readonly to: number;
  /** False for what follows the last line feed, and for what is too long to be a line. Nothing comes after it. */
  readonly isWhole: boolean;
};

/** The lines between two places of a file, the first one at the start of a line. The file may grow meanwhile. */
export async function* readLines(path: string, range: { from: number; to: number }): AsyncGenerator<RawLine> {
  const file = await open(path, 'r');
  try {
    let pieces: Buffer[] = [];
    let pieceBytes = 0;
    let lineFrom = range.from;
    let position = range.from;
    while (position < range.to) {
      const wanted = Math.min(chunkBytes, range.to - position);
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(wanted), 0, wanted, position);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      position += bytesRead;
      let start = 0;
      for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, start)) {
        const bytes = Buffer.concat([...pieces, chunk.subarray(start, at)]);
        yield { bytes, from: lineFrom, to: lineFrom + bytes.length + 1, isWhole: true };
        lineFrom += bytes.length + 1;
        start = at + 1;
        pieces = [];
        pieceBytes = 0;
      }
      pieces.push(chunk.subarray(start));
      pieceBytes += chunk.length - start;
      if (pieceBytes > lineBytesMax) break;
    }
    if (pieceBytes > 0) {
      yield { bytes: Buffer.concat(pieces), from: lineFrom, to: lineFrom + pieceBytes, isWhole: false };
    }
  } finally {
    await file.close();
  }
}

/** The header of a segment; undefined for a file whose making was cut short, so that nothing in it ever counted. */
export async function readHeader(path: string): Promise<SegmentHeader | undefined> {
  let problem: unknown;
  for await (const line of readLines(path, { from: 0, to: Infinity })) {
    if (problem !== undefined) throw damaged(path, { line: 1 }, problem);
    if (!line.isWhole) return undefined;
    try {
      return parseSegmentHeader(line.bytes);
    } catch (error) {
      problem = error;
    }
  }
  return undefined;
}

/** The error for a log file that does not hold what was written to it. */
export function damaged(path: string, place: { line: number } | { byte: number }, problem: unknown): GateError {
  const where = 'line' in place ? `line ${place.line}` : `byte ${place.byte}`;
  const words = typeof problem === 'string' ? problem : messageOf(problem);
  return new GateError('record-damaged', `the record is damaged at ${basename(path)}, ${where}: ${words}`, {
    hint: 'Keep the file as it is: it is evidence. Restore it from a copy, or start with another state directory.',
    cause: typeof problem === 'string' ? undefined : problem,
  });
}
