/** One at a time for each key: work on the same request or person waits for what came before it. */

export class Lanes {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `work` when everything that was given before for this key is done, whether it failed or not. */
  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const result = before.then(work, work);
    const settled = result.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(key, settled);
    void settled.then(() => {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    });
    return result;
  }
}
