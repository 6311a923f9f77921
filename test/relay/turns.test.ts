/** Whatever one session has examined, others go on in between: what is asked here is the order of things, not their time. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ownTurn, Turns } from '../../src/relay/turns.ts';
import { startRelayFixture, type RelayFixture } from './fixture.ts';

test('of all long work one piece is done in a turn of the event loop, first come first served', async () => {
  const seen: string[] = [];
  const work = async (name: string) => {
    for (let piece = 0; piece < 3; piece++) {
      await ownTurn();
      seen.push(name);
    }
  };
  let turn = 0;
  const isDone = Promise.all([work('a'), work('b')]);
  const count = () => {
    seen.push(`turn ${turn++}`);
    if (seen.length < 12) setImmediate(count);
  };
  setImmediate(count);
  await isDone;
  // Never two pieces without a turn in between.
  const pieces = seen.map((one) => (one.startsWith('turn') ? '|' : one)).join('');
  expect(pieces).not.toMatch(/[ab]{2}/);
  expect(pieces.replaceAll('|', '')).toBe('ababab');
});

test('a turn is over when its time is up, and the next begins anew', async () => {
  const turns = new Turns();
  expect(turns.isOver).toBe(false);
  const end = performance.now() + 10;
  while (performance.now() < end);
  expect(turns.isOver).toBe(true);
  await turns.next();
  expect(turns.isOver).toBe(false);
});

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await startRelayFixture();
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

test("a short statement of one session is answered while another's long text is examined", async () => {
  const tunnels = [await fixture.connect('engineer'), await fixture.connect('engineer')];
  const [hostile, other] = await Promise.all(tunnels.map((tunnel) => tunnel.client()));
  const order: string[] = [];
  const long = hostile?.query(Array.from({ length: 20_000 }, (_, n) => `select ${n} as n where f${n}() is null`).join(';')).catch(() => order.push('long'));
  for (let n = 0; n < 3; n++) {
    await other?.query(`select ${n}`);
    order.push('short');
  }
  await long;
  expect(order).toEqual(['short', 'short', 'short', 'long']);
});
