/** A process to kill: records statements on four sessions as fast as it can, and prints each that is acknowledged. */
import { openLog } from '../../src/store/log.ts';
import { outcome, sessionOpen, statement } from './recorded-events.ts';

const [directory = ''] = process.argv.slice(2);
const log = await openLog(directory, { segmentBytesMax: 64 * 1024 });

async function recordForever(session: string): Promise<never> {
  await log.record(session, [sessionOpen]);
  for (let number = 1; ; number += 1) {
    await log.record(session, [statement(number, `select '${'x'.repeat(number % 2000)}'`)]);
    process.stdout.write(`${session} ${number}\n`);
    await log.record(session, [outcome(number)]);
  }
}

await Promise.all(['s1', 's2', 's3', 's4'].map(recordForever));
