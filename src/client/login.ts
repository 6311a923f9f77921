/** Logging in to a relay, out of it, and telling where the login is kept. */
import { messageOf } from '../errors/errors.ts';
import { revokeTokens, startDeviceLogin, type Tokens } from '../oidc/device-login.ts';
import { isStoredFirst, platformOf } from './access-token.ts';
import { requireRelay, rememberRelay, type ClientConfig } from './config.ts';
import { createCredentialStore, type Credential, type Storage } from './credentials.ts';
import { fetchRelayInfo, fetchWhoAmI } from './relay-client.ts';

/** What the person needs to answer. Times are RFC 3339 in UTC. */
export type LoginPrompt = {
  readonly relay: string;
  readonly issuer: string;
  readonly verificationUri: string;
  /** With the code filled in. */
  readonly verificationUriComplete?: string;
  readonly userCode: string;
  readonly expiresAt: string;
};

export type LoginOptions = {
  readonly onPrompt: (prompt: LoginPrompt) => void | Promise<void>;
  readonly signal: AbortSignal;
  /** Takes a line for the user that must be seen. */
  readonly warn: (line: string) => void;
};

export type LoginResult = {
  readonly relay: string;
  readonly issuer: string;
  readonly subject: string;
  readonly name: string;
  readonly groups: readonly string[];
  /** Of the access token. */
  readonly expiresAt: string;
  /** Whether the login renews itself after that. */
  readonly isRenewable: boolean;
  readonly storage: Storage;
};

/**
 * Logs in and stores the login, after the relay has accepted its token. An earlier login on the same relay is ended
 * before the person is asked: issuers may end with its refresh token all tokens of that person, also the new ones.
 */
export async function login(config: ClientConfig, options: LoginOptions): Promise<LoginResult> {
  const { onPrompt, signal, warn } = options;
  const relay = requireRelay(config);
  const info = await fetchRelayInfo(relay);
  const { issuer, clientId, scopes, resource } = info;
  const client = { issuer, clientId, ...(resource !== undefined && { resource }) };
  const device = await startDeviceLogin({ ...client, scopes });
  const store = createCredentialStore(config, { warn });
  await endStoredLogin(config, warn);
  const { verificationUri, verificationUriComplete: complete, userCode, expiresAt } = device;
  const page = { verificationUri, ...(complete !== undefined && { verificationUriComplete: complete }) };
  await onPrompt({ relay, issuer, ...page, userCode, expiresAt });
  const tokens = await device.wait(signal);
  const who = await acceptedBy(relay, client, tokens);
  const credential: Credential = { ...client, ...tokens, subject: tokens.subject ?? who.subject };
  const prefer = config.isKeychainWanted ? 'keychain' : 'file';
  const storage = await store.edit((editor) => editor.save(relay, credential, prefer));
  await rememberRelay(config, relay);
  const platform = platformOf(config);
  if (platform?.isFirst && platform.place.kind !== 'missing') warn(`${platform.source} is set and will be used in place of this login.`);
  const isRenewable = tokens.refreshToken !== undefined;
  const { subject, name, groups } = who;
  return { relay, issuer, subject, name, groups, expiresAt: who.expiresAt, isRenewable, storage };
}

export type LogoutResult = {
  readonly relay: string;
  /** False when there was no login to end. */
  readonly wasLoggedIn: boolean;
  /** Whether the issuer has ended the login too. */
  readonly isRevoked: boolean;
  /** Why it has not. */
  readonly reason?: string;
};

/** Forgets the login on this machine first, so that it is gone even if the issuer cannot be reached; then revokes it. */
export async function logout(config: ClientConfig, options: Pick<LoginOptions, 'warn'>): Promise<LogoutResult> {
  const relay = requireRelay(config);
  const store = createCredentialStore(config, options);
  const forgotten = await store.edit((editor) => editor.forget(relay));
  if (forgotten === undefined) return { relay, wasLoggedIn: false, isRevoked: false };
  const result = { relay, wasLoggedIn: true };
  const { credential } = forgotten;
  if (credential === undefined) return { ...result, isRevoked: false, reason: 'its tokens could not be read' };
  try {
    const { accessToken, refreshToken } = credential;
    if (await revokeTokens(credential, { accessToken, refreshToken })) return { ...result, isRevoked: true };
    return { ...result, isRevoked: false, reason: `${credential.issuer} offers no way to` };
  } catch (error) {
    return { ...result, isRevoked: false, reason: messageOf(error) };
  }
}

/** Where the token that would be used comes from, without asking anybody. */
export type LoginPlace =
  | { readonly storage: 'environment' }
  /** Not kept anywhere: `source` is the variable, file or program that the platform's token comes from. */
  | { readonly storage: 'platform'; readonly platform: string; readonly source: string }
  | { readonly storage: 'none' }
  | { readonly storage: Storage; readonly path: string };

export async function findLoginPlace(config: ClientConfig, options: Pick<LoginOptions, 'warn'>): Promise<LoginPlace> {
  if (config.token !== undefined) return { storage: 'environment' };
  const store = createCredentialStore(config, options);
  const { platform } = config;
  if (platform !== undefined && !(await isStoredFirst(platform, store, requireRelay(config)))) {
    return { storage: 'platform', platform: platform.name, source: platform.source };
  }
  const stored = await store.load(requireRelay(config));
  return stored === undefined ? { storage: 'none' } : { storage: stored.storage, path: store.path };
}

async function endStoredLogin(config: ClientConfig, warn: (line: string) => void): Promise<void> {
  const { wasLoggedIn, isRevoked, reason } = await logout(config, { warn });
  if (wasLoggedIn && !isRevoked) warn(`the earlier login is forgotten here but was not ended at its issuer: ${reason}`);
}

/** A token that the relay does not take is of no use: it is given back before anything is stored. */
async function acceptedBy(
  relay: string,
  client: { readonly issuer: string; readonly clientId: string },
  tokens: Tokens,
): ReturnType<typeof fetchWhoAmI> {
  try {
    return await fetchWhoAmI(relay, tokens.accessToken);
  } catch (error) {
    // The relay's refusal is the news, whether or not the issuer answers now.
    await revokeTokens(client, tokens).catch(() => undefined);
    throw error;
  }
}
