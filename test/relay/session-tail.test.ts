/** Following sessions: each entry within a second, to whoever may see it, until the session or the relay ends. */
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { AuditEntry } from '../../src/audit/entry.ts';
import type { RelayClient } from '../../src/client/relay-client.ts';
import { GateError } from '../../src/errors/errors.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { heartbeatMs, SessionTails, tailsPerReaderMax } from '../../src/relay/session-tail.ts';
import type { Followed, LogPlace } from '../../src/store/log-tail.ts';
import { openLog, type Log } from '../../src/store/log.ts';
import { open, statement } from '../audit/events.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { eventually, fixturePolicy, startRelayFixture, type RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await startRelayFixture({ policy: fixturePolicy.replace('auditors: [audit]', 'auditors: [audit]\nadministrators: [dba]') });
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

type Tail = { readonly entries: AuditEntry[]; readonly lateMs: number[]; readonly ended: Promise<unknown>; stop(): void };

function collect(start: (signal: AbortSignal) => AsyncIterable<AuditEntry>): Tail {
  const controller = new AbortController();
  const [entries, lateMs]: [AuditEntry[], number[]] = [[], []];
  const read = async () => {
    for await (const entry of start(controller.signal)) {
      entries.push(entry);
      lateMs.push(Date.now() - Date.parse(entry.time));
    }
  };
  return { entries, lateMs, ended: read().catch((error: unknown) => error), stop: () => controller.abort('SIGINT') };
}

/** The general tail shows nothing of before, so what is to be seen has to come after it has begun. */
async function collectAll(relay: RelayClient): Promise<Tail> {
  const before = await readings('tail');
  const tail = collect((signal) => relay.followAll(signal));
  await eventually('it is on record', async () => (await readings('tail')).length > before.length);
  await new Promise((resolve) => setTimeout(resolve, 200));
  return tail;
}

async function readings(what: string) {
  const found = [];
  for await (const { event } of (await fixture.clientFor('operator')).decisions()) if (event.kind === 'read' && event.what === what) found.push(event);
  return found;
}

const texts = (entries: readonly AuditEntry[]) => entries.flatMap(({ event }) => (event.kind === 'statement' ? [event.sql] : []));

describe('one session', () => {
  test('from its first entry to its last, each within a second, without a gap', async () => {
    const tunnel = await fixture.connect();
    const { session } = tunnel;
    const pg = await tunnel.client();
    await pg.query("select 'before'");
    const relay = await fixture.clientFor('engineer');
    const tail = collect((signal) => relay.follow(session.id, signal));
    await eventually('what was before is there', () => texts(tail.entries).length === 1);
    const known = tail.entries.length;
    for (let number = 0; number < 20; number++) await pg.query(`select ${number}`);
    await relay.endSession(session.id);
    expect(await tail.ended).toBeUndefined();
    expect(tail.entries).toEqual(await fixture.entries(session.id));
    expect(tail.entries.at(-1)?.event.kind).toBe('session.close');
    expect(texts(tail.entries)).toEqual(["select 'before'", ...Array.from({ length: 20 }, (_, number) => `select ${number}`)]);
    expectPrompt(tail.lateMs.slice(known));
  });

  test('that has ended already: all of it, and the end', async () => {
    const { session } = await fixture.connect();
    const relay = await fixture.clientFor('engineer');
    await relay.endSession(session.id);
    const tail = collect((signal) => relay.follow(session.id.slice(0, -1), signal));
    expect(await tail.ended).toBeUndefined();
    expect(tail.entries.map(({ event }) => event.kind)).toEqual(['session.open', 'session.close']);
  });

  test('is on record before it is read; what is sealed stays closed for administrators, and others find nothing', async () => {
    const tunnel = await fixture.connect('operator');
    const { session } = tunnel;
    const pg = await tunnel.client();
    const administrator = await fixture.clientFor('dba');
    const tail = collect((signal) => administrator.follow(session.id, signal));
    await eventually('it has begun', () => tail.entries.length > 0);
    expect((await readings('tail')).at(-1)).toMatchObject({ session: session.id, isOpened: false, by: { name: 'dba' } });
    await pg.query("select 'needle'");
    await eventually('the statement is there', () => texts(tail.entries).length === 1);
    expect(JSON.stringify(tail.entries)).not.toContain('needle');
    expect(tail.entries.find(({ event }) => event.kind === 'statement')?.sealed).toMatchObject({ closed: 'not-allowed' });
    tail.stop();
    expect(await tail.ended).toBe('SIGINT');
    const engineer = await fixture.clientFor('engineer');
    await expect(engineer.follow(session.id, AbortSignal.timeout(20_000))[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('all sessions', () => {
  test('what happens from now on: auditors all of it, others their own', async () => {
    const old = await fixture.connect();
    const pg = await old.client();
    await pg.query("select 'long ago'");
    const [auditor, owner, administrator] = [
      await collectAll(await fixture.clientFor('operator')),
      await collectAll(await fixture.clientFor('engineer')),
      await collectAll(await fixture.clientFor('dba')),
    ];
    await pg.query("select 'now'");
    const foreign = await fixture.connect('operator');
    await (await foreign.client()).query("select 'foreign'");
    await eventually('the auditor has both', () => texts(auditor.entries).length === 2 && texts(administrator.entries).length === 2);
    expect(texts(auditor.entries)).toEqual(["select 'now'", "select 'foreign'"]);
    expect(auditor.entries.some(({ event, session }) => session === foreign.session.id && event.kind === 'session.open')).toBe(true);
    expect(texts(owner.entries)).toEqual(["select 'now'"]);
    expect(JSON.stringify(administrator.entries)).not.toMatch(/'now'|'foreign'/);
    expect(new Set(auditor.entries.map(({ session }) => session))).not.toContain('decisions');
    expectPrompt(auditor.lateMs);
    for (const tail of [auditor, owner, administrator]) tail.stop();
    await Promise.all([auditor.ended, owner.ended, administrator.ended]);
  });

  test('a reader who has gone makes room for another; one too many is refused', async () => {
    const relay = await fixture.clientFor('engineer');
    const tails = Array.from({ length: tailsPerReaderMax }, () => collect((signal) => relay.followAll(signal)));
    const begun = async () => (await readings('tail')).filter(({ by }) => by.name === 'engineer').length;
    const before = await begun();
    await eventually('all have begun', async () => (await begun()) >= before && (await refusal(relay)) === 'too-many');
    for (const tail of tails) tail.stop();
    await Promise.all(tails.map(({ ended }) => ended));
    await eventually('there is room again', async () => (await refusal(relay)) === undefined);
  });

  test('one who stands still misses nothing', async () => {
    const tunnel = await fixture.connect();
    const { session } = tunnel;
    const pg = await tunnel.client();
    const token = await (await fixture.clientFor('engineer')).accessToken();
    const { port, hostname } = new URL(fixture.relayUrl);
    const socket = connectSocket(Number(port), hostname);
    socket.write(`GET /v1/sessions/${session.id}/entries?follow=true HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer ${token}\r\n\r\n`);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.pause();
    // More than the sockets in between take.
    const large = 'x'.repeat(900_000);
    for (let number = 0; number < 12; number++) await pg.query('select length($1)', [`${number}:${large}`]);
    await (await fixture.clientFor('engineer')).endSession(session.id);
    const seen = new Set<string>();
    let rest = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      rest = (rest + text).slice(-text.length - 200);
      for (const [found] of rest.matchAll(/\d+:xxx|session\.close/g)) seen.add(found);
    });
    socket.resume();
    await eventually('the end has come', () => seen.has('session.close'));
    socket.destroy();
    expect(seen.size).toBe(13);
  });
});

test('when the relay stops, readers are told so', async () => {
  const { session } = await fixture.connect();
  const relay = await fixture.clientFor('engineer');
  const one = collect((signal) => relay.follow(session.id, signal));
  const all = await collectAll(relay);
  await eventually('it has begun', () => one.entries.length > 0);
  await fixture.stopRelay();
  expect(await one.ended).toMatchObject({ code: 'relay-stopping' });
  expect(await all.ended).toMatchObject({ code: 'relay-stopping' });
  await fixture.startRelay();
});

/** Within a second; a machine that is busy with other tests may hold up a few. */
function expectPrompt(lateMs: readonly number[]): void {
  const sorted = lateMs.toSorted((one, other) => one - other);
  expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThan(1000);
  expect(sorted.at(-1)).toBeLessThan(5000);
}

async function refusal(relay: RelayClient): Promise<string | undefined> {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 300);
  const first = relay.followAll(controller.signal)[Symbol.asyncIterator]().next();
  return first.then(() => undefined, (error: unknown) => (error instanceof GateError ? error.code : undefined));
}

test('the log is read no faster than the reader reads, also over the end of its segments', async () => {
  const log = await openLog(join(await temporaryDirectory(), 'log'), { segmentBytesMax: 20_000 });
  onTestFinished(() => log.close());
  let taken = 0;
  async function* counting(from: LogPlace, to: LogPlace): AsyncGenerator<Followed> {
    for await (const found of log.between(from, to)) {
      taken += 1;
      yield found;
    }
  }
  const recorder = {
    get end() {
      return log.end;
    },
    between: counting,
    onCommitted: (listener: () => void) => log.onCommitted(listener),
  } as unknown as Log;
  const policy = parsePolicy(fixturePolicy, 'policy.yaml');
  const tails = new SessionTails({ recorder, policy: () => policy, ownerOf: () => Promise.resolve(undefined), stopping: new AbortController().signal });
  const controller = new AbortController();
  const tail = tails.all(open.who, controller.signal);
  expect((await tail.next()).value).toBeUndefined();
  const first = tail.next();
  await log.record('s', [open]);
  expect((await first).value).toMatchObject({ seq: 1 });
  for (let number = 1; number <= 100; number++) await log.record('s', [statement(number, 'x'.repeat(1000))]);
  expect(taken).toBe(1);
  const seqs: number[] = [];
  while (seqs.length < 100) {
    const { value } = await tail.next();
    if (value) seqs.push(value.seq);
  }
  expect(seqs).toEqual(Array.from({ length: 100 }, (_, index) => index + 2));
  controller.abort();
  expect((await tail.next()).done).toBe(true);
});

test('where there is nothing to tell, and where all there is is for others, a sign of life comes now and then', async () => {
  expect(heartbeatMs).toBeLessThanOrEqual(15_000);
  const log = await openLog(join(await temporaryDirectory(), 'log'));
  onTestFinished(() => log.close());
  const policy = parsePolicy(fixturePolicy, 'policy.yaml');
  const stopping = new AbortController();
  const tails = new SessionTails({ recorder: log, policy: () => policy, ownerOf: () => Promise.resolve(undefined), stopping: stopping.signal, heartbeatMs: 100 });
  const tail = tails.all({ ...open.who, subject: 'somebody else', groups: [] }, new AbortController().signal);
  for (let beat = 0; beat < 3; beat++) expect(await tail.next()).toEqual({ done: false, value: undefined });
  const over = new AbortController();
  const work = async () => {
    for (let number = 0; !over.signal.aborted; number++) await log.record('s', [number === 0 ? open : statement(number, 'select 1')]);
  };
  const working = work();
  for (let beat = 0; beat < 3; beat++) expect(await tail.next()).toEqual({ done: false, value: undefined });
  over.abort();
  await working;
  stopping.abort(new GateError('relay-stopping', 'the relay is stopping'));
  await expect((async () => {
    for await (const beat of tail) expect(beat).toBeUndefined();
  })()).rejects.toMatchObject({ code: 'relay-stopping' });
});

test('many who come at once, and all found room, are still no more than may be', async () => {
  const log = await openLog(join(await temporaryDirectory(), 'log'));
  onTestFinished(() => log.close());
  const policy = parsePolicy(fixturePolicy, 'policy.yaml');
  const tails = new SessionTails({ recorder: log, policy: () => policy, ownerOf: () => Promise.resolve(undefined), stopping: new AbortController().signal });
  const gone = new AbortController();
  for (let count = 0; count <= tailsPerReaderMax; count++) tails.checkRoom(open.who);
  const all = Array.from({ length: tailsPerReaderMax + 1 }, () => tails.all(open.who, gone.signal));
  const begun = await Promise.allSettled(all.map((tail) => tail.next()));
  expect(begun.filter(({ status }) => status === 'fulfilled')).toHaveLength(tailsPerReaderMax);
  expect(begun.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'too-many' } });
  await Promise.all(all.map((tail) => tail.return(undefined)));
  tails.checkRoom(open.who);
});
