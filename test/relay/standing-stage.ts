/** The desks of a relay with a real state and a real record, and a policy that a test changes; no server, no database. */
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { decisionsChain, type Event } from '../../src/audit/entry.ts';
import type { Grant } from '../../src/grant/grant.ts';
import type { TokenVerifier } from '../../src/oidc/verify.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import type { Link, Principal } from '../../src/principal/principal.ts';
import type { RelayConfig } from '../../src/relay/config.ts';
import { openDesks, type Desks, type DesksOptions } from '../../src/relay/desks.ts';
import type { DirectoryConfig } from '../../src/relay/directory-config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { ColumnSeal } from '../../src/store/column-seal.ts';
import { openDatabase, type Database } from '../../src/store/database.ts';
import { SqliteGrantStore } from '../../src/store/grants.ts';
import { openLog } from '../../src/store/log.ts';
import { SqlitePrincipalStore } from '../../src/store/principals.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';
import { temporaryDirectory } from '../store/temporary-directory.ts';

export const ownIssuer = 'https://id.example.com';

export type StandingStage = Desks & {
  readonly store: SqliteGrantStore;
  readonly people: SqlitePrincipalStore;
  readonly database: Database;
  setPolicy(text: string): void;
  /** A grant of an hour that is there already. */
  grantTo(principal: Principal, more?: Partial<Grant>): Promise<Grant>;
  /** What stands in the record beside the sessions. */
  decisions(): Promise<Event[]>;
};

export async function openStandingStage(policyText: string, directory?: DirectoryConfig): Promise<StandingStage> {
  const state = await openStateDirectory(join(await temporaryDirectory(), 'state'));
  const database = await openDatabase(state);
  const recorder = await openLog(join(state.path, 'log'));
  let policy = parsePolicy(policyText, 'policy.yaml');
  const config = {
    targets: new Map([['prod-db', { name: 'prod-db', database: 'app' }]]),
    issuer: { url: ownIssuer, groupsMaxAge: 300 },
    standing: { everySeconds: 300 },
    ...(directory && { directory }),
  } as unknown as RelayConfig;
  const desks = await openDesks({
    config,
    policy: () => policy,
    database,
    columns: new ColumnSeal(Buffer.alloc(32)),
    recorder,
    verifier: {} as TokenVerifier,
    notifier: { notify: () => Promise.resolve() },
    services: { log: createRelayLog('silent') } as DesksOptions['services'],
    relayVersion: '0',
  });
  onTestFinished(async () => {
    await desks.stop();
    await recorder.close();
    await database.destroy();
    await state.close();
  });
  const store = new SqliteGrantStore(database);
  let number = 0;
  return {
    ...desks,
    store,
    people: new SqlitePrincipalStore(database),
    database,
    setPolicy: (text) => (policy = parsePolicy(text, 'policy.yaml')),
    grantTo: async (principal, more = {}) => {
      const now = Date.now();
      const grant: Grant = { id: `g_${++number}`, principal, target: 'prod-db', role: 'reader', createdAt: new Date(now - 1000), expiresAt: new Date(now + 3_600_000), ...more };
      await store.saveGrant(grant);
      return grant;
    },
    decisions: async () => {
      const events: Event[] = [];
      for await (const { event } of recorder.entries(decisionsChain)) events.push(event);
      return events;
    },
  };
}

export function link(kind: Link['kind'], value: string, more: Partial<Link> = {}): Link {
  return { kind, value, strength: 'verified', source: 'token', ...more };
}

export function human(subject: string, ...groups: string[]): Principal {
  return { issuer: ownIssuer, subject, kind: 'human', name: subject, groups };
}

/** A run of this workload of the policy. */
export function workload(name: string, groups: readonly string[], ...chain: Link[]): Principal {
  return { issuer: 'https://ci.example.com', subject: `repo:1:${name}`, kind: 'workload', name: `ci ${name}`, groups, chain: [link('workload', name), ...chain] };
}
