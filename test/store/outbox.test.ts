import { ColumnSeal } from '../../src/store/column-seal.ts';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import { Outbox, outboxRowsPerSinkMax, type OutboxMessage, type Waiting } from '../../src/store/outbox.ts';
import { availableEngines } from '../../src/store/sqlite.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const at = new Date('2026-11-02T10:00:00.001Z');
const later = new Date('2026-11-02T10:05:00.002Z');

function message(delivery: string, sink = 'one'): OutboxMessage {
  return { delivery, sink, event: 'created', request: 'r1', body: `{"d":"${delivery}"}` };
}

describe.each(availableEngines())('the outbox on SQLite (%s)', (engine) => {
  async function open(rowsPerSinkMax?: number): Promise<Outbox> {
    const state = await openStateDirectory(await temporaryDirectory());
    const database = await openDatabase(state, engine);
    onTestFinished(async () => {
      await database.destroy();
      await state.close();
    });
    return new Outbox(database, new ColumnSeal(Buffer.alloc(32)), rowsPerSinkMax);
  }
  const head = async (outbox: Outbox, sink = 'one') => (await outbox.next(sink)) as Waiting;

  test('gives every sink its own messages in order', async () => {
    const outbox = await open();
    expect(await outbox.next('one')).toBeUndefined();
    await outbox.add([message('b'), message('x', 'two')], at);
    await outbox.add([message('a')], at);
    expect(await outbox.next('one')).toEqual({ ...message('b'), number: 1, createdAt: at, attempts: 0, refusals: 0, dueAt: at });
    await outbox.delivered(await head(outbox), later);
    expect(await outbox.next('one')).toMatchObject({ delivery: 'a', body: '{"d":"a"}' });
    expect(await outbox.next('two')).toMatchObject({ delivery: 'x' });
  });

  test('takes all messages of one call or none', async () => {
    const outbox = await open();
    await expect(outbox.add([message('a'), message('a', 'two')], at)).rejects.toThrow();
    expect(await outbox.counts()).toEqual([]);
  });

  test('keeps a message that failed at the head until it is given up', async () => {
    const outbox = await open();
    await outbox.add([message('a'), message('b')], at);
    await outbox.attemptFailed(await head(outbox), { problem: 'ECONNREFUSED', refused: false, at, dueAt: later });
    expect(await outbox.next('one')).toMatchObject({ delivery: 'a', attempts: 1, refusals: 0, dueAt: later });
    await outbox.attemptFailed(await head(outbox), { problem: 'answered 404', refused: true, at, dueAt: later });
    expect(await outbox.next('one')).toMatchObject({ delivery: 'a', attempts: 2, refusals: 1 });
    await outbox.attemptFailed(await head(outbox), { problem: 'answered 404', refused: true, at: later });
    expect(await outbox.next('one')).toMatchObject({ delivery: 'b' });
    expect(await outbox.counts()).toEqual([
      { sink: 'one', state: 'failed', count: 1, oldest: at },
      { sink: 'one', state: 'waiting', count: 1, oldest: at },
    ]);
  });

  test('gives up what waits for sinks that are gone', async () => {
    const outbox = await open();
    await outbox.add([message('a'), message('b', 'two'), message('c', 'three')], at);
    expect(await outbox.giveUpOthers(['two'], 'gone', later)).toBe(2);
    expect(await outbox.next('one')).toBeUndefined();
    expect(await outbox.next('two')).toMatchObject({ delivery: 'b' });
    expect(await outbox.giveUpOthers([], 'gone', later)).toBe(1);
  });

  test('holds so many rows of a sink: the oldest delivered ones go first, then failed ones, and never one that waits', async () => {
    const outbox = await open(3);
    await outbox.add([message('f')], at);
    await outbox.attemptFailed(await head(outbox), { problem: 'p', refused: true, at });
    await outbox.add([message('d')], at);
    await outbox.delivered(await head(outbox), at);
    const states = async () => (await outbox.counts()).filter(({ sink }) => sink === 'one').map(({ state, count }) => `${state} ${count}`);
    expect(await outbox.add([message('w1')], at)).toEqual([]);
    expect(await states()).toEqual(['delivered 1', 'failed 1', 'waiting 1']);
    expect(await outbox.add([message('w2')], at)).toEqual([]);
    expect(await states()).toEqual(['failed 1', 'waiting 2']);
    expect(await outbox.add([message('w3')], at)).toEqual([]);
    expect(await states()).toEqual(['waiting 3']);
    expect(await outbox.add([message('w4'), message('other', 'two')], at)).toEqual([message('w4')]);
    expect(await states()).toEqual(['waiting 3']);
    expect(await outbox.next('two')).toMatchObject({ delivery: 'other' });
  });
});

test('the bound is what the documents say', () => {
  expect(outboxRowsPerSinkMax).toBe(5000);
});
