/** Tells a crash of the server itself from what the relay did: PostgreSQL has bugs of its own that random messages find. */
import { open, stat } from 'node:fs/promises';
import { Client } from 'pg';
import type { Postgres } from '../../src/dev/postgres.ts';

/** The second is said to those who come while the server recovers from a crash that another conversation brought about. */
const crashed = /was terminated by signal|FATAL: {2}the database system is (?:in recovery mode|not yet accepting connections|starting up)/;

export class CrashWatch {
  readonly #postgres: Postgres;
  #offset = 0;

  constructor(postgres: Postgres) {
    this.#postgres = postgres;
  }

  /** From here on a crash counts. */
  async mark(): Promise<void> {
    this.#offset = (await stat(this.#postgres.logFile)).size;
  }

  /** Whether a backend died by a signal since the mark, or just before it; if so, resolves when the server serves again. */
  async hasCrashed(): Promise<boolean> {
    const log = await open(this.#postgres.logFile);
    try {
      const size = (await log.stat()).size;
      const { buffer } = await log.read(Buffer.alloc(size - this.#offset), 0, size - this.#offset, this.#offset);
      if (!crashed.test(buffer.toString('latin1'))) return false;
    } finally {
      await log.close();
    }
    await this.#untilServing();
    return true;
  }

  async #untilServing(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const client = new Client({ connectionString: this.#postgres.url('postgres') });
      client.on('error', () => undefined);
      try {
        await client.connect();
        return await client.end();
      } catch (error) {
        if (attempt === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
}
