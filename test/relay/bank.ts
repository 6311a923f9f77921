/** Money transfers without end (TPC-B, as pgbench does them), by clients that can be killed, and their traces in the record. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { serialize } from 'pg-protocol';
import type { Event } from '../../src/audit/entry.ts';
import { RawClient } from './raw-client.ts';

type Login = { readonly user: string; readonly database: string; readonly password: string };

/** The tables of pgbench, so that it can be one of the clients. The sum of each is the same between any two transfers. */
export const bankSchema = `
create table pgbench_branches (bid int primary key, bbalance int not null, filler char(88));
create table pgbench_tellers (tid int primary key, bid int, tbalance int not null, filler char(84));
create table pgbench_accounts (aid int primary key, bid int, abalance int not null, filler char(84));
create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
insert into pgbench_branches select n, 0 from generate_series(1, 2) n;
insert into pgbench_tellers select n, 1 + n % 2, 0 from generate_series(1, 20) n;
insert into pgbench_accounts select n, 1 + n % 2, 0 from generate_series(1, 200000) n;
`;

export const bankSums = `
select sum(abalance)::int from pgbench_accounts union all select sum(tbalance)::int from pgbench_tellers
union all select sum(bbalance)::int from pgbench_branches union all select coalesce(sum(delta), 0)::int from pgbench_history`;

/** Two connections of this process, and two pgbench processes where it is installed. Each starts again when it is cut off. */
export class BankLoad {
  readonly #port: number;
  readonly #login: Login;
  readonly #pgbench = findPgbench();
  readonly #clients = new Set<RawClient>();
  readonly #processes = new Set<ChildProcess>();
  readonly #ended: Promise<unknown>;
  #isOver = false;
  /** Transfers of the two connections of this process that were answered to their end. */
  completed = 0;

  constructor(port: number, login: Login) {
    this.#port = port;
    this.#login = login;
    const own = [this.#transfer(), this.#transfer()];
    this.#ended = Promise.all(this.#pgbench === undefined ? own : [...own, this.#runPgbench('simple'), this.#runPgbench('prepared')]);
  }

  kill(): void {
    for (const client of this.#clients) client.close();
    for (const process of this.#processes) process.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    this.kill();
    await this.#ended;
  }

  async #runPgbench(mode: 'simple' | 'prepared'): Promise<void> {
    const { user, database, password } = this.#login;
    const to = ['-h', '127.0.0.1', '-p', String(this.#port), '-U', user, database];
    while (!this.#isOver) {
      const flags = ['-n', '-c', '3', '-T', '600', '-M', mode, ...to];
      const pgbench = spawn(this.#pgbench as string, flags, { env: { PGPASSWORD: password }, stdio: 'ignore' });
      this.#processes.add(pgbench);
      await once(pgbench, 'exit');
      this.#processes.delete(pgbench);
      await sleep(50);
    }
  }

  async #transfer(): Promise<void> {
    while (!this.#isOver) {
      const client = await RawClient.logIn({ host: '127.0.0.1', port: this.#port }, this.#login).catch(() => undefined);
      if (client === undefined) await sleep(50);
      else {
        this.#clients.add(client);
        if (this.#isOver) client.close();
        while (!client.isClosed) {
          client.send(...oneTransfer());
          await client.upToReady(5).then(
            () => this.completed++,
            () => undefined,
          );
        }
        this.#clients.delete(client);
      }
    }
  }
}

function oneTransfer(): Buffer[] {
  const pick = (max: number) => 1 + Math.floor(Math.random() * max);
  const [tid, bid, aid, delta] = [pick(20), pick(2), pick(200_000), pick(1000)];
  return [
    `begin; update pgbench_accounts set abalance = abalance + ${delta} where aid = ${aid}`,
    `update pgbench_tellers set tbalance = tbalance + ${delta} where tid = ${tid}`,
    `update pgbench_branches set bbalance = bbalance + ${delta} where bid = ${bid}`,
    `insert into pgbench_history (tid, bid, aid, delta, mtime) values (${tid}, ${bid}, ${aid}, ${delta}, now())`,
    'end',
  ].map((sql) => serialize.query(sql));
}

/** Transfers by their history row: those that were sent, those whose commit was answered; and how statements ended. */
export function readTransfers(events: readonly Event[]) {
  const inserts = new Map<number, string>();
  const open = new Map<number, string>();
  const outcomes = new Map<number, number>();
  const confirmed: string[] = [];
  let unknown = 0;
  for (const event of events) {
    if (event.kind === 'statement') {
      outcomes.set(event.statement, 0);
      const [, values] = /^insert into pgbench_history .* values \(([^)]*)/i.exec(event.sql) ?? [];
      if (values !== undefined) inserts.set(event.statement, (event.parameters ?? values.split(',')).slice(0, 4).map(Number).join());
    } else if (event.kind === 'outcome') {
      outcomes.set(event.statement, (outcomes.get(event.statement) ?? 0) + 1);
      if (event.state === 'unknown') unknown++;
      const insert = inserts.get(event.statement);
      const before = open.get(event.connection);
      if (insert !== undefined && event.state === 'ok') open.set(event.connection, insert);
      if (event.tags[0] === 'COMMIT' && event.state === 'ok' && before !== undefined) {
        confirmed.push(before);
        open.delete(event.connection);
      }
    }
  }
  return { sent: [...inserts.values()], confirmed, unknown, outcomesPerStatement: [...new Set(outcomes.values())] };
}

/** Those of `some` that `all` does not hold, counted as often as they occur. */
export function missing(some: readonly string[], all: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const key of all) counts.set(key, (counts.get(key) ?? 0) + 1);
  return some.filter((key) => {
    const left = (counts.get(key) ?? 0) - 1;
    counts.set(key, left);
    return left < 0;
  });
}

function findPgbench(): string | undefined {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian) : [];
  const places = [...(process.env['PATH'] ?? '').split(':'), ...versions.map((version) => `${debian}/${version}/bin`)];
  return places.map((place) => `${place}/pgbench`).find((file) => existsSync(file));
}
