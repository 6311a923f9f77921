/** A file of keys that is damaged costs what that session has sealed, and nothing else. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { finishShredding } from '../../src/relay/erasure.ts';
import { startRetention } from '../../src/relay/retention.ts';
import { openLog } from '../../src/store/log.ts';
import { connectionOpen, sessionClose, sessionOpen, statement } from './recorded-events.ts';
import { temporaryDirectory } from './temporary-directory.ts';

test('the log opens and closes what a crash has left, and the keys of other sessions go in their time', async () => {
  const directory = join(await temporaryDirectory(), 'log');
  const log = await openLog(directory);
  await log.record('s_a_damaged', [sessionOpen, connectionOpen(), statement(1)]);
  await log.record('s_b_over', [sessionOpen, sessionClose]);
  await log.close();
  await writeFile(join(directory, '..', 'keys', 's_a_damaged.json'), '{');
  const again = await openLog(directory);
  onTestFinished(() => again.close());
  expect(again.openSessions()).toEqual(['s_a_damaged']);
  const events = [];
  for await (const { event } of again.entries('s_a_damaged', { isOpened: false })) events.push(event);
  expect(events.slice(-2)).toMatchObject([{ kind: 'outcome', state: 'unknown' }, { kind: 'connection.close' }]);
  await expect(again.record('s_a_damaged', [statement(2)])).rejects.toMatchObject({ code: 'record-damaged' });
  await finishShredding(again);
  const isOpen = (id: string) => again.openSessions().includes(id);
  const retention = startRetention({ log: again, keys: again.keys, retention: { contentDays: 1, resultsDays: 1 }, isOpen, now: () => new Date(Date.now() + 2 * 86_400_000) });
  await expect(retention.check()).rejects.toMatchObject({ code: 'record-damaged' });
  await retention.stop();
  expect(await again.keys.find('s_b_over', 'content')).toBe('shredded');
});
