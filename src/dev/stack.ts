/** The whole of gate on one machine: OIDC provider, PostgreSQL with the shop, and a relay in a process of its own. */
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GateError } from '../errors/errors.ts';
import { DEMO_ACCOUNTS, type Account } from './accounts.ts';
import { findFreePort, isPortFree } from './ports.ts';
import { startPostgres, type Postgres } from './postgres.ts';
import { startProvider, type Provider } from './provider.ts';
import { findTemporaryRoot, unprivilegedIdentity } from './reach.ts';
import { createShop } from './shop.ts';
import {
  makeStateDirectory,
  parseTarget,
  readRemembered,
  saveRemembered,
  writePolicyFile,
  writeRelayFile,
  type AddedTarget,
  type DemoTarget,
  type Remembered,
} from './stack-files.ts';
import { Supervisor, type ChildExit } from './supervisor.ts';

export type StackOptions = {
  /** The program that understands `relay --config …`, for example [process.execPath, 'dist/gate.cjs']. */
  readonly program: readonly [string, ...string[]];
  /** Kept between runs, with the same database, keys and (where free) ports. Default: temporary, removed at the end. */
  readonly stateDirectory?: string;
  /** Of the relay. Must be free. Default: the last one on this state directory, else any. */
  readonly port?: number;
  /** More databases, with the roles of the demo. */
  readonly targets?: readonly AddedTarget[];
  /** Replaces the demo's policy. */
  readonly policyFile?: string;
  /** What the demo's policy says of machines: issuers, workloads, people. */
  readonly machines?: Readonly<Record<string, unknown>>;
  /** A server that is there already; it is not stopped with the stack. */
  readonly postgres?: Postgres;
  /** For a server that is started here, as in postgresql.conf. */
  readonly postgresSettings?: Readonly<Record<string, string>>;
  readonly accessTokenSeconds?: number;
  /** How often a login asks whether it was confirmed. Default one second. */
  readonly pollSeconds?: number;
  /** How old tokens may be with which something is decided: "24h". The relay's default without it. */
  readonly groupsMaxAge?: string;
  /** The relay died without being asked to. */
  readonly onRelayExit?: (exit: ChildExit) => void;
};

export type Stack = {
  readonly relayUrl: string;
  readonly issuer: string;
  readonly accounts: readonly Account[];
  readonly targets: readonly string[];
  readonly stateDirectory: string;
  readonly relayLog: string;
  readonly postgres: Postgres;
  readonly provider: Provider;
  relayPid(): number;
  /** Resolves when a relay serves: at once, or after the restart that follows a death. */
  relayReady(): Promise<void>;
  restartRelay(): Promise<void>;
  /** Resolves when the relay has taken up the policy file as it stands now. */
  policyTaken(): Promise<void>;
  /** Relay first, then provider and database. Idempotent. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

const TARGET = 'prod-db';
const CLIENT_ID = 'gate-cli';
const AUDIENCE = 'gate-relay';
const RELAY_ATTEMPTS_MAX = 5;

/** Resolves when the relay serves. If a part fails, the parts before it are stopped and nothing is left behind. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const added = (options.targets ?? []).map(parseTarget);
  expectDistinct([TARGET, ...added.map(({ name }) => name)]);
  if (options.port !== undefined && !(await isPortFree(options.port))) {
    throw new GateError('usage', `Port ${options.port} is in use.`, { hint: 'Choose another with --port.' });
  }
  const undo: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    const { directory, isTemporary } = await openStateDirectory(options.stateDirectory);
    if (isTemporary) undo.push(() => rm(directory, { recursive: true, force: true }));
    const remembered = await readRemembered(directory);
    const [postgres, provider] = await startParts({ options, directory, isTemporary, remembered, undo });
    const shop = await createShop(postgres);
    const shopTarget: DemoTarget = {
      name: TARGET,
      description: 'the demo shop',
      host: postgres.host,
      port: postgres.port,
      ...shop,
      tls: 'disable',
    };
    const plan: RelayPlan = { options, directory, remembered, provider, postgres, targets: [shopTarget, ...added] };
    const relay = await startRelay(plan);
    undo.push(() => relay.stop());
    const { url } = await relay.ready();
    return {
      relayUrl: url,
      issuer: provider.issuer,
      accounts: DEMO_ACCOUNTS,
      targets: plan.targets.map(({ name }) => name),
      stateDirectory: directory,
      relayLog: join(directory, 'relay.log'),
      postgres,
      provider,
      relayPid: () => relay.pid,
      relayReady: async () => void (await relay.ready()),
      restartRelay: async () => void (await relay.restart()),
      policyTaken: () => policyTaken(directory, join(directory, 'policy.yaml')),
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The relay keeps each policy that it has taken up, under its hash. */
async function policyTaken(directory: string, file: string): Promise<void> {
  const digest = createHash('sha256').update(await readFile(file)).digest('hex');
  const kept = join(directory, 'relay', 'policies', `${digest}.yaml`);
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await stat(kept).then(() => true, () => false)) return;
    await sleep(100);
  }
  throw new GateError('internal', 'the relay has not taken up the policy file in 20 s; its log says why');
}

function expectDistinct(names: readonly string[]): void {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new GateError('usage', `There are two targets named ${twice}.`);
}

async function openStateDirectory(wanted: string | undefined): Promise<{ directory: string; isTemporary: boolean }> {
  if (wanted !== undefined) return { directory: await makeStateDirectory(wanted), isTemporary: false };
  const identity = unprivilegedIdentity();
  const root = identity === undefined ? tmpdir() : await findTemporaryRoot(identity);
  const directory = await mkdtemp(join(root, 'gate-dev-'));
  // PostgreSQL keeps its own temporary directory then, so nobody else has to pass through this one.
  await makeStateDirectory(directory);
  await chmod(directory, 0o700);
  return { directory, isTemporary: true };
}

type PartsPlan = {
  readonly options: StackOptions;
  readonly directory: string;
  readonly isTemporary: boolean;
  readonly remembered: Remembered;
  readonly undo: (() => Promise<void>)[];
};

async function startParts(plan: PartsPlan): Promise<[Postgres, Provider]> {
  const { options, directory, isTemporary, remembered, undo } = plan;
  const { ports } = remembered;
  let { postgres } = options;
  if (postgres === undefined) {
    const started = await startPostgres({
      // Without a directory of its own the server may skip what only a crash of the machine would need.
      ...(!isTemporary && { directory: join(directory, 'postgres') }),
      ...(ports && { port: ports.postgres }),
      ...(options.postgresSettings && { settings: options.postgresSettings }),
    });
    undo.push(() => started.stop());
    postgres = started;
  }
  const lastPort = ports && (await isPortFree(ports.provider)) ? ports.provider : undefined;
  const provider = await startProvider({
    accounts: DEMO_ACCOUNTS,
    audience: AUDIENCE,
    clientId: CLIENT_ID,
    stateFile: join(directory, 'secrets', 'provider.json'),
    ...(lastPort !== undefined && { port: lastPort }),
    ...(options.accessTokenSeconds !== undefined && { accessTokenSeconds: options.accessTokenSeconds }),
    ...(options.pollSeconds !== undefined && { pollSeconds: options.pollSeconds }),
  });
  undo.push(() => provider.stop());
  return [postgres, provider];
}

type RelayPlan = {
  readonly options: StackOptions;
  readonly directory: string;
  readonly remembered: Remembered;
  readonly provider: Provider;
  readonly postgres: Postgres;
  readonly targets: readonly DemoTarget[];
};

/** The relay's port is chosen here, so that a restart finds the same one; a lost race for it is run again. */
async function startRelay(plan: RelayPlan): Promise<Supervisor> {
  const { options, directory, remembered, provider, targets } = plan;
  const policyHash =
    options.policyFile === undefined
      ? await writePolicyFile(directory, { targets, lastHash: remembered.policyHash, machines: options.machines })
      : remembered.policyHash;
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await findFreePort(attempt === 1 ? remembered.ports?.relay : undefined));
    const config = await writeRelayFile({
      directory,
      port,
      issuer: provider.issuer,
      clientId: CLIENT_ID,
      audience: AUDIENCE,
      targets,
      ...(options.policyFile !== undefined && { policyFile: options.policyFile }),
      ...(options.groupsMaxAge !== undefined && { groupsMaxAge: options.groupsMaxAge }),
    });
    try {
      const relay = await Supervisor.start({
        command: [...options.program, 'relay', '--config', config, '--json', '--watch-stdin'],
        logFile: join(directory, 'relay.log'),
        ...(options.onRelayExit && { onExit: options.onRelayExit }),
      });
      const ports = { relay: port, provider: provider.port, postgres: plan.postgres.port };
      await saveRemembered(directory, { ports, ...(policyHash !== undefined && { policyHash }) });
      return relay;
    } catch (error) {
      const hasLostRace = options.port === undefined && !(await isPortFree(port));
      if (!hasLostRace || attempt === RELAY_ATTEMPTS_MAX) throw error;
    }
  }
}
