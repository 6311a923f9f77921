/** What the state knows of a session's held statements goes with the session's keys. */
import { emptyWriteAheadLog, type Database } from '../store/database.ts';
import type { Log } from '../store/log.ts';
import type { Outbox } from '../store/outbox.ts';
import type { SqliteRequestStore } from '../store/requests.ts';

export type StateOfStatements = { readonly database: Database; readonly requests: SqliteRequestStore; readonly outbox: Outbox };

/** For `SessionKeys.onShred`. Whose session it was stands in the open part of its record. */
export function eraseStateOf(log: Log, { database, requests, outbox }: StateOfStatements): (session: string) => Promise<void> {
  return async (session) => {
    for await (const { event } of log.entries(session, { isOpened: false })) {
      if (event.kind !== 'session.open') continue;
      // By the session that each names: a hold of this one may be on a request that another session has made.
      const ids = await requests.eraseStatements(session, event.who);
      await outbox.erase(ids, new Date());
      if (ids.length > 0) await emptyWriteAheadLog(database);
      return;
    }
  };
}
