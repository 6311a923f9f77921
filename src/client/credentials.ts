/** Keeps one login per relay: in the OS keychain where there is one, else in a 0600 file. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { GateError, messageOf } from '../errors/errors.ts';
import type { ClientConfig } from './config.ts';
import { withFileLock } from './file-lock.ts';
import { createKeychain, KeychainUnavailable, type Keychain } from './keychain.ts';
import { findExposure, systemCodeOf, writePrivateFile } from './private-file.ts';

/** A login as it is kept. Times are RFC 3339 in UTC. */
export const Credential = z.object({
  issuer: z.string(),
  clientId: z.string(),
  /** RFC 8707 resource that refreshing must ask for again. */
  resource: z.optional(z.string()),
  subject: z.string(),
  accessToken: z.string(),
  refreshToken: z.optional(z.string()),
  /** Of the access token; missing when the issuer does not say. */
  expiresAt: z.optional(z.string()),
});
export type Credential = z.infer<typeof Credential>;

/** The file says for each relay where its login is, so that a keychain is asked only when it has something. */
const CredentialFile = z.object({
  version: z.literal(1),
  relays: z.record(
    z.string(),
    z.discriminatedUnion('storage', [
      z.object({ storage: z.literal('keychain') }),
      z.object({ storage: z.literal('file'), login: Credential }),
    ]),
  ),
});
type CredentialFile = z.infer<typeof CredentialFile>;

export type Storage = 'keychain' | 'file';
export type StoredCredential = { readonly credential: Credential; readonly storage: Storage };

/**
 * The stored logins of one configuration directory. Every method fails with GateError `config-invalid` when the file
 * is damaged or open to others, and then leaves it as it is.
 */
export interface CredentialStore {
  /** The file; it exists once something is stored, and then holds secrets only without a keychain. */
  readonly path: string;
  /** Undefined when nobody is logged in; `login-required` when the login is in a keychain that cannot be asked. */
  load(relay: string): Promise<StoredCredential | undefined>;
  /** Holds the lock that all gate processes share while `work` runs; needed around every call of `editor`. */
  edit<T>(work: (editor: CredentialEditor) => Promise<T>): Promise<T>;
}

export interface CredentialEditor {
  load(relay: string): Promise<StoredCredential | undefined>;
  /** Durable when it resolves. `prefer: 'file'` does not ask the keychain. Says where the login went. */
  save(relay: string, credential: Credential, prefer: Storage): Promise<Storage>;
  /** Forgets the login and says what it was, as far as it could be read; undefined when there was none. */
  forget(relay: string): Promise<{ readonly credential: Credential | undefined } | undefined>;
}

export type CredentialStoreOptions = {
  readonly warn: (line: string) => void;
  readonly keychain?: Keychain;
};

export function createCredentialStore(config: ClientConfig, options: CredentialStoreOptions): CredentialStore {
  const path = join(config.directory, 'credentials.json');
  const keychain = options.keychain ?? createKeychain({ isWanted: config.isKeychainWanted });
  // Two configuration directories are two users to gate, and must not share an entry of the keychain.
  const account = (relay: string): string => `${relay} ${config.directory}`;

  const load = async (relay: string): Promise<StoredCredential | undefined> => {
    const entry = (await readCredentialFile(path)).relays[relay];
    if (entry === undefined) return undefined;
    if (entry.storage === 'file') return { credential: entry.login, storage: 'file' };
    const text = await loadFromKeychain(keychain, account(relay));
    return text === undefined ? undefined : { credential: parseCredential(text), storage: 'keychain' };
  };
  const put = async (relay: string, entry: CredentialFile['relays'][string] | undefined): Promise<void> => {
    const { [relay]: _, ...others } = (await readCredentialFile(path)).relays;
    const file: CredentialFile = { version: 1, relays: entry === undefined ? others : { ...others, [relay]: entry } };
    await writePrivateFile(path, `${JSON.stringify(file, undefined, 2)}\n`);
  };

  const editor: CredentialEditor = {
    load,
    async save(relay, credential, prefer) {
      // Read first: a file that is damaged or open to others must stop this before the keychain is changed.
      await readCredentialFile(path);
      if (prefer === 'keychain' && (await saveToKeychain(keychain, account(relay), credential, path, options.warn))) {
        await put(relay, { storage: 'keychain' });
        return 'keychain';
      }
      await put(relay, { storage: 'file', login: credential });
      return 'file';
    },
    async forget(relay) {
      const entry = (await readCredentialFile(path)).relays[relay];
      if (entry === undefined) return undefined;
      const stored = await load(relay).catch((error: unknown) => {
        options.warn(messageOf(error));
        return undefined;
      });
      await put(relay, undefined);
      // Also what an earlier login may have left there, before one without a keychain took its place.
      await keychain.remove(account(relay)).catch(ignoreUnavailable);
      return { credential: stored?.credential };
    },
  };
  return { path, load, edit: (work) => withFileLock(`${path}.lock`, () => work(editor)) };
}

/** An unreadable keychain is no reason to ask for a new login silently: the old one would stay where it is. */
async function loadFromKeychain(keychain: Keychain, account: string): Promise<string | undefined> {
  try {
    return await keychain.load(account);
  } catch (error) {
    if (!(error instanceof KeychainUnavailable)) throw error;
    throw new GateError('login-required', `your login is in the OS keychain, which cannot be used here: ${error.message}`, {
      hint: 'Unlock the keychain, or log in for this place with GATE_KEYCHAIN=off gate login.',
      cause: error,
    });
  }
}

async function saveToKeychain(
  keychain: Keychain,
  account: string,
  credential: Credential,
  path: string,
  warn: (line: string) => void,
): Promise<boolean> {
  try {
    await keychain.save(account, JSON.stringify(credential));
    return true;
  } catch (error) {
    if (!(error instanceof KeychainUnavailable)) throw error;
    warn(`no OS keychain here: ${error.message}. The login is kept in ${path}, readable by you alone.`);
    return false;
  }
}

function ignoreUnavailable(error: unknown): void {
  if (!(error instanceof KeychainUnavailable)) throw error;
}

/**
 * A file that others can read is refused, not mended: who could read it may have its tokens already, and a silent
 * chmod would hide that.
 */
async function readCredentialFile(path: string): Promise<CredentialFile> {
  const exposure = await findExposure(path);
  if (exposure !== undefined) {
    throw new GateError('config-invalid', `${path} ${exposure}, but it holds your login`, {
      hint: `If nobody else can have read it: chmod 600 ${path}. Otherwise also run gate logout and gate login.`,
    });
  }
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return { version: 1, relays: {} };
    throw new GateError('config-invalid', `cannot read ${path} (${code ?? 'unknown error'})`, { cause: error });
  }
  const file = CredentialFile.safeParse(parseJson(text));
  if (file.success) return file.data;
  // The cause is left out: a parser's message may quote the text, and with it a token.
  throw new GateError('config-invalid', `${path} is damaged: it is not what gate wrote`, {
    hint: `Nothing was changed. Move the file away (mv ${path} ${path}.damaged) and run gate login.`,
  });
}

function parseCredential(text: string): Credential {
  const credential = Credential.safeParse(parseJson(text));
  if (credential.success) return credential.data;
  throw new GateError('login-required', 'the login in the OS keychain is damaged', { hint: 'Run gate login.' });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
