/** Holds back what the client gets until the record of the statements that it may come from is on disk. */

/** Past this many held bytes the server is not read any further. */
const heldBytesMax = 256 * 1024;
/** How long the end of a connection waits for the disk; what is not on record by then the client does not get. */
const finishTimeoutMs = 500;

export class ResultBarrier {
  readonly #write: (bytes: Buffer) => boolean;
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Statements whose record is not durable yet. */
  #open = 0;
  #hasFailed = false;
  #settled: (() => void) | undefined;

  constructor(write: (bytes: Buffer) => boolean) {
    this.#write = write;
  }

  /** What came later than the last record that is known to be durable was dropped, and so is all that comes. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Nothing is held. */
  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  /** False asks to stop reading from the server. */
  write(bytes: Buffer): boolean {
    if (this.#hasFailed) return true;
    if (this.#open === 0) return this.#write(bytes);
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    return this.#heldBytes < heldBytesMax;
  }

  /** Resolves when it is durable, with whether the server may be read on. Rejects when it is not known to be; what was held is gone then. */
  async hold(durable: Promise<void>): Promise<boolean> {
    this.#open++;
    try {
      await durable;
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    } finally {
      this.#open--;
      if (this.#open === 0) this.#release();
    }
    return this.#open === 0;
  }

  #release(): void {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    if (!this.#hasFailed) for (const bytes of held) this.#write(bytes);
    this.#settled?.();
  }

  /** Resolves when nothing is held any more: it has been sent, or given up. */
  async finish(): Promise<void> {
    if (this.#open === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<'late'>((resolve) => (timer = setTimeout(() => resolve('late'), finishTimeoutMs)));
    const settled = new Promise<void>((resolve) => (this.#settled = resolve));
    if ((await Promise.race([settled, timeout])) === 'late') this.#hasFailed = true;
    clearTimeout(timer);
  }
}
