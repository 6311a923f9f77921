/** The outbox in SQLite: what is still to be delivered to whom, in order, and what became of the rest. */
import type { Selectable, Transaction } from 'kysely';
import type { ColumnSeal } from './column-seal.ts';
import type { Database, Tables } from './database.ts';

/** Rows of one sink, delivered and failed ones included. */
export const outboxRowsPerSinkMax = 5000;

export type OutboxMessage = {
  /** Unique, and the same however often it is sent. */
  readonly delivery: string;
  readonly sink: string;
  readonly event: string;
  readonly request: string;
  readonly body: string;
};

/** A message that waits. `refusals` are those attempts that the receiver turned down for good. */
export type Waiting = OutboxMessage & {
  readonly number: number;
  readonly createdAt: Date;
  readonly attempts: number;
  readonly refusals: number;
  readonly dueAt: Date;
};

export type OutboxCount = {
  readonly sink: string;
  readonly state: Tables['outbox']['state'];
  readonly count: number;
  readonly oldest: Date;
};

export class Outbox {
  readonly #database: Database;
  readonly #seal: ColumnSeal;
  readonly #rowsPerSinkMax: number;

  constructor(database: Database, seal: ColumnSeal, rowsPerSinkMax = outboxRowsPerSinkMax) {
    this.#database = database;
    this.#seal = seal;
    this.#rowsPerSinkMax = rowsPerSinkMax;
  }

  /**
   * Takes messages in, all of them durable when it resolves, and returns those for whose sink there was no room: the
   * oldest delivered rows make room first, then the oldest failed ones; what waits is never dropped. Never call it from
   * inside a transaction of the same database.
   */
  async add(messages: readonly OutboxMessage[], at: Date): Promise<OutboxMessage[]> {
    const now = at.toISOString();
    return this.#database.transaction().execute(async (transaction) => {
      const left: OutboxMessage[] = [];
      for (const message of messages) {
        if (!(await this.#makeRoom(transaction, message.sink))) {
          left.push(message);
          continue;
        }
        const start = { created_at: now, due_at: now, state: 'waiting', attempts: 0, refusals: 0 } as const;
        await transaction.insertInto('outbox').values({ ...message, body: this.#seal.seal(message.body, rowOf(message)), ...start }).execute();
      }
      return left;
    });
  }

  async #makeRoom(transaction: Transaction<Tables>, sink: string): Promise<boolean> {
    const { count } = await transaction
      .selectFrom('outbox')
      .select((select) => select.fn.countAll<number>().as('count'))
      .where('sink', '=', sink)
      .executeTakeFirstOrThrow();
    const excess = count + 1 - this.#rowsPerSinkMax;
    if (excess <= 0) return true;
    const ended = transaction.selectFrom('outbox').select('number').where('sink', '=', sink).where('state', '<>', 'waiting');
    // "delivered" sorts before "failed".
    const oldest = ended.orderBy('state').orderBy('number').limit(excess);
    const result = await transaction.deleteFrom('outbox').where('number', 'in', oldest).executeTakeFirst();
    return Number(result.numDeletedRows) >= excess;
  }

  /** The oldest message that waits for a sink, due or not: a sink gets them in order. */
  async next(sink: string): Promise<Waiting | undefined> {
    const row = await this.#database
      .selectFrom('outbox')
      .selectAll()
      .where('sink', '=', sink)
      .where('state', '=', 'waiting')
      .orderBy('number')
      .limit(1)
      .executeTakeFirst();
    return row && toWaiting({ ...row, body: this.#seal.open(row.body, rowOf(row)) });
  }

  /** The receiver has it. The body goes: it has said what it had to say, and holds SQL. */
  async delivered(message: Waiting, at: Date): Promise<void> {
    await this.#update(message, { state: 'delivered', ended_at: at.toISOString(), attempts: message.attempts + 1, body: '' });
  }

  /** An attempt failed: the next one is due at `dueAt`, or there is none, and the row is kept as failed. */
  async attemptFailed(message: Waiting, failure: { problem: string; refused: boolean; at: Date; dueAt?: Date }): Promise<void> {
    await this.#update(message, {
      attempts: message.attempts + 1,
      refusals: message.refusals + (failure.refused ? 1 : 0),
      problem: failure.problem,
      ...(failure.dueAt === undefined
        ? { state: 'failed' as const, ended_at: failure.at.toISOString() }
        : { due_at: failure.dueAt.toISOString() }),
    });
  }

  async #update(message: Waiting, columns: Partial<Selectable<Tables['outbox']>>): Promise<void> {
    await this.#database.updateTable('outbox').set(columns).where('number', '=', message.number).execute();
  }

  /** Gives up what waits for sinks that are not among these, and returns how many messages those were. */
  async giveUpOthers(sinks: readonly string[], problem: string, at: Date): Promise<number> {
    let query = this.#database
      .updateTable('outbox')
      .set({ state: 'failed', problem, ended_at: at.toISOString() })
      .where('state', '=', 'waiting');
    if (sinks.length > 0) query = query.where('sink', 'not in', sinks);
    return Number((await query.executeTakeFirst()).numUpdatedRows);
  }

  /** Takes the bodies of what was said about these requests away, and gives up what still waits to be said. */
  async erase(requests: readonly string[], at: Date): Promise<void> {
    for (const request of requests) {
      const of = () => this.#database.updateTable('outbox').where('request', '=', request);
      await of().set({ state: 'failed', problem: 'its statement was shredded', ended_at: at.toISOString() }).where('state', '=', 'waiting').execute();
      await of().set({ body: '' }).execute();
    }
  }

  async counts(): Promise<OutboxCount[]> {
    const rows = await this.#database
      .selectFrom('outbox')
      .select((select) => ['sink', 'state', select.fn.countAll<number>().as('count'), select.fn.min('created_at').as('oldest')])
      .groupBy(['sink', 'state'])
      .execute();
    return rows.map(({ sink, state, count, oldest }) => ({ sink, state, count, oldest: new Date(oldest) }));
  }
}

function rowOf({ delivery, sink }: Pick<OutboxMessage, 'delivery' | 'sink'>): string {
  return `outbox/${sink}/${delivery}`;
}

function toWaiting(row: Selectable<Tables['outbox']>): Waiting {
  const { number, delivery, sink, event, request, body, attempts, refusals } = row;
  return {
    number,
    delivery,
    sink,
    event,
    request,
    body,
    attempts,
    refusals,
    createdAt: new Date(row.created_at),
    dueAt: new Date(row.due_at),
  };
}
