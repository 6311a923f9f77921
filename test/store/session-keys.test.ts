/** What is shredded is gone, whoever asks for it at that moment. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SessionKeys } from '../../src/store/session-keys.ts';
import { temporaryDirectory } from './temporary-directory.ts';

test('keys that something late asks for while they are shredded do not stay in memory', async () => {
  const keys = await SessionKeys.open(join(await temporaryDirectory(), 'keys'), randomBytes(32));
  await keys.ensure('s');
  keys.release('s');
  const late = keys.ensure('s').catch(() => undefined);
  await keys.shred('s', ['content', 'results']);
  await late;
  expect(keys.isLive('s')).toBe(false);
  expect(await keys.find('s', 'content')).toBe('shredded');
  await expect(keys.ensure('s')).rejects.toMatchObject({ code: 'record-unavailable' });
});
