import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { NotificationBody } from '../../src/api/notification.ts';
import { loadRelayConfig } from '../../src/relay/config.ts';
import { deliveryTiming } from '../../src/relay/delivery.ts';
import { signature } from '../../src/relay/webhook-request.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';
import { fixturePolicy } from './fixture.ts';

/** The fenced blocks of docs/notifications.md by language, in order. */
const blocks = new Map<string, string[]>();
beforeAll(async () => {
  const text = await readFile(join(import.meta.dirname, '../../docs/notifications.md'), 'utf8');
  for (const [, language = '', block = ''] of text.matchAll(/^```(\w*)\n([^]*?)^```$/gm)) {
    blocks.set(language, [...(blocks.get(language) ?? []), block]);
  }
});
const only = (language: string) => {
  expect(blocks.get(language)).toHaveLength(1);
  return blocks.get(language)?.[0] as string;
};

const secret = '0123456789abcdef';
const now = () => Math.floor(Date.now() / 1000);
const deliveries = [
  ['genuine', {}, undefined],
  ['5 minutes old', { age: 290 }, undefined],
  ['older', { age: 310 }, 'too old, or from the future'],
  ['from the future', { age: -310 }, 'too old, or from the future'],
  ['of a tampered body', { body: '{"v":2}' }, 'wrong signature'],
  ['of a tampered timestamp', { age: 3600, timestamp: () => String(now()) }, 'wrong signature'],
  ['signed with another secret', { secret: 'another-secret-00' }, 'wrong signature'],
  ['unsigned', { signature: '' }, 'wrong signature'],
] as const;

type Change = { age?: number; body?: string; timestamp?: () => string; secret?: string; signature?: string };

function deliver(change: Change): { timestamp: string; body: string; given: string } {
  const body = '{"v":1,"sql":"select \'ä\' -- 100%"}';
  const signed = String(now() - (change.age ?? 0));
  const given = change.signature ?? signature(change.secret ?? secret, signed, body);
  return { timestamp: change.timestamp?.() ?? signed, body: change.body ?? body, given };
}

describe.each(deliveries)('a delivery that is %s', (_, change: Change, problem) => {
  test('is judged so by the example in Node.js', async () => {
    const file = join(await temporaryDirectory(), 'verify.mjs');
    await writeFile(file, only('js'));
    const { verify } = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as {
      verify: (headers: IncomingHttpHeaders, body: Buffer, secret: string) => unknown;
    };
    const { timestamp, body, given } = deliver(change);
    const run = () => verify({ 'gate-timestamp': timestamp, 'gate-signature': given }, Buffer.from(body), secret);
    if (problem === undefined) expect(run()).toEqual(JSON.parse(body));
    else expect(run).toThrow(problem);
  });

  test('is judged so by the example in a shell', async () => {
    const directory = await temporaryDirectory();
    const { timestamp, body, given } = deliver(change);
    await writeFile(join(directory, 'verify.sh'), only('sh'));
    await writeFile(join(directory, 'body'), body);
    const said = await new Promise<string>((resolve) => {
      const options = { cwd: directory, env: { ...process.env, GATE_SECRET: secret } };
      execFile('sh', ['verify.sh', timestamp, given, 'body'], options, (_error, stdout, stderr) => resolve(stdout + stderr));
    });
    expect(said).toBe(`${problem ?? 'valid'}\n`);
  });
});

test('headers without a signature at all are turned down by the example', async () => {
  const file = join(await temporaryDirectory(), 'verify.mjs');
  await writeFile(file, only('js'));
  const { verify } = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { verify: (...input: unknown[]) => unknown };
  expect(() => verify({}, Buffer.from('{}'), secret)).toThrow('wrong signature');
  // A key that is known does not help with a timestamp that is none.
  const given = signature(secret, 'soon', '{}');
  expect(() => verify({ 'gate-timestamp': 'soon', 'gate-signature': given }, Buffer.from('{}'), secret)).toThrow('too old');
});

test('the body that the document shows has the shape that is sent', () => {
  const json: unknown = JSON.parse(only('json'));
  expect(NotificationBody.parse(json)).toEqual(json);
});

test('the configuration that the document shows is taken', async () => {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, 'policy.yaml'), fixturePolicy);
  await writeFile(join(directory, 'slack-webhook.url'), 'https://hooks.slack.com/services/T0/B0/x\n', { mode: 0o600 });
  await writeFile(join(directory, 'webhook.secret'), `${secret}\n`, { mode: 0o600 });
  await writeFile(
    join(directory, 'relay.yaml'),
    `stateDirectory: ./state
policyFile: ./policy.yaml
issuer: { url: 'http://127.0.0.1:1', clientId: gate-cli, audience: gate-relay }
targets:
  prod-db: { host: 127.0.0.1, database: postgres, user: gate, tls: disable }
${only('yaml')}`,
  );
  const { notifications, warnings } = await loadRelayConfig(join(directory, 'relay.yaml'));
  expect(notifications.map(({ name }) => name)).toEqual(['approvals', 'security']);
  expect(warnings).toEqual([]);
});

test('the waits are those that the document names', () => {
  expect(deliveryTiming).toEqual({
    attemptTimeoutMs: 10_000,
    backoffMs: 2000,
    backoffMsMax: 300_000,
    retryAfterMsMax: 900_000,
    giveUpAfterMs: 86_400_000,
    refusalsMax: 5,
    stopGraceMs: 1000,
  });
});
