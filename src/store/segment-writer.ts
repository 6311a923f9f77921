/** Writes the segments of the log, one at a time: opened with a header, appended to, and ended for a reason. */
import { join } from 'node:path';
import { formatSegmentHeader, segmentName, type SegmentEnd } from '../audit/segment.ts';
import type { SegmentRange } from './log-entries.ts';
import { writeWhole, type LogFiles } from './log-files.ts';

/** `written`: with what is not synced yet. */
type OpenSegment = { readonly number: number; readonly descriptor: number; readonly firstLeaf: number; bytes: number; hash: string; writtenBytes: number };

export type SegmentWriterOptions = {
  readonly directory: string;
  readonly files: LogFiles;
  readonly segmentBytesMax: number;
  readonly now: () => Date;
  readonly onEnd: (end: SegmentEnd) => void;
  /** What a start has found. */
  readonly end: SegmentEnd | undefined;
  readonly nextNumber: number;
  readonly segments: readonly SegmentRange[];
  readonly leaves: number;
};

/** Where a group of entries was written. */
export type Place = { readonly segment: number; readonly from: number };
/** What a sync has made durable. */
export type Synced = { readonly bytes: number; readonly hash: string; readonly leaves: number };

/** Written without a turn of the event loop in between: others have to wait for it. */
const sliceBytesMax = 1024 * 1024;

/** The same bytes in pieces of at most `sliceBytesMax`, joined where they are smaller. */
export function* slicesOf(chunks: readonly Buffer[]): Generator<Buffer> {
  let small: Buffer[] = [];
  let bytes = 0;
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += sliceBytesMax) {
      const piece = chunk.subarray(at, at + sliceBytesMax);
      if (bytes + piece.length > sliceBytesMax) {
        yield Buffer.concat(small);
        [small, bytes] = [[], 0];
      }
      small.push(piece);
      bytes += piece.length;
    }
  }
  if (bytes > 0) yield Buffer.concat(small);
}

export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  readonly #ended: SegmentRange[];
  /** Undefined between the end of one segment and the start of the next, which `#end` is about. */
  #current: OpenSegment | undefined;
  #end: SegmentEnd | undefined;
  #nextNumber: number;
  #leaves: number;

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#end = options.end;
    this.#nextNumber = options.nextNumber;
    this.#ended = [...options.segments];
    this.#leaves = options.leaves;
  }

  /** Entries that are durable. */
  get leaves(): number {
    return this.#leaves;
  }

  /** All that counts, oldest first. */
  get segments(): readonly SegmentRange[] {
    if (this.#current === undefined) return this.#ended;
    const { number, firstLeaf, bytes } = this.#current;
    return [...this.#ended, { number, firstLeaf, bytes }];
  }

  /** Has a segment open; the header of a new one is proof of a working disk. */
  async start(): Promise<void> {
    this.#current ??= await this.#open();
  }

  /** Whether so many bytes more make the segment longer than it may be. */
  isFull(bytes: number): boolean {
    return this.#current !== undefined && this.#current.writtenBytes + bytes > this.#options.segmentBytesMax;
  }

  /** Whether so much can be written at once. */
  hasRoom(bytes: number): boolean {
    return this.#current !== undefined && bytes <= sliceBytesMax && !this.isFull(bytes);
  }

  /** As `write`, where there is room. When this throws, nothing that is not synced counts, and the segment has ended. */
  writeNow(chunks: readonly Buffer[]): Place {
    const segment = this.#current;
    if (segment === undefined) throw new Error('no segment is open');
    const from = segment.writtenBytes;
    this.#append(segment, Buffer.concat(chunks));
    return { segment: segment.number, from };
  }

  /** Answers where the bytes lie. When this rejects, nothing that is not synced counts, and the segment has ended. */
  async write(chunks: readonly Buffer[]): Promise<Place> {
    const segment = (this.#current ??= await this.#open());
    const from = segment.writtenBytes;
    for (const slice of slicesOf(chunks)) {
      if (segment.writtenBytes > from) await new Promise(setImmediate);
      this.#append(segment, slice);
    }
    return { segment: segment.number, from };
  }

  #append(segment: OpenSegment, bytes: Buffer): void {
    try {
      writeWhole(this.#options.files, segment.descriptor, bytes);
    } catch (error) {
      this.end('failed');
      throw error;
    }
    segment.writtenBytes += bytes.length;
  }

  /** Makes all that was written durable, which is what `synced` says. When this rejects, it does not count, and the segment has ended. */
  async sync({ bytes, hash, leaves }: Synced): Promise<void> {
    const segment = this.#current;
    if (segment === undefined || bytes === 0) return;
    try {
      await this.#options.files.fdatasync(segment.descriptor);
    } catch (error) {
      this.end('failed');
      throw error;
    }
    segment.bytes += bytes;
    segment.hash = hash;
    this.#leaves += leaves;
  }

  end(reason: SegmentEnd['reason']): void {
    const segment = this.#current;
    if (segment === undefined) return;
    const { number, bytes, hash, firstLeaf } = segment;
    this.#end = { number, bytes, hash, reason };
    this.#ended.push({ number, firstLeaf, bytes });
    this.#current = undefined;
    this.#closeQuietly(segment.descriptor);
    this.#options.onEnd(this.#end);
  }

  async #open(): Promise<OpenSegment> {
    const { directory, files, now } = this.#options;
    const number = this.#nextNumber;
    const path = join(directory, segmentName(number));
    const firstLeaf = this.#leaves;
    const { bytes, hash } = formatSegmentHeader({
      v: 1,
      kind: 'segment',
      number,
      time: now().toISOString(),
      firstLeaf,
      ...(this.#end !== undefined && { previous: this.#end }),
    });
    // A number is spent by the attempt: a create that is reported as failed may have left its file.
    this.#nextNumber = number + 1;
    const descriptor = files.create(path);
    try {
      writeWhole(files, descriptor, bytes);
      await files.fdatasync(descriptor);
      await files.fsyncDirectory(directory);
    } catch (error) {
      this.#abandon(number, path, descriptor);
      throw error;
    }
    return { number, descriptor, firstLeaf, bytes: bytes.length, hash, writtenBytes: bytes.length };
  }

  /** A file that holds no entry may go, and its number with it; where it stays, no header will ever name it. */
  #abandon(number: number, path: string, descriptor: number): void {
    this.#closeQuietly(descriptor);
    try {
      this.#options.files.remove(path);
      this.#nextNumber = number;
    } catch {
      // The next attempt takes the next number.
    }
  }

  /** All that counts has been synced before, so there is nothing left for a close to lose. */
  #closeQuietly(descriptor: number): void {
    try {
      this.#options.files.close(descriptor);
    } catch {
      // The descriptor is gone either way.
    }
  }
}
