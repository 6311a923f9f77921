/**
 * Drives every PostgreSQL client that is installed here, directly and through `gate connect`, and writes docs/clients.md.
 * A client passes when both ways print the same. `--check` writes nothing, `--only=NAME` drives one. Clients that are not installed are listed as such.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { startStack } from '../src/dev/stack.ts';

type Way = Readonly<Record<string, string>>;
type Client = {
  readonly name: string;
  /** Prints the version; the client is skipped when this fails. */
  readonly version: readonly [string, ...string[]];
  readonly steps: (folder: string) => readonly (readonly [string, ...string[]])[];
  /** Lines that differ between any two runs. */
  readonly ignore?: RegExp;
};

const root = join(import.meta.dirname, '..');
const programs = join(import.meta.dirname, 'clients');
const program: [string, string] = [process.execPath, join(root, 'dist', 'gate.cjs')];
const python = '/usr/bin/python3';
const jar = '/usr/share/java/postgresql.jar';
const own = (file: string) => join(programs, file);
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
    steps: (folder) => [
      // An older pg_dump refuses a newer server by itself; psql's \\copy shows the same COPY paths then.
      ['sh', '-c', `pg_dump -Fc -f ${folder}/shop.dump 2>/dev/null && pg_restore -l ${folder}/shop.dump | grep -c TABLE || echo 'server newer than pg_dump'`],
      ['sh', '-c', `psql -Xc '\\copy orders to ${folder}/orders.csv csv' && wc -l < ${folder}/orders.csv`],
    ],
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
async function openTunnel(relay: string, configDirectory: string): Promise<{ way: Way; child: ChildProcess }> {
  const env = { ...process.env, GATE_RELAY: relay, GATE_CONFIG_DIR: configDirectory, GATE_KEYCHAIN: 'off' };
  const login = spawn(program[0], [program[1], 'dev', 'login', 'dba'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  await new Promise((resolve) => login.once('close', resolve));
  const child = spawn(program[0], [program[1], 'connect', 'prod-db', '--json', '--reason', 'client matrix'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as { event: string; host: string; port: number; user: string; password: string; database: string };
    if (event.event === 'ready') {
      const { host, port, user, password, database } = event;
      return { way: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password, PGDATABASE: database }, child };
    }
  }
  throw new Error('gate connect ended without a ready event');
}

function page(rows: readonly string[][], server: number): string {
  return [
    '# Clients',
    '',
    `What \`npm run clients\` found: every client runs the same program directly and through \`gate connect\` against`,
    `PostgreSQL ${server}; it passes when both print the same. The programs stand in \`scripts/clients/\`.`,
    '',
    '| client | version | through gate |',
    '|---|---|---|',
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
  ].join('\n');
}

if (!existsSync(program[1])) throw new Error('build first: npm run build');
const configDirectory = mkdtempSync(join(tmpdir(), 'gate-clients-config-'));
const stack = await startStack({ program });
let isFine = true;
try {
  const { way, child } = await openTunnel(stack.relayUrl, configDirectory);
  const direct = new URL(stack.postgres.url('shop'));
  const directWay = {
    PGHOST: direct.hostname,
    PGPORT: direct.port,
    PGUSER: direct.username,
    PGPASSWORD: decodeURIComponent(direct.password),
    PGDATABASE: 'shop',
  };
  const rows: string[][] = [];
  const only = process.argv.find((argument) => argument.startsWith('--only='))?.slice('--only='.length);
  for (const client of clients) {
    if (only !== undefined && !client.name.includes(only)) continue;
    const version = await run(client.version);
    if (version.code !== 0) {
      rows.push([client.name, '-', 'not installed here']);
      continue;
    }
    const [expected, actual] = [await drive(client, directWay), await drive(client, way)];
    const passed = expected.code === 0 && actual.code === 0 && expected.out === actual.out;
    if (!passed) {
      isFine = false;
      process.stderr.write(`${client.name} differs.\n--- directly (${expected.code})\n${expected.out}\n--- through gate (${actual.code})\n${actual.out}\n`);
    }
    rows.push([client.name, /\d+(?:\.\d+)+/.exec(version.out)?.[0] ?? '?', passed ? 'the same' : '**differs**']);
    process.stdout.write(`${rows.at(-1)?.join('  ')}\n`);
  }
  if (!process.argv.includes('--check') && only === undefined) writeFileSync(join(root, 'docs', 'clients.md'), page(rows, stack.postgres.version));
  child.kill('SIGTERM');
} finally {
  await stack.stop();
  rmSync(configDirectory, { recursive: true, force: true });
}
process.exitCode = isFine ? 0 : 1;
