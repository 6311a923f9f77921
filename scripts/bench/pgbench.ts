/** Runs pgbench on a way for a while and reads what it says, with the CPU time that the processes in between used. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cleanup } from './cleanup.ts';
import { accountsRead, branches } from './database.ts';
import { cpuMicroseconds, run } from './processes.ts';
import { percentile } from './statistics.ts';
import { libpqEnvironment, type Way } from './way.ts';

/** By name of the figure. */
export type Sample = Readonly<Record<string, number>>;

export type Load = {
  readonly script: 'select' | 'tpcb';
  readonly mode: 'simple' | 'extended' | 'prepared';
  readonly clients: number;
  readonly seconds: number;
  /** A new connection for each transaction. */
  readonly reconnects?: boolean;
  /** Latencies of single transactions are logged, and their percentiles answered. */
  readonly logsLatency?: boolean;
};

const scripts: Readonly<Record<Load['script'], string>> = {
  select: `\\set aid random(1, ${accountsRead})
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
`,
  tpcb: `\\set aid random(1, ${accountsRead})
\\set bid random(1, ${branches})
\\set tid random(1, ${branches * 10})
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
`,
};

/** Statements of one transaction. */
export const statementsOf: Readonly<Record<Load['script'], number>> = { select: 1, tpcb: 7 };

export class Pgbench {
  readonly #cleanup: Cleanup;
  readonly #directory: string;

  private constructor(cleanup: Cleanup, directory: string) {
    this.#cleanup = cleanup;
    this.#directory = directory;
  }

  static async prepare(cleanup: Cleanup): Promise<Pgbench> {
    const directory = await mkdtemp(join(tmpdir(), 'gate-pgbench-'));
    cleanup.add(() => rmSync(directory, { recursive: true, force: true }));
    for (const [name, text] of Object.entries(scripts)) writeFileSync(join(directory, `${name}.sql`), text);
    return new Pgbench(cleanup, directory);
  }

  /**
   * tps, transactions, and per statement the CPU microseconds of the local process and the relay, where there are any.
   * Fails when pgbench failed, or any transaction did.
   */
  async run(way: Way, load: Load): Promise<Sample> {
    const { script, mode, clients, seconds } = load;
    const prefix = join(this.#directory, 'log');
    const words = ['-n', '-M', mode, '-c', String(clients), '-j', String(Math.min(clients, 2)), '-T', String(seconds), '-f', join(this.#directory, `${script}.sql`)];
    if (load.reconnects === true) words.push('-C');
    if (load.logsLatency === true) words.push('-l', '--log-prefix', prefix);
    const before = cpuOf(way);
    const { code, out, err } = await run(['pgbench', ...words], { cleanup: this.#cleanup, env: libpqEnvironment(way) });
    const after = cpuOf(way);
    const transactions = Number(/transactions actually processed: (\d+)/.exec(out)?.[1] ?? 0);
    const failed = Number(/failed transactions: (\d+)/.exec(out)?.[1] ?? 0);
    if (code !== 0 || transactions === 0 || failed > 0 || /aborted/.test(err)) {
      throw new Error(`pgbench on ${way.name} (${script}, ${mode}, ${clients} clients): ${lastLine(err) || `${transactions} transactions, ${failed} failed`}`);
    }
    const tps = Number(/^tps = ([\d.]+)/m.exec(out)?.[1] ?? Number.NaN);
    const statements = transactions * statementsOf[script];
    const cpu = Object.fromEntries(Object.entries(after).map(([part, used]) => [`${part}CpuUs`, (used - (before[part] ?? 0)) / statements]));
    return { tps, transactions, ...cpu, ...(load.logsLatency === true && this.#latencies()) };
  }

  #latencies(): Sample {
    const microseconds: number[] = [];
    for (const name of readdirSync(this.#directory).filter((one) => one.startsWith('log.'))) {
      const file = join(this.#directory, name);
      // client_id transaction_no time script_no time_epoch time_us
      for (const line of readFileSync(file, 'utf8').split('\n')) if (line !== '') microseconds.push(Number(line.split(' ')[2]));
      rmSync(file);
    }
    return { p50Us: percentile(microseconds, 0.5), p99Us: percentile(microseconds, 0.99) };
  }
}

/** Of the processes in between, in microseconds. */
export function cpuOf({ pids }: Way): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(pids).map(([part, pid]) => [part, cpuMicroseconds(pid)]));
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
