/** Completeness: what the database's own log says it ran is what is on record as forwarded, under load, kills and cut connections. */
import { readFile } from 'node:fs/promises';
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawClient } from './raw-client.ts';
import { RelayChild } from './relay-child.ts';

const child = new RelayChild();
let fixture: RelayFixture;

beforeAll(async () => {
  fixture = await startRelayFixture({ start: child.start });
  await fixture.admin.query(`alter system set log_line_prefix = '%a|'`);
  await fixture.admin.query('select pg_reload_conf()');
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

const sessionsMax = 12;
/** A release is tried with GATE_TEST_ROUNDS=17 GATE_TEST_SCALE=10: more than 200 sessions and 50,000 statements. */
const scale = Number(process.env['GATE_TEST_SCALE'] ?? 1);
const statementsMax = 120 * scale;
const rounds = Number(process.env['GATE_TEST_ROUNDS'] ?? 2);
const seed = Number(process.env['GATE_TEST_SEED'] ?? 1);

/** mulberry32: a small generator of the same numbers for the same seed. */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One client after another: texts that only it sends, some refused, some failing, some pipelined, some cut off in the middle. */
async function work(tunnel: OpenTunnel, name: string, random: () => number, onAnswer: () => void): Promise<void> {
  let client: RawClient | undefined;
  for (let number = 0; number < statementsMax; number++) {
    if (client === undefined || client.isClosed) client = await RawClient.logIn(tunnel.port, tunnel.session).catch(() => undefined);
    // The relay is gone.
    if (client === undefined) return;
    const mark = `/* ${name}.${number} */`;
    const dice = random();
    if (dice < 0.1) client.send(serialize.query(`drop table items ${mark}`));
    else if (dice < 0.2) client.send(serialize.query(`select 1 / 0 ${mark}`));
    else if (dice < 0.5) client.send(serialize.query(`select ${number} ${mark}`));
    else {
      const texts = [`select 'a' ${mark}`, `select 'b' ${mark}`];
      client.send(...texts.flatMap((text) => [serialize.parse({ text }), serialize.bind({}), serialize.execute({})]), serialize.sync());
    }
    const cut = random();
    if (cut < 0.01) client.socket.resetAndDestroy();
    else if (cut < 0.02) client.close();
    else await Promise.race([client.upToReady().catch(() => undefined), client.untilClosed()]);
    onAnswer();
  }
  client?.close();
}

/** How often each text with a mark stands in the server's log as run, by the application that ran it. */
async function logged(): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  const log = await readFile(fixture.postgres.logFile, 'utf8');
  for (const [, application = '', text = ''] of log.matchAll(/^(gate\/s_\w+)[^|]*\|.*?LOG: {2}(?:statement|execute [^:]*): (.* \/\* \S+ \*\/)$/gm)) {
    const key = `${application.slice(5)} ${text}`;
    found.set(key, (found.get(key) ?? 0) + 1);
  }
  return found;
}

test(`the log of the server and the record agree over ${rounds} rounds with kill -9, seed ${seed}`, { timeout: 1_800_000 }, async () => {
  const random = randomFrom(seed);
  const tunnels: OpenTunnel[] = [];
  for (let round = 0; round < rounds; round++) {
    const ready = await Promise.all(Array.from({ length: sessionsMax }, () => fixture.connect()));
    tunnels.push(...ready);
    let working: Promise<void>[] = [];
    let answered = 0;
    const enough = Math.floor((150 + random() * 500) * scale);
    const isEnough = new Promise<void>((resolve) => {
      const onAnswer = () => ++answered === enough && resolve();
      working = ready.map((tunnel, index) => work(tunnel, `r${round}c${index}`, random, onAnswer));
    });
    await Promise.race([Promise.all(working), isEnough]);
    await child.end('SIGKILL');
    await Promise.all(working);
    await eventually('the database has finished with it', async () => {
      const { rows } = await fixture.admin.query(`select 1 from pg_stat_activity where application_name like 'gate/%'`);
      return rows.length === 0;
    });
    await fixture.startRelay();
    // One person may have fifty sessions open.
    const relay = await fixture.clientFor('engineer');
    await Promise.all(ready.map(({ session }) => relay.endSession(session.id)));
  }
  const inLog = await logged();
  const sure = new Map<string, number>();
  const all = new Map<string, number>();
  const count = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1);
  for (const { session } of tunnels) {
    const events = (await fixture.entries(session.id)).map(({ event }) => event);
    const states = new Map(events.flatMap((event) => (event.kind === 'outcome' ? [[event.statement, event.state] as const] : [])));
    for (const event of events) {
      if (event.kind !== 'statement' || event.effect !== 'allow' || !event.sql.endsWith('*/')) continue;
      const state = states.get(event.statement);
      expect(state, `${session.id} ${event.statement}`).toBeDefined();
      count(all, `${session.id} ${event.sql}`);
      if (state === 'ok' || state === 'error') count(sure, `${session.id} ${event.sql}`);
    }
  }
  expect(inLog.size).toBeGreaterThan(rounds * 100);
  // Nothing ran that is not on record as often; what has an answer on record did run as often.
  for (const [text, times] of inLog) expect([text, Math.min(times, all.get(text) ?? 0)]).toEqual([text, times]);
  for (const [text, times] of sure) expect([text, Math.min(times, inLog.get(text) ?? 0)]).toEqual([text, times]);
  expect([...inLog.keys()].some((text) => text.includes('drop table'))).toBe(false);
});
