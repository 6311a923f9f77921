/** What the statements of a session come to: kinds, rows, and the approvals that they took, counted as they are recorded and taken out to be stored. */
import type { Event } from '../audit/entry.ts';
import type { SessionUsage } from '../grant/grant.ts';
import { statementKinds, type StatementKind } from '../sql/kind.ts';

/** Approvals that are kept of one session; the record has them all. */
const requestsMax = 100;

export class UsageCount {
  /** A kind that has not been seen before: kinds are few, and worth keeping at once. */
  onNewKind: (() => void) | undefined;
  readonly #seen = new Set<string>();
  #kinds = new Set<StatementKind>();
  #rows = 0;
  readonly #seenRequests = new Set<string>();
  #requests = new Set<string>();

  /** Refused statements did nothing. */
  add(events: readonly Event[]): void {
    let isNew = false;
    for (const event of events) {
      if (event.kind === 'outcome') this.#rows += event.rows;
      if (event.kind !== 'statement' || event.effect !== 'allow') continue;
      const { request } = event;
      if (request !== undefined && this.#seenRequests.size < requestsMax && !this.#seenRequests.has(request)) {
        this.#seenRequests.add(request);
        this.#requests.add(request);
        isNew = true;
      }
      for (const kind of event.kinds) {
        if (this.#seen.has(kind)) continue;
        this.#seen.add(kind);
        const known = statementKinds.find((one) => one === kind);
        if (known === undefined) continue;
        this.#kinds.add(known);
        isNew = true;
      }
    }
    if (isNew) this.onNewKind?.();
  }

  /** Undefined where nothing is new. */
  take(): SessionUsage | undefined {
    if (this.#kinds.size === 0 && this.#rows === 0 && this.#requests.size === 0) return undefined;
    const taken = { kinds: [...this.#kinds], rows: this.#rows, requests: [...this.#requests] };
    this.#kinds = new Set();
    this.#requests = new Set();
    this.#rows = 0;
    return taken;
  }

  putBack({ kinds, rows, requests }: SessionUsage): void {
    for (const request of requests) this.#requests.add(request);
    for (const kind of kinds) this.#kinds.add(kind);
    this.#rows += rows;
  }
}
