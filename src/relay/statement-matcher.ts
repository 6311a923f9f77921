/** Which statements of a session meet a query: held, decided and run stand in entries of their own, and are one. */
import type { AuditEntry, EventOf } from '../audit/entry.ts';
import type { SessionQuery } from '../api/session-query.ts';
import { createTablePattern, type NamePattern } from '../policy/pattern.ts';

type Asked = EventOf<'statement'> | EventOf<'hold'>;

/** Statements of one session whose outcome is awaited, or that wait for approval; beyond that the oldest are forgotten. */
const openMax = 10_000;

export class StatementMatcher {
  readonly #query: SessionQuery;
  readonly #text: string | undefined;
  readonly #tables: NamePattern | undefined;
  readonly #since: number;
  readonly #until: number;

  constructor(query: SessionQuery) {
    this.#query = query;
    this.#text = query.text?.toLowerCase();
    this.#tables = query.table === undefined ? undefined : createTablePattern([query.table]);
    this.#since = query.since === undefined ? -Infinity : Date.parse(query.since);
    this.#until = query.until === undefined ? Infinity : Date.parse(query.until);
  }

  /** A part of what is asked about may be sealed. */
  get needsContents(): boolean {
    return this.#text !== undefined || this.#tables !== undefined;
  }

  counter(): StatementCounter {
    return new StatementCounter((event, time) => this.#meets(event, time), this.#query);
  }

  /** But for its effect and its outcome. */
  #meets(event: Asked, time: string): boolean {
    const at = Date.parse(time);
    if (at < this.#since || at > this.#until) return false;
    const { kind } = this.#query;
    if (kind !== undefined && !event.kinds.includes(kind)) return false;
    if (this.#text !== undefined && !event.sql.toLowerCase().includes(this.#text)) return false;
    if (this.#tables === undefined) return true;
    const tables = event.kind === 'statement' ? (event.tables ?? []) : [];
    return tables.some((name) => this.#tables?.meets(name));
  }
}

/** Takes the entries of one session in order. */
export class StatementCounter {
  readonly #meets: (event: Asked, time: string) => boolean;
  readonly #query: Pick<SessionQuery, 'effect' | 'sqlstate'>;
  /** Held, and not decided yet: whether it meets the query. */
  readonly #held = new Map<string, boolean>();
  /** Meets the query if its outcome does. */
  readonly #running = new Set<number>();
  #count = 0;

  constructor(meets: (event: Asked, time: string) => boolean, query: Pick<SessionQuery, 'effect' | 'sqlstate'>) {
    this.#meets = meets;
    this.#query = query;
  }

  add({ event, time }: AuditEntry): void {
    if (event.kind === 'hold') {
      trim(this.#held);
      this.#held.set(event.request, this.#meets(event, time));
    } else if (event.kind === 'statement') this.#addStatement(event, time);
    else if (event.kind === 'outcome' && this.#running.delete(event.statement) && event.sqlstate === this.#query.sqlstate) this.#count += 1;
  }

  #addStatement(event: EventOf<'statement'>, time: string): void {
    const { effect, sqlstate } = this.#query;
    const wasHeld = event.request !== undefined && this.#held.delete(event.request);
    if (effect !== undefined && (effect === 'hold' ? !wasHeld : event.effect !== effect)) return;
    if (!this.#meets(event, time)) return;
    if (sqlstate === undefined) this.#count += 1;
    else if (event.effect === 'allow') {
      trim(this.#running);
      this.#running.add(event.statement);
    }
  }

  /** With those that still wait for approval, unless something is asked about that they cannot have yet. */
  finish(): number {
    const { effect, sqlstate } = this.#query;
    if (sqlstate !== undefined || (effect !== undefined && effect !== 'hold')) return this.#count;
    return this.#count + [...this.#held.values()].filter(Boolean).length;
  }
}

function trim(open: Map<string, unknown> | Set<number>): void {
  if (open.size < openMax) return;
  const [oldest] = open.keys();
  if (oldest !== undefined) (open as Set<unknown>).delete(oldest);
}
