/** Reads on in the log from a place, so that whoever follows it reads each byte once. */
import { join } from 'node:path';
import type { AuditEntry } from '../audit/entry.ts';
import type { StoredEntry } from '../audit/line.ts';
import { segmentName } from '../audit/segment.ts';
import { openStored, parseAt, type SegmentRange } from './log-entries.ts';
import { readLines } from './log-reader.ts';
import type { SealingKeys } from './session-keys.ts';

/** Behind an entry, or at the end of a segment. */
export type LogPlace = { readonly segment: number; readonly byte: number };

/** An entry that a follower has come to. */
export type Followed = {
  readonly stored: StoredEntry;
  /** As a reader gets it, with what was sealed or without. */
  open(isOpened: boolean): Promise<AuditEntry>;
};

export type TailQuery = {
  readonly directory: string;
  readonly segments: readonly SegmentRange[];
  readonly from: LogPlace;
  readonly to: LogPlace;
  readonly keys: SealingKeys;
};

/** The entries of all sessions between two places, in order. Throws `record-damaged`. */
export async function* readBetween({ directory, segments, from, to, keys }: TailQuery): AsyncGenerator<Followed> {
  for (const { number, bytes } of segments) {
    if (number < from.segment || number > to.segment) continue;
    const path = join(directory, segmentName(number));
    const range = { from: number === from.segment ? from.byte : 0, to: number === to.segment ? to.byte : bytes };
    let contents: Buffer | undefined;
    for await (const raw of readLines(path, range)) {
      // The header of a segment is about the segment before it.
      if (raw.from === 0) continue;
      const body = parseAt(path, raw);
      if ('sealed' in body) {
        contents = body.sealed;
        continue;
      }
      const { entry: stored } = body;
      const sealed = contents;
      contents = undefined;
      yield { stored, open: (isOpened) => openStored(stored, sealed, isOpened ? keys : undefined) };
    }
  }
}
