/** The lock file between real processes: one at a time, and no corpse holds it for long. */
import { appendFile, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lockAgeMsMax, withFileLock } from '../../src/client/file-lock.ts';
import { makeScratch, runModule } from './fixtures.ts';

/** A process that appends a pair of lines under the lock, several times. */
function marker(lock: string, log: string, name: string): string {
  return `
    import { appendFile } from 'node:fs/promises';
    import { setImmediate as yields } from 'node:timers/promises';
    import { withFileLock } from './src/client/file-lock.ts';
    for (let round = 0; round < 20; round += 1) {
      await withFileLock(${JSON.stringify(lock)}, async () => {
        await appendFile(${JSON.stringify(log)}, '${name} in\\n');
        await yields();
        await appendFile(${JSON.stringify(log)}, '${name} out\\n');
      });
    }
  `;
}

async function expectPairs(log: string, pairs: number): Promise<void> {
  const lines = (await readFile(log, 'utf8')).trim().split('\n');
  expect(lines).toHaveLength(pairs * 2);
  for (let at = 0; at < lines.length; at += 2) {
    expect([lines[at], lines[at + 1]]).toEqual([lines[at], lines[at]?.replace(' in', ' out')]);
  }
}

describe('withFileLock', () => {
  test('three processes never overlap', async () => {
    await using scratch = await makeScratch();
    const [lock, log] = [join(scratch.directory, 'a.lock'), join(scratch.directory, 'log')];
    const ended = await Promise.all(['one', 'two', 'three'].map((name) => runModule(marker(lock, log, name))));
    expect(ended.map(({ code, stderr }) => `${code}${stderr}`)).toEqual(['0', '0', '0']);
    await expectPairs(log, 60);
    expect(await readdir(scratch.directory)).toEqual(['log']);
  });

  test('calls of one process never overlap, and many waiters take over a dead one’s lock once', async () => {
    await using scratch = await makeScratch();
    const [lock, log] = [join(scratch.directory, 'a.lock'), join(scratch.directory, 'log')];
    const dead = await runModule('console.log(process.pid)');
    await writeFile(lock, JSON.stringify({ pid: Number(dead.stdout), host: hostname(), nonce: 'old' }));
    const work = (name: number) => (): Promise<void> =>
      appendFile(log, `${name} in\n`).then(() => appendFile(log, `${name} out\n`));
    await Promise.all(Array.from({ length: 20 }, (_, name) => withFileLock(lock, work(name))));
    await expectPairs(log, 20);
    expect(await readdir(scratch.directory)).toEqual(['log']);
  });

  test('the lock goes when the work fails, and the failure comes through', async () => {
    await using scratch = await makeScratch();
    const lock = join(scratch.directory, 'a.lock');
    await expect(withFileLock(lock, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await readdir(scratch.directory)).toEqual([]);
  });

  test.each([
    ['of another host', JSON.stringify({ pid: 1, host: 'elsewhere.example.com', nonce: 'old' })],
    ['of a live process', JSON.stringify({ pid: process.pid, host: hostname(), nonce: 'old' })],
    ['without a readable holder', ''],
  ])('a lock %s is taken over by its age alone', async (_, text) => {
    await using scratch = await makeScratch();
    const lock = join(scratch.directory, 'a.lock');
    await writeFile(lock, text);
    let isDone = false;
    const waiting = withFileLock(lock, () => Promise.resolve()).then(() => (isDone = true));
    // Twenty looks at a young lock must not be enough.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(isDone).toBe(false);
    const old = new Date(Date.now() - lockAgeMsMax - 1000);
    await utimes(lock, old, old);
    await waiting;
    expect(isDone).toBe(true);
  });
});
