/** The keychain's promise: an answer or "no keychain", soon, and never a process that does not end. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createKeychain, KeychainUnavailable } from '../../src/client/keychain.ts';
import { makeScratch, runModule } from './fixtures.ts';

test('switched off, it loads nothing and refuses', async () => {
  const keychain = createKeychain({ isWanted: false, modulePath: '/nowhere/at/all' });
  await expect(keychain.load('someone')).rejects.toThrow('it is switched off');
});

// A machine that has a keychain keeps the entry and gives it back; one that has none says so. Nothing in between.
test('the real keytar keeps a login or says that it cannot', async () => {
  const keychain = createKeychain({ isWanted: true });
  const account = `test ${process.pid} ${Date.now()}`;
  const outcome = await keychain.save(account, 'a login').catch((error: unknown) => error);
  if (outcome instanceof KeychainUnavailable) {
    expect(outcome.message).not.toBe('');
    await expect(keychain.load(account)).rejects.toThrow(KeychainUnavailable);
  } else {
    expect(outcome).toBeUndefined();
    expect(await keychain.load(account)).toBe('a login');
    await keychain.remove(account);
    expect(await keychain.load(account)).toBeUndefined();
  }
});

test('one that hangs is given up, and the process still ends by itself', async () => {
  await using scratch = await makeScratch();
  const modulePath = join(scratch.directory, 'hangs.cjs');
  // A thread of the process is stuck for good in opening a pipe that nobody writes to, as in a locked keychain.
  const pipe = join(scratch.directory, 'pipe');
  await writeFile(
    modulePath,
    `require('child_process').execFileSync('mkfifo', [${JSON.stringify(pipe)}]);
     exports.getPassword = () => require('fs').promises.readFile(${JSON.stringify(pipe)});`,
  );
  const ended = await runModule(`
    import { createKeychain } from './src/client/keychain.ts';
    const keychain = createKeychain({ isWanted: true, modulePath: ${JSON.stringify(modulePath)}, timeoutMs: 500 });
    await keychain.load('someone').catch((error) => console.log(error.name, error.message));
  `);
  expect(ended).toEqual({ code: 0, stdout: 'KeychainUnavailable it did not answer within 0.5 s\n', stderr: '' });
});

test.each([
  ['throws while loading', `throw new Error('no addon\\nand a stack');`, 'no addon'],
  ['refuses', `exports.getPassword = async () => { throw new Error('locked'); };`, 'locked'],
  ['dies', `process.exit(3);`, 'it ended without an answer'],
  ['prints', `process.stdout.write('hello\\n');`, 'it answered something else than expected'],
])('one that %s counts as absent', async (_, text, message) => {
  await using scratch = await makeScratch();
  const modulePath = join(scratch.directory, 'broken.cjs');
  await writeFile(modulePath, text);
  await expect(createKeychain({ isWanted: true, modulePath }).load('someone')).rejects.toThrow(message);
});

test('one that forgets what it took counts as absent', async () => {
  await using scratch = await makeScratch();
  const modulePath = join(scratch.directory, 'forgets.cjs');
  await writeFile(modulePath, `exports.setPassword = async () => {}; exports.getPassword = async () => null;`);
  await expect(createKeychain({ isWanted: true, modulePath }).save('someone', 'a login')).rejects.toThrow(
    'it did not keep the login',
  );
});
