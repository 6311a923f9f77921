/** A person's login without a browser at hand: the device grant of RFC 8628, refreshing and revoking its tokens. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Configuration, TokenEndpointResponse, TokenEndpointResponseHelpers } from 'openid-client';
import { GateError, messageOf, type ErrorCode } from '../errors/errors.ts';
import { describeNetworkFailure, isNetworkFailure } from './network-failure.ts';
import { parseSecureUrl } from './secure-url.ts';

/** A client that is registered at an issuer; public, so there is no secret. */
export type OidcClient = { readonly issuer: string; readonly clientId: string };

/** RFC 3339 times in UTC. `expiresAt` is the access token's and missing when the issuer does not say. */
export type Tokens = {
  readonly accessToken: string;
  readonly refreshToken?: string;
  /** The ID token's `sub`, where the issuer gave one. */
  readonly subject?: string;
  readonly expiresAt?: string;
};

export type DeviceLogin = {
  /** Checked: https, or http on loopback. Never opened by gate itself. */
  readonly verificationUri: string;
  readonly verificationUriComplete?: string;
  /** Printable ASCII. */
  readonly userCode: string;
  readonly expiresAt: string;
  /**
   * Polls until the person has answered. Fails with `login-failed` when they refuse, the code expires or `signal` is
   * aborted, and asks again after a network failure as long as the code lives.
   */
  wait(signal: AbortSignal): Promise<Tokens>;
};

const requestSeconds = 10;
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
/** RFC 8628 section 3.2, where the issuer names no interval, and section 3.5 for each `slow_down`. */
const intervalSecondsDefault = 5;
const slowDownSeconds = 5;
const codeLengthMax = 64;

/** Asks the issuer for a code. Fails with `issuer-unreachable`, or `login-failed` where it offers no such login. */
export async function startDeviceLogin(
  options: OidcClient & { readonly scopes: readonly string[]; readonly resource?: string },
): Promise<DeviceLogin> {
  const { issuer, scopes, resource } = options;
  const oidc = await import('openid-client');
  const configuration = await discover(options);
  if (configuration.serverMetadata().device_authorization_endpoint === undefined) {
    throw new GateError('login-failed', `${issuer} offers no device login`, {
      hint: 'Whoever runs the issuer has to enable the device authorization grant (RFC 8628).',
    });
  }
  const response = await oidc
    .initiateDeviceAuthorization(configuration, { scope: scopes.join(' '), ...(resource !== undefined && { resource }) })
    .catch((error: unknown) => {
      throw issuerFailure(error, issuer, 'login-failed', 'does not let gate start a login');
    });
  const { device_code: deviceCode, user_code: userCode, verification_uri_complete: complete } = response;
  // Both are shown on a terminal: neither may move its cursor or lead to a page that is not protected.
  if (!/^[\x20-\x7e]+$/.test(userCode) || userCode.length > codeLengthMax) {
    throw new GateError('login-failed', `${issuer} gave a code that cannot be shown`);
  }
  const pageOf = (uri: string): string => parseSecureUrl(uri, `the login page of ${issuer}`, 'login-failed').href;
  const expiresAt = new Date(Date.now() + response.expires_in * 1000);
  return {
    verificationUri: pageOf(response.verification_uri),
    ...(complete !== undefined && { verificationUriComplete: pageOf(complete) }),
    userCode,
    expiresAt: expiresAt.toISOString(),
    wait: (signal) =>
      pollForTokens({
        issuer,
        configuration,
        parameters: { device_code: deviceCode, ...(resource !== undefined && { resource }) },
        intervalSeconds: response.interval ?? intervalSecondsDefault,
        expiresAt,
        signal,
      }),
  };
}

/**
 * Trades a refresh token for new tokens; issuers that rotate end the login if one is used twice, so callers take a
 * lock. Fails with `login-required` when the issuer does not accept it any more, else with `issuer-unreachable`.
 */
export async function refreshTokens(
  client: OidcClient & { readonly resource?: string },
  refreshToken: string,
): Promise<Tokens> {
  const oidc = await import('openid-client');
  const configuration = await discover(client);
  const parameters: Record<string, string> = client.resource === undefined ? {} : { resource: client.resource };
  try {
    return readTokens(await oidc.refreshTokenGrant(configuration, refreshToken, parameters), refreshToken);
  } catch (error) {
    if (error instanceof oidc.ResponseBodyError && error.error === 'invalid_grant') {
      throw new GateError('login-required', 'your login has ended at the issuer', { hint: 'Run gate login.' });
    }
    throw issuerFailure(error, client.issuer, 'login-required', 'does not renew your login', 'Run gate login.');
  }
}

/**
 * Ends tokens at the issuer (RFC 7009). False where it has no means to; fails like `refreshTokens`. Issuers may end
 * with a refresh token every other token of the same person and client, so new ones must be asked for afterwards.
 */
export async function revokeTokens(
  client: OidcClient,
  tokens: { readonly accessToken: string; readonly refreshToken?: string | undefined },
): Promise<boolean> {
  const oidc = await import('openid-client');
  const configuration = await discover(client);
  if (configuration.serverMetadata().revocation_endpoint === undefined) return false;
  const isLoginEnded = tokens.refreshToken !== undefined && (await revoke(tokens.refreshToken, 'refresh_token'));
  const isAccessEnded = await revoke(tokens.accessToken, 'access_token');
  return tokens.refreshToken === undefined ? isAccessEnded : isLoginEnded;

  async function revoke(token: string, hint: string): Promise<boolean> {
    try {
      await oidc.tokenRevocation(configuration, token, { token_type_hint: hint });
      return true;
    } catch (error) {
      // Access tokens that are signed texts can rarely be taken back; they end by themselves within minutes.
      if (error instanceof oidc.ResponseBodyError && error.error === 'unsupported_token_type') return false;
      throw issuerFailure(error, client.issuer, 'login-failed', 'does not end the login');
    }
  }
}

async function discover(client: OidcClient): Promise<Configuration> {
  const url = parseSecureUrl(client.issuer, 'the issuer', 'login-failed');
  const oidc = await import('openid-client');
  try {
    return await oidc.discovery(url, client.clientId, undefined, oidc.None(), {
      timeout: requestSeconds,
      // Only a loopback address gets past parseSecureUrl with plain http.
      ...(url.protocol === 'http:' && { execute: [oidc.allowInsecureRequests] }),
    });
  } catch (error) {
    throw issuerFailure(error, client.issuer, 'issuer-unreachable', 'is no OpenID Connect issuer');
  }
}

/**
 * The loop of RFC 8628 section 3.5. openid-client has one of its own, but it looks at the signal only every five
 * seconds and gives up at the first network failure.
 */
async function pollForTokens(options: {
  readonly issuer: string;
  readonly configuration: Configuration;
  readonly parameters: Record<string, string>;
  readonly intervalSeconds: number;
  readonly expiresAt: Date;
  readonly signal: AbortSignal;
}): Promise<Tokens> {
  const { issuer, configuration, signal } = options;
  const oidc = await import('openid-client');
  configuration[oidc.customFetch] = (url, request) => {
    const signals = request.signal ? AbortSignal.any([signal, request.signal]) : signal;
    return fetch(url, { ...request, body: request.body ?? null, signal: signals });
  };
  let intervalSeconds = options.intervalSeconds;
  for (;;) {
    await pause(intervalSeconds * 1000, options.expiresAt, signal);
    try {
      return readTokens(await oidc.genericGrantRequest(configuration, deviceGrant, options.parameters));
    } catch (error) {
      if (signal.aborted) throw cancelled();
      const refusal = error instanceof oidc.ResponseBodyError ? error.error : undefined;
      if (refusal === 'authorization_pending') continue;
      if (refusal === 'slow_down') intervalSeconds += slowDownSeconds;
      else if (refusal === 'access_denied') throw new GateError('login-failed', 'the login was refused on its page');
      else if (refusal === 'expired_token') throw expired();
      else if (isPassing(error)) intervalSeconds = Math.min(intervalSeconds * 2, 60);
      else throw issuerFailure(error, issuer, 'login-failed', 'does not complete the login');
    }
  }
}

/** Sleeps, but not beyond the code's life. */
async function pause(milliseconds: number, expiresAt: Date, signal: AbortSignal): Promise<void> {
  const leftMs = expiresAt.getTime() - Date.now();
  try {
    await sleep(Math.max(0, Math.min(milliseconds, leftMs)), undefined, { signal });
  } catch (error) {
    if (signal.aborted) throw cancelled();
    throw error;
  }
  if (leftMs <= milliseconds) throw expired();
}

function cancelled(): GateError {
  return new GateError('login-failed', 'the login was cancelled');
}

function expired(): GateError {
  return new GateError('login-failed', 'the code expired before it was confirmed', {
    hint: 'Run gate login for a new one.',
  });
}

function readTokens(response: TokenEndpointResponse & TokenEndpointResponseHelpers, oldRefreshToken?: string): Tokens {
  const refreshToken = response.refresh_token ?? oldRefreshToken;
  const subject = response.claims()?.sub;
  const seconds = response.expiresIn();
  return {
    accessToken: response.access_token,
    ...(refreshToken !== undefined && { refreshToken }),
    ...(subject !== undefined && { subject }),
    ...(seconds !== undefined && { expiresAt: new Date(Date.now() + seconds * 1000).toISOString() }),
  };
}

/** No answer, or one of an issuer that is busy or restarting: worth asking again. */
function isPassing(error: unknown): boolean {
  const answer = error instanceof Error ? error.cause : undefined;
  if (answer instanceof Response) return answer.status >= 500 || answer.status === 429;
  return isNetworkFailure(error);
}

/** An answer that says no becomes `code` with the issuer's own reason; no answer becomes `issuer-unreachable`. */
function issuerFailure(error: unknown, issuer: string, code: ErrorCode, deed: string, hint?: string): GateError {
  if (error instanceof Error && 'error' in error && typeof error.error === 'string') {
    const description = 'error_description' in error ? error.error_description : undefined;
    const reason = typeof description === 'string' ? `${description} (${error.error})` : error.error;
    return new GateError(code, `${issuer} ${deed}: ${oneLine(reason)}`, hint === undefined ? {} : { hint });
  }
  const answer = error instanceof Error ? error.cause : undefined;
  if (answer instanceof Response) {
    return new GateError('issuer-unreachable', `${issuer} ${deed}: it answered ${answer.status} to ${answer.url}`);
  }
  if (isNetworkFailure(error)) {
    const { reason, hint: networkHint } = describeNetworkFailure(error);
    return new GateError('issuer-unreachable', `cannot reach ${issuer}: ${reason}`, {
      cause: error,
      ...(networkHint !== undefined && { hint: networkHint }),
    });
  }
  return new GateError(code, `${issuer} ${deed}: ${oneLine(messageOf(error))}`, { cause: error });
}

/** Nothing that an issuer says may move the terminal's cursor. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]+/gu, ' ').slice(0, 500);
}
