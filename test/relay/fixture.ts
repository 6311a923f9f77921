/** A whole relay in this process: real OIDC provider, real PostgreSQL, real sockets; for tests of the data path. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import type { TunnelNews } from '../../src/api/api.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { startLocalPort, type LocalPort } from '../../src/client/local-port.ts';
import { openSession, type OpenSession } from '../../src/client/session.ts';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { loadClientConfig } from '../../src/client/config.ts';
import { DEMO_ACCOUNTS } from '../../src/dev/accounts.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { startProvider, type Provider } from '../../src/dev/provider.ts';
import { startDeviceLogin } from '../../src/oidc/device-login.ts';
import { loadRelayConfig } from '../../src/relay/config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { startRelay, type Relay } from '../../src/relay/relay.ts';
import { parserWorker } from './parser-worker.ts';

export type RelayFixture = {
  readonly postgres: Postgres;
  readonly provider: Provider;
  readonly relayUrl: string;
  readonly directory: string;
  /** As the superuser, past the relay: to ask the database what really happened. */
  readonly admin: Client;
  clientFor(account: string): Promise<RelayClient>;
  /** Logs in anew, so with the groups of now; `clientFor` stays with it. */
  logInAgain(account: string): Promise<RelayClient>;
  /** A session with a local port, as `gate connect` opens it. */
  connect(account?: string, role?: string, durationSeconds?: number, target?: string, waitSeconds?: number): Promise<OpenTunnel>;
  entries(session: string): Promise<AuditEntry[]>;
  stopRelay(): Promise<void>;
  startRelay(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

export type OpenTunnel = {
  readonly session: OpenSession;
  readonly port: LocalPort;
  readonly broken: string[];
  /** What the relay said beside the bytes. */
  readonly news: TunnelNews[];
  /** A connected node-postgres client through the port; ended with the fixture. */
  client(overrides?: object): Promise<Client>;
  url: string;
};

export const fixturePolicy = `
auditors: [audit]
targets:
  prod-db:
    roles:
      engineer: { groups: [engineering], allow: [read, write], require: [reason], maxDuration: 8h }
      reader: { groups: [engineering, operations], allow: [read], maxDuration: 8h }
      dba: { groups: [dba], allow: [read, write, schema, admin, unknown], maxDuration: 1h }
`;

const schema = `
create table items (id int primary key, name text not null, data bytea);
insert into items select n, 'item ' || n from generate_series(1, 100) n;
create role gate_relay login superuser password 'upstream-canary-7261';
`;

/** A directory with bin/postgres of another major version, to run the same tests on. */
const otherServer = process.env['GATE_TEST_POSTGRES'];

export type FixtureOptions = {
  /** Where relay.yaml, the password and the state go; kept by the caller. Default: temporary. */
  readonly directory?: string;
  /** How a relay is started from relay.yaml on a port (0 for any). Default: in this process. */
  readonly start?: (configFile: string, port: number) => Promise<Relay>;
  /** More targets, as lines of relay.yaml; @PORT@ is that of the server. */
  readonly targets?: string;
  readonly policy?: string;
  /** The section `record` of relay.yaml, in one line. */
  readonly record?: string;
  /** How old tokens may be; default: as old as any test. */
  readonly groupsMaxAge?: string;
};

export async function startRelayFixture(options: FixtureOptions = {}): Promise<RelayFixture> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'gate-relay-test-')));
  const [postgres, provider] = await Promise.all([
    startPostgres({ settings: { log_statement: 'all' }, ...(otherServer !== undefined && { binaries: otherServer }) }),
    startProvider({ accounts: DEMO_ACCOUNTS, audience: 'gate-relay', clientId: 'gate-cli', pollSeconds: 0.01 }),
  ]);
  const admin = new Client({ connectionString: postgres.url('postgres') });
  admin.on('error', () => undefined);
  await admin.connect();
  await admin.query(schema);
  await writeFile(join(directory, 'password'), 'upstream-canary-7261', { mode: 0o600 });
  await writeFile(join(directory, 'policy.yaml'), options.policy ?? fixturePolicy);
  await writeFile(
    join(directory, 'relay.yaml'),
    `listen: 127.0.0.1:0
stateDirectory: ./state
policyFile: ./policy.yaml
record: ${options.record ?? '{ reserveMegabytes: 0 }'}
issuer: { url: '${provider.issuer}', clientId: gate-cli, audience: gate-relay, groupsMaxAge: ${options.groupsMaxAge ?? '24h'} }
targets:
  prod-db: { host: 127.0.0.1, port: ${postgres.port}, database: postgres, user: gate_relay, passwordFile: ./password, tls: disable }
${(options.targets ?? '').replaceAll('@PORT@', String(postgres.port))}`,
  );
  const ends: (() => Promise<unknown>)[] = [];
  const tokens = new Map<string, Promise<string>>();
  let relay: Relay | undefined;
  const startOwnRelay = async () => {
    relay = await (options.start ?? startInProcess)(join(directory, 'relay.yaml'), relay?.port ?? 0);
  };
  await startOwnRelay();

  const clientFor = async (account: string) => {
    if (!tokens.has(account)) tokens.set(account, logIn(provider, account));
    const config = await loadClientConfig({ relay: relay?.url as string });
    return createRelayClient({ ...config, directory, token: await (tokens.get(account) as Promise<string>) }, { warn: () => undefined });
  };
  const fixture: RelayFixture = {
    postgres,
    provider,
    directory,
    admin,
    clientFor,
    logInAgain: (account) => {
      tokens.delete(account);
      return clientFor(account);
    },
    get relayUrl() {
      return relay?.url as string;
    },
    connect: async (account = 'engineer', role, durationSeconds, target = 'prod-db', waitSeconds) => {
      const client = await clientFor(account);
      const wish = {
        target,
        reason: 'testing',
        ...(role !== undefined && { role }),
        ...(durationSeconds !== undefined && { durationSeconds }),
      };
      const session = await openSession(client, 'connect', wish, waitSeconds);
      const broken: string[] = [];
      const news: TunnelNews[] = [];
      const port = await startLocalPort({
        relay: client.url,
        session: session.id,
        accessToken: () => client.accessToken(),
        listen: { port: 0 },
        onBroken: (reason) => broken.push(reason),
        onNews: (one) => news.push(one),
      });
      ends.push(() => port.close());
      const connection = { host: port.host, port: port.port, user: session.user, password: session.password, database: session.database };
      return {
        session,
        port,
        broken,
        news,
        url: `postgresql://${session.user}:${session.password}@${port.host}:${port.port}/${session.database}`,
        client: async (overrides = {}) => {
          const pg = new Client({ ...connection, ...overrides });
          pg.on('error', () => undefined);
          await pg.connect();
          ends.push(() => pg.end().catch(() => undefined));
          return pg;
        },
      };
    },
    entries: async (session) => {
      const entries: AuditEntry[] = [];
      for await (const entry of (await clientFor('operator')).entries(session)) entries.push(entry);
      return entries;
    },
    stopRelay: async () => relay?.stop(),
    startRelay: startOwnRelay,
    [Symbol.asyncDispose]: async () => {
      for (const end of ends.toReversed()) await end();
      await relay?.stop();
      await admin.end().catch(() => undefined);
      await Promise.all([postgres.stop(), provider.stop()]);
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
  return fixture;
}

async function startInProcess(configFile: string, port: number): Promise<Relay> {
  const config = await loadRelayConfig(configFile);
  return startRelay({ ...config, listen: { ...config.listen, port } }, createRelayLog('silent'), parserWorker);
}

async function logIn(provider: Provider, account: string): Promise<string> {
  const device = await startDeviceLogin({ issuer: provider.issuer, clientId: 'gate-cli', scopes: ['openid', 'offline_access'] });
  await approveDevice({ verificationUri: device.verificationUri, userCode: device.userCode, account, decision: 'approve' });
  return (await device.wait(AbortSignal.timeout(60_000))).accessToken;
}

/** Waits until a condition holds; fails with its description after a while that is longer than any machine needs. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > giveUp) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
