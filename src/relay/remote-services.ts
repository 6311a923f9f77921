/** The record and the desk of approvals as a worker sees them: both are the primary's. */
import type { Event } from '../audit/entry.ts';
import type { Haste, Recorder, Written } from '../audit/recorder.ts';
import type { ApprovalDesk } from '../grant/request.ts';
import type { Peer } from './peer.ts';
import type { PrimaryCalls } from './worker-calls.ts';

export class RemoteRecorder implements Recorder {
  readonly #primary: Peer<PrimaryCalls>;
  #lastToken = 0;

  constructor(primary: Peer<PrimaryCalls>) {
    this.#primary = primary;
  }

  record(session: string, events: readonly Event[]): Promise<void> {
    return this.#primary.call('record', [session, events]);
  }

  write(session: string, events: readonly Event[], haste: Haste): Written {
    const token = ++this.#lastToken;
    const written = this.#primary.call('write', [session, events, haste, token]);
    if (haste !== 'disk') return { written };
    const durable = this.#primary.call('durable', [token]);
    // Not everybody who writes waits for the disk.
    durable.catch(() => undefined);
    return { written, durable };
  }

  /** The primary refuses what it cannot record. */
  readonly isAvailable = true;
}

export function remoteDesk(primary: Peer<PrimaryCalls>): ApprovalDesk {
  return {
    take: (key) => primary.call('take', [key]),
    ask: (asked) => primary.call('ask', [asked]),
    decided: (id, signal) => primary.call('decided', [id], signal),
    withdraw: (id, reason) => primary.call('withdraw', [id, reason]),
  };
}
