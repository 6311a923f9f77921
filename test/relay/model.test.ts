/** After whatever a client sends, the client's view, the relay's view, the record and the server agree. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRelayFixture, type RelayFixture } from './fixture.ts';
import { prepareModel, runModel } from './model.ts';

const lanes = 3;
/** Of each lane, so a whole number. A release is tried with GATE_TEST_CONVERSATIONS=3000. */
const share = Math.ceil(Number(process.env['GATE_TEST_CONVERSATIONS'] ?? 198) / lanes);
let fixture: RelayFixture;

beforeAll(async () => {
  fixture = await startRelayFixture();
  await prepareModel(fixture, lanes);
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

test(`${share * lanes} conversations of thirty messages and more show no difference between gate and the bare server`, async () => {
  // The same conversations each time; scripts/model.ts goes on with others.
  const seed = Number(process.env['GATE_TEST_SEED'] ?? 20_261_126);
  let runs = 0;
  await Promise.all(
    Array.from({ length: lanes }, (_, lane) => runModel({ fixture, lane, runs: share, seed: seed + lane, onRun: () => runs++ })),
  );
  expect(runs).toBe(share * lanes);
}, 300_000);
