/** Everything that the cases run on: one server and all ways to it, each as processes of their own. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unprivilegedIdentity } from '../../src/dev/reach.ts';
import type { Cleanup } from './cleanup.ts';
import { createBulkTables, createPgbenchTables, startDatabase, type Database } from './database.ts';
import { buildFloor, startFloor } from './floor.ts';
import { startGateRelay, startPeople, type GateRelay, type People } from './gate.ts';
import type { Options } from './options.ts';
import { Pgbench } from './pgbench.ts';
import { pgbouncerVersion, startPgbouncer } from './pgbouncer.ts';
import { policyOf, targetTo, type TargetPlan } from './policies.ts';
import type { Way } from './way.ts';

export type Stage = {
  readonly cleanup: Cleanup;
  readonly options: Options;
  readonly directory: string;
  readonly floorDirectory: string;
  readonly database: Database;
  readonly people: People;
  readonly pgbench: Pgbench;
  readonly relay: GateRelay;
  /** Direct, PgBouncer where there is one, floor, gate; in this order they take turns. */
  readonly ways: readonly Way[];
  /** The same with gate at every level of durability: the weakest first, and last the default. */
  readonly levels: readonly Way[];
  readonly direct: Way;
  readonly gate: Way;
  /** Through gate with a masked column, and with detectors on every row as well. */
  readonly masked: Way;
  readonly detected: Way;
  /** Through a relay that speaks TLS. */
  readonly encrypted: Way;
  /** Through gate where upstreams are opened ahead. */
  readonly warm: Way;
  readonly pgbouncer: string | undefined;
  /** In the table `bulk`. */
  readonly bulkRows: number;
};

const plans: readonly TargetPlan[] = [
  { name: 'bench' },
  { name: 'bench-os', durability: 'os' },
  { name: 'bench-before-result', durability: 'before-result' },
  { name: 'bench-masked', extra: 'masks' },
  { name: 'bench-detected', extra: 'detectors' },
  { name: 'bench-warm', warmUpstreams: 8 },
];

/** A directory for the run, below the one that was asked for; removed at the end. */
export function makeDirectory(cleanup: Cleanup, wanted: string | undefined): string {
  if (wanted !== undefined) mkdirSync(wanted, { recursive: true });
  const directory = mkdtempSync(join(wanted ?? tmpdir(), 'gate-bench-'));
  cleanup.add(() => rmSync(directory, { recursive: true, force: true }));
  // The server runs as another user then, and has to pass through.
  if (unprivilegedIdentity() !== undefined) chmodSync(directory, 0o711);
  return directory;
}

export async function openStage(cleanup: Cleanup, options: Options, say: (line: string) => void): Promise<Stage> {
  const directory = makeDirectory(cleanup, options.stateDirectory);
  say('starting PostgreSQL and the OIDC provider');
  const database = await startDatabase(cleanup, { directory, connectionsMax: 300 });
  const { direct } = database;
  const people = await startPeople(cleanup);
  const pgbench = await Pgbench.prepare(cleanup);
  say('making tables');
  await createPgbenchTables(cleanup, direct);
  const bulkRows = await createBulkTables(database, options.megabytes);
  const version = await pgbouncerVersion(cleanup);
  say(version === undefined ? 'PgBouncer is not installed: its column is left out' : 'starting PgBouncer');
  const pooled = version === undefined ? [] : [await startPgbouncer(cleanup, direct, join(directory, 'pgbouncer'))];
  say('starting the floor and gate');
  const floorDirectory = join(directory, 'floor');
  await buildFloor(floorDirectory);
  const floor = await startFloor(cleanup, direct, floorDirectory);
  const relay = await startGateRelay(cleanup, {
    people,
    directory: join(directory, 'gate'),
    targets: plans.map(({ name, durability, warmUpstreams }) => targetTo(direct, name, durability, warmUpstreams)),
    policy: policyOf(plans),
    nodeOptions: profileOptions(options.profileDirectory, 'relay'),
  });
  const [gate, os, beforeResult, masked, detected, warm] = await relay.connect(plans.map(({ name }) => name), { nodeOptions: profileOptions(options.profileDirectory, 'local') });
  if (gate === undefined || os === undefined || beforeResult === undefined || masked === undefined || detected === undefined || warm === undefined) throw new Error('gate connect opened too few ports');
  const secure = await startGateRelay(cleanup, { people, directory: join(directory, 'gate-tls'), targets: [targetTo(direct, 'bench')], policy: policyOf([{ name: 'bench' }]), usesTls: true });
  const [encrypted] = await secure.connect(['bench']);
  if (encrypted === undefined) throw new Error('gate connect opened no port over TLS');
  const ways = [direct, ...pooled, floor, gate];
  const levels = [direct, ...pooled, floor, { ...os, name: 'gate, os' }, { ...beforeResult, name: 'gate, before-result' }, gate];
  const others = { masked, detected, encrypted, warm: { ...warm, name: 'gate, warm' } };
  return { cleanup, options, directory, floorDirectory, database, people, pgbench, relay, ways, levels, direct, gate, ...others, pgbouncer: version, bulkRows };
}

function profileOptions(folder: string | undefined, half: string): string[] {
  return folder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', join(folder, half)];
}
