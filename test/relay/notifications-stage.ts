/** A notifier on a state directory of its own, started again and again as a relay does, with waits that tests can bear. */
import { ColumnSeal } from '../../src/store/column-seal.ts';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import type { NotificationBody } from '../../src/api/notification.ts';
import { deliveryTiming, type DeliveryTiming } from '../../src/relay/delivery.ts';
import { Notifications, type NotificationsOptions } from '../../src/relay/notifications.ts';
import type { Sink } from '../../src/relay/sinks.ts';
import { openDatabase } from '../../src/store/database.ts';
import { Outbox } from '../../src/store/outbox.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

export const secret = 'hmac-canary-0123456789';
export const quick: DeliveryTiming = { ...deliveryTiming, attemptTimeoutMs: 5000, backoffMs: 10, backoffMsMax: 50, refusalsMax: 3, stopGraceMs: 50 };

export function webhook(url: URL, more: Partial<Sink> = {}): Sink {
  return { name: 'hook', format: 'webhook', url, secret, includeSql: true, includeParameters: false, ...more };
}

/** A state directory in which a notifier can be started again and again, as a relay does. */
export async function openStage(rowsPerSinkMax?: number) {
  const directory = await temporaryDirectory();
  const lines: string[] = [];
  const ends: (() => Promise<void>)[] = [];
  const log = pino({ level: 'debug', base: null }, { write: (line: string) => lines.push(line) });
  const stop = async () => {
    for (let end = ends.pop(); end !== undefined; end = ends.pop()) await end();
  };
  onTestFinished(stop);
  return {
    log: lines,
    stop,
    start: async (sinks: readonly Sink[], options: Partial<NotificationsOptions> = {}) => {
      const state = await openStateDirectory(directory);
      ends.push(() => state.close());
      const database = await openDatabase(state);
      ends.push(() => database.destroy());
      const outbox = new Outbox(database, new ColumnSeal(Buffer.alloc(32)), rowsPerSinkMax);
      const notifications = await Notifications.start({ sinks, outbox, log, relayVersion: '1.2.3', timing: quick, ...options });
      ends.push(() => notifications.stop());
      return notifications;
    },
    rows: async () => {
      const state = await openStateDirectory(directory);
      const database = await openDatabase(state);
      const rows = await database.selectFrom('outbox').selectAll().orderBy('number').execute();
      await database.destroy();
      await state.close();
      return rows;
    },
  };
}

export const sinkOf = async (notifications: Notifications, index = 0) => (await notifications.status()).sinks[index];
export const requestsOf = (received: readonly { body: string }[]) => received.map(({ body }) => (JSON.parse(body) as NotificationBody).request.id);
