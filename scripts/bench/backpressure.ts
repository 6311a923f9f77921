/** Whether somebody who is slow is a burden for himself only: clients, databases and disks that do not keep up. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { measureLatency } from './cases.ts';
import type { Cleanup } from './cleanup.ts';
import { startGateRelay } from './gate.ts';
import type { Sample } from './pgbench.ts';
import { policyOf, targetTo } from './policies.ts';
import { residentBytes } from './processes.ts';
import type { Stage } from './stage.ts';
import { figure } from './statistics.ts';
import type { Way } from './way.ts';
import { firstField, WireClient, withClient } from './wire.ts';

export type BackpressureResult = {
  readonly name: string;
  readonly title: string;
  /** One line of a table each. */
  readonly rows: readonly { readonly what: string; readonly value: string }[];
  readonly figures: Readonly<Record<string, number>>;
  readonly failure?: string;
};

type Found = Pick<BackpressureResult, 'rows' | 'figures'>;

export async function measureBackpressure(stage: Stage, say: (line: string) => void): Promise<readonly BackpressureResult[]> {
  const parts: readonly (readonly [name: string, title: string, measure: (cleanup: Cleanup) => Promise<Found>])[] = [
    ['slow-client', 'A client that asks for a large result and does not read it', (cleanup) => slowClient(stage, cleanup)],
    ['silent-database', 'A database process that does not answer', (cleanup) => silentDatabase(stage, cleanup)],
    ['slow-disk', 'A disk on which fdatasync takes long', (cleanup) => slowDisk(stage, cleanup)],
  ];
  const results: BackpressureResult[] = [];
  for (const [name, title, measure] of parts) {
    try {
      results.push({ name, title, ...(await stage.cleanup.within(measure)) });
    } catch (error) {
      results.push({ name, title, rows: [], figures: {}, failure: error instanceof Error ? error.message : String(error) });
    }
    if (stage.cleanup.isOver) throw new Error('stopped');
    const last = results.at(-1);
    say(`${name}: ${last?.failure ?? last?.rows.map(({ what, value }) => `${what} ${value}`).join('; ') ?? ''}`);
  }
  return results;
}

/** Resident memory of both halves, looked at often: how far it went up, in MiB. */
async function watchGrowth(way: Way, during: () => Promise<unknown>): Promise<{ relay: number; local: number }> {
  const { relay = 0, local = 0 } = way.pids;
  const before = { relay: residentBytes(relay), local: residentBytes(local) };
  const most = { ...before };
  const timer = setInterval(() => {
    most.relay = Math.max(most.relay, residentBytes(relay));
    most.local = Math.max(most.local, residentBytes(local));
  }, 20);
  try {
    await during();
  } finally {
    clearInterval(timer);
  }
  return { relay: (most.relay - before.relay) / 2 ** 20, local: (most.local - before.local) / 2 ** 20 };
}

const latencyOf = (way: Way, seconds: number): Promise<Sample> => withClient(way, (client) => measureLatency(client, seconds));

function latencyRows(before: Sample, during: Sample): Found['rows'] {
  const text = (sample: Sample): string => `p50 ${figure(sample['p50Us'] ?? Number.NaN)} µs, p99 ${figure(sample['p99Us'] ?? Number.NaN)} µs`;
  return [
    { what: 'selects of another session before', value: text(before) },
    { what: 'the same meanwhile', value: text(during) },
  ];
}

/** Another `gate connect`, so that growth at the local end is that of the one connection. */
async function ownWay({ relay }: Stage): Promise<Way> {
  const [way] = await relay.connect(['bench']);
  if (way === undefined) throw new Error('gate connect opened no port');
  return way;
}

async function slowClient(stage: Stage, cleanup: Cleanup): Promise<Found> {
  const { gate, options } = stage;
  const megabytes = options.isQuick ? 100 : 1000;
  const way = await ownWay(stage);
  const sql = `select repeat('x', 1000) from generate_series(1, ${megabytes * 1000})`;
  // The first large result lets both halves grow to their working size, which is no cost of the slow reader.
  await withClient(way, (client) => client.query(`select repeat('x', 1000) from generate_series(1, 50000)`));
  const before = await latencyOf(gate, options.seconds * 2);
  const client = await WireClient.open(way);
  cleanup.add(() => client.destroy());
  let during: Sample = {};
  const growth = await watchGrowth(way, async () => {
    client.askAndStopReading(sql);
    await sleep(2000);
    during = await latencyOf(gate, options.seconds * 2);
  });
  const start = performance.now();
  const answer = await client.readOn();
  const seconds = (performance.now() - start) / 1000;
  if (answer.rows !== megabytes * 1000) throw new Error(`after it read on, ${answer.rows} rows came`);
  return {
    rows: [
      { what: 'result that waits', value: `${megabytes} MB` },
      { what: 'growth of the relay', value: `${figure(growth.relay)} MiB` },
      { what: 'growth of gate connect', value: `${figure(growth.local)} MiB` },
      ...latencyRows(before, during),
      { what: 'all of it came once the client read on, in', value: `${figure(seconds)} s` },
    ],
    figures: { megabytes, relayGrowthMiB: growth.relay, localGrowthMiB: growth.local, ...prefixed('before', before), ...prefixed('during', during), seconds },
  };
}

async function silentDatabase(stage: Stage, cleanup: Cleanup): Promise<Found> {
  const { gate, options } = stage;
  const way = await ownWay(stage);
  const client = await WireClient.open(way);
  cleanup.add(() => client.destroy());
  const pid = Number(firstField(await client.query('select pg_backend_pid()')));
  const before = await latencyOf(gate, options.seconds * 2);
  let during: Sample = {};
  // Nobody may be left stopped, whatever happens: the server could not be shut down.
  cleanup.add(() => resume(pid));
  process.kill(pid, 'SIGSTOP');
  let answered = false;
  const asked = client.query('select 1').finally(() => (answered = true));
  const growth = await watchGrowth(way, async () => {
    during = await latencyOf(gate, options.seconds * 2);
  });
  if (answered) throw new Error('the database answered although its process was stopped');
  resume(pid);
  const answer = await asked;
  if (answer.rows !== 1) throw new Error('the answer did not come once the process ran on');
  return {
    rows: [
      { what: 'growth of the relay', value: `${figure(growth.relay)} MiB` },
      ...latencyRows(before, during),
      { what: 'the answer came once the process ran on', value: 'yes' },
    ],
    figures: { relayGrowthMiB: growth.relay, ...prefixed('before', before), ...prefixed('during', during) },
  };
}

function resume(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch {
    // It has ended already.
  }
}

/** A relay under strace, which lets only fdatasync be seen by it and adds to what that takes. */
async function slowDisk(stage: Stage, cleanup: Cleanup): Promise<Found> {
  if (spawnSync('strace', ['--seccomp-bpf', '-f', '-o', '/dev/null', 'true']).status !== 0) {
    return { rows: [{ what: 'not measured', value: 'strace is not installed, or may not trace' }], figures: {} };
  }
  const { options, pgbench } = stage;
  const rows: { what: string; value: string }[] = [];
  const figures: Record<string, number> = {};
  for (const delayMs of [0, 20, 100]) {
    const inject = delayMs === 0 ? [] : ['-e', `inject=fdatasync:delay_exit=${delayMs * 1000}`];
    const relay = await startGateRelay(cleanup, {
      people: stage.people,
      directory: join(stage.directory, `slow-disk-${delayMs}`),
      targets: [targetTo(stage.direct, 'bench')],
      policy: policyOf([{ name: 'bench' }]),
      wrapper: ['strace', '--seccomp-bpf', '-f', '-o', '/dev/null', '-e', 'trace=fdatasync', ...inject],
    });
    const [way] = await relay.connect(['bench']);
    if (way === undefined) throw new Error('no way to the relay with the slow disk');
    let sample: Sample = {};
    const growth = await watchGrowth(way, async () => {
      sample = await pgbench.run(way, { script: 'select', mode: 'prepared', clients: 32, seconds: Math.max(4, options.seconds), logsLatency: true });
    });
    const { tps = Number.NaN, p50Us = Number.NaN, p99Us = Number.NaN } = sample;
    rows.push({ what: `${delayMs} ms more for each fdatasync, 32 clients`, value: `${figure(tps)} statements/s, p50 ${figure(p50Us / 1000)} ms, p99 ${figure(p99Us / 1000)} ms, relay grew by ${figure(growth.relay)} MiB` });
    Object.assign(figures, { [`tps${delayMs}`]: tps, [`p50Us${delayMs}`]: p50Us, [`p99Us${delayMs}`]: p99Us, [`relayGrowthMiB${delayMs}`]: growth.relay });
  }
  return { rows, figures };
}

function prefixed(prefix: string, sample: Sample): Record<string, number> {
  return Object.fromEntries(Object.entries(sample).map(([key, value]) => [`${prefix}.${key}`, value]));
}
