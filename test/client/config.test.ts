/** Where the client's settings come from, and what it says about bad ones. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadClientConfig, rememberRelay, requireRelay } from '../../src/client/config.ts';
import { makeScratch } from './fixtures.ts';

async function withFile(text: string): Promise<Awaited<ReturnType<typeof makeScratch>>> {
  const scratch = await makeScratch();
  await writeFile(join(scratch.directory, 'config.yaml'), text);
  return scratch;
}

async function relayOf(flags: { relay?: string }, environment: NodeJS.ProcessEnv): Promise<string | undefined> {
  return (await loadClientConfig(flags, environment)).relay;
}

describe('precedence', () => {
  test('flag, then environment, then file, then nothing', async () => {
    await using scratch = await withFile('relay: https://file.example.com\n');
    const environment = { GATE_CONFIG_DIR: scratch.directory, GATE_RELAY: 'https://env.example.com' };
    expect(await relayOf({ relay: 'https://flag.example.com/' }, environment)).toBe('https://flag.example.com');
    expect(await relayOf({}, environment)).toBe('https://env.example.com');
    expect(await relayOf({}, { ...environment, GATE_RELAY: '' })).toBe('https://file.example.com');
    await using empty = await makeScratch();
    expect(await relayOf({}, { GATE_CONFIG_DIR: empty.directory })).toBeUndefined();
  });

  test('the keychain is on unless the environment or the file says off', async () => {
    await using scratch = await withFile('keychain: off\n');
    const wanted = async (more: NodeJS.ProcessEnv): Promise<boolean> =>
      (await loadClientConfig({}, { GATE_CONFIG_DIR: scratch.directory, ...more })).isKeychainWanted;
    expect(await wanted({})).toBe(false);
    expect(await wanted({ GATE_KEYCHAIN: 'on' })).toBe(true);
    await using empty = await makeScratch();
    expect((await loadClientConfig({}, { GATE_CONFIG_DIR: empty.directory })).isKeychainWanted).toBe(true);
    await expect(wanted({ GATE_KEYCHAIN: 'maybe' })).rejects.toMatchObject({ code: 'usage' });
  });

  test('without GATE_CONFIG_DIR the directory is the platform’s', async () => {
    const { directory } = await loadClientConfig({}, {});
    expect(directory).toMatch(/[/\\]gate([/\\]Config)?$/);
  });
});

describe('the relay URL', () => {
  test.each([
    ['http://gate.example.com', /plain http/],
    ['ftp://gate.example.com', /neither https nor http/],
    ['gate.example.com', /not a URL/],
    ['https://me:secret@gate.example.com', /user name or a password/],
    ['https://gate.example.com/?a=1', /must end with its path/],
    ['http://127.0.0.1.example.com', /plain http/],
    ['http://localhost.example.com', /plain http/],
  ])('%s is refused', async (relay, message) => {
    await using scratch = await makeScratch();
    const loading = loadClientConfig({ relay }, { GATE_CONFIG_DIR: scratch.directory });
    await expect(loading).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(message) });
    await expect(loading).rejects.not.toThrow(/secret/);
  });

  test.each(['http://localhost:1', 'http://127.0.0.1:1', 'http://[::1]:1', 'https://gate.example.com/team'])(
    '%s is taken',
    async (relay) => {
      await using scratch = await makeScratch();
      expect(await loadClientConfig({ relay }, { GATE_CONFIG_DIR: scratch.directory })).toMatchObject({ relay });
    },
  );

  test('none at all is a usage error that names the command', () => {
    expect(() => requireRelay({ directory: '/nowhere', isKeychainWanted: false })).toThrow(
      expect.objectContaining({ code: 'usage', hint: expect.stringContaining('gate login --relay https://') }),
    );
  });
});

test('a token that no header can carry is refused without being quoted', async () => {
  await using scratch = await makeScratch();
  const loading = loadClientConfig({}, { GATE_CONFIG_DIR: scratch.directory, GATE_TOKEN: 'top secret\u{1f512}' });
  await expect(loading).rejects.toMatchObject({ code: 'usage', message: expect.not.stringContaining('secret') });
  const good = await loadClientConfig({}, { GATE_CONFIG_DIR: scratch.directory, GATE_TOKEN: ' abc.def\n' });
  expect(good.token).toBe('abc.def');
});

describe('the user’s file', () => {
  test.each([
    ['relay: [unclosed\n', ':2:1: '],
    ['# mine\nrelais: https://gate.example.com\n', ':2:1: unknown key "relais"'],
    ['keychain: off\nrelay: 5\n', ':2:8: relay: a URL is expected'],
    ['keychain: perhaps\n', ':1:11: keychain: "on" or "off" is expected'],
    ['- relay\n', ':1:1: settings are expected'],
  ])('%j is an error with its place', async (text, place) => {
    await using scratch = await withFile(text);
    await expect(loadClientConfig({}, { GATE_CONFIG_DIR: scratch.directory })).rejects.toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining(`${join(scratch.directory, 'config.yaml')}${place}`),
    });
  });

  test('the relay is remembered without touching what else stands there', async () => {
    await using scratch = await withFile('# keep me\nkeychain: off # and me\nrelay: https://old.example.com\n');
    await rememberRelay({ directory: scratch.directory, isKeychainWanted: true }, 'https://new.example.com');
    const path = join(scratch.directory, 'config.yaml');
    expect(await readFile(path, 'utf8')).toBe(
      '# keep me\nkeychain: off # and me\nrelay: https://new.example.com\n',
    );
  });

  test.each(['', '# only a comment\n'])('the relay is remembered in a file that holds %j', async (text) => {
    await using scratch = await withFile(text);
    await rememberRelay({ directory: scratch.directory, isKeychainWanted: true }, 'https://new.example.com');
    const stored = await readFile(join(scratch.directory, 'config.yaml'), 'utf8');
    expect(stored).toContain(text.trim());
    const { relay } = await loadClientConfig({}, { GATE_CONFIG_DIR: scratch.directory });
    expect(relay).toBe('https://new.example.com');
  });

  test.skipIf(process.platform === 'win32')('the directory is made for the user alone', async () => {
    await using scratch = await makeScratch();
    const directory = join(scratch.directory, 'deep', 'gate');
    await rememberRelay({ directory, isKeychainWanted: true }, 'https://new.example.com');
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, 'config.yaml'))).mode & 0o777).toBe(0o600);
  });

  test('one that cannot be read is an error, not a default', async () => {
    await using scratch = await makeScratch();
    await mkdir(join(scratch.directory, 'config.yaml'));
    await expect(loadClientConfig({}, { GATE_CONFIG_DIR: scratch.directory })).rejects.toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining('EISDIR'),
    });
  });
});
