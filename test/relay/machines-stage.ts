/** A relay that trusts an issuer of each platform, all of them real and on loopback, and one whose tokens tests write byte for byte. */
import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CompactSign, exportJWK, exportSPKI, generateKeyPair, type CryptoKey, type JWK } from 'jose';
import type { TokenAnswer } from '../../src/api/workload-api.ts';
import type { ErrorBody } from '../../src/api/api.ts';
import { loadClientConfig } from '../../src/client/config.ts';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { startCiIssuer, type CiIssuer } from '../../src/dev/ci-issuer.ts';
import { sampleTokens, type TokenClaims } from '../../src/dev/ci-tokens.ts';
import { loadRelayConfig } from '../../src/relay/config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { startRelay, type Relay } from '../../src/relay/relay.ts';
import { presetNames, type PresetName } from '../../src/workload/workload.ts';
import { startRelayFixture, type RelayFixture } from './fixture.ts';
import { parserWorker } from './parser-worker.ts';

export const audience = 'gate-relay';
export type Answer = { readonly status: number; readonly body: TokenAnswer & ErrorBody };

export type Forge = {
  /** The `iss` of its tokens. */
  readonly url: string;
  readonly publicPem: string;
  readonly jwks: JWK[];
  readonly asked: { keys: number };
  /** Signs any bytes. The second RSA key is published with no more than the first. */
  sign(payload: string | Uint8Array, header?: TokenClaims, key?: 'rsa' | 'rsa2' | 'ec'): Promise<string>;
  /** A good payload, with changes; undefined leaves a claim out. */
  claims(changes?: TokenClaims): Record<string, unknown>;
  readonly rsaJwk: JWK;
  [Symbol.asyncDispose](): Promise<void>;
};

export type Machines = {
  readonly fixture: RelayFixture;
  readonly issuers: { readonly [name in PresetName]: CiIssuer };
  readonly forge: Forge;
  /** A token of the platform for this relay. */
  token(preset: PresetName, claims?: TokenClaims, header?: TokenClaims): Promise<string>;
  exchange(token: string, more?: object): Promise<Answer>;
  clientOf(accessToken: string): Promise<RelayClient>;
  get(path: string, accessToken: string): Promise<{ status: number; body: ErrorBody & Record<string, unknown> }>;
  reload(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

export async function startForge(): Promise<Forge> {
  const [rsa, rsa2, ec] = await Promise.all([makeKey('RS256', 'r1'), makeKey('RS256', 'r2'), makeKey('ES256', 'e1')]);
  const keys: { readonly [name: string]: { readonly alg: string; readonly kid: string; readonly privateKey: CryptoKey } } = { rsa, rsa2, ec };
  const jwks = [rsa.jwk, rsa2.jwk, ec.jwk];
  const asked = { keys: 0 };
  const server = createServer((request, response) => {
    response.shouldKeepAlive = false;
    asked.keys += 1;
    response.writeHead(request.url === '/keys' ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: jwks }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    publicPem: await exportSPKI(rsa.publicKey),
    jwks,
    asked,
    rsaJwk: rsa.jwk,
    sign: async (payload, header = {}, key = 'rsa') => {
      const { alg, kid, privateKey } = keys[key] as (typeof keys)[string];
      const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
      const whole = { alg, kid, typ: 'JWT', ...header };
      return new CompactSign(bytes).setProtectedHeader(Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined)) as { alg: string }).sign(privateKey, { crit: { 'urn:gate:test': true } });
    },
    claims: (changes = {}) => {
      const now = Math.floor(Date.now() / 1000);
      const whole = { iss: url, aud: audience, sub: 'machine-9', iat: now, exp: now + 300, tenant: 'acme', ...changes };
      return Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined));
    },
    [Symbol.asyncDispose]: () => close(server),
  };
}

async function makeKey(alg: string, kid: string) {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { alg, kid, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, use: 'sig' } as JWK };
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

export async function startMachines(policyOf: (issuers: Machines['issuers'], forge: Forge) => string): Promise<Machines> {
  const [forge, ...started] = await Promise.all([startForge(), ...presetNames.map(() => startCiIssuer())]);
  const issuers = Object.fromEntries(presetNames.map((name, index) => [name, started[index]])) as unknown as Machines['issuers'];
  let relay: Relay | undefined;
  const start = async (configFile: string, port: number) => {
    const config = await loadRelayConfig(configFile);
    return (relay = await startRelay({ ...config, listen: { ...config.listen, port } }, createRelayLog('silent'), parserWorker));
  };
  const fixture = await startRelayFixture({ policy: policyOf(issuers, forge), start });
  return {
    fixture,
    issuers,
    forge,
    token: (preset, claims = {}, header = {}) => issuers[preset].token(preset, { aud: audience, ...claims }, header),
    exchange: async (token, more = {}) => {
      const response = await fetch(`${fixture.relayUrl}/v1/token`, { method: 'POST', body: JSON.stringify({ token, ...more }) });
      return { status: response.status, body: (await response.json()) as Answer['body'] };
    },
    clientOf: async (token) => createRelayClient({ ...(await loadClientConfig({ relay: fixture.relayUrl })), directory: fixture.directory, token }, { warn: () => undefined }),
    get: async (path, accessToken) => {
      const response = await fetch(`${fixture.relayUrl}${path}`, { headers: { authorization: `Bearer ${accessToken}` } });
      return { status: response.status, body: (await response.json()) as ErrorBody & Record<string, unknown> };
    },
    reload: async () => relay?.reloadPolicy(),
    [Symbol.asyncDispose]: async () => {
      await fixture[Symbol.asyncDispose]();
      await Promise.all([forge, ...started].map((one) => one[Symbol.asyncDispose]()));
    },
  };
}

/** What the usual token of a platform says. */
export function usual(preset: PresetName): Record<string, unknown> {
  return sampleTokens[preset].claims();
}

/** The `sub` that the provider gives an account. */
export function subjectOf(account: string): string {
  return `acct-${createHash('sha256').update(account).digest('hex').slice(0, 16)}`;
}

/** A policy with one workload for the usual run of each platform, and one for the forge. `more` goes under `workloads:`. */
export function machinesPolicy(issuers: Machines['issuers'], forge: Forge, more = '', rest = ''): string {
  const account = (usual('kubernetes')['kubernetes.io'] as { serviceaccount: { uid: string } }).serviceaccount.uid;
  const { organization_id: organization, pipeline_id: pipeline } = usual('buildkite');
  return `
auditors: [audit]
issuers:
${presetNames.map((name) => `  ${name}: { preset: ${name}, url: '${issuers[name].url}', audience: ${audience} }`).join('\n')}
  forge: { url: '${forge.url}', jwksUrl: '${forge.url}/keys', audience: ${audience}, algorithms: [RS256, ES256], requiredClaims: [tenant] }
people:
  ada: { subject: ${subjectOf('engineer')}, accounts: { github-actions: 1815 } }
  olga: { subject: olga-7 }
workloads:
  migrate:
    issuer: github-actions
    claims:
      repository_id: 4711
      repository_owner_id: 9001
      ref: refs/heads/main
      ref_type: branch
      environment: production
      job_workflow_ref: acme/*/.github/workflows/migrate.yml@refs/heads/main
    groups: [engineering]
    owner: olga
    reasonFrom: '^(.+)'
    ticketFrom: '\\b(OPS-\\d+)\\b'
  merge: { issuer: gitlab-ci, groups: [engineering], claims: { project_id: 20, ref: main } }
  batch: { issuer: google, groups: [engineering], claims: { sub: '104479897743394244856', email: migrate@acme-prod.iam.gserviceaccount.com } }
  cron: { issuer: kubernetes, groups: [engineering], claims: { kubernetes.io/namespace: shop, kubernetes.io/serviceaccount/uid: ${account}, kubernetes.io/serviceaccount/name: migrate } }
  circle: { issuer: circleci, groups: [engineering], claims: { oidc.circleci.com/project-id: ${String(usual('circleci')['oidc.circleci.com/project-id'])}, oidc.circleci.com/vcs-origin: github.com/acme/shop, oidc.circleci.com/vcs-ref: refs/heads/main } }
  kite: { issuer: buildkite, groups: [engineering], claims: { organization_id: ${String(organization)}, pipeline_id: ${String(pipeline)}, build_branch: main } }
  apply: { issuer: terraform-cloud, groups: [engineering], claims: { terraform_organization_id: org-GRNbCjYNpBB6NEH9, terraform_workspace_id: ws-mbsd5E3Ktt5Rg2Xm } }
  machine: { issuer: generic, groups: [engineering], claims: { sub: machine-7 } }
  forged: { issuer: forge, groups: [engineering], claims: { sub: machine-9 } }
${more}
targets:
  prod-db:
    roles:
      engineer: { groups: [engineering], allow: [read, write], require: [reason] }
${rest}`;
}
