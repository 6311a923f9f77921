/** Puts the service together: state, record, parser, sessions, server; and takes it apart in the reverse order. */
import { join } from 'node:path';
import { version } from '../../package.json';
import { TokenVerifier } from '../oidc/verify.ts';
import type { Policy } from '../policy/policy.ts';
import { openDatabase } from '../store/database.ts';
import { loadLogSecrets } from '../store/log-secrets.ts';
import { Outbox } from '../store/outbox.ts';
import { keepPolicy } from '../store/policy-files.ts';
import { SqliteRequestStore } from '../store/requests.ts';
import { openStateDirectory } from '../store/state-directory.ts';
import { CancelKeys } from './cancel-keys.ts';
import { Catalogs } from './catalogs.ts';
import type { RelayConfig, Target } from './config.ts';
import { openDesks } from './desks.ts';
import { finishShredding } from './erasure.ts';
import { loadMaskKey } from './mask-key.ts';
import { MaskPlans } from './mask-plans.ts';
import { Notifications } from './notifications.ts';
import { StatementParser } from './parsing.ts';
import { eraseStateOf } from './erase-state.ts';
import { openFront } from './front.ts';
import { openRecord } from './open-record.ts';
import { PolicySource } from './policy-source.ts';
import type { RelayLog } from './relay-log.ts';
import { startRetention } from './retention.ts';
import { createRoutes } from './routes.ts';

export type Relay = {
  readonly url: string;
  readonly port: number;
  /** Reads the policy file again; one that is not valid changes nothing. */
  reloadPolicy(): Promise<void>;
  /** Ends all connections with a reason, writes what waits, and lets go of the state. */
  stop(): Promise<void>;
};

/**
 * `parserWorker`: the built parser-worker.ts, where this does not run from the build that it stands in. `workers`: how
 * many processes serve the tunnels; 1: this one.
 */
export async function startRelay(config: RelayConfig, log: RelayLog, parserWorker?: URL, workers = 1): Promise<Relay> {
  const closers: (() => Promise<void>)[] = [];
  const close = async () => {
    for (let closer = closers.pop(); closer !== undefined; closer = closers.pop()) await closer();
  };
  let isStopping = false;
  try {
    const state = await openStateDirectory(config.stateDirectory);
    closers.push(() => state.close());
    const database = await openDatabase(state);
    closers.push(() => database.destroy());
    const secrets = await loadLogSecrets(join(state.path, 'log'), undefined, config.record);
    const outbox = new Outbox(database, secrets.columns);
    const notifications = await Notifications.start({
      sinks: config.notifications,
      outbox,
      log,
      relayVersion: version,
    });
    closers.push(() => notifications.stop());
    const record = await openRecord(state.path, secrets, config.record, log);
    closers.push(() => record.close());
    const { recorder } = record;
    recorder.keys.onShred = eraseStateOf(recorder, { database, requests: new SqliteRequestStore(database, secrets.columns), outbox });
    await finishShredding(recorder);
    const isOpen = (id: string) => recorder.openSessions().includes(id);
    const retention = startRetention({ log: recorder, keys: recorder.keys, retention: config.record.retention, isOpen, relayLog: log });
    closers.push(() => retention.stop());
    const keep = (one: Policy) => keepPolicy(join(state.path, 'policies'), one);
    const parser = await StatementParser.load(parserWorker);
    closers.push(() => parser.close());
    const verifier = new TokenVerifier(config.issuer);
    const policies = await PolicySource.start({ file: config.policyFile, policy: config.policy, recorder, keep, log });
    closers.push(async () => policies.close());
    const policy = () => policies.current;
    const catalogs = new Catalogs(log);
    closers.push(() => catalogs.close());
    const services = {
      parser,
      cancelKeys: new CancelKeys(),
      catalogOf: (target: Target) => catalogs.of(target),
      maskPlans: new MaskPlans(parser, log),
      maskKey: await loadMaskKey(state.path),
      log,
    };
    const desks = await openDesks({ columns: secrets.columns, config, policy, database, recorder, verifier, notifier: notifications, services, relayVersion: version });
    closers.push(() => desks.stop());
    desks.watch.start();
    policies.onChange(() => desks.watch.hurry());
    const shared = { ...desks, services, config, log, isStopping: () => isStopping };
    const app = createRoutes({ ...shared, database, verifier, policies, recorder, witnesses: record.witnesses, version });
    const server = await openFront({ ...shared, app, workers, policies, recorder, catalogs, desk: desks.requests, maskKey: services.maskKey });
    // The server lets nobody in any more, but its sockets live until the sessions have said why they end.
    closers.splice(-1, 0, () => server.close());
    const scheme = config.tls ? 'https' : 'http';
    const host = config.listen.host.includes(':') ? `[${config.listen.host}]` : config.listen.host;
    return {
      url: `${scheme}://${host}:${server.port}`,
      port: server.port,
      reloadPolicy: () => policies.reload(),
      stop: async () => {
        isStopping = true;
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
