import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { openLog } from '../../src/store/log.ts';
import { collect, statementsIn } from './recorded-events.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** Runs a process that records until so many statements are acknowledged, kills it, and returns all that were. */
async function recordAndKill(directory: string, count: number): Promise<Map<string, number>> {
  const script = join(import.meta.dirname, 'recording-child.ts');
  const argv = ['--import', 'tsx', script, directory];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const last = new Map<string, number>();
  let seen = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [session = '', number] = line.split(' ');
    last.set(session, Number(number));
    seen += 1;
    if (seen === count) child.kill('SIGKILL');
  }
  expect(await exit).toEqual([null, 'SIGKILL']);
  return last;
}

test('a process killed while it records loses nothing that it acknowledged', { timeout: 60_000 }, async () => {
  const directory = join(await temporaryDirectory(), 'log');
  const last = await recordAndKill(directory, 400);
  expect(last.size).toBe(4);
  const log = await openLog(directory);
  for (const [session, number] of last) {
    const statements = await statementsIn(log.entries(session));
    expect(statements).toEqual(statements.map((_, index) => index + 1));
    expect(statements.length).toBeGreaterThanOrEqual(number);
    const events = (await collect(log.entries(session))).map((entry) => entry.event);
    const outcomes = events.filter((event) => event.kind === 'outcome');
    expect(outcomes.map((outcome) => outcome.statement)).toEqual(statements);
    expect(outcomes.slice(0, -1).every((outcome) => outcome.state === 'ok')).toBe(true);
  }
  expect(log.openSessions().toSorted()).toEqual(['s1', 's2', 's3', 's4']);
  await log.close();
});
