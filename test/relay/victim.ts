/** A target of a test's own whose PostgreSQL server can be stopped, crashed and frozen, and started again in its place. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { makeTemporaryDirectory } from '../../src/dev/cluster.ts';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { unprivilegedIdentity } from '../../src/dev/reach.ts';

const schema = `
create table items (id int primary key, name text not null);
create table copies (id int, name text);
insert into items select n, 'item ' || n from generate_series(1, 100) n;
create role gate_relay login superuser password 'upstream-canary-7261';
`;

export class Victim {
  readonly #directory: string;
  #postgres: Postgres;
  #hasEnded = false;

  private constructor(directory: string, postgres: Postgres) {
    this.#directory = directory;
    this.#postgres = postgres;
  }

  static async start(): Promise<Victim> {
    const directory = await makeTemporaryDirectory(unprivilegedIdentity());
    const victim = new Victim(directory, await startOn(directory));
    await victim.ask(schema);
    return victim;
  }

  get port(): number {
    return this.#postgres.port;
  }

  /** The postmaster. */
  get pid(): number {
    return this.#postgres.pid;
  }

  /** Sends the postmaster a signal and resolves when it has ended. */
  async end(signal: NodeJS.Signals): Promise<void> {
    process.kill(this.pid, signal);
    await this.#postgres.exited;
    this.#hasEnded = true;
  }

  /** On the same data and the same port, if it has been ended. */
  async startAgain(): Promise<void> {
    if (!this.#hasEnded) return;
    const { port } = this;
    this.#postgres = await startOn(this.#directory, port);
    this.#hasEnded = false;
    if (this.port !== port) throw new Error(`port ${port} was taken by somebody else`);
  }

  /** As the superuser, past the relay, over a connection of its own. */
  async ask(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new Client({ connectionString: this.#postgres.url('postgres') });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query(sql, values.length > 0 ? values : undefined)).rows as Record<string, unknown>[];
    } finally {
      await client.end();
    }
  }

  /** Process ids of the backends that serve a session, oldest first. */
  async backends(session: string): Promise<number[]> {
    const sql = `select pid from pg_stat_activity where application_name like $1 order by backend_start`;
    return (await this.ask(sql, [`gate/${session}%`])).map(({ pid }) => pid as number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#postgres.stop('immediate');
    await rm(this.#directory, { recursive: true, force: true });
  }
}

function startOn(directory: string, port?: number): Promise<Postgres> {
  return startPostgres({
    directory: join(directory, 'data'),
    settings: { fsync: 'off' },
    ...(port !== undefined && { port }),
  });
}
