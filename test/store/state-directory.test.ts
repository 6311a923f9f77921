import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** Starts a process that opens the state directory; `said` is 'held' or why it could not. */
async function startHolder(path: string): Promise<{ child: ChildProcess; said: string }> {
  const script = join(import.meta.dirname, 'holding-child.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  for await (const line of createInterface({ input: child.stdout })) return { child, said: line };
  throw new Error('the process ended without a word');
}

describe('a state directory', () => {
  test('is made private, with the directories above it', async () => {
    const path = join(await temporaryDirectory(), 'a', 'b');
    const state = await openStateDirectory(path);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect(await readdir(path)).toEqual(['lock']);
    expect((await stat(join(path, 'lock'))).mode & 0o777).toBe(0o600);
    await state.close();
    expect(await readdir(path)).toEqual([]);
  });

  test.each([0o750, 0o701, 0o720, 0o777])('is refused when others have access: mode %o', async (mode) => {
    const path = await temporaryDirectory();
    await chmod(path, mode);
    await expect(openStateDirectory(path)).rejects.toMatchObject({
      code: 'config-invalid',
      message: `the state directory ${path} is open to other users (mode 0${mode.toString(8)})`,
      hint: `chmod 700 ${path}`,
    });
  });

  test('is refused when it is a file', async () => {
    const path = join(await temporaryDirectory(), 'file');
    await writeFile(path, '');
    await expect(openStateDirectory(path)).rejects.toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining(`the state directory ${path} cannot be used: EEXIST`),
    });
  });

  test('serves one at a time', async () => {
    const path = await temporaryDirectory();
    const state = await openStateDirectory(path);
    await expect(openStateDirectory(path)).rejects.toMatchObject({
      code: 'config-invalid',
      message: `another gate relay (process ${process.pid}) uses the state directory ${path}`,
    });
    await state.close();
    await (await openStateDirectory(path)).close();
  });

  test('serves one of many that come at once', async () => {
    const path = await temporaryDirectory();
    await writeFile(join(path, 'lock'), JSON.stringify({ pid: 1, startTicks: '0' }));
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => openStateDirectory(path)));
    const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(opened).toHaveLength(1);
    await opened[0]?.close();
    expect(await readdir(path)).toEqual([]);
  });

  test('is held across processes, and free again after a kill', { timeout: 60_000 }, async () => {
    const path = await temporaryDirectory();
    const { child, said } = await startHolder(path);
    expect(said).toBe('held');
    expect((await startHolder(path)).said).toContain(`another gate relay (process ${child.pid}) uses`);
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    expect(await readdir(path)).toEqual(expect.arrayContaining(['lock', 'gate.db.lock']));
    const state = await openStateDirectory(path);
    const database = await openDatabase(state, 'wasm');
    expect(await database.selectFrom('grants').selectAll().execute()).toEqual([]);
    await database.destroy();
    await state.close();
    expect(await readdir(path)).toEqual(['gate.db']);
  });

  test.runIf(process.platform === 'linux').each([
    ['whose number another process has now', { pid: process.ppid, startTicks: '1' }],
    ['from before the machine was started', { pid: process.pid, boot: 'another' }],
    ['that is no process', { pid: 2 ** 22 + 1 }],
  ])('is taken over from a process %s', async (_name, holder) => {
    const path = await temporaryDirectory();
    await writeFile(join(path, 'lock'), JSON.stringify(holder));
    const state = await openStateDirectory(path);
    expect(JSON.parse(await readFile(join(path, 'lock'), 'utf8'))).toMatchObject({ pid: process.pid });
    await state.close();
  });

  test('does not take away a lock that is no longer its own', async () => {
    const path = await temporaryDirectory();
    const state = await openStateDirectory(path);
    await writeFile(join(path, 'lock'), 'of another');
    await state.close();
    expect(await readFile(join(path, 'lock'), 'utf8')).toBe('of another');
  });
});
