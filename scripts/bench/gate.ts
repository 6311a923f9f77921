/** Gate as it is run: an OIDC provider, relays as processes of their own, and `gate connect` for each way. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { loadClientConfig } from '../../src/client/config.ts';
import { createLocalIdentity } from '../../src/client/local-ca.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { findFreePort } from '../../src/dev/ports.ts';
import { startProvider, type Provider } from '../../src/dev/provider.ts';
import { makeStateDirectory, writeRelayFile, type DemoTarget } from '../../src/dev/stack-files.ts';
import { startDeviceLogin } from '../../src/oidc/device-login.ts';
import type { Cleanup } from './cleanup.ts';
import { readLines, startChild } from './processes.ts';
import type { Way } from './way.ts';

const root = join(import.meta.dirname, '..', '..');
export const program: readonly [string, string] = [process.execPath, join(root, 'dist', 'gate.cjs')];
const clientId = 'gate-cli';
const audience = 'gate-relay';
const scopes = ['openid', 'profile', 'offline_access'];
/** Longer than any run. */
const tokenSeconds = 24 * 3600;

/** People to log in as; the relay gives each of them a limited number of sessions. */
export const accountsMax = 45;
export const accountName = (index: number): string => `bench-${String(index).padStart(2, '0')}`;

export type People = { readonly provider: Provider; tokenOf(account: string): Promise<string> };

export async function startPeople(cleanup: Cleanup): Promise<People> {
  const accounts = Array.from({ length: accountsMax }, (_, index) => {
    const name = accountName(index);
    return { name, groups: ['engineering'], fullName: name, email: `${name}@example.com` };
  });
  const provider = await startProvider({ accounts, audience, clientId, accessTokenSeconds: tokenSeconds });
  cleanup.add(() => provider.stop());
  const tokens = new Map<string, Promise<string>>();
  const logIn = async (account: string): Promise<string> => {
    const device = await startDeviceLogin({ issuer: provider.issuer, clientId, scopes });
    await approveDevice({ verificationUri: device.verificationUri, userCode: device.userCode, account, decision: 'approve' });
    return (await device.wait(AbortSignal.timeout(60_000))).accessToken;
  };
  return {
    provider,
    tokenOf: (account) => {
      let token = tokens.get(account);
      if (token === undefined) tokens.set(account, (token = logIn(account)));
      return token;
    },
  };
}

export type RelayOptions = {
  readonly people: People;
  /** Made if need be; the relay's state and record go below it. */
  readonly directory: string;
  readonly targets: readonly DemoTarget[];
  readonly policy: object;
  /** The relay speaks TLS, and its clients trust it. */
  readonly usesTls?: boolean;
  /** Goes before the relay's own command line: a tracer. */
  readonly wrapper?: readonly string[];
  readonly nodeOptions?: readonly string[];
};

export type GateRelay = {
  readonly url: string;
  readonly pid: number;
  readonly directory: string;
  /** One `gate connect` process with a port for each target. */
  connect(targets: readonly string[], options?: { readonly account?: string; readonly name?: string; readonly nodeOptions?: readonly string[] }): Promise<Way[]>;
  /** The relay's API, in this process. */
  clientOf(account: string): Promise<RelayClient>;
  environmentOf(account: string): Promise<NodeJS.ProcessEnv>;
};

export async function startGateRelay(cleanup: Cleanup, options: RelayOptions): Promise<GateRelay> {
  const { people, targets, policy } = options;
  const directory = await makeStateDirectory(options.directory);
  const policyFile = join(directory, 'policy.yaml');
  writeFileSync(policyFile, stringify(policy, { aliasDuplicateObjects: false }));
  const identity = options.usesTls === true ? await writeIdentity(directory) : undefined;
  const config = await writeRelayFile({
    directory,
    ...(identity && { tls: { certificateFile: identity.certificateFile, keyFile: identity.keyFile } }),
    port: await findFreePort(),
    issuer: people.provider.issuer,
    clientId,
    audience,
    targets,
    policyFile,
    groupsMaxAge: '24h',
  });
  const [node, script] = program;
  const command = [...(options.wrapper ?? []), node, ...(options.nodeOptions ?? []), script, 'relay', '--config', config, '--json', '--watch-stdin'];
  const child = startChild(command, { cleanup, logFile: join(directory, 'relay.log') });
  const [ready] = await readLines(child, 1, readyOfRelay);
  if (ready === undefined) throw new Error('the relay did not say that it is ready');
  const environmentOf = async (account: string): Promise<NodeJS.ProcessEnv> => {
    const configDirectory = join(directory, `config-${account}`);
    mkdirSync(configDirectory, { recursive: true, mode: 0o700 });
    return { ...process.env, GATE_RELAY: ready.url, GATE_TOKEN: await people.tokenOf(account), GATE_CONFIG_DIR: configDirectory, GATE_KEYCHAIN: 'off', ...(identity && { NODE_EXTRA_CA_CERTS: identity.caFile }) };
  };
  return {
    url: ready.url,
    pid: ready.pid,
    directory,
    environmentOf,
    connect: async (names, { account = accountName(0), name = 'gate', nodeOptions = [] } = {}) => {
      const words = [node, ...nodeOptions, script, 'connect', ...names, '--json', '--reason', 'benchmark', '--port', '0', '--watch-stdin'];
      const local = startChild(words, { cleanup, env: await environmentOf(account), logFile: join(directory, 'connect.log') });
      const ways = await readLines(local, names.length, readyOfConnect);
      return names.map((target) => {
        const way = ways.find((one) => one.target === target);
        if (way === undefined) throw new Error(`gate connect opened no port for ${target}`);
        const { host, port, user, password, database } = way;
        return { name, host, port, user, password, database, pids: { local: local.pid ?? 0, relay: ready.pid } };
      });
    },
    clientOf: async (account) => {
      const environment = await environmentOf(account);
      return createRelayClient(await loadClientConfig({ relay: ready.url }, environment), { warn: () => undefined });
    },
  };
}

/** A certificate for this machine's names, of an authority of its own. */
async function writeIdentity(directory: string): Promise<{ certificateFile: string; keyFile: string; caFile: string }> {
  const { key, cert, caFile } = await createLocalIdentity({ directory, isKeychainWanted: false }, new Date(Date.now() + tokenSeconds * 1000));
  const files = { certificateFile: join(directory, 'certificate.pem'), keyFile: join(directory, 'key.pem') };
  writeFileSync(files.certificateFile, cert);
  writeFileSync(files.keyFile, key, { mode: 0o600 });
  return { ...files, caFile };
}

type ConnectEvent = { readonly event: string; readonly target: string } & Omit<Way, 'name' | 'pids'>;

function readyOfConnect(line: string): ConnectEvent | undefined {
  const event = JSON.parse(line) as ConnectEvent;
  return event.event === 'ready' ? event : undefined;
}

function readyOfRelay(line: string): { readonly url: string; readonly pid: number } | undefined {
  const event = JSON.parse(line) as { event: string; url: string; pid: number };
  return event.event === 'ready' ? event : undefined;
}
