/** Retention: the data keys of sessions go when their time is over, and with them what they have sealed. The entries stay. */
import { decisionsChain } from '../audit/entry.ts';
import type { Log } from '../store/log.ts';
import type { KeyFile, SessionKeys } from '../store/session-keys.ts';
import { shredNow } from './erasure.ts';
import type { RelayLog } from './relay-log.ts';

const checkIntervalMs = 3_600_000;
const dayMs = 86_400_000;

/** After so many days from the start of a session; undefined: never. */
export type Retention = { readonly contentDays?: number | undefined; readonly resultsDays?: number | undefined };

export type RetentionOptions = {
  readonly log: Log;
  readonly keys: SessionKeys;
  readonly retention: Retention;
  /** Sessions that are open stay as they are. */
  readonly isOpen: (session: string) => boolean;
  readonly now?: () => Date;
  readonly relayLog?: RelayLog;
};

export type RunningRetention = {
  /** Looks at all sessions now. Rejects when something could not be shredded. */
  check(): Promise<void>;
  /** Resolves when a check that runs has come to its end. */
  stop(): Promise<void>;
};

/** Checks at once and every hour. A check that fails is made again with the next one. */
export function startRetention(options: RetentionOptions): RunningRetention {
  let isStopped = false;
  let running: Promise<void> = Promise.resolve();
  const check = () => {
    const next = running.then(() => checkAll(options, () => isStopped));
    running = next.catch((error: unknown) => options.relayLog?.error({ err: error }, 'retention could not be applied; it is tried again'));
    return next;
  };
  const timer = setInterval(() => void check().catch(() => undefined), checkIntervalMs).unref();
  void check().catch(() => undefined);
  return {
    check,
    stop: async () => {
      isStopped = true;
      clearInterval(timer);
      await running;
    },
  };
}

async function checkAll({ log, keys, retention, isOpen, now = () => new Date() }: RetentionOptions, isStopped: () => boolean): Promise<void> {
  for await (const { session } of keys.all()) {
    if (isStopped()) return;
    if (session === decisionsChain || isOpen(session)) continue;
    await keys.inTurn(async () => {
      // As it is now: it may have been held since it was listed.
      const file = await keys.load(session);
      if (file === undefined || file.hold !== undefined || file.shredding !== undefined) return;
      for (const [days, classes] of overdue(file, retention, now())) {
        await shredNow(log, session, { classes, by: [], reason: `retention of ${days} ${days === 1 ? 'day' : 'days'}` });
      }
    });
  }
}

/** The classes whose time is over, by the days that they had. */
function overdue({ wrapped, createdAt }: KeyFile, { contentDays, resultsDays }: Retention, now: Date): Map<number, ('content' | 'results')[]> {
  const found = new Map<number, ('content' | 'results')[]>();
  const all = [['content', contentDays], ['results', resultsDays]] as const;
  for (const [key, days] of all) {
    if (days === undefined || wrapped[key] === undefined) continue;
    if (now.getTime() - Date.parse(createdAt) < days * dayMs) continue;
    found.set(days, [...(found.get(days) ?? []), key]);
  }
  return found;
}
