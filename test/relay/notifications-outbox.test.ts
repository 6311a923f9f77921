import { ColumnSeal } from '../../src/store/column-seal.ts';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadRelayConfig } from '../../src/relay/config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { startRelay } from '../../src/relay/relay.ts';
import { openDatabase } from '../../src/store/database.ts';
import { loadLogSecrets } from '../../src/store/log-secrets.ts';
import { Outbox } from '../../src/store/outbox.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { eventually, fixturePolicy } from './fixture.ts';
import { notice } from './notices.ts';
import { openStage, quick, requestsOf, secret, sinkOf, webhook } from './notifications-stage.ts';
import { parserWorker } from './parser-worker.ts';
import { startReceiver, status } from './receiver.ts';

describe('the outbox', () => {
  test('survives the relay: what was not delivered is delivered by the next one, with the same id', async () => {
    const receiver = await startReceiver(status(503));
    const stage = await openStage();
    const first = await stage.start([webhook(receiver.url)]);
    await first.notify(notice('r1'));
    await first.notify(notice('r2'));
    await eventually('one attempt was made', () => receiver.received.length > 0);
    await stage.stop();
    await receiver.close();
    const next = await startReceiver(status(200), receiver.port);
    const second = await stage.start([webhook(next.url)]);
    await eventually('all are delivered', async () => (await sinkOf(second))?.delivered === 2);
    expect(requestsOf(next.received)).toEqual(['r1', 'r2']);
    expect(next.received[0]?.headers['gate-delivery']).toBe(receiver.received[0]?.headers['gate-delivery']);
  });

  test('stops in the middle of an attempt that hangs, which is made again', async () => {
    const receiver = await startReceiver((response, number) => void (number > 1 && status(200)(response)));
    const stage = await openStage();
    const first = await stage.start([webhook(receiver.url)], { timing: { ...quick, attemptTimeoutMs: 60_000 } });
    await first.notify(notice('r1'));
    await eventually('the attempt is under way', () => receiver.received.length === 1);
    const before = Date.now();
    await stage.stop();
    expect(Date.now() - before).toBeLessThan(5000);
    expect(await stage.rows()).toMatchObject([{ state: 'waiting', attempts: 0 }]);
    const second = await stage.start([webhook(receiver.url)]);
    await eventually('it is delivered', async () => (await sinkOf(second))?.delivered === 1);
    expect(new Set(receiver.received.map(({ headers }) => headers['gate-delivery'])).size).toBe(1);
  });

  test('that cannot note a delivery makes it again, with the same id', async () => {
    const receiver = await startReceiver(status(200));
    const stage = await openStage();
    const state = await openStateDirectory(await temporaryDirectory());
    const database = await openDatabase(state);
    onTestFinished(async () => {
      await database.destroy();
      await state.close();
    });
    let faults = 2;
    class FaultyOutbox extends Outbox {
      override async delivered(...input: Parameters<Outbox['delivered']>): Promise<void> {
        if (faults-- > 0) throw new Error('database or disk is full');
        await super.delivered(...input);
      }
    }
    const notifications = await stage.start([webhook(receiver.url)], { outbox: new FaultyOutbox(database, new ColumnSeal(Buffer.alloc(32))) });
    await notifications.notify(notice('r1'));
    await eventually('it is delivered', async () => (await sinkOf(notifications))?.delivered === 1);
    expect(receiver.received).toHaveLength(3);
    expect(new Set(receiver.received.map(({ headers }) => headers['gate-delivery'])).size).toBe(1);
    expect(stage.log.filter((line) => line.includes('database or disk is full'))).toHaveLength(2);
    await notifications.stop();
  });

  test('takes in what is said while and after deliveries stop', async () => {
    const receiver = await startReceiver(status(200));
    const stage = await openStage();
    const first = await stage.start([webhook(receiver.url)]);
    await first.stop();
    await first.notify(notice('r1', {}, 'withdrawn'));
    await stage.stop();
    expect(receiver.received).toHaveLength(0);
    const second = await stage.start([webhook(receiver.url)]);
    await eventually('it is delivered', async () => (await sinkOf(second))?.delivered === 1);
  });

  test('gives up what waits for a sink that is no longer configured', async () => {
    const receiver = await startReceiver(status(503));
    const stage = await openStage();
    await (await stage.start([webhook(receiver.url)])).notify(notice('r1'));
    await stage.stop();
    const second = await stage.start([]);
    expect(await second.status()).toEqual({ lost: 0, sinks: [] });
    await stage.stop();
    expect(await stage.rows()).toMatchObject([{ state: 'failed', problem: 'the sink is no longer configured' }]);
  });

  test('that is full, or cannot be written, is an error in the log and never one for whoever decides', async () => {
    const receiver = await startReceiver(status(503));
    const stage = await openStage(2);
    const notifications = await stage.start([webhook(receiver.url)]);
    for (const id of ['r1', 'r2', 'r3']) await notifications.notify(notice(id));
    expect(await notifications.status()).toMatchObject({ lost: 1, sinks: [{ waiting: 2 }] });
    expect(stage.log.filter((line) => line.includes('"request":"r3"') && line.includes('lost: the outbox is full'))).toHaveLength(1);
    await stage.stop();
    await notifications.notify(notice('r4'));
    expect(stage.log.filter((line) => line.includes('"request":"r4"') && line.includes('cannot be written'))).toHaveLength(1);
  });
});

test('a relay delivers what an earlier one left, and stops delivering before it closes its database', async () => {
  let respond: (() => void) | undefined;
  const receiver = await startReceiver((response, number) => {
    if (number === 1) status(200)(response);
    else respond = () => status(200)(response);
  });
  const directory = await temporaryDirectory();
  const secretFile = join(directory, 'secret');
  await writeFile(secretFile, secret, { mode: 0o600 });
  await writeFile(join(directory, 'policy.yaml'), fixturePolicy);
  await writeFile(
    join(directory, 'relay.yaml'),
    `listen: 127.0.0.1:0
stateDirectory: ./state
policyFile: ./policy.yaml
issuer: { url: 'http://127.0.0.1:1', clientId: gate-cli, audience: gate-relay }
targets:
  prod-db: { host: 127.0.0.1, database: postgres, user: gate, tls: disable }
notifications:
  - { name: hook, format: webhook, url: '${receiver.url.href}', secretFile: ${secretFile} }
`,
  );
  const state = await openStateDirectory(join(directory, 'state'));
  const database = await openDatabase(state);
  const left = ['d1', 'd2'].map((delivery) => ({ delivery, sink: 'hook', event: 'created', request: 'r1', body: '{}' }));
  const { columns } = await loadLogSecrets(join(directory, 'state', 'log'));
  await new Outbox(database, columns).add(left, new Date());
  await database.destroy();
  await state.close();

  const relay = await startRelay(await loadRelayConfig(join(directory, 'relay.yaml')), createRelayLog('silent'), parserWorker);
  await eventually('the second attempt is under way', () => respond !== undefined);
  const stopped = relay.stop();
  setTimeout(() => respond?.(), 100);
  await stopped;
  const stateAfter = await openStateDirectory(join(directory, 'state'));
  const databaseAfter = await openDatabase(stateAfter);
  expect((await new Outbox(databaseAfter, new ColumnSeal(Buffer.alloc(32))).counts()).map(({ state: name, count }) => [name, count])).toEqual([['delivered', 2]]);
  await databaseAfter.destroy();
  await stateAfter.close();
  expect(receiver.received.map(({ headers }) => headers['gate-delivery'])).toEqual(['d1', 'd2']);
});
