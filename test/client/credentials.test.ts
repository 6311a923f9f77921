/** The stored login: whole or not at all, for the user alone, in the keychain or in the file but never lost. */
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createCredentialStore, type Credential, type CredentialStore } from '../../src/client/credentials.ts';
import { KeychainUnavailable, type Keychain } from '../../src/client/keychain.ts';
import { configOf, makeScratch } from './fixtures.ts';

const relay = 'https://gate.example.com';
const login: Credential = {
  issuer: 'https://login.example.com',
  clientId: 'gate',
  subject: 'acct-1',
  accessToken: 'access-secret',
  refreshToken: 'refresh-secret',
  expiresAt: '2030-01-01T00:00:00.000Z',
};

/** A keychain in memory that can be taken away, as by logging in to the machine over ssh. */
class MemoryKeychain implements Keychain {
  readonly entries = new Map<string, string>();
  isThere = true;
  #check(): void {
    if (!this.isThere) throw new KeychainUnavailable('no D-Bus');
  }
  async load(account: string): Promise<string | undefined> {
    this.#check();
    return this.entries.get(account);
  }
  async save(account: string, secret: string): Promise<void> {
    this.#check();
    this.entries.set(account, secret);
  }
  async remove(account: string): Promise<void> {
    this.#check();
    this.entries.delete(account);
  }
}

function open(directory: string, keychain: Keychain = new MemoryKeychain()): CredentialStore & { warnings: string[] } {
  const warnings: string[] = [];
  const config = configOf(directory, relay, { isKeychainWanted: true });
  return Object.assign(createCredentialStore(config, { warn: (line) => warnings.push(line), keychain }), { warnings });
}

const save = (store: CredentialStore, prefer: 'keychain' | 'file', credential = login): Promise<string> =>
  store.edit((editor) => editor.save(relay, credential, prefer));

describe('the file', () => {
  test('nothing is stored at first, and reading makes nothing', async () => {
    await using scratch = await makeScratch();
    expect(await open(join(scratch.directory, 'new')).load(relay)).toBeUndefined();
    expect(await readdir(scratch.directory)).toEqual([]);
  });

  test.skipIf(process.platform === 'win32')('it is 0600 in a 0700 directory, with no draft or lock left', async () => {
    await using scratch = await makeScratch();
    const directory = join(scratch.directory, 'gate');
    const store = open(directory);
    expect(await save(store, 'file')).toBe('file');
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(store.path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['credentials.json']);
    expect(await store.load(relay)).toEqual({ credential: login, storage: 'file' });
  });

  test('logins of several relays live side by side, and writers at once lose none', async () => {
    await using scratch = await makeScratch();
    const relays = Array.from({ length: 10 }, (_, at) => `https://gate-${at}.example.com`);
    await Promise.all(
      relays.map((url) =>
        open(scratch.directory).edit((editor) => editor.save(url, { ...login, subject: url }, 'file')),
      ),
    );
    for (const url of relays) {
      expect((await open(scratch.directory).load(url))?.credential.subject).toBe(url);
    }
    await open(scratch.directory).edit((editor) => editor.forget(relays[3] ?? ''));
    expect(await open(scratch.directory).load(relays[3] ?? '')).toBeUndefined();
    expect(await open(scratch.directory).load(relays[4] ?? '')).toBeDefined();
  });

  test.skipIf(process.platform === 'win32' || process.getuid?.() === 0)(
    'when it cannot be replaced, the old one stands',
    async () => {
      await using scratch = await makeScratch();
      const store = open(scratch.directory);
      await save(store, 'file');
      await store.edit(async (editor) => {
        await chmod(scratch.directory, 0o500);
        await expect(editor.save(relay, { ...login, subject: 'other' }, 'file')).rejects.toThrow('EACCES');
        await chmod(scratch.directory, 0o700);
      });
      expect((await store.load(relay))?.credential.subject).toBe('acct-1');
    },
  );

  test('when its draft cannot take its place, no draft is left', async () => {
    await using scratch = await makeScratch();
    const store = open(scratch.directory);
    await mkdir(store.path);
    await expect(save(store, 'file')).rejects.toThrow();
    expect(await readdir(scratch.directory)).toEqual(['credentials.json']);
  });

  test.each([
    ['cut off', '{"version":1,"relays":{"https://gate.example.com":{"storage":"file","login":{"accessToken":"access-se'],
    ['empty', ''],
    ['of another shape', '{"version":1,"relays":{"https://gate.example.com":{"storage":"file","login":{}}}}'],
    ['of a newer gate', '{"version":2,"relays":{}}'],
  ])('one that is %s is a clear error, and is not overwritten', async (_, text) => {
    await using scratch = await makeScratch();
    const keychain = new MemoryKeychain();
    const store = open(scratch.directory, keychain);
    await writeFile(store.path, text, { mode: 0o600 });
    const damaged = {
      code: 'config-invalid',
      message: expect.stringMatching(/credentials\.json is damaged/),
      hint: expect.stringContaining('gate login'),
    };
    await expect(store.load(relay)).rejects.toMatchObject(damaged);
    await expect(store.load(relay)).rejects.not.toThrow(/access-se/);
    await expect(save(store, 'keychain')).rejects.toMatchObject(damaged);
    await expect(store.edit((editor) => editor.forget(relay))).rejects.toMatchObject(damaged);
    expect(await readFile(store.path, 'utf8')).toBe(text);
    expect(keychain.entries.size).toBe(0);
  });

  test.skipIf(process.platform === 'win32').each([0o640, 0o604, 0o620])(
    'one of mode %o is refused until its mode is right',
    async (mode) => {
      await using scratch = await makeScratch();
      const store = open(scratch.directory);
      await save(store, 'file');
      await chmod(store.path, mode);
      await expect(store.load(relay)).rejects.toMatchObject({
        code: 'config-invalid',
        message: expect.stringContaining('open to other users'),
        hint: expect.stringContaining(`chmod 600 ${store.path}`),
      });
      await chmod(store.path, 0o600);
      expect(await store.load(relay)).toBeDefined();
    },
  );
});

describe('the keychain', () => {
  test('takes the login whole; the file then holds no secret', async () => {
    await using scratch = await makeScratch();
    const store = open(scratch.directory);
    expect(await save(store, 'keychain')).toBe('keychain');
    expect(await readFile(store.path, 'utf8')).not.toMatch(/secret/);
    expect(await store.load(relay)).toEqual({ credential: login, storage: 'keychain' });
    expect(store.warnings).toEqual([]);
  });

  test('two configuration directories do not share a login', async () => {
    await using scratch = await makeScratch();
    const keychain = new MemoryKeychain();
    const [one, two] = [open(join(scratch.directory, '1'), keychain), open(join(scratch.directory, '2'), keychain)];
    await save(one, 'keychain', { ...login, subject: 'one' });
    await save(two, 'keychain', { ...login, subject: 'two' });
    expect((await one.load(relay))?.credential.subject).toBe('one');
    await two.edit((editor) => editor.forget(relay));
    expect((await one.load(relay))?.credential.subject).toBe('one');
  });

  test('without one the file takes the login, and that is said once', async () => {
    await using scratch = await makeScratch();
    const keychain = new MemoryKeychain();
    keychain.isThere = false;
    const store = open(scratch.directory, keychain);
    expect(await save(store, 'keychain')).toBe('file');
    expect(store.warnings).toEqual([expect.stringMatching(/^no OS keychain here: no D-Bus\..*credentials\.json/)]);
    await save(store, 'file');
    expect(await store.load(relay)).toMatchObject({ storage: 'file' });
    expect(store.warnings).toHaveLength(1);
  });

  test('a login that is in a keychain out of reach is not taken for none', async () => {
    await using scratch = await makeScratch();
    const keychain = new MemoryKeychain();
    const store = open(scratch.directory, keychain);
    await save(store, 'keychain');
    keychain.isThere = false;
    await expect(store.load(relay)).rejects.toMatchObject({
      code: 'login-required',
      message: expect.stringContaining('no D-Bus'),
      hint: expect.stringContaining('GATE_KEYCHAIN=off'),
    });
    // A new login without it wins from then on, also when the keychain is back with the old one.
    await save(store, 'keychain', { ...login, subject: 'newer' });
    keychain.isThere = true;
    expect(await store.load(relay)).toMatchObject({ storage: 'file', credential: { subject: 'newer' } });
    await store.edit((editor) => editor.forget(relay));
    expect(keychain.entries.size).toBe(0);
  });

  test('forgetting works without it and says what could not be read', async () => {
    await using scratch = await makeScratch();
    const keychain = new MemoryKeychain();
    const store = open(scratch.directory, keychain);
    await save(store, 'keychain');
    keychain.isThere = false;
    expect(await store.edit((editor) => editor.forget(relay))).toEqual({ credential: undefined });
    expect(store.warnings).toEqual([expect.stringContaining('no D-Bus')]);
    expect(await store.load(relay)).toBeUndefined();
  });

  test('on this machine the store falls back or not, quickly, and the login is there either way', async () => {
    await using scratch = await makeScratch();
    const config = configOf(scratch.directory, relay, { isKeychainWanted: true });
    const warnings: string[] = [];
    const store = createCredentialStore(config, { warn: (line) => warnings.push(line) });
    const storage = await save(store, 'keychain');
    expect(await store.load(relay)).toEqual({ credential: login, storage });
    expect(warnings).toHaveLength(storage === 'file' ? 1 : 0);
    await store.edit((editor) => editor.forget(relay));
  });
});
