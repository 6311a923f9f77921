import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openLog } from '../../src/store/log.ts';
import { FaultyFiles, type Chooser, type Fault } from './faulty-files.ts';
import { collect, outcome, sessionClose, sessionOpen, statement, statementsIn } from './recorded-events.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const faults: Fault[] = [
  { mode: 'lost', code: 'EIO' },
  { mode: 'kept', code: 'EIO' },
  { mode: 'short', code: 'ENOSPC' },
];
const never = 1_000_000_000;
const last = 6;
let undurable = 0;

/** Two sessions side by side: one whose entries count once they are written, and one that waits for the disk. */
async function run(directory: string, choose: Chooser) {
  const files = new FaultyFiles(choose);
  const counted: Record<'kept' | 'firm', number[]> = { kept: [], firm: [] };
  const log = await openLog(directory, { files, segmentBytesMax: 3000, retryMs: 0, probeMs: never, publishMs: never }).catch((error: unknown) => {
    expect(error).toMatchObject({ code: 'record-unavailable' });
  });
  if (log === undefined) return { files, counted };
  for (const session of ['kept', 'firm']) await log.record(session, [sessionOpen]).catch(() => undefined);
  let heldBack = 0;
  for (let number = 1; number <= last; number++) {
    const isUrgent = number % 3 === 0;
    const { written, durable } = log.write('kept', [statement(number)], isUrgent ? 'disk' : 'system');
    durable?.catch(() => undefined);
    const firm = log.record('firm', [statement(number)]);
    const noted = log.write('firm', [outcome(number)], number % 2 === 0 ? 'later' : 'system').written;
    const [isWritten, isFirm] = await Promise.all([written, firm, noted?.catch(() => undefined)].map((one) => Promise.resolve(one).then(() => true, () => false)));
    if (isWritten) counted.kept.push(number);
    if (isFirm) counted.firm.push(number);
    if (isUrgent && isWritten && !(await durable?.then(() => true, () => false))) heldBack++;
  }
  await log.record('kept', [sessionClose]).catch(() => undefined);
  await log.close();
  return { files, counted, heldBack };
}

async function found(directory: string) {
  const log = await openLog(directory, { publishMs: never });
  const statements = { kept: await statementsIn(log.entries('kept')), firm: await statementsIn(log.entries('firm')) };
  await log.close();
  return statements;
}

/** Each fault at every third operation, and all of them together at each. */
describe.each(faults.map((fault, first) => ({ ...fault, first })))('what counts once it is written, and a fault, $code with the effect $mode,', ({ first, ...fault }) => {
  test('at any one operation: all that was gone by is there, and nothing that was refused', { timeout: 60_000 }, async () => {
    const clean = await run(join(await temporaryDirectory(), 'log'), () => undefined);
    expect(clean.counted.kept).toHaveLength(last);
    for (let at = first; at < clean.files.calls.length; at += faults.length) {
      const directory = join(await temporaryDirectory(), 'log');
      const result = await run(directory, (_operation, number) => (number === at ? fault : undefined));
      expect(await found(directory), `operation ${at}, ${clean.files.calls[at]}`).toEqual(result.counted);
      undurable += result.heldBack ?? 0;
    }
  });
});

test('and in some of these runs a result had to be held back for good', () => {
  expect(undurable).toBeGreaterThan(0);
});

test('what nobody waits for is synced soon, and shares the sync of what comes next', async () => {
  const files = new FaultyFiles(() => undefined);
  const log = await openLog(join(await temporaryDirectory(), 'log'), { files, publishMs: never });
  for (const session of ['one', 'two']) await log.record(session, [sessionOpen]);
  const syncs = () => files.calls.filter((call) => call === 'fdatasync').length;
  const before = syncs();
  await Promise.all([1, 2, 3].map(async (number) => log.write('one', [statement(number)], 'system').written));
  expect(syncs()).toBe(before);
  expect(log.counts('one').statements).toBe(0);
  await log.record('two', [statement(1)]);
  expect(syncs()).toBe(before + 1);
  expect(log.counts('one').statements).toBe(3);
  await log.write('one', [statement(4)], 'system').written;
  for (let waited = 0; log.counts('one').statements < 4; waited += 10) {
    expect(waited).toBeLessThan(5000);
    await sleep(10);
  }
  await log.close();
});

test('readers and checkpoints get what was written', async () => {
  const log = await openLog(join(await temporaryDirectory(), 'log'), { publishMs: never });
  await log.record('one', [sessionOpen]);
  await log.write('one', [statement(1)], 'system').written;
  expect(await statementsIn(log.entries('one'))).toEqual([1]);
  await log.write('one', [statement(2)], 'system').written;
  await log.publish();
  expect(log.publisher.published.checkpoint.size).toBe(3);
  expect((await collect(log.entries('one'))).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  await log.close();
});
