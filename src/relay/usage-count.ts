/** What the statements of a session come to: kinds and rows, counted as they are recorded and taken out to be stored. */
import type { Event } from '../audit/entry.ts';
import type { SessionUsage } from '../grant/grant.ts';
import { statementKinds, type StatementKind } from '../sql/kind.ts';

export class UsageCount {
  /** A kind that has not been seen before: kinds are few, and worth keeping at once. */
  onNewKind: (() => void) | undefined;
  readonly #seen = new Set<StatementKind>();
  #kinds = new Set<StatementKind>();
  #rows = 0;

  /** Refused statements did nothing. */
  add(events: readonly Event[]): void {
    let isNew = false;
    for (const event of events) {
      if (event.kind === 'outcome') this.#rows += event.rows;
      if (event.kind !== 'statement' || event.effect !== 'allow') continue;
      for (const kind of event.kinds) {
        const known = statementKinds.find((one) => one === kind);
        if (known === undefined || this.#seen.has(known)) continue;
        this.#seen.add(known);
        this.#kinds.add(known);
        isNew = true;
      }
    }
    if (isNew) this.onNewKind?.();
  }

  /** Undefined where nothing is new. */
  take(): SessionUsage | undefined {
    if (this.#kinds.size === 0 && this.#rows === 0) return undefined;
    const taken = { kinds: [...this.#kinds], rows: this.#rows };
    this.#kinds = new Set();
    this.#rows = 0;
    return taken;
  }

  putBack({ kinds, rows }: SessionUsage): void {
    for (const kind of kinds) this.#kinds.add(kind);
    this.#rows += rows;
  }
}
