/** The model test of the relay as a long run by hand: npx tsx scripts/model.ts --runs 20000 [--seed N] [--lanes N]. */
import { parseArgs } from 'node:util';
import { startRelayFixture } from '../test/relay/fixture.ts';
import { prepareModel, runModel } from '../test/relay/model.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() & 0x7fffffff) },
    lanes: { type: 'string', default: '4' },
  },
});
const [runs, seed, lanes] = [values.runs, values.seed, values.lanes].map(Number) as [number, number, number];
process.stderr.write(`seed ${seed}, ${runs} conversations in ${lanes} lanes\n`);

const start = performance.now();
const fixture = await startRelayFixture();
let done = 0;
try {
  process.stderr.write(`PostgreSQL ${fixture.postgres.version}\n`);
  await prepareModel(fixture, lanes);
  await Promise.all(
    Array.from({ length: lanes }, (_, lane) =>
      runModel({
        fixture,
        lane,
        runs: Math.ceil(runs / lanes),
        seed: seed + lane,
        onFailure: (report) => process.stderr.write(`${report.slice(0, 4000)}\n\n`),
        onRun: () => {
          if (++done % 500 === 0) process.stderr.write(`${done} after ${Math.round((performance.now() - start) / 1000)} s\n`);
        },
      }),
    ),
  );
  process.stderr.write(`${done} conversations, no divergence, ${Math.round((performance.now() - start) / 1000)} s\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await fixture[Symbol.asyncDispose]();
}
