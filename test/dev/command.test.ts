/** `gate dev` as a process: one ready line, Ctrl-C, and nothing left. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import * as z from 'zod';

const PROGRAM = fileURLToPath(new URL('dev-program.ts', import.meta.url));
const WAIT = { timeout: 60_000, interval: 100 };
const Ready = z.strictObject({
  event: z.literal('ready'),
  relay: z.url(),
  issuer: z.url(),
  accounts: z.array(z.strictObject({ name: z.string(), groups: z.array(z.string()) })),
  targets: z.array(z.string()),
  stateDirectory: z.string(),
  relayPid: z.int(),
  issuerPid: z.int(),
  postgresPid: z.int(),
});

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gate-test-'));
  await chmod(scratch, 0o755);
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

function start(...words: string[]): ChildProcessByStdio<null, Readable, Readable> {
  return spawn(process.execPath, ['--import', 'tsx', PROGRAM, 'dev', ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: scratch },
  });
}

/** What gate made in the temporary directory; the loader that runs it keeps a cache there too. */
async function leftovers(): Promise<string[]> {
  return (await readdir(scratch)).filter((name) => name.startsWith('gate-'));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('--json writes one ready line; Ctrl-C stops every process, removes every file and exits 0', async () => {
  const child = start('--json');
  const errors = text(child.stderr);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  await vi.waitFor(() => expect(output).toContain('\n'), WAIT);
  const ready = Ready.parse(JSON.parse(output));
  expect(ready.accounts).toContainEqual({ name: 'operator', groups: ['operations', 'audit'] });
  expect(ready.targets).toEqual(['prod-db']);
  expect(ready.issuerPid).toBe(child.pid);
  expect(await (await fetch(ready.relay)).text()).toBe(String(ready.relayPid));
  expect((await fetch(`${ready.issuer}/.well-known/openid-configuration`)).status).toBe(200);
  child.kill('SIGINT');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(output.trim().split('\n')).toHaveLength(1);
  expect(await errors).toBe('');
  for (const pid of [ready.relayPid, ready.postgresPid]) expect(isAlive(pid)).toBe(false);
  expect(await leftovers()).toEqual([]);
}, 120_000);

test('for people: the lines to type next on stderr, stdout empty; Ctrl-C during the start works too', async () => {
  const child = start();
  const output = text(child.stdout);
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (words += chunk));
  await vi.waitFor(() => expect(words).toContain('Ctrl-C stops everything.'), WAIT);
  const relay = /relay\s+(http:\S+)/.exec(words)?.[1] ?? 'no relay';
  for (const line of [`export GATE_RELAY=${relay}`, 'gate dev login engineer', 'gate connect prod-db --reason']) {
    expect(words).toContain(`  ${line}`);
  }
  expect(words).not.toContain('oidc-provider');
  child.kill('SIGINT');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(await output).toBe('');

  const hasty = start();
  await vi.waitFor(async () => expect(await leftovers()).not.toEqual([]), WAIT);
  hasty.kill('SIGINT');
  expect(await once(hasty, 'exit')).toEqual([0, null]);
  expect(await leftovers()).toEqual([]);
}, 120_000);
