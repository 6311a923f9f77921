/** A worker of the relay as a process: accepts on the shared port, serves the tunnels of its sessions, passes requests on. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { GateError } from '../errors/errors.ts';
import { parsePolicy, type Policy } from '../policy/policy.ts';
import { CancelKeys } from './cancel-keys.ts';
import { Catalogs } from './catalogs.ts';
import { forwardRequest } from './forward.ts';
import { Journal } from './journal.ts';
import { LiveSession, type SessionServices } from './live-session.ts';
import { MaskPlans } from './mask-plans.ts';
import { StatementParser } from './parsing.ts';
import { errorAcross, Peer } from './peer.ts';
import { createRelayLog, type RelayLog } from './relay-log.ts';
import { RemoteRecorder, remoteDesk } from './remote-services.ts';
import { startServer, type RelayServer } from './server.ts';
import type { Asking, Elsewhere, Handed, PrimaryCalls, WorkerCalls, WorkerSettings } from './worker-calls.ts';

/** The sessions that this worker serves. */
const live = new Map<string, LiveSession>();
let settings: WorkerSettings | undefined;
let services: SessionServices | undefined;
let policy: Policy | undefined;
let log: RelayLog | undefined;
let catalogs: Catalogs | undefined;
let servers: readonly RelayServer[] = [];
let isStopping = false;

const answers: WorkerCalls = {
  start,
  serveSession: ({ session, numbers, waitSeconds }: Handed) => {
    const target = settings?.config.targets.get(session.grant.target);
    if (target === undefined || services === undefined) throw new GateError('target-unknown', `the target "${session.grant.target}" is not configured`);
    const journal = new Journal(session.id, new RemoteRecorder(primary), numbers, target.durability);
    live.set(session.id, new LiveSession(session, target, journal, services, waitSeconds));
  },
  setPolicy: (text) => {
    policy = parsePolicy(text, 'the policy of the relay');
  },
  endSession: async (id, error) => {
    const session = live.get(id);
    live.delete(id);
    await session?.end(errorAcross.unpack(error));
  },
  catalogChanged: (target) => catalogs?.noteChange(target),
  stop: async () => {
    isStopping = true;
    await Promise.all(servers.map((server) => server.close()));
    await catalogs?.close();
  },
};
const primary = new Peer<PrimaryCalls>(
  {
    // Without the primary this process ends at once (node:cluster), so nothing goes on that is not recorded.
    send: (message) => process.send?.(message, undefined, undefined, () => undefined),
    onMessage: (listener) => process.on('message', listener),
  },
  answers,
  (error) => log?.error({ err: error }, 'what the relay asked its worker for failed'),
);

// A terminal or a service manager may signal the whole group: it is the primary that stops its workers, in order.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

async function start(given: WorkerSettings): Promise<number> {
  settings = given;
  const { config, maskKey, logLevel, apiSocket, ownSocket, socketsMax } = given;
  policy = parsePolicy(given.policy, config.policyFile);
  const ownLog = (log = createRelayLog(logLevel));
  const ownCatalogs = (catalogs = new Catalogs(ownLog, (target) => void primary.call('catalogChanged', [target]).catch(() => undefined)));
  const parser = await StatementParser.load();
  services = {
    policy: () => policy as Policy,
    parser,
    cancelKeys: new CancelKeys(),
    desk: remoteDesk(primary),
    catalogOf: (target) => ownCatalogs.of(target),
    maskPlans: new MaskPlans(parser, ownLog),
    maskKey: Buffer.from(maskKey),
    log: ownLog,
  };

  const shared = {
    answer: (request: IncomingMessage, response: ServerResponse) => forwardRequest(request, response, apiSocket, ownLog),
    openTunnel,
    socketsMax,
    log: ownLog,
    isStopping: () => isStopping,
  };
  const own = await startServer({ ...shared, listen: { path: ownSocket } });
  const server = await startServer({ ...shared, listen: config.listen, ...(config.tls && { tls: config.tls }) });
  servers = [own, server];
  return server.port;
}

async function openTunnel(asking: Asking, id: string): Promise<LiveSession | Elsewhere> {
  const elsewhere = await primary.call('open', [asking, id]);
  if (elsewhere !== undefined) return elsewhere;
  const session = live.get(id);
  // It has ended since the primary answered; whoever asks again hears why.
  if (session === undefined) throw new GateError('relay-stopping', 'the session is ending', { hint: 'Connect again in a moment.' });
  return session;
}
