/** What a run has started and made, undone in reverse order exactly once: at the end, on a failure and on Ctrl-C. */
type Undo = () => unknown;

export class Cleanup {
  readonly #undo: Undo[] = [];
  #running: Promise<void> | undefined;

  /** It has begun, or is done. */
  get isOver(): boolean {
    return this.#running !== undefined;
  }

  /** Undoes it at once when the cleanup has begun already, so that nothing started late is left behind. */
  add(undo: Undo): void {
    if (this.isOver) void this.#attempt(undo);
    else this.#undo.push(undo);
  }

  /** Goes on after a step that fails, and tells of it. Whoever calls it again waits for the same end. */
  run(): Promise<void> {
    return (this.#running ??= this.#undoAll());
  }

  async #undoAll(): Promise<void> {
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) await this.#attempt(undo);
  }

  async #attempt(undo: Undo): Promise<void> {
    try {
      await undo();
    } catch (error) {
      process.stderr.write(`cleaning up: ${String(error)}\n`);
    }
  }

  /** A part of a run with an end of its own. */
  async within<T>(part: (cleanup: Cleanup) => Promise<T>): Promise<T> {
    const own = new Cleanup();
    this.add(() => own.run());
    try {
      return await part(own);
    } finally {
      await own.run();
    }
  }
}
