/** Hands out an access token that is still good: of a platform, or of the stored login, renewed once for all gate processes. */
import type { RelayInfo } from '../api/api.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import { refreshTokens } from '../oidc/device-login.ts';
import type { ClientConfig } from './config.ts';
import type { Credential, CredentialEditor, CredentialStore, StoredCredential } from './credentials.ts';
import type { Platform } from './platform.ts';
import type { AccessTokens } from './token-source.ts';

/** A token is handed out only if it lives at least this long. */
const freshMsMin = 60_000;

export type AccessTokenOptions = {
  readonly config: ClientConfig;
  readonly relay: string;
  /** What the relay says of itself in public. */
  readonly info: () => Promise<RelayInfo>;
  readonly store: CredentialStore;
  readonly warn: (line: string) => void;
};

/** The token that somebody gave goes first; whether the platform or the stored login comes next, the platform says. */
export function createAccessTokens(options: AccessTokenOptions): AccessTokens {
  const { config } = options;
  const stored = createStoredTokens(options);
  const platform = platformOf(config);
  if (platform === undefined) return stored;
  let chosen: Promise<AccessTokens> | undefined;
  const choose = () => (chosen ??= chooseTokens(options, platform, stored));
  return {
    current: async () => (await choose()).current(),
    renew: async (rejected, refusal) => (await choose()).renew(rejected, refusal),
  };
}

/** GATE_TOKEN, or where the platform keeps one. */
export function platformOf({ token, platform }: ClientConfig): Platform | undefined {
  if (token === undefined) return platform;
  return { name: 'token', source: 'GATE_TOKEN', place: { kind: 'given', token }, isFirst: true };
}

/** Whether a login that is stored goes before the platform. */
export async function isStoredFirst(platform: Platform, store: CredentialStore, relay: string): Promise<boolean> {
  if (platform.isFirst && platform.place.kind !== 'missing') return false;
  return (await store.load(relay)) !== undefined;
}

async function chooseTokens({ config, relay, info, store }: AccessTokenOptions, platform: Platform, stored: AccessTokens): Promise<AccessTokens> {
  if (await isStoredFirst(platform, store, relay)) return stored;
  const { foreignRelay, run = { links: [] }, checkout } = config;
  if (foreignRelay !== undefined) throw foreignRelay;
  const [{ createWorkloadLogin }, { KeptLogins }] = await Promise.all([import('./workload-login.ts'), import('./kept-login.ts')]);
  return createWorkloadLogin({ platform, relay, info, run, kept: new KeptLogins(config.directory, relay), ...(checkout !== undefined && { checkout }) });
}

function createStoredTokens({ relay, store, warn }: AccessTokenOptions): AccessTokens {
  let known: Credential | undefined;
  // Calls of one process share one renewal; the lock below is for the other processes.
  let renewal: Promise<Credential> | undefined;
  const renewOnce = (rejected: string): Promise<Credential> =>
    (renewal ??= store
      .edit((editor) => renewStored({ editor, relay, rejected, warn }))
      .finally(() => {
        renewal = undefined;
      }));

  return {
    async current() {
      const credential = (known ??= requireLogin(await store.load(relay), relay).credential);
      if (isFresh(credential)) return credential.accessToken;
      try {
        known = await renewOnce(credential.accessToken);
      } catch (error) {
        const isIssuerAway = error instanceof GateError && error.code === 'issuer-unreachable';
        if (!isIssuerAway || !isAlive(credential)) throw error;
      }
      if (isAlive(known)) return known.accessToken;
      throw new GateError('login-required', 'your login has expired', { hint: 'Run gate login.' });
    },
    async renew(rejected) {
      const stored = await store.load(relay);
      if (stored === undefined) return undefined;
      if (stored.credential.accessToken !== rejected && isFresh(stored.credential)) known = stored.credential;
      else if (stored.credential.refreshToken === undefined) return undefined;
      else known = await renewOnce(rejected);
      return known.accessToken;
    },
  };
}

/**
 * Under the lock, so the stored login is read again: another process may have renewed it while this one waited, and a
 * rotating refresh token that is used twice ends the login.
 */
async function renewStored(options: {
  readonly editor: CredentialEditor;
  readonly relay: string;
  readonly rejected: string;
  readonly warn: (line: string) => void;
}): Promise<Credential> {
  const { editor, relay, rejected, warn } = options;
  const { credential, storage } = requireLogin(await editor.load(relay), relay);
  if (credential.accessToken !== rejected && isFresh(credential)) return credential;
  if (credential.refreshToken === undefined) return credential;
  const { issuer, clientId, resource } = credential;
  const tokens = await refreshTokens(
    { issuer, clientId, ...(resource !== undefined && { resource }) },
    credential.refreshToken,
  );
  // The old expiry must not outlive the old token where the issuer names none for the new one.
  const { expiresAt: _, ...identity } = credential;
  const renewed: Credential = { ...identity, ...tokens, subject: credential.subject };
  try {
    await editor.save(relay, renewed, storage);
  } catch (error) {
    // The old refresh token is spent: better to finish this command with the new one than to fail as well.
    warn(`the renewed login could not be stored, so you will have to log in again: ${messageOf(error)}`);
  }
  return renewed;
}

export function requireLogin(stored: StoredCredential | undefined, relay: string): StoredCredential {
  if (stored !== undefined) return stored;
  throw new GateError('login-required', `you are not logged in to ${relay}`, { hint: 'Run gate login.' });
}

function isFresh(credential: Credential): boolean {
  return livesFor(credential) >= freshMsMin;
}

function isAlive(credential: Credential): boolean {
  return livesFor(credential) > 0;
}

/** Where the issuer names no expiry, the relay's refusal is what tells. */
function livesFor({ expiresAt }: Credential): number {
  return expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(expiresAt) - Date.now();
}
