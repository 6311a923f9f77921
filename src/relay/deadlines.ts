/** Calls once a moment has come, for any number of ids, however far away the moment is. */

/** setTimeout cannot wait longer than this. */
const timerMaxMs = 0x7fffffff;

export class Deadlines {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #onDue: (id: string) => void;

  constructor(onDue: (id: string) => void) {
    this.#onDue = onDue;
  }

  /** Takes the place of an earlier moment of this id. Never called early by this process's clock. */
  set(id: string, moment: Date): void {
    this.clear(id);
    const left = moment.getTime() - Date.now();
    const timer = setTimeout(
      () => {
        if (Date.now() < moment.getTime()) return this.set(id, moment);
        this.#timers.delete(id);
        this.#onDue(id);
      },
      Math.max(0, Math.min(left, timerMaxMs)),
    );
    this.#timers.set(id, timer.unref());
  }

  clear(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
  }

  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
