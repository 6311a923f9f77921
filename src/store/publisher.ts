/** When the tree is published: soon after there is something new, at once when somebody asks, and again when it fails. */
import { messageOf } from '../errors/errors.ts';
import type { Checkpoint } from '../audit/checkpoint.ts';
import type { TreeFiles } from './tree-files.ts';

/** A checkpoint that is overdue by this much stops the record: what nobody can prove must not grow without end. */
export const overdueMsMax = 60_000;

export class Publisher {
  readonly #tree: TreeFiles;
  readonly #delayMs: number;
  #timer: NodeJS.Timeout | undefined;
  #problem: { readonly reason: string; readonly since: number } | undefined;
  readonly #listeners = new Set<(note: string) => void>();
  #isClosed = false;

  constructor(tree: TreeFiles, delayMs: number) {
    this.#tree = tree;
    this.#delayMs = delayMs;
  }

  get isKeepingUp(): boolean {
    return this.#problem === undefined || performance.now() - this.#problem.since < overdueMsMax;
  }

  /** Why the newest entries are not covered by a checkpoint on disk; undefined while all is well. */
  get problem(): string | undefined {
    return this.#problem?.reason;
  }

  get published(): { readonly checkpoint: Checkpoint; readonly note: string } {
    return this.#tree.published;
  }

  /** Tells of each new checkpoint. Answers how to stop that. */
  onPublished(listener: (note: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** There are entries that no checkpoint covers. */
  note(): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => void this.publish().catch(() => undefined), this.#delayMs).unref();
  }

  /** Signs a checkpoint over all entries that are durable by now. Rejects when it cannot be written. */
  async publish(): Promise<string> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const before = this.#tree.published.note;
    try {
      const note = await this.#tree.publish();
      this.#problem = undefined;
      if (note !== before) for (const listener of this.#listeners) listener(note);
      return note;
    } catch (error) {
      this.#problem = { reason: messageOf(error), since: this.#problem?.since ?? performance.now() };
      this.note();
      throw error;
    }
  }

  /** Publishes what is durable, and shows that a leaf of it stands in the tree. */
  async prove(index: number): Promise<{ readonly note: string; readonly proof: readonly Buffer[] }> {
    await this.publish();
    return this.#tree.prove(index);
  }

  addSignatures(text: string, note: string): Promise<void> {
    return this.#tree.addSignatures(text, note);
  }

  async close(): Promise<void> {
    await this.publish().catch(() => undefined);
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}
