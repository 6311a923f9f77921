/** The log's half of cosigning, against a witness that takes its time. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { cosign, formatSignatures, parseNote, parseVerifierKey, formatVerifierKey, signingKey } from '../../src/audit/checkpoint.ts';
import { parseAddCheckpoint } from '../../src/audit/witness-request.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { WitnessClient } from '../../src/relay/witness-client.ts';
import { openLog } from '../../src/store/log.ts';
import { sessionOpen } from '../store/recorded-events.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

test('a cosignature that comes after the end is not written: the files may be another relay’s by then', async () => {
  const key = signingKey('witness.example.com/w1', randomBytes(32), 'cosignature/v1');
  let answer = () => {};
  const isAsked = new Promise<void>((asked) => (answer = asked));
  let release = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  const server = createServer((request, response) => {
    void (async () => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      answer();
      await released;
      response.end(formatSignatures([cosign(parseNote(parseAddCheckpoint(body).note).text, key, 1)]));
    })();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const directory = join(await temporaryDirectory(), 'log');
  const log = await openLog(directory);
  await log.record('s', [sessionOpen]);
  await log.publish();
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  const witness = { url, key: parseVerifierKey(formatVerifierKey(key)) };
  const client = new WitnessClient({ directory, witnesses: [witness], publisher: log.publisher, log: createRelayLog('silent'), lastWordMs: 10 });
  await isAsked;
  await client.stop();
  await log.close();
  const atTheEnd = await readFile(join(directory, 'checkpoint'), 'utf8');
  // The next relay goes on here.
  const next = await openLog(directory);
  await next.record('s', [{ kind: 'session.close', reason: 'done' }]);
  const newest = await next.publish();
  release();
  await sleep(300);
  expect(await readFile(join(directory, 'checkpoint'), 'utf8')).toBe(newest);
  expect(newest).not.toBe(atTheEnd);
  expect(client.problems.size).toBe(0);
  await next.close();
});
