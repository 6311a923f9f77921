/** The demo where it does not come to its end; the whole play runs in `npm run demo` and in the test of the package. */
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { runDemo } from '../../src/dev/demo.ts';
import type { StageIo } from '../../src/dev/stage.ts';

const STAND_IN = fileURLToPath(new URL('stand-in-relay.ts', import.meta.url));
const PROGRAM: [string, ...string[]] = [process.execPath, '--import', 'tsx', STAND_IN];

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gate-test-'));
  await chmod(scratch, 0o755);
  vi.stubEnv('TMPDIR', scratch);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(scratch, { recursive: true, force: true });
});

/** The loader that runs the stand-in keeps a cache there too. */
async function leftovers(): Promise<string[]> {
  return (await readdir(scratch)).filter((name) => name.startsWith('gate-'));
}

function audience(listen: (text: string) => void): StageIo {
  return { json: false, write: async (text) => listen(text), writeJson: async () => undefined };
}

test('whose relay does not start, it fails and leaves nothing', async () => {
  const context = { io: audience(() => undefined), stopSignal: () => new AbortController().signal };
  await expect(runDemo(context, [...PROGRAM, 'broken'])).rejects.toMatchObject({ code: 'relay-unreachable' });
  expect(await leftovers()).toEqual([]);
}, 120_000);

test('interrupted in the middle, it says so, whatever broke because of that, and leaves nothing', async () => {
  const controller = new AbortController();
  const io = audience((text) => text.includes('$ gate login') && setTimeout(() => controller.abort('SIGINT'), 100));
  const context = { io, stopSignal: () => controller.signal };
  await expect(runDemo(context, PROGRAM)).rejects.toMatchObject({ code: 'cancelled', message: expect.stringContaining('interrupted') });
  expect(await leftovers()).toEqual([]);
}, 120_000);
