import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openLog, type Log } from '../../src/store/log.ts';
import { FaultyFiles, type Chooser, type Fault } from './faulty-files.ts';
import { outcome, sessionOpen, statement, statementsIn } from './recorded-events.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const faults: Fault[] = [
  { mode: 'lost', code: 'EIO' },
  { mode: 'kept', code: 'EIO' },
  { mode: 'lost', code: 'ENOSPC' },
  { mode: 'short', code: 'ENOSPC' },
  { mode: 'lost', code: 'EDQUOT' },
];

/** Chooses from the third write of statements on, as the log and the keys of the session are there by then. */
function midway(fault: Fault, operationsMax: number, writesBefore = 7): Chooser {
  let writes = 0;
  let left = operationsMax;
  return (operation) => {
    if (operation === 'write') writes += 1;
    return writes > writesBefore && left-- > 0 ? fault : undefined;
  };
}

/** Statements of one run: they fill several segments. */
const last = 10;

/** Longer than any test takes, in milliseconds. */
const never = 1_000_000_000;

type Run = {
  readonly files: FaultyFiles;
  readonly acknowledged: number[];
  readonly refused: number[];
  hasOpened: boolean;
};

/** Opens, records statements over several segments with a pair in flight at once, and closes. */
async function run(directory: string, choose: Chooser): Promise<Run> {
  const files = new FaultyFiles(choose);
  const result: Run = { files, acknowledged: [], refused: [], hasOpened: false };
  let log: Log;
  try {
    log = await openLog(directory, { files, segmentBytesMax: 3000, retryMs: 0, probeMs: never, publishMs: never });
    result.hasOpened = true;
  } catch (error) {
    expect(error).toMatchObject({ code: 'record-unavailable' });
    return result;
  }
  await log.record('one', [sessionOpen]).catch(() => {});
  // So that the last publication has partial tiles to take away.
  await log.publish().catch(() => {});
  for (let number = 1; number <= last; number += 2) {
    const recording = [number, number + 1].map(async (which) => {
      try {
        await log.record('one', [statement(which), outcome(which)]);
        result.acknowledged.push(which);
      } catch (error) {
        expect(error).toMatchObject({ code: 'record-unavailable' });
        expect(String(error)).toMatch(/no space left on device|i\/o error|disk quota exceeded/);
        result.refused.push(which);
      }
    });
    await Promise.all(recording);
    expect(log.isAvailable).toBe(!result.refused.includes(number + 1));
    expect(await statementsIn(log.entries('one'))).toEqual(result.acknowledged);
  }
  await log.close();
  return result;
}

/** What the next start finds, on a disk that is sound again. */
async function reopen(directory: string): Promise<number[]> {
  const log = await openLog(directory);
  const statements = await statementsIn(log.entries('one'));
  await log.record('two', [sessionOpen, statement(1)]);
  await log.close();
  return statements;
}

describe.each(faults)('a fault, $code with the effect $mode,', (fault) => {
  test('at any one operation loses nothing acknowledged and keeps nothing refused', { timeout: 60_000 }, async () => {
    const clean = await run(join(await temporaryDirectory(), 'log'), () => undefined);
    expect(clean.acknowledged).toHaveLength(last);
    expect(new Set(clean.files.calls)).toEqual(new Set(['makeDirectory', 'remove', 'create', 'write', 'fdatasync', 'fsyncDirectory', 'close', 'rename']));
    let refusals = 0;
    for (let at = 0; at < clean.files.calls.length; at += 1) {
      const directory = join(await temporaryDirectory(), 'log');
      const result = await run(directory, (_operation, number) => (number === at ? fault : undefined));
      expect(result.files.failures, `operation ${at}`).toBe(1);
      if (result.hasOpened) expect(result.acknowledged.length + result.refused.length).toBe(last);
      expect(await reopen(directory), `operation ${at}, ${clean.files.calls[at]}`).toEqual(result.acknowledged);
      refusals += result.refused.length;
    }
    expect(refusals).toBeGreaterThan(0);
  });

  test('that lasts for a while is tried again, and the log goes on after it', async () => {
    const directory = join(await temporaryDirectory(), 'log');
    const result = await run(directory, midway(fault, 4));
    expect(result.refused.length).toBeGreaterThan(3);
    expect(result.acknowledged.at(-1)).toBe(last);
    expect(await reopen(directory)).toEqual(result.acknowledged);
  });

  test('that never ends leaves what was acknowledged before it', async () => {
    const directory = join(await temporaryDirectory(), 'log');
    const result = await run(directory, midway(fault, never, 11));
    expect(result.acknowledged.length).toBeGreaterThan(0);
    expect(result.refused.length).toBeGreaterThan(0);
    // Nobody could mark what was refused, so some of it may have stayed; what was acknowledged is all there.
    const found = await reopen(directory);
    expect(found.slice(0, result.acknowledged.length)).toEqual(result.acknowledged);
  });
});

test('short writes are carried on with, not taken for whole ones', async () => {
  const directory = join(await temporaryDirectory(), 'log');
  const files = new FaultyFiles(() => undefined);
  const write = files.write.bind(files);
  files.write = (descriptor, bytes, offset) => write(descriptor, bytes.subarray(0, offset + 7), offset);
  const log = await openLog(directory, { files });
  await log.record('one', [sessionOpen, statement(1), outcome(1)]);
  await log.close();
  expect(await reopen(directory)).toEqual([1]);
});

test('a write that takes nothing and reports nothing is a failure', async () => {
  const directory = join(await temporaryDirectory(), 'log');
  const files = new FaultyFiles(() => undefined);
  const log = await openLog(directory, { files, retryMs: 0, probeMs: never });
  const write = files.write.bind(files);
  files.write = () => 0;
  await expect(log.record('one', [sessionOpen])).rejects.toMatchObject({ code: 'record-unavailable' });
  files.write = write;
  await log.record('one', [sessionOpen]);
  await log.close();
});

test('after a failure the log is left alone until it is time to try again', async () => {
  const directory = join(await temporaryDirectory(), 'log');
  let isBroken = false;
  const files = new FaultyFiles(() => (isBroken ? { mode: 'lost', code: 'EIO' } : undefined));
  const log = await openLog(directory, { files, retryMs: never, probeMs: never });
  await log.keys.ensure('one');
  isBroken = true;
  await expect(log.record('one', [sessionOpen])).rejects.toMatchObject({ code: 'record-unavailable' });
  const calls = files.calls.length;
  await expect(log.record('one', [sessionOpen])).rejects.toMatchObject({ code: 'record-unavailable' });
  expect(files.calls).toHaveLength(calls);
  await log.close();
});

test('the log finds by itself that the disk works again', async () => {
  const directory = join(await temporaryDirectory(), 'log');
  let isBroken = false;
  const files = new FaultyFiles(() => (isBroken ? { mode: 'lost', code: 'EIO' } : undefined));
  const log = await openLog(directory, { files, retryMs: never, probeMs: 1 });
  await log.record('one', [sessionOpen, statement(1), outcome(1)]);
  isBroken = true;
  await expect(log.record('one', [statement(2)])).rejects.toMatchObject({ code: 'record-unavailable' });
  const failures = files.failures;
  await expect.poll(() => files.failures).toBeGreaterThan(failures + 2);
  expect(log.isAvailable).toBe(false);
  isBroken = false;
  await expect.poll(() => log.isAvailable).toBe(true);
  await log.record('one', [statement(3), outcome(3)]);
  expect(await statementsIn(log.entries('one'))).toEqual([1, 3]);
  await log.close();
  expect(await reopen(directory)).toEqual([1, 3]);
});
