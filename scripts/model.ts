/** The model test of the relay as a long run by hand: npx tsx scripts/model.ts --runs 20000 [--seed N] [--lanes N]. */
import { parseArgs } from 'node:util';
import { startRelayFixture } from '../test/relay/fixture.ts';
import { prepareModel, runModel, type Excuse } from '../test/relay/model.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() & 0x7fffffff) },
    lanes: { type: 'string', default: '4' },
  },
});
const [runs, seed, lanes] = [values.runs, values.seed, values.lanes].map(Number) as [number, number, number];
process.stderr.write(`seed ${seed}, ${runs} conversations in ${lanes} lanes\n`);

/** A fresh server and relay after so many, so that logs stay short and logins fresh. */
const perFixture = 2000;
const start = performance.now();
const seconds = () => Math.round((performance.now() - start) / 1000);
let done = 0;
let crashes = 0;
const excuses = new Map<Excuse, number>();

async function runChunk(first: number, count: number): Promise<void> {
  const fixture = await startRelayFixture();
  try {
    if (first === 0) process.stderr.write(`PostgreSQL ${fixture.postgres.version}\n`);
    await prepareModel(fixture, lanes);
    const runLane = (_: unknown, lane: number) =>
      runModel({
        fixture,
        lane,
        runs: Math.ceil(count / lanes),
        seed: seed + first + lane,
        onFailure: (report) => process.stderr.write(`${report.slice(0, 8000)}\n\n`),
        onRun: () => done++,
        onCrash: () => crashes++,
        onExcuse: (kind) => excuses.set(kind, (excuses.get(kind) ?? 0) + 1),
      });
    await Promise.all(Array.from({ length: lanes }, runLane));
  } finally {
    await fixture[Symbol.asyncDispose]();
  }
}

try {
  for (let first = 0; first < runs; first += perFixture) {
    await runChunk(first, Math.min(perFixture, runs - first));
    process.stderr.write(`${done} conversations after ${seconds()} s\n`);
  }
  process.stderr.write(`no divergence in ${done - crashes} conversations; in ${crashes} more the server itself crashed\n`);
  process.stderr.write(`differences that are the server's own: ${[...excuses].map(([kind, count]) => `${count} ${kind}`).join(', ') || 'none'}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
