/** S12 of the design: of a hundred sessions in the middle of things, each ends within a second of its grant's end. */
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RelayClient } from '../../src/client/relay-client.ts';
import { pendingPerPrincipalMax } from '../../src/relay/requests.ts';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';

const policy = `
approvers: { leads: { groups: [dba] } }
targets:
  prod-db:
    roles:
      held:
        groups: [engineering]
        allow: [read]
        rules: [{ name: writes, effect: hold, kinds: [write], approval: { by: [leads] } }]
      all: { groups: [engineering, dba, operations], allow: [read, write, schema] }
`;
/** Of each activity, so that it is a hundred. */
const sessionsEach = 25;
const accounts = ['engineer', 'dba', 'dba2', 'operator'] as const;
/** Long enough to open all of them on a busy machine. */
const grantSeconds = 45;
const heldSeconds = 15;

let fixture: RelayFixture;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy });
  for (const account of accounts) await fixture.clientFor(account);
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

type Busy = { readonly tunnel: OpenTunnel; readonly client: RawClient; readonly owner: RelayClient };

/** What the sessions of one account are in the middle of. */
const activities: Record<(typeof accounts)[number], (client: RawClient, number: number) => Promise<void>> = {
  engineer: async (client) => client.send(serialize.query('select pg_sleep(120)')),
  dba: async (client, number) => {
    client.send(serialize.query('copy items (id, name) from stdin'));
    await client.next('G');
    client.send(serialize.copyData(Buffer.from(`${1000 + number}\tx\n`)));
  },
  dba2: async (client) => {
    client.send(serialize.query(`copy (select repeat('x', 10000), pg_sleep(0.2) from generate_series(1, 10000)) to stdout`));
    await client.next('H');
  },
  operator: async (client, number) => {
    client.send(serialize.query(`begin; insert into items values (${2000 + number}, 'x')`));
    await client.upToReady();
  },
};

async function openBusy(): Promise<Busy[]> {
  const open = async (account: (typeof accounts)[number]): Promise<Busy[]> => {
    const owner = await fixture.clientFor(account);
    const busy: Busy[] = [];
    for (let number = 0; number < sessionsEach; number += 1) {
      const tunnel = await fixture.connect(account, 'all', grantSeconds);
      const client = await RawClient.logIn(tunnel.port, tunnel.session);
      await activities[account](client, number);
      busy.push({ tunnel, client, owner });
    }
    return busy;
  };
  return (await Promise.all(accounts.map(open))).flat();
}

const backends = async () => (await fixture.admin.query(`select 1 from pg_stat_activity where application_name like 'gate/%'`)).rowCount;

/** Sessions whose statement waits for an approval: as many as may wait for one person at a time. */
async function openHeld(): Promise<Busy[]> {
  const owner = await fixture.clientFor('engineer');
  return Promise.all(
    Array.from({ length: pendingPerPrincipalMax }, async () => {
      const tunnel = await fixture.connect('engineer', 'held', heldSeconds);
      const client = await RawClient.logIn(tunnel.port, tunnel.session);
      client.send(serialize.query(`update items set name = 'held'`));
      await client.next('N');
      return { tunnel, client, owner };
    }),
  );
}

function closed({ client }: Busy): Promise<number> {
  return new Promise((resolve) => {
    if (client.isClosed) resolve(performance.now());
    client.socket.once('close', () => resolve(performance.now()));
  });
}

function describeTimes(times: readonly number[]): { median: number; max: number } {
  const sorted = times.toSorted((one, other) => one - other);
  return { median: Math.round(sorted[Math.floor(sorted.length / 2)] as number), max: Math.round(sorted.at(-1) as number) };
}

async function expectAllGone(busy: readonly Busy[], code: string): Promise<void> {
  for (const { client, tunnel } of busy) {
    const last = (await client.untilClosed()).at(-1);
    // In the middle of a row no message can be put in; the end of the tunnel says it then.
    if (last === 'd') expect(tunnel.broken).toEqual([expect.stringContaining(code === 'grant-revoked' ? 'revoked' : 'expired')]);
    else expect(last).toBe(`E:57P01:${code}`);
  }
  await eventually('no backend is left', async () => (await backends()) === 0);
  expect((await fixture.admin.query('select 1 from items where id >= 1000')).rowCount).toBe(0);
}

describe('a hundred sessions in mid-query, in COPY in, in COPY out, and idle in a transaction', () => {
  test('are stopped within a second when their grants are revoked', async ({ annotate }) => {
    const busy = await openBusy();
    expect(await backends()).toBe(busy.length);
    const times: number[] = [];
    // Everything shares one process here, so the owners revoke side by side, but each one grant after the other.
    const revokeAll = async (own: readonly Busy[]) => {
      for (const one of own) {
        const [from, end] = [performance.now(), closed(one)];
        await one.owner.revokeGrant(one.tunnel.session.grant, 'S12');
        times.push((await end) - from);
      }
    };
    await Promise.all(accounts.map((_, index) => revokeAll(busy.slice(index * sessionsEach, (index + 1) * sessionsEach))));
    await expectAllGone(busy, 'grant-revoked');
    const { median, max } = describeTimes(times);
    await annotate(`revoked: median ${median} ms, max ${max} ms, from the call to the closed connection`);
    expect(times).toHaveLength(100);
    expect(median).toBeLessThanOrEqual(1000);
    for (const { tunnel } of busy.slice(0, 3)) await expect(tunnel.client()).rejects.toMatchObject({ code: '57P01', message: expect.stringContaining('revoked') });
  }, 180_000);

  test('are stopped within a second when their grants expire', async ({ annotate }) => {
    const busy = await openBusy();
    const times = await Promise.all(
      busy.map(async (one) => {
        const wall = performance.now() + Date.parse(one.tunnel.session.expiresAt) - Date.now();
        return (await closed(one)) - wall;
      }),
    );
    await expectAllGone(busy, 'grant-expired');
    const { median, max } = describeTimes(times);
    await annotate(`expired: median ${median} ms, max ${max} ms past the wall`);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(-2);
    expect(times).toHaveLength(100);
    expect(median).toBeLessThanOrEqual(1000);
  }, 180_000);
});

describe('sessions whose statement waits for an approval', () => {
  const expectWithdrawn = async (busy: readonly Busy[]) => {
    const owner = busy[0]?.owner as RelayClient;
    await eventually('no request waits any more', async () => (await owner.requests({ states: ['pending'], isMine: true })).length === 0);
    const requests = await owner.requests({ isMine: true, limit: busy.length });
    expect(new Set(requests.map(({ kind, state }) => `${kind} ${state}`))).toEqual(new Set(['statement withdrawn']));
    expect((await fixture.admin.query(`select 1 from items where name = 'held'`)).rowCount).toBe(0);
  };

  test('are stopped within a second when their grants are revoked', async ({ annotate }) => {
    const busy = await openHeld();
    const times: number[] = [];
    for (const one of busy) {
      const [from, end] = [performance.now(), closed(one)];
      await one.owner.revokeGrant(one.tunnel.session.grant, 'S12');
      times.push((await end) - from);
    }
    await expectAllGone(busy, 'grant-revoked');
    await expectWithdrawn(busy);
    const { median, max } = describeTimes(times);
    await annotate(`revoked while held: median ${median} ms, max ${max} ms`);
    expect(median).toBeLessThanOrEqual(1000);
  });

  test('are stopped within a second when their grants expire', async ({ annotate }) => {
    const busy = await openHeld();
    const times = await Promise.all(busy.map(async (one) => {
      const wall = performance.now() + Date.parse(one.tunnel.session.expiresAt) - Date.now();
      return (await closed(one)) - wall;
    }));
    await expectAllGone(busy, 'grant-expired');
    await expectWithdrawn(busy);
    const { median, max } = describeTimes(times);
    await annotate(`expired while held: median ${median} ms, max ${max} ms past the wall`);
    expect(median).toBeLessThanOrEqual(1000);
  });
});
