/** Random conversations, cut in random places in both directions, give the same replies as in one piece. */
import { sample } from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeReport } from '../../src/pgwire/backend.ts';
import { fixturePolicy, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { closing, upToMark } from './model.ts';
import { conversation } from './model-steps.ts';
import { RawClient } from './raw-client.ts';
import { randomCut, single, SplittingProxy, whole, writePieces, type Cut } from './splitting.ts';

/** A release is tried with GATE_TEST_SESSIONS=200 GATE_TEST_SPLITS=50, which takes an hour on a small machine. */
const sessionCount = Number(process.env['GATE_TEST_SESSIONS'] ?? 8);
const splits = Number(process.env['GATE_TEST_SPLITS'] ?? 3);
const seed = Number(process.env['GATE_TEST_SEED'] ?? 20_261_126);

let fixture: RelayFixture;
let tunnel: OpenTunnel;
const proxy = new SplittingProxy();
const mark = 'mark-of-the-end';

beforeAll(async () => {
  await proxy.start(() => fixture.postgres.port);
  fixture = await startRelayFixture({
    policy: `${fixturePolicy}  split-db:\n    roles:\n      engineer: { groups: [engineering], allow: [read, write], maxDuration: 8h }\n`,
    targets: `  split-db: { host: 127.0.0.1, port: ${proxy.port}, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable }\n`,
  });
  await fixture.admin.query('create table model_0 (n int primary key, v text)');
  tunnel = await fixture.connect('engineer', undefined, undefined, 'split-db');
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
  await proxy.stop();
});

/** What the client is told, from the same rows each time. */
async function converse(bytes: Buffer, down: Cut, up: Cut): Promise<string[]> {
  await fixture.admin.query(`truncate model_0; insert into model_0 select n, 'row ' || n from generate_series(1, 5) n`);
  proxy.cut = whole;
  const client = await RawClient.logIn(tunnel.port, tunnel.session);
  proxy.cut = up;
  await writePieces(client.socket, down(Buffer.concat([bytes, closing(mark)])));
  const replies = await upToMark(client, mark);
  client.close();
  return replies.map(({ type, bytes: reply }) => show(type, reply));
}

/** That a portal is not there is said by the relay or by the server, whichever knows first: with one SQLSTATE and in the same words. */
function show(type: string, reply: Buffer): string {
  const fields = type === 'E' ? decodeReport(reply) : undefined;
  return fields?.get('C') === '34000' ? `E 34000 ${fields.get('M')}` : `${type} ${reply.toString('latin1')}`;
}

test(`${sessionCount} conversations, each in single bytes and in ${splits} random splits`, async () => {
  let count = 0;
  for (const [index, steps] of sample(conversation, { numRuns: sessionCount, seed }).entries()) {
    const bytes = Buffer.concat(steps.map(({ gate }) => gate));
    const expected = await converse(bytes, whole, whole);
    expect(expected.length).toBeGreaterThan(5);
    const cuts: [string, Cut, Cut][] = [['single bytes', single, single]];
    for (let split = 1; split <= splits; split++) cuts.push([`split ${split}`, randomCut(split), randomCut(split + 1000)]);
    for (const [name, down, up] of cuts) {
      expect([index, name, await converse(bytes, down, up)]).toEqual([index, name, expected]);
      count++;
    }
  }
  expect(count).toBe(sessionCount * (splits + 1));
}, 7_200_000);
