/** What an idle tunnel costs in memory, through the floor and through gate, and an idle session at the relay. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openSession } from '../../src/client/session.ts';
import type { Cleanup } from './cleanup.ts';
import { startDatabase } from './database.ts';
import { startFloor } from './floor.ts';
import { accountName, accountsMax, startGateRelay } from './gate.ts';
import type { Stage } from './stage.ts';
import { openFilesMax, residentBytes } from './processes.ts';
import { policyOf, targetTo } from './policies.ts';
import type { Way } from './way.ts';
import { WireClient } from './wire.ts';

/** Below the relay's `connectionsPerSessionMax`, with room for one that is about to close. */
const tunnelsPerSession = 95;
/** Below the relay's `sessionsPerPrincipalMax`. */
const sessionsPerAccount = 45;
/** Tunnels that are opened at the same time. */
const openingMax = 8;
/** After which garbage of the opening is mostly gone, as far as V8 finds it worth its while. */
const settleMs = (isQuick: boolean): number => (isQuick ? 1000 : 5000);

export type IdleResult = {
  readonly wanted: number;
  readonly tunnels: readonly { readonly way: string; readonly held: number; readonly relayKiB: number; readonly localKiB: number; readonly relayMiB: number; readonly localMiB: number }[];
  readonly sessions: { readonly held: number; readonly relayKiB: number };
  readonly note?: string;
};

/** Servers and processes of its own: memory that something else has used before would hide what tunnels take. */
export function measureIdle({ cleanup, directory, floorDirectory, people, options }: Stage): Promise<IdleResult> {
  return cleanup.within(async (own) => {
    const settle: Settle = () => sleep(settleMs(options.isQuick));
    // Each tunnel is two sockets at either half, and the server and this process have one each.
    const most = Math.floor((Math.min(openFilesMax(), 1_000_000) - 500) / 2);
    const wanted = Math.min(options.tunnels, most);
    const database = await startDatabase(own, { directory: join(directory, 'idle'), connectionsMax: wanted + 100 });
    const floor = await startFloor(own, database.direct, floorDirectory);
    const names = Array.from({ length: Math.ceil(wanted / tunnelsPerSession) }, (_, index) => `idle-${index}`);
    const relay = await startGateRelay(own, {
      people,
      directory: join(directory, 'idle-gate'),
      targets: names.map((name) => targetTo(database.direct, name)),
      policy: policyOf(names.map((name) => ({ name }))),
    });
    const gate = await relay.connect(names);
    const tunnels = [
      { way: 'floor', ...(await holdTunnels(own, [floor], wanted, settle)) },
      { way: 'gate', ...(await holdTunnels(own, gate, wanted, settle)) },
    ];
    const sessions = await holdSessions(relay.pid, options.tunnels, settle, async (account) => {
      const client = await relay.clientOf(account);
      return () => openSession(client, 'connect', { target: names[0] ?? '', reason: 'benchmark' });
    });
    const isShort = wanted < options.tunnels;
    return { wanted: options.tunnels, tunnels, sessions, ...(isShort && { note: `the limit of open files allows ${wanted} tunnels here` }) };
  });
}

type Settle = () => Promise<unknown>;

/** Opens so many, waits, and answers what each of them has made the two processes grow by. */
async function holdTunnels(cleanup: Cleanup, ways: readonly Way[], wanted: number, settle: Settle) {
  const { local = 0, relay = 0 } = ways[0]?.pids ?? {};
  const clients: WireClient[] = [];
  cleanup.add(() => clients.forEach((client) => client.destroy()));
  // What is loaded once, for the first of them, is no cost of a tunnel.
  for (const way of ways) (await WireClient.open(way)).close();
  await settle();
  const before = { local: residentBytes(local), relay: residentBytes(relay) };
  let next = 0;
  const open = async (): Promise<void> => {
    for (let index = next++; index < wanted; index = next++) clients.push(await WireClient.open(ways[index % ways.length] as Way));
  };
  await Promise.all(Array.from({ length: openingMax }, open));
  await settle();
  const after = { local: residentBytes(local), relay: residentBytes(relay) };
  const held = clients.length;
  for (const client of clients.splice(0)) client.close();
  return {
    held,
    relayKiB: (after.relay - before.relay) / 1024 / held,
    localKiB: (after.local - before.local) / 1024 / held,
    relayMiB: after.relay / 2 ** 20,
    localMiB: after.local / 2 ** 20,
  };
}

async function holdSessions(pid: number, wanted: number, settle: Settle, opener: (account: string) => Promise<() => Promise<unknown>>) {
  const openers: (() => Promise<unknown>)[] = [];
  // The first account has those of gate connect already.
  for (let index = 1; index < accountsMax && openers.length * sessionsPerAccount < wanted; index++) openers.push(await opener(accountName(index)));
  for (const open of openers) await open();
  await settle();
  const before = residentBytes(pid);
  const held = Math.min(wanted, openers.length * (sessionsPerAccount - 1));
  let next = 0;
  const open = async (): Promise<void> => {
    for (let index = next++; index < held; index = next++) await openers[index % openers.length]?.();
  };
  await Promise.all(Array.from({ length: openingMax }, open));
  await settle();
  return { held, relayKiB: (residentBytes(pid) - before) / 1024 / held };
}
