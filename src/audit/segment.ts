/** The first line of each log file: which file came before, and how much of that one counts. */
import * as z from 'zod/mini';
import { GateError } from '../errors/errors.ts';
import { frameLine, parseJson, unframeLine, type FramedLine } from './line.ts';

/**
 * Why a segment ended: it was `full`; the relay was started anew (`restart`), perhaps with bytes after the last whole
 * line (`torn`); or a write or sync `failed`, so that nothing after `bytes` is known to be durable.
 */
const EndReason = z.enum(['full', 'restart', 'torn', 'failed']);

/** The end of a segment. Readers never look past its first `bytes` bytes, whatever the file holds there. */
export const SegmentEnd = z.object({
  number: z.number(),
  bytes: z.number(),
  /** SHA-256 of the JSON of its last line that counts, in hex. */
  hash: z.string(),
  reason: EndReason,
});
export type SegmentEnd = z.infer<typeof SegmentEnd>;

export const SegmentHeader = z.object({
  v: z.literal(1),
  kind: z.literal('segment'),
  number: z.number(),
  time: z.string(),
  /** Entries in all segments before it: the place in the tree of its first one. */
  firstLeaf: z.number(),
  /** Absent in the first segment of a log only. A number between the two that no header names never counted. */
  previous: z.optional(SegmentEnd),
});
export type SegmentHeader = z.infer<typeof SegmentHeader>;

export function formatSegmentHeader(header: SegmentHeader): FramedLine {
  return frameLine(JSON.stringify(header));
}

/** Reads a header line that comes without its line feed. Throws `record-damaged`. */
export function parseSegmentHeader(line: Buffer): SegmentHeader {
  const result = SegmentHeader.safeParse(parseJson(unframeLine(line)));
  if (!result.success) throw new GateError('record-damaged', 'the line is no header that this version knows');
  return result.data;
}

export function segmentName(number: number): string {
  return `log-${String(number).padStart(6, '0')}.ndl`;
}

/** The number in a segment's file name; undefined for any other name. */
export function parseSegmentName(name: string): number | undefined {
  const digits = /^log-(\d{6,15})\.ndl$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
