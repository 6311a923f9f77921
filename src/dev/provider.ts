/** A real OpenID provider on loopback for the demo and the tests: device flow, JWT access tokens, groups. */
import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { GateError } from '../errors/errors.ts';
import type { Account } from './accounts.ts';
import { loadOidcLibrary, type OidcContext, type OidcLibrary, type OidcProvider } from './provider-library.ts';
import { DEVICE_PAGES, renderErrorPage, serveInteraction } from './provider-pages.ts';
import { ProviderState } from './provider-state.ts';

export type ProviderOptions = {
  readonly accounts: readonly Account[];
  /** The `aud` of access tokens. */
  readonly audience: string;
  /** The public client that may use the device flow. */
  readonly clientId: string;
  /** Must be free; without it any free port. */
  readonly port?: number;
  /** Keys, tokens and sessions are kept here (0600) and survive a restart. Without it they die with the process. */
  readonly stateFile?: string;
  /** Default one hour. */
  readonly accessTokenSeconds?: number;
  /** Default ten minutes. */
  readonly deviceCodeSeconds?: number;
  /** How often the client is told to poll. Default one second. */
  readonly pollSeconds?: number;
};

export type Provider = {
  readonly issuer: string;
  readonly port: number;
  readonly clientId: string;
  readonly audience: string;
  /** A new key signs from now on; the two before it stay published. */
  rotateKeys(): Promise<void>;
  /** Groups in tokens issued from now on, refreshes included. */
  setGroups(account: string, groups: readonly string[]): void;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** The resource that access tokens are for. Clients need not ask for it: it is the default. */
const RESOURCE = 'urn:gate:relay';

/** Resolves when it serves. Fails with `usage` when oidc-provider is not installed or the port is taken. */
export async function startProvider(options: ProviderOptions): Promise<Provider> {
  const library = await loadOidcLibrary();
  const state = await ProviderState.open(options.stateFile);
  const accounts = options.accounts.map((account) => ({ ...account }));
  const server = createServer();
  const port = await listen(server, options.port ?? 0);
  const issuer = `http://127.0.0.1:${port}`;
  const build = (): OidcProvider => createOidcProvider({ library, state, accounts, issuer, port, options });
  let provider = build();
  let serve = provider.callback();
  server.on('request', (request, response) => {
    // Clients that keep connections would meet a dead one after a restart on the same port.
    response.shouldKeepAlive = false;
    const isInteraction = request.url?.startsWith('/interaction/') === true;
    void (isInteraction
      ? serveInteraction({ provider, accounts, accountIdOf, request, response })
      : serve(request, response));
  });
  const stop = async (): Promise<void> => {
    if (!server.listening) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  };
  return {
    issuer,
    port,
    clientId: options.clientId,
    audience: options.audience,
    async rotateKeys() {
      await state.rotateKeys();
      provider = build();
      serve = provider.callback();
    },
    setGroups(name, groups) {
      const account = accounts.find((candidate) => candidate.name === name);
      if (account === undefined) throw new GateError('usage', `The provider has no account ${name}.`);
      account.groups = groups;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new GateError('usage', `The OIDC provider cannot listen on port ${port}: ${cause.message}`, { cause })),
    );
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

/** Stable, and unlike the name, as subjects of real providers are: what confuses the two is found early. */
export function accountIdOf({ name }: Pick<Account, 'name'>): string {
  return `acct-${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;
}

function claimsOf(account: Account): Record<string, unknown> {
  return {
    preferred_username: account.name,
    name: account.fullName,
    email: account.email,
    email_verified: true,
    groups: account.groups,
  };
}

type Parts = {
  readonly library: OidcLibrary;
  readonly state: ProviderState;
  readonly accounts: readonly Account[];
  readonly issuer: string;
  readonly port: number;
  readonly options: ProviderOptions;
};

function createOidcProvider(parts: Parts): OidcProvider {
  const provider = new parts.library.Provider(parts.issuer, createConfiguration(parts, () => provider));
  // Koa would print errors of its own; what a caller has to know is in the answer.
  provider.silent = true;
  provider.use(async (ctx, next) => {
    await next();
    // RFC 8628 section 3.2: without `interval` clients wait five seconds between polls.
    const { body } = ctx;
    if (ctx.oidc?.route !== 'device_authorization' || ctx.status !== 200) return;
    if (typeof body === 'object') ctx.body = { ...body, interval: parts.options.pollSeconds ?? 1 };
  });
  return provider;
}

function createConfiguration(parts: Parts, provider: () => OidcProvider): object {
  const { state, options, port } = parts;
  const find = (id: string | undefined): Account | undefined =>
    parts.accounts.find((candidate) => accountIdOf(candidate) === id);
  return {
    adapter: (model: string) => state.adapter(model),
    jwks: { keys: structuredClone(state.keys) },
    clients: [
      {
        client_id: options.clientId,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    claims: {
      openid: ['sub'],
      profile: ['name', 'preferred_username', 'groups'],
      email: ['email', 'email_verified'],
    },
    conformIdTokenClaims: false,
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    expiresWithSession: async () => false,
    clientBasedCORS: () => false,
    findAccount: async (_ctx: unknown, id: string) => {
      const account = find(id);
      return account && { accountId: id, claims: async () => ({ sub: id, ...claimsOf(account) }) };
    },
    extraTokenClaims: async (_ctx: unknown, token: { accountId?: string }) => {
      const account = find(token.accountId);
      return account && claimsOf(account);
    },
    // Each login is decided anew: an approval given to one terminal is not one for the next.
    loadExistingGrant: async (ctx: OidcContext) => {
      const grantId = ctx.oidc.result?.consent?.grantId;
      return grantId === undefined ? undefined : provider().Grant.find(grantId);
    },
    interactions: {
      policy: createPolicy(parts.library),
      url: (_ctx: unknown, interaction: { uid: string }) => `/interaction/${interaction.uid}`,
    },
    cookies: {
      keys: [...state.cookieKeys],
      // Browsers keep cookies per host, not per port, and several demos may share 127.0.0.1.
      names: { session: `session_${port}`, interaction: `interaction_${port}`, resume: `resume_${port}` },
    },
    ttl: {
      AccessToken: options.accessTokenSeconds ?? 3600,
      IdToken: options.accessTokenSeconds ?? 3600,
      DeviceCode: options.deviceCodeSeconds ?? 600,
      RefreshToken: 14 * 86_400,
      Grant: 14 * 86_400,
      Session: 14 * 86_400,
      Interaction: 3600,
    },
    renderError: renderErrorPage,
    features: createFeatures(options),
  };
}

function createFeatures(options: ProviderOptions): object {
  return {
    devInteractions: { enabled: false },
    introspection: { enabled: false },
    rpInitiatedLogout: { enabled: false },
    userinfo: { enabled: true },
    revocation: {
      enabled: true,
      allowedPolicy: (_ctx: unknown, client: { clientId: string }, token: { clientId: string }) =>
        token.clientId === client.clientId,
    },
    deviceFlow: { enabled: true, mask: '****-****', ...DEVICE_PAGES },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => RESOURCE,
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: '',
        audience: options.audience,
        accessTokenTTL: options.accessTokenSeconds ?? 3600,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  };
}

/** The default prompts, with the account chosen on every login also when the browser was here before. */
function createPolicy(library: OidcLibrary): unknown {
  const { base, Check } = library.interactionPolicy;
  const prompts = base();
  prompts
    .get('login')
    .checks.add(
      new Check('account_choice', 'choose an account', (ctx) =>
        ctx.oidc.result?.login === undefined ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT,
      ),
    );
  return prompts;
}
