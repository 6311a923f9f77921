/** The cases that compare gate with the other ways to the same server. */
import { setTimeout } from 'node:timers/promises';
import type { Case, Figure } from './cell.ts';
import { accountsRead, firstCard, rowBytes } from './database.ts';
import { cpuOf, type Load, type Sample } from './pgbench.ts';
import type { Stage } from './stage.ts';
import { percentile } from './statistics.ts';
import type { Way } from './way.ts';
import { withClient, type WireClient } from './wire.ts';

const tps: Figure = { key: 'tps', unit: 'transactions/s', better: 'higher' };
const cpu: readonly Figure[] = [
  { key: 'localCpuUs', unit: 'CPU µs/statement, local', better: 'lower' },
  { key: 'relayCpuUs', unit: 'CPU µs/statement, relay', better: 'lower' },
];
const throughput: readonly Figure[] = [
  { key: 'megabytesPerSecond', unit: 'MB/s', better: 'higher' },
  { key: 'localCpuMsPerMegabyte', unit: 'CPU ms/MB, local', better: 'lower' },
  { key: 'relayCpuMsPerMegabyte', unit: 'CPU ms/MB, relay', better: 'lower' },
];
const firstRowPauseMs = 50;

export function comparisons(stage: Stage): readonly Case[] {
  return [...smallQueries(stage), ...connections(stage), latency(stage), ...bulk(stage), ...masked(stage)];
}

/** Code that is compiled on the way would count against whoever comes first. */
export async function warmUp({ pgbench, ways, levels, masked: maskedWay, detected, encrypted, options }: Stage): Promise<void> {
  const seconds = options.isQuick ? 2 : 8;
  for (const way of levels.filter(({ pids }) => pids.relay !== undefined)) {
    for (const mode of ['simple', 'prepared'] as const) await pgbench.run(way, { script: 'select', mode, clients: 8, seconds });
  }
  for (const way of [...ways, maskedWay, detected, encrypted]) {
    await withClient(way, (client) => client.query('select * from bulk limit 50000'));
  }
}

function smallQueries({ pgbench, levels, ways, masked: maskedWay, options, database }: Stage): Case[] {
  const loadCase = (name: string, title: string, load: Omit<Load, 'seconds'>): Case => ({
    name,
    title,
    figures: [tps, ...cpu],
    ways: levels,
    measure: (way) => pgbench.run(way, { ...load, seconds: options.seconds }),
  });
  const selects = (['simple', 'extended', 'prepared'] as const).flatMap((mode) =>
    [1, 8, 32].map((clients) => loadCase(`select-${mode}-${clients}`, `select by key, ${mode}, ${clients} ${clients === 1 ? 'client' : 'clients'}`, { script: 'select', mode, clients })),
  );
  const withMasks: Case = {
    ...loadCase('select-masked-8', 'select by key, prepared, 8 clients, of somebody with masks', { script: 'select', mode: 'prepared', clients: 8 }),
    ways: [...ways, { ...maskedWay, name: 'gate, masks' }],
  };
  const tpcb: Case = {
    ...loadCase('tpcb-8', 'TPC-B, prepared, 8 clients', { script: 'tpcb', mode: 'prepared', clients: 8 }),
    prepare: async () => emptyHistory(database),
  };
  return [...selects, withMasks, tpcb];
}

/** How often a connection can be made for one statement, and how long a client that makes one waits for its first row. */
function connections({ pgbench, levels, ways, warm, options }: Stage): Case[] {
  const rate = (clients: number): Case => ({
    name: `connect-${clients}`,
    title: `a new connection for each select, ${clients} ${clients === 1 ? 'client' : 'clients'}`,
    figures: [{ ...tps, unit: 'connections/s' }, ...cpu.map((one) => ({ ...one, unit: one.unit.replace('statement', 'connection') }))],
    ways: levels,
    measure: (way) => pgbench.run(way, { script: 'select', mode: 'simple', clients, seconds: options.seconds, reconnects: true }),
  });
  const withWarm = { ways: [...ways, warm] };
  return [
    rate(1),
    rate(8),
    { ...rate(1), ...withWarm, name: 'connect-warm', title: 'a new connection for each select, 1 client, upstreams opened ahead' },
    {
      ...withWarm,
      name: 'connect-first-row',
      title: 'time from connecting to the first row, one client',
      figures: [
        { key: 'p50Ms', unit: 'ms, p50', better: 'lower' },
        { key: 'p99Ms', unit: 'ms, p99', better: 'lower' },
      ],
      measure: (way) => measureFirstRow(way, options.seconds),
    },
  ];
}

/** With a pause in front of each, in which what is opened ahead can be. */
async function measureFirstRow(way: Way, seconds: number): Promise<Sample> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    await setTimeout(firstRowPauseMs);
    const start = performance.now();
    await withClient(way, (client) => client.query(`select abalance from pgbench_accounts where aid = ${accountsRead}`));
    times.push(performance.now() - start);
  }
  return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99), count: times.length };
}

async function emptyHistory({ direct }: Stage['database']): Promise<void> {
  await withClient(direct, (client) => client.query('truncate pgbench_history'));
}

/** By a client of our own: pgbench rounds its log to microseconds, and writes it. */
function latency({ levels, options }: Stage): Case {
  return {
    name: 'latency',
    title: 'time of one prepared select at one client',
    figures: [
      { key: 'p50Us', unit: 'µs, p50', better: 'lower' },
      { key: 'p99Us', unit: 'µs, p99', better: 'lower' },
    ],
    ways: levels,
    measure: (way) => withClient(way, (client) => measureLatency(client, options.seconds)),
  };
}

export async function measureLatency(client: WireClient, seconds: number): Promise<Sample> {
  await client.prepare('one', `select abalance from pgbench_accounts where aid = ${accountsRead}`);
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  for (let start = performance.now(); start < end; start = performance.now()) {
    await client.execute('one');
    times.push((performance.now() - start) * 1000);
  }
  return { p50Us: percentile(times, 0.5), p99Us: percentile(times, 0.99), maxUs: Math.max(...times), count: times.length };
}

function bulk({ ways, encrypted, bulkRows, options, database }: Stage): Case[] {
  const bytes = bulkRows * rowBytes;
  const generated = `copy (select n, md5(n::text) || md5((n + 1)::text), repeat('x', ${rowBytes - 80}) from generate_series(1, ${bulkRows}) n) to stdout`;
  const read = (name: string, title: string, ask: (client: WireClient) => ReturnType<WireClient['query']>, rows: number): Case => ({
    name,
    title,
    figures: throughput,
    ways,
    measure: (way) => measureRead(way, ask, { rows, result: name }),
  });
  return [
    read('copy-out', `COPY TO of about ${options.megabytes} MB from generate_series`, (client) => client.query(generated), 0),
    read('select-text', `SELECT of about ${options.megabytes} MB, text`, (client) => client.query('select * from bulk'), bulkRows),
    read('select-binary', `SELECT of about ${options.megabytes} MB, binary`, (client) => client.queryBinary('select * from bulk'), bulkRows),
    {
      ...read('select-tls', `SELECT of about ${options.megabytes} MB, text, gate over TLS`, (client) => client.query('select * from bulk'), bulkRows),
      ways: [...ways.slice(0, -1), encrypted],
    },
    {
      name: 'copy-in',
      title: `COPY FROM of about ${options.megabytes} MB`,
      figures: throughput,
      ways,
      prepare: async () => void (await withClient(database.direct, (client) => client.query('truncate bulk_in'))),
      measure: (way) => measureLoad(way, bytes),
    },
  ];
}

/** As the relay has the database compute it (mask/expressions.ts): what of a masked read is the server's own work. */
const maskedCard = `CASE WHEN card IS NOT NULL THEN (CASE WHEN pg_catalog.length(card::pg_catalog.text) OPERATOR(pg_catalog.>) 4
  THEN '************' OPERATOR(pg_catalog.||) pg_catalog.right(card::pg_catalog.text, 4) ELSE '************' END)::pg_catalog.text END`;
const sameMask = 'direct, same mask';

function masked({ ways, direct, masked: maskedWay, detected, bulkRows, options }: Stage): Case[] {
  const others = [...ways.slice(0, 1), { ...direct, name: sameMask }, ...ways.slice(1, -1)];
  const read = (name: string, title: string, way: Way): Case => ({
    name,
    title,
    figures: throughput,
    ways: [...others, way],
    measure: (one) => {
      const isSame = one.name === sameMask;
      const sql = isSame ? `select id, name, email, ${maskedCard} as card, remark from bulk` : 'select * from bulk';
      const masks = { rows: bulkRows, result: isSame ? 'masked-select' : name, hides: firstCard };
      return measureRead(one, (client) => client.query(sql), isSame || one === way ? masks : { rows: bulkRows, result: 'select-text' });
    },
  });
  return [
    read('masked-select', `SELECT of about ${options.megabytes} MB, text, one of five columns masked by gate`, maskedWay),
    read('detected-select', `SELECT of about ${options.megabytes} MB, text, one column masked, detectors for cards and IBANs on all`, detected),
  ];
}

/** By result: bytes that each way to it must answer with, or it was cut short. */
const bytesOf = new Map<string, number>();

type Expected = {
  readonly rows: number;
  readonly result: string;
  /** Must not stand in the first row. */
  readonly hides?: string;
};

async function measureRead(way: Way, ask: (client: WireClient) => ReturnType<WireClient['query']>, { rows, result, hides }: Expected): Promise<Sample> {
  return withClient(way, async (client) => {
    const before = cpuOf(way);
    const start = performance.now();
    const answer = await ask(client);
    const seconds = (performance.now() - start) / 1000;
    if (answer.rows !== rows) throw new Error(`${answer.rows} rows came, not ${rows}`);
    if (hides !== undefined && answer.firstRow?.includes(hides) !== false) throw new Error('a value that is masked came as it is');
    const expected = bytesOf.get(result) ?? answer.bytes;
    bytesOf.set(result, expected);
    if (answer.bytes !== expected) throw new Error(`${answer.bytes} bytes came, not ${expected}`);
    return perMegabyte(way, before, answer.bytes, seconds);
  });
}

/** One chunk of lines again and again; the server says how many rows it has taken. */
async function measureLoad(way: Way, bytes: number): Promise<Sample> {
  const line = `1234567\tcustomer 1234567\tc1234567@example.com\t4000009776359273\t${'0123456789abcdef'.repeat(6)}\n`;
  const linesPerChunk = Math.floor(65_000 / line.length);
  const lines = Buffer.from(line.repeat(linesPerChunk));
  const times = Math.ceil(bytes / lines.length);
  return withClient(way, async (client) => {
    const before = cpuOf(way);
    const start = performance.now();
    const answer = await client.copyIn('copy bulk_in from stdin', lines, times);
    const seconds = (performance.now() - start) / 1000;
    if (answer.tag !== `COPY ${linesPerChunk * times}`) throw new Error(`the server says ${answer.tag}, not COPY ${linesPerChunk * times}`);
    return perMegabyte(way, before, lines.length * times, seconds);
  });
}

function perMegabyte(way: Way, before: Readonly<Record<string, number>>, bytes: number, seconds: number): Sample {
  const megabytes = bytes / 1_000_000;
  const used = Object.entries(cpuOf(way)).map(([part, now]) => [`${part}CpuMsPerMegabyte`, (now - (before[part] ?? 0)) / 1000 / megabytes]);
  return { megabytesPerSecond: megabytes / seconds, megabytes, seconds, ...Object.fromEntries(used) };
}
