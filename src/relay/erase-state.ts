/** What the state knows of a session's held statements goes with the session's keys. */
import type { Log } from '../store/log.ts';
import type { Outbox } from '../store/outbox.ts';
import type { SqliteRequestStore } from '../store/requests.ts';

export type StateOfStatements = { readonly requests: SqliteRequestStore; readonly outbox: Outbox };

/** For `SessionKeys.onShred`. The ids of the requests stand in the open part of the session's record. */
export function eraseStateOf(log: Log, { requests, outbox }: StateOfStatements): (session: string) => Promise<void> {
  return async (session) => {
    const ids: string[] = [];
    for await (const { event } of log.entries(session, { isOpened: false })) if (event.kind === 'hold') ids.push(event.request);
    await requests.eraseStatements(ids);
    await outbox.erase(ids);
  };
}
