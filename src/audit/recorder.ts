/** The Recorder port: the promise that the relay builds "no record, no query" on. */
import type { Event } from './entry.ts';

export interface Recorder {
  /**
   * Appends events of one session, in order. Resolves when all of them are durable (on disk, fdatasync returned).
   * Rejects with GateError `record-unavailable` when they are not known to be; they then do not count, and readers
   * never see them. Calls of one tick share one write and one fdatasync.
   */
  record(session: string, events: readonly Event[]): Promise<void>;
  /**
   * Appends events that count once the operating system has them. `written` rejects when it has not, and then they do
   * not count. What was written stays, and is written again where a sync fails; `durable` rejects then all the same.
   */
  write(session: string, events: readonly Event[], haste: Haste): Written;
  /** Whether the last write succeeded, or the log has been opened anew since. */
  readonly isAvailable: boolean;
}

/**
 * What is waited for. `disk`: they are synced at once. `system`: they are written at once, and synced soon or with the
 * next that must be. `later`: they are written soon, or with the next.
 */
export type Haste = 'disk' | 'system' | 'later';

/** Without `written` the operating system has them already. `durable` is there where the disk is waited for. */
export type Written = { readonly written?: Promise<void>; readonly durable?: Promise<void> };
