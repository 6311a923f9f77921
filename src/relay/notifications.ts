/** Tells people outside of access requests: into the outbox at once, out to every sink by a delivery of its own. */
import { randomUUID } from 'node:crypto';
import { messageOf } from '../errors/errors.ts';
import type { Notice, Notifier } from '../grant/request.ts';
import type { Outbox } from '../store/outbox.ts';
import { Delivery, deliveryTiming, type DeliveryTiming } from './delivery.ts';
import type { RelayLog } from './relay-log.ts';
import type { Sink } from './sinks.ts';
import { slackMessage } from './slack-message.ts';
import { webhookMessage } from './webhook-message.ts';

export type NotificationsOptions = {
  readonly sinks: readonly Sink[];
  readonly outbox: Outbox;
  readonly log: RelayLog;
  readonly relayVersion: string;
  readonly timing?: DeliveryTiming;
  readonly now?: () => Date;
  readonly random?: () => number;
};

/** `delivered` and `lost` count from the start of this process; the rest is what the outbox holds. */
export type NotificationStatus = {
  /** Notifications that never came into the outbox, because it was full or could not be written. */
  readonly lost: number;
  readonly sinks: readonly {
    readonly name: string;
    readonly waiting: number;
    readonly oldestWaiting?: Date;
    readonly failed: number;
    readonly delivered: number;
    /** Of the last attempt, where it failed. */
    readonly problem?: string;
  }[];
};

export class Notifications implements Notifier {
  readonly #options: NotificationsOptions;
  readonly #now: () => Date;
  readonly #deliveries = new Map<string, Delivery>();
  #lost = 0;

  private constructor(options: NotificationsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => new Date());
  }

  /** Goes on with what an earlier relay left; what it left for sinks that are no longer configured is given up. */
  static async start(options: NotificationsOptions): Promise<Notifications> {
    const { sinks, outbox, log, timing = deliveryTiming, random = Math.random, relayVersion } = options;
    const notifications = new Notifications(options);
    const now = notifications.#now;
    const names = sinks.map(({ name }) => name);
    const given = await outbox.giveUpOthers(names, 'the sink is no longer configured', now());
    if (given > 0) log.warn({ notifications: given }, 'notifications given up: their sinks are no longer configured');
    const shared = { outbox, log, timing, now, random, userAgent: `gate/${relayVersion}` };
    for (const sink of sinks) notifications.#deliveries.set(sink.name, new Delivery({ ...shared, sink }));
    return notifications;
  }

  /**
   * Resolves once the notice is durable in the outbox for every sink that wants it. Never rejects: a notice that cannot
   * be kept is an error in the log, and whoever decides goes on. Never call it from inside a transaction of the database.
   */
  async notify(notice: Notice): Promise<void> {
    const { sinks, outbox, log } = this.#options;
    const wanting = sinks.filter((sink) => wants(sink, notice));
    if (wanting.length === 0) return;
    const about = { event: notice.kind, request: notice.request.id };
    try {
      const messages = wanting.map((sink) => {
        const delivery = randomUUID();
        const body = sink.format === 'slack' ? slackMessage(notice, sink) : webhookMessage(notice, delivery, sink);
        return { delivery, sink: sink.name, event: notice.kind, request: notice.request.id, body };
      });
      for (const { sink } of await outbox.add(messages, this.#now())) {
        this.#lost += 1;
        log.error({ ...about, sink }, 'notification lost: the outbox is full');
      }
    } catch (error) {
      this.#lost += wanting.length;
      log.error({ ...about, reason: messageOf(error) }, 'notification lost: the outbox cannot be written');
    }
    for (const { name } of wanting) this.#deliveries.get(name)?.wake();
  }

  async status(): Promise<NotificationStatus> {
    const counts = await this.#options.outbox.counts();
    const sinks = [...this.#deliveries].map(([name, { delivered, problem }]) => {
      const find = (state: string) => counts.find((row) => row.sink === name && row.state === state);
      const waiting = find('waiting');
      return {
        name,
        waiting: waiting?.count ?? 0,
        ...(waiting && { oldestWaiting: waiting.oldest }),
        failed: find('failed')?.count ?? 0,
        delivered,
        ...(problem !== undefined && { problem }),
      };
    });
    return { lost: this.#lost, sinks };
  }

  /** Delivers no more. What waits stays in the outbox, and what is still notified of goes there. */
  async stop(): Promise<void> {
    await Promise.all([...this.#deliveries.values()].map((delivery) => delivery.stop()));
  }
}

function wants({ events, targets }: Sink, { kind, request }: Notice): boolean {
  return (events?.includes(kind) ?? true) && (targets?.includes(request.target) ?? true);
}
