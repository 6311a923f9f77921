/** The Recorder port: the promise that the relay builds "no record, no query" on. */
import type { Event } from './entry.ts';

export interface Recorder {
  /**
   * Appends events of one session, in order. Resolves when all of them are durable (on disk, fdatasync returned).
   * Rejects with GateError `record-unavailable` when they are not known to be; they then do not count, and readers
   * never see them. Calls of one tick share one write and one fdatasync.
   */
  record(session: string, events: readonly Event[]): Promise<void>;
  /** Whether the last write succeeded, or the log has been opened anew since. */
  readonly isAvailable: boolean;
}
