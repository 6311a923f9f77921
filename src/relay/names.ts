/** The relay's view of one name space of the server (prepared statements, or portals), true under pipelining. */

/**
 * A change that was sent to the server and is not confirmed yet. `name` undefined means every name but the empty one:
 * DEALLOCATE ALL and DISCARD ALL leave the unnamed statement alone (DropAllPreparedStatements).
 */
export type NameChange<T> = {
  readonly segment: number;
  readonly name: string | undefined;
  readonly value: T | undefined;
};

/**
 * What a name means is known for certain only once the server has answered. Within one segment (up to a Sync or Query)
 * an unconfirmed change may be relied on, since the server passes over the rest of the segment when the change fails.
 * From a later segment it may not: the look-up answers `wait` until the earlier segment is settled.
 */
export class Names<T> {
  readonly #confirmed = new Map<string, T>();
  #proposed: NameChange<T>[] = [];

  propose(change: NameChange<T>): NameChange<T> {
    this.#proposed.push(change);
    return change;
  }

  /** The server has done it. */
  confirm(change: NameChange<T>): void {
    this.cancel(change);
    if (change.name === undefined) this.#forgetNamed();
    else if (change.value === undefined) this.#confirmed.delete(change.name);
    else this.#confirmed.set(change.name, change.value);
  }

  /** The server has not done it, or never will. */
  cancel(change: NameChange<T>): void {
    const at = this.#proposed.indexOf(change);
    if (at !== -1) this.#proposed.splice(at, 1);
  }

  find(name: string, segment: number): { readonly value: T | undefined } | 'wait' {
    const change = this.#proposed.findLast(
      (candidate) => candidate.name === name || (candidate.name === undefined && name !== ''),
    );
    if (change === undefined) return { value: this.#confirmed.get(name) };
    return change.segment === segment ? { value: change.value } : 'wait';
  }

  /** Forgets what was confirmed, as the server forgets portals at the end of a transaction. */
  clearConfirmed(): void {
    this.#confirmed.clear();
  }

  #forgetNamed(): void {
    for (const name of this.#confirmed.keys()) if (name !== '') this.#confirmed.delete(name);
  }
}
