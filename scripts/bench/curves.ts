/** What a statement costs as something grows that it has nothing to do with: the points of a curve, run in turns. */
import { join } from 'node:path';
import { startLocalPort } from '../../src/client/local-port.ts';
import { openSession } from '../../src/client/session.ts';
import type { Cleanup } from './cleanup.ts';
import { accountsRead, asAdmin } from './database.ts';
import { accountName, startGateRelay, type GateRelay } from './gate.ts';
import { cpuOf, type Sample } from './pgbench.ts';
import { policyOf, targetTo } from './policies.ts';
import type { Stage } from './stage.ts';
import { spreadOf, type Spread } from './statistics.ts';
import type { Way } from './way.ts';
import { WireClient, withClient } from './wire.ts';

export type CurvePoint = { readonly x: number; readonly tps: Spread; readonly relayCpuUs: Spread; readonly cpuRatio: number; readonly tpsRatio: number };
export type CurveResult = { readonly name: string; readonly title: string; readonly axis: string; readonly points: readonly CurvePoint[]; readonly failure?: string };

type Point = { readonly x: number; readonly measure: () => Promise<Sample> };
type Curve = { readonly name: string; readonly title: string; readonly axis: string; readonly points: (cleanup: Cleanup) => Promise<readonly Point[]> };

/** Sync comes after so many statements while something is grown. */
const batch = 100;
/** Below the relay's `sessionsPerPrincipalMax`. */
const sessionsPerAccount = 40;
/** Of the sessions of one point; the server's connections are few. */
const connectionsPerPointMax = 50;

export async function measureCurves(stage: Stage, say: (line: string) => void): Promise<readonly CurveResult[]> {
  const results: CurveResult[] = [];
  for (const curve of [sessionLength(stage), logSize(stage), sessions(stage), policySize(stage), catalogSize(stage)]) {
    const result = await stage.cleanup.within((cleanup) => measureCurve(curve, cleanup, stage.options.rounds));
    if (stage.cleanup.isOver) throw new Error('stopped');
    say(`${curve.name}: ${result.failure ?? result.points.map(({ x, cpuRatio }) => `${x}: ${cpuRatio.toFixed(2)}`).join(', ')}`);
    results.push(result);
  }
  return results;
}

async function measureCurve(curve: Curve, cleanup: Cleanup, rounds: number): Promise<CurveResult> {
  const { name, title, axis } = curve;
  const samples = new Map<number, Sample[]>();
  try {
    const points = await curve.points(cleanup);
    // A round that does not count: what is compiled in the first seconds would look like a cost of the first point.
    for (const point of points) await point.measure();
    for (let round = 0; round < rounds; round++) {
      for (const { x, measure } of points) samples.set(x, [...(samples.get(x) ?? []), await measure()]);
    }
  } catch (error) {
    return { name, title, axis, points: [], failure: error instanceof Error ? error.message : String(error) };
  }
  const spreads = [...samples].map(([x, list]) => ({ x, tps: spreadOfKey(list, 'tps'), relayCpuUs: spreadOfKey(list, 'relayCpuUs') }));
  const [first] = spreads;
  const points = spreads.map((point) => ({
    ...point,
    cpuRatio: point.relayCpuUs.median / (first?.relayCpuUs.median ?? Number.NaN),
    tpsRatio: point.tps.median / (first?.tps.median ?? Number.NaN),
  }));
  return { name, title, axis, points };
}

function spreadOfKey(samples: readonly Sample[], key: string): Spread {
  return spreadOf(samples.flatMap((sample) => sample[key] ?? []));
}

/** Of pgbench with simple queries, each with another text. */
function simpleLoad({ pgbench, options }: Stage, way: Way): () => Promise<Sample> {
  return () => pgbench.run(way, { script: 'select', mode: 'simple', clients: 4, seconds: options.seconds });
}

const statement = `select abalance from pgbench_accounts where aid = ${accountsRead}`;

/** As fast as they are recorded: many with one Sync. */
async function runStatements(client: WireClient, count: number): Promise<void> {
  for (let done = 0; done < count; done += batch) await client.executeMany('one', batch);
}

/** Connections that have run so many statements, each measured further on that same connection. */
function sessionLength(stage: Stage): Curve {
  const lengths = stage.options.isQuick ? [0, 500, 2000] : [0, 1000, 10_000, 100_000];
  return {
    name: 'session-length',
    title: 'statements that the same connection has run before',
    axis: 'statements',
    points: async (cleanup) => {
      const points: Point[] = [];
      for (const x of lengths) {
        const [way] = await stage.relay.connect(['bench']);
        if (way === undefined) throw new Error('no way for a session');
        const client = await WireClient.open(way);
        cleanup.add(() => client.close());
        await client.prepare('one', statement);
        await runStatements(client, x);
        points.push({ x, measure: () => measureConnection(way, client, stage.options.seconds) });
      }
      return points;
    },
  };
}

async function measureConnection(way: Way, client: WireClient, seconds: number): Promise<Sample> {
  const before = cpuOf(way);
  const start = performance.now();
  let count = 0;
  for (; performance.now() - start < seconds * 1000; count++) await client.execute('one');
  const relay = (cpuOf(way)['relay'] ?? 0) - (before['relay'] ?? 0);
  return { tps: (count * 1000) / (performance.now() - start), relayCpuUs: relay / count };
}

/** A relay for each point, and a way through it. */
async function relayFor(stage: Stage, cleanup: Cleanup, name: string): Promise<{ relay: GateRelay; way: Way }> {
  const relay = await startGateRelay(cleanup, {
    people: stage.people,
    directory: join(stage.directory, name),
    targets: [targetTo(stage.direct, 'bench')],
    policy: policyOf([{ name: 'bench' }]),
  });
  const [way] = await relay.connect(['bench']);
  if (way === undefined) throw new Error('no way to the relay of a point');
  return { relay, way };
}

function logSize(stage: Stage): Curve {
  const sizes = stage.options.isQuick ? [0, 2000] : [0, 20_000, 100_000, 500_000];
  return {
    name: 'log-size',
    title: 'statements that stand in the record of the relay already',
    axis: 'statements in the record',
    points: async (cleanup) => {
      const points: Point[] = [];
      for (const x of sizes) {
        const { way } = await relayFor(stage, cleanup, `log-${x}`);
        await withClient(way, async (client) => {
          await client.prepare('one', statement);
          await runStatements(client, x);
        });
        points.push({ x, measure: simpleLoad(stage, way) });
      }
      return points;
    },
  };
}

function sessions(stage: Stage): Curve {
  const counts = stage.options.isQuick ? [0, 20] : [0, 50, 200, 1000];
  return {
    name: 'sessions',
    title: `other sessions that are open at the relay, up to ${connectionsPerPointMax} of them with an idle connection`,
    axis: 'open sessions',
    points: async (cleanup) => {
      const points: Point[] = [];
      for (const x of counts) {
        const { relay, way } = await relayFor(stage, cleanup, `sessions-${x}`);
        await openSessions(relay, cleanup, x);
        points.push({ x, measure: simpleLoad(stage, way) });
      }
      return points;
    },
  };
}

/** In this process, which is not measured. */
async function openSessions(relay: GateRelay, cleanup: Cleanup, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const client = await relay.clientOf(accountName(1 + Math.floor(index / sessionsPerAccount)));
    const session = await openSession(client, 'connect', { target: 'bench', reason: 'benchmark' });
    if (index >= connectionsPerPointMax) continue;
    const port = await startLocalPort({
      relay: relay.url,
      session: session.id,
      accessToken: () => client.accessToken(),
      listen: { port: 0 },
      onBroken: () => undefined,
    });
    cleanup.add(() => port.close());
    const { user, password, database } = session;
    const idle = await WireClient.open({ name: 'idle', host: port.host, port: port.port, user, password, database, pids: {} });
    cleanup.add(() => idle.destroy());
  }
}

function policySize(stage: Stage): Curve {
  const sizes = stage.options.isQuick ? [1, 100, 1000] : [1, 10, 100, 300, 1000];
  const ruleOf = (_: unknown, index: number): object =>
    index % 2 === 0
      ? { name: `table-${index}`, effect: 'deny', kinds: ['read', 'write'], tables: [`schema_${index}.*`, `public.table_${index}`] }
      : { name: `function-${index}`, effect: 'deny', functions: [`schema_${index}.function_${index}`], when: '"nobody" in principal.groups' };
  return {
    name: 'policy-size',
    title: 'rules in the role, none of which decides',
    axis: 'rules',
    points: async (cleanup) => {
      const plans = sizes.map((size) => ({ name: `rules-${size}`, rules: Array.from({ length: size }, ruleOf) }));
      const relay = await startGateRelay(cleanup, {
        people: stage.people,
        directory: join(stage.directory, 'policy-size'),
        targets: plans.map(({ name }) => targetTo(stage.direct, name)),
        policy: policyOf(plans),
      });
      const ways = await relay.connect(plans.map(({ name }) => name));
      return ways.map((way, index) => ({ x: sizes[index] ?? 0, measure: simpleLoad(stage, way) }));
    },
  };
}

function catalogSize(stage: Stage): Curve {
  const sizes = stage.options.isQuick ? [0, 1000] : [0, 1000, 10_000, 50_000];
  return {
    name: 'catalog-size',
    title: 'relations in the database',
    axis: 'relations',
    points: async (cleanup) => {
      for (const size of sizes) await createCatalog(stage, `catalog_${size}`, size);
      const plans = sizes.map((size) => ({ name: `catalog-${size}` }));
      const relay = await startGateRelay(cleanup, {
        people: stage.people,
        directory: join(stage.directory, 'catalog-size'),
        targets: sizes.map((size) => targetTo(stage.database.directTo(`catalog_${size}`), `catalog-${size}`)),
        policy: policyOf(plans),
      });
      const ways = await relay.connect(plans.map(({ name }) => name));
      return ways.map((way, index) => ({ x: sizes[index] ?? 0, measure: simpleLoad(stage, way) }));
    },
  };
}

/** Views as well as tables, with the one table that is asked. */
async function createCatalog({ database }: Stage, name: string, relations: number): Promise<void> {
  const { user } = database.direct;
  await database.admin.query(`create database ${name} owner ${user}`);
  await asAdmin(database, name, async (client) => {
    await client.query(`set role ${user}`);
    await client.query('create table pgbench_accounts (aid int primary key, abalance int)');
    await client.query(`insert into pgbench_accounts select n, 0 from generate_series(1, ${accountsRead}) n`);
    // Each relation that a transaction makes holds a lock.
    for (let from = 1; from <= relations; from += 1000) {
      await client.query(`do $$ begin for n in ${from}..${Math.min(relations, from + 999)} loop
        if n % 2 = 0 then execute format('create table t_%s (id int, value int)', n);
        else execute format('create view v_%s as select aid, abalance from pgbench_accounts', n); end if; end loop; end $$`);
    }
  });
}
