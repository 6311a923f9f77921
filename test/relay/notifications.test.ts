import { generateKeyPairSync } from 'node:crypto';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { NotificationBody } from '../../src/api/notification.ts';
import { createLocalhostCertificate } from '../../src/client/certificate.ts';
import { backoff, deliveryTiming } from '../../src/relay/delivery.ts';
import { answerBodyBytesMax, signature } from '../../src/relay/webhook-request.ts';
import { eventually } from './fixture.ts';
import { notice } from './notices.ts';
import { openStage, quick, requestsOf, secret, sinkOf, webhook } from './notifications-stage.ts';
import { startReceiver, status } from './receiver.ts';

describe('a webhook', () => {
  test('gets a signed body of the documented shape, without parameters and groups', async () => {
    const receiver = await startReceiver(status(204));
    const stage = await openStage();
    const notifications = await stage.start([webhook(receiver.url)]);
    const before = Math.floor(Date.now() / 1000);
    await notifications.notify(notice('r1'));
    await eventually('it is delivered', async () => (await sinkOf(notifications))?.delivered === 1);
    const [{ headers, body }] = receiver.received as [(typeof receiver.received)[0]];
    const parsed = NotificationBody.parse(JSON.parse(body));
    expect(parsed).toEqual(JSON.parse(body));
    expect(parsed).toEqual({
      v: 1,
      delivery: headers['gate-delivery'],
      event: 'created',
      at: '2026-11-02T10:00:00.000Z',
      request: {
        id: 'r1',
        kind: 'statement',
        requester: { name: 'erin', subject: 'u1', issuer: 'https://id.example.com', kind: 'human' },
        target: 'prod-db',
        role: 'engineer',
        reason: 'clean up',
        ticket: 'INC-1',
        rule: 'prod-db/engineer/unbounded',
        state: 'pending',
        approve: { by: ['dba'], count: 2 },
        expiresAt: '2026-11-02T10:15:00.000Z',
        votes: [],
        statement: { session: 's_1', sql: 'delete from items where name = $1', kinds: ['write'], commands: ['DELETE', 'SELECT'] },
      },
    });
    const timestamp = headers['gate-timestamp'] as string;
    expect(Number(timestamp)).toBeGreaterThanOrEqual(before);
    expect(headers['gate-signature']).toBe(signature(secret, timestamp, body));
    expect(headers).toMatchObject({ 'content-type': 'application/json', 'user-agent': 'gate/1.2.3' });
    expect(await sinkOf(notifications)).toEqual({ name: 'hook', waiting: 0, failed: 0, delivered: 1 });
    await stage.stop();
    expect(await stage.rows()).toMatchObject([{ state: 'delivered', body: '', attempts: 1 }]);
  });

  test('gets only the events and targets that it asked for', async () => {
    const receiver = await startReceiver(status(200));
    const notifications = await (await openStage()).start([webhook(receiver.url, { events: ['denied'], targets: ['prod-db'] })]);
    await notifications.notify(notice('r1'));
    await notifications.notify(notice('r2', { target: 'other' }, 'denied'));
    await notifications.notify(notice('r3', {}, 'denied'));
    await eventually('it is delivered', () => receiver.received.length > 0);
    expect(requestsOf(receiver.received)).toEqual(['r3']);
  });

  test('that fails at first gets the same delivery again, signed anew, and the next ones only after it', async () => {
    const receiver = await startReceiver((response, number) => status(number < 4 ? 503 : 200)(response));
    const stage = await openStage();
    let clock = Date.parse('2026-11-02T10:00:00Z');
    const notifications = await stage.start([webhook(receiver.url)], { now: () => new Date((clock += 1000)) });
    await Promise.all(['r1', 'r2', 'r3'].map((id) => notifications.notify(notice(id))));
    await eventually('all are delivered', async () => (await sinkOf(notifications))?.delivered === 3);
    expect(requestsOf(receiver.received)).toEqual(['r1', 'r1', 'r1', 'r1', 'r2', 'r3']);
    const first = receiver.received.slice(0, 4);
    expect(new Set(first.map(({ headers }) => headers['gate-delivery'])).size).toBe(1);
    expect(new Set(first.map(({ body }) => body)).size).toBe(1);
    expect(new Set(first.map(({ headers }) => headers['gate-timestamp'])).size).toBe(4);
    expect(receiver.openMost).toBe(1);
    expect(stage.log.filter((line) => line.includes('"problem":"answered 503"'))).toHaveLength(3);
  });

  test('that has everything twice can tell by the delivery: an answer that was lost is asked for again', async () => {
    const receiver = await startReceiver((response, number) => (number === 1 ? response.socket?.destroy() : status(200)(response)));
    const notifications = await (await openStage()).start([webhook(receiver.url)]);
    await notifications.notify(notice('r1'));
    await notifications.notify(notice('r2'));
    await eventually('all are delivered', async () => (await sinkOf(notifications))?.delivered === 2);
    expect(requestsOf(receiver.received)).toEqual(['r1', 'r1', 'r2']);
    expect(new Set(receiver.received.map(({ headers }) => headers['gate-delivery'])).size).toBe(2);
  });

  test('that redirects is not followed, and given up like one that says no', async () => {
    const elsewhere = await startReceiver(status(200));
    const receiver = await startReceiver(status(307, { location: elsewhere.url.href }));
    const stage = await openStage();
    const notifications = await stage.start([webhook(receiver.url)]);
    await notifications.notify(notice('r1'));
    await eventually('it is given up', async () => (await sinkOf(notifications))?.failed === 1);
    expect(receiver.received).toHaveLength(quick.refusalsMax);
    expect(elsewhere.received).toHaveLength(0);
    expect(await sinkOf(notifications)).toMatchObject({ waiting: 0, problem: 'answered 307, and redirects are not followed' });
  });

  test.each([400, 403, 404, 410])('that answers %d is given up after a few tries, kept as failed, and gets the next one', async (code) => {
    const receiver = await startReceiver((response, number) => status(number <= quick.refusalsMax ? code : 200)(response));
    const stage = await openStage();
    const notifications = await stage.start([webhook(receiver.url)]);
    await notifications.notify(notice('r1'));
    await notifications.notify(notice('r2'));
    await eventually('the next one is delivered', async () => (await sinkOf(notifications))?.delivered === 1);
    expect(requestsOf(receiver.received)).toEqual(['r1', 'r1', 'r1', 'r2']);
    await stage.stop();
    expect(await stage.rows()).toMatchObject([
      { state: 'failed', request: 'r1', attempts: 3, refusals: 3, problem: `answered ${code}`, body: expect.not.stringContaining('"') },
      { state: 'delivered', request: 'r2' },
    ]);
    expect(stage.log.filter((line) => line.includes('notification given up'))).toHaveLength(1);
  });

  test.each([408, 425, 429, 500])('that answers %d is tried again for longer than that', async (code) => {
    const receiver = await startReceiver((response, number) => status(number <= quick.refusalsMax + 2 ? code : 200)(response));
    const notifications = await (await openStage()).start([webhook(receiver.url)]);
    await notifications.notify(notice('r1'));
    await eventually('it is delivered', async () => (await sinkOf(notifications))?.delivered === 1);
    expect(receiver.received).toHaveLength(quick.refusalsMax + 3);
  });

  test('is no longer tried after a day', async () => {
    const receiver = await startReceiver(status(500));
    const stage = await openStage();
    let ahead = 0;
    const notifications = await stage.start([webhook(receiver.url)], { now: () => new Date(Date.now() + ahead) });
    await notifications.notify(notice('r1'));
    await eventually('one attempt was made', () => receiver.received.length > 0);
    ahead += 23 * 3_600_000;
    await notifications.notify(notice('r2'));
    const before = receiver.received.length;
    await eventually('others were made', () => receiver.received.length > before + 1);
    expect(await sinkOf(notifications)).toMatchObject({ waiting: 2, failed: 0 });
    ahead += 2 * 3_600_000;
    await notifications.notify(notice('r3'));
    await eventually('the first is given up', async () => (await sinkOf(notifications))?.failed === 1);
    expect(await sinkOf(notifications)).toMatchObject({ waiting: 2 });
  });

  test('is heard when it says when to come again, but not for any length of time', async () => {
    const receiver = await startReceiver((response, number) => {
      if (number === 1) status(429, { 'retry-after': '1' })(response);
      else if (number === 2) status(503, { 'retry-after': '86400' })(response);
      else status(200)(response);
    });
    const notifications = await (await openStage()).start([webhook(receiver.url)], { timing: { ...quick, retryAfterMsMax: 1500 } });
    await notifications.notify(notice('r1'));
    await eventually('it is delivered', async () => (await sinkOf(notifications))?.delivered === 1);
    const [first, second, third] = receiver.received.map(({ at }) => at) as [number, number, number];
    expect(second - first).toBeGreaterThanOrEqual(990);
    expect(third - second).toBeGreaterThanOrEqual(1490);
  });

  test('may answer at any length: little of it is read, and its status counts', async () => {
    let sent = 0;
    const receiver = await startReceiver((response, number) => {
      if (number > 1) return status(200)(response);
      response.writeHead(200);
      const pour = () => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024))) sent += 64 * 1024;
      };
      response.on('drain', pour);
      pour();
    });
    const notifications = await (await openStage()).start([webhook(receiver.url)]);
    await notifications.notify(notice('r1'));
    await notifications.notify(notice('r2'));
    await eventually('both are delivered', async () => (await sinkOf(notifications))?.delivered === 2);
    expect(requestsOf(receiver.received)).toEqual(['r1', 'r2']);
    expect(sent).toBeLessThan(answerBodyBytesMax + 16 * 1024 * 1024);
  });

  test('may break off or stall once its status is known', async () => {
    const receiver = await startReceiver((response, number) => {
      response.writeHead(200, { 'content-length': '100' }).write('so far');
      if (number === 1) setTimeout(() => response.destroy(), 20);
    });
    const notifications = await (await openStage()).start([webhook(receiver.url)]);
    for (const id of ['r1', 'r2', 'r3']) await notifications.notify(notice(id));
    await eventually('all are delivered', async () => (await sinkOf(notifications))?.delivered === 3);
    expect(requestsOf(receiver.received)).toEqual(['r1', 'r2', 'r3']);
  });

  test('that hangs, is not there, or speaks something else blocks nobody, and its time is limited', async () => {
    const sockets = new Set<Socket>();
    const hanging = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
    const babbling = createServer((socket) => socket.on('error', () => undefined).end('220 mail.example.com ESMTP\r\n'));
    await Promise.all([hanging, babbling].map((server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))));
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      hanging.close();
      babbling.close();
    });
    const urlOf = (server: typeof hanging) => new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const healthy = await startReceiver(status(200));
    const gone = await startReceiver(status(200));
    await gone.close();
    const stage = await openStage();
    const notifications = await stage.start(
      [
        webhook(urlOf(hanging), { name: 'hanging' }),
        webhook(gone.url, { name: 'gone' }),
        webhook(urlOf(babbling), { name: 'babbling' }),
        webhook(healthy.url, { name: 'healthy' }),
      ],
      { timing: { ...quick, attemptTimeoutMs: 1000, backoffMsMax: 5000, backoffMs: 5000 } },
    );
    for (let number = 0; number < 10; number += 1) await notifications.notify(notice(`r${number}`));
    await eventually('the healthy one has all', async () => (await sinkOf(notifications, 3))?.delivered === 10);
    await eventually('every problem is known', async () => (await notifications.status()).sinks.slice(0, 3).every(({ problem }) => problem));
    const { sinks } = await notifications.status();
    expect(sinks.map(({ problem }) => problem)).toEqual([
      'no answer within 1000 ms',
      'ECONNREFUSED',
      expect.stringMatching(/^HPE_/),
      undefined,
    ]);
    expect(sinks.map(({ waiting }) => waiting)).toEqual([10, 10, 10, 0]);
  });
});

test('a receiver whose certificate nobody vouches for gets nothing', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const times = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
  const cert = createLocalhostCertificate({ ...times, publicKey, commonName: 'localhost', issuer: { commonName: 'localhost', privateKey } });
  let requests = 0;
  const server = createHttpsServer({ cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }, (_request, response) => {
    requests += 1;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  const notifications = await (await openStage()).start([webhook(url)]);
  await notifications.notify(notice('r1'));
  await eventually('an attempt failed', async () => (await sinkOf(notifications))?.problem !== undefined);
  expect((await sinkOf(notifications))?.problem).toMatch(/^(?:DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN)$/);
  expect(requests).toBe(0);
});

test('neither secret, URL, SQL nor parameters come into the log, whatever fails', async () => {
  const receiver = await startReceiver((response, number) => (number < 3 ? response.socket?.destroy() : status(404)(response)));
  const stage = await openStage();
  const unknown = new URL('https://url-canary-7719.invalid/path-canary-5512');
  const notifications = await stage.start([
    webhook(receiver.url),
    { name: 'chat', format: 'slack', url: unknown, includeSql: true, includeParameters: true },
  ]);
  await notifications.notify(notice('r1'));
  await eventually('one is given up', async () => (await sinkOf(notifications))?.failed === 1);
  await eventually('the other failed', async () => (await sinkOf(notifications, 1))?.problem !== undefined);
  const said = stage.log.join('') + JSON.stringify(await notifications.status());
  expect(said).toContain('"sink":"chat"');
  for (const canary of ['path-canary', 'url-canary', 'hmac-canary', 'parameter-canary', 'delete from']) expect(said).not.toContain(canary);
});

test('waits double from 2 seconds to 5 minutes, the upper half by chance', () => {
  const waits = (random: number) => [0, 1, 2, 7, 8, 1000].map((attempts) => backoff(attempts, deliveryTiming, () => random));
  expect(waits(0)).toEqual([1000, 2000, 4000, 128_000, 150_000, 150_000]);
  expect(waits(1)).toEqual([2000, 4000, 8000, 256_000, 300_000, 300_000]);
});
