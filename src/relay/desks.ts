/** Puts together all that a caller of the API can reach: who calls, requests, sessions, grants. */
import { GateError } from '../errors/errors.ts';
import type { Notifier } from '../grant/request.ts';
import type { TokenVerifier } from '../oidc/verify.ts';
import type { Policy } from '../policy/policy.ts';
import type { ColumnSeal } from '../store/column-seal.ts';
import type { Database } from '../store/database.ts';
import { SqliteGrantStore } from '../store/grants.ts';
import type { Log } from '../store/log.ts';
import { SqlitePrincipalStore } from '../store/principals.ts';
import { SqliteRequestStore } from '../store/requests.ts';
import { WorkloadLoginStore } from '../store/workload-logins.ts';
import { Callers } from './callers.ts';
import type { RelayConfig } from './config.ts';
import { ScimDirectory, TokenDirectory } from './directories.ts';
import { Grants } from './grants.ts';
import type { SessionServices } from './live-session.ts';
import { LoginRefusals } from './login-refusals.ts';
import { RequestReader } from './request-reader.ts';
import { Requests } from './requests.ts';
import { Sessions } from './sessions.ts';
import { Standing } from './standing.ts';
import { StandingWatch } from './standing-watch.ts';
import { WorkloadLogins } from './workload-logins.ts';

export type Desks = {
  readonly callers: Callers;
  readonly workloads: WorkloadLogins;
  readonly requests: Requests;
  readonly reader: RequestReader;
  readonly sessions: Sessions;
  readonly grants: Grants;
  /** Looks at all live grants again, now and then and when it is told to. */
  readonly watch: StandingWatch;
  /** Where it is asked of people, beside what their tokens say. */
  readonly scim: ScimDirectory | undefined;
  /** Ends all connections and all waits, with a reason. */
  stop(): Promise<void>;
};

export type DesksOptions = {
  readonly config: RelayConfig;
  readonly policy: () => Policy;
  readonly database: Database;
  readonly columns: ColumnSeal;
  readonly recorder: Log;
  readonly verifier: TokenVerifier;
  readonly notifier: Notifier;
  readonly services: Omit<SessionServices, 'desk' | 'policy'>;
  readonly relayVersion: string;
};

/** Takes up the requests and sessions that the state holds. */
export async function openDesks(options: DesksOptions): Promise<Desks> {
  const { config, policy, database, columns, recorder, verifier, notifier, services, relayVersion } = options;
  const { log } = services;
  const stores = { grants: new SqliteGrantStore(database), requests: new SqliteRequestStore(database, columns) };
  const people = new SqlitePrincipalStore(database);
  const requests = await Requests.load({ store: stores.requests, people, recorder, policy, notifier, log });
  const sessions = await Sessions.load({
    config,
    store: stores.grants,
    recorder,
    services: { ...services, policy, desk: requests },
    relayVersion,
  });
  const scim = config.directory && new ScimDirectory(config.directory, log);
  const standing = new Standing({ policy, directory: scim ?? new TokenDirectory(people, config.issuer.url) });
  const grants = new Grants({ config, policy, stores, recorder, requests, sessions, standing });
  const watch = new StandingWatch({ store: stores.grants, grants, standing, sessions, everySeconds: config.standing.everySeconds, log });
  const { url: issuer, groupsMaxAge: groupsMaxAgeSeconds } = config.issuer;
  const refusals = new LoginRefusals(recorder);
  const workloads = new WorkloadLogins({ policy, peopleIssuer: issuer, store: new WorkloadLoginStore(database), people, recorder, refusals, log });
  return {
    callers: new Callers({ verifier, workloads, policy, people, recorder, refusals, issuer, groupsMaxAgeSeconds, log }),
    workloads,
    requests,
    reader: new RequestReader({ store: stores.requests, recorder, policy }),
    sessions,
    grants,
    watch,
    scim,
    stop: async () => {
      const stopping = new GateError('relay-stopping', 'the relay is stopping', { hint: 'Connect again in a moment.' });
      await watch.stop();
      await sessions.stop(stopping);
      requests.stop(stopping);
      await refusals.close();
    },
  };
}
