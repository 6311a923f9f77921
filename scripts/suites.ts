/**
 * Runs PostgreSQL's own regression suites and those of drivers directly and through `gate connect`, and compares the results.
 * docs/suites.md says what has to be there; a suite that is not there is passed over. `--only=NAME` runs one.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { startStack } from '../src/dev/stack.ts';

type Way = Readonly<Record<string, string>>;
type Suite = {
  readonly name: string;
  readonly database: string;
  readonly needs: string;
  readonly prepare?: string;
  /** Runs in `folder`; what it prints counts unless it leaves results/*.out there. */
  readonly command: (way: Way, folder: string) => readonly string[];
};

const setting = (name: string, fallback = '') => process.env[name] ?? fallback;
/** The superuser's URL of a server that nobody else needs, PostgreSQL's source, and its pgxs directory. */
const server = new URL(setting('SUITES_SERVER', 'postgres://postgres:secret@127.0.0.1:5432'));
const source = setting('SUITES_SOURCE');
const pgxs = setting('SUITES_PGXS', '/usr/lib/postgresql/15/lib/pgxs');
const go = setting('SUITES_GOPATH', '/usr/share/gocode');
const program: [string, string] = [process.execPath, setting('SUITES_GATE', join(import.meta.dirname, '..', 'dist', 'gate.cjs'))];
const work = mkdtempSync(join(tmpdir(), 'gate-suites-'));

const regress = (runner: string, input: string, database: string, tests: readonly string[]) => (way: Way, folder: string) => [
  join(pgxs, runner),
  '--use-existing',
  `--dbname=${database}`,
  `--inputdir=${input}`,
  `--outputdir=${folder}`,
  `--dlpath=${join(source, 'src/test/regress')}`,
  `--host=${way['PGHOST']}`,
  `--port=${way['PGPORT']}`,
  `--user=${way['PGUSER']}`,
  ...tests,
];

function moduleSuite(folder: string): Suite[] {
  const makefile = join(folder, 'Makefile');
  const tests = existsSync(makefile) ? /^REGRESS = (.*(?:\\\n.*)*)/m.exec(readFileSync(makefile, 'utf8'))?.[1] : undefined;
  if (tests === undefined) return [];
  const names = tests.replaceAll('\\\n', ' ').trim().split(/\s+/);
  return [{ name: basename(folder), database: 'contrib_regression', needs: makefile, command: regress('src/test/regress/pg_regress', folder, 'contrib_regression', names) }];
}

function goSuite(path: string, types = ''): Suite {
  const folder = join(go.split(':')[0] as string, 'src/github.com', path);
  return { name: path, database: 'pgotest', needs: folder, prepare: types, command: () => ['sh', '-c', `cd ${folder} && go test -p 1 -count=1 -v . | grep -E '^ *--- ' | sed 's/ (.*//' | sort`] };
}

const pgxTypes = 'create extension hstore; create domain uint64 as numeric(20, 0)';
const schedule = (folder: string, name: string) => [`--schedule=${join(source, folder, name)}`];
const suites: readonly Suite[] = [
  { name: 'regress', database: 'regression', needs: join(source, 'src/test/regress/regress.so'), command: regress('src/test/regress/pg_regress', join(source, 'src/test/regress'), 'regression', schedule('src/test/regress', 'parallel_schedule')) },
  { name: 'isolation', database: 'isolation_regression', needs: join(source, 'src/test/isolation'), command: regress('src/test/isolation/pg_isolation_regress', join(source, 'src/test/isolation'), 'isolation_regression', schedule('src/test/isolation', 'isolation_schedule')) },
  ...[join(source, 'src/pl/plpgsql/src'), ...(existsSync(join(source, 'contrib')) ? readdirSync(join(source, 'contrib')).map((name) => join(source, 'contrib', name)) : [])].flatMap(moduleSuite),
  { name: 'libpq_pipeline', database: 'pipeline', needs: join(source, 'src/test/modules/libpq_pipeline/libpq_pipeline'), command: () => ['sh', '-c', `cd ${source}/src/test/modules/libpq_pipeline; for t in $(./libpq_pipeline tests); do ./libpq_pipeline -r 700 -t /dev/null $t dbname=pipeline >/dev/null 2>&1; echo "$t $?"; done`] },
  { name: 'libpqxx', database: 'libpqxx', needs: setting('SUITES_PQXX'), command: () => ['sh', '-c', `${setting('SUITES_PQXX')} >out 2>err; sed -n 's/^FAILED: //p' err >failed; sed -n 's/^Running: //p' out | grep -vxFf failed`] },
  goSuite('lib/pq'),
  ...['pgconn', 'pgtype', 'pgx/v4', 'pgx/v4/stdlib', 'pgx/v4/pgxpool'].map((path) => goSuite(`jackc/${path}`, pgxTypes)),
];

function psql(database: string, sql: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return execFileSync('psql', ['-qXAt', '-d', url.href, '-c', sql], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

/** An empty database, set as pg_regress sets its own, and none of the roles and tablespaces that suites leave behind. */
function prepare({ database, prepare: more }: Suite): void {
  for (const { database: other } of suites) psql('postgres', `drop database if exists ${other} with (force)`);
  const left = `select format('drop tablespace %I', spcname) from pg_tablespace where spcname ~ '^regress' union all
    select format('drop role %I', rolname) from pg_roles where rolname ~ '^regress'`;
  for (const sql of psql('postgres', left).split('\n').filter(Boolean)) psql('postgres', sql);
  psql('postgres', `create database ${database} template template0 encoding 'UTF8'`);
  for (const name of ['lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time']) psql('postgres', `alter database ${database} set ${name} to 'C'`);
  if (more) psql(database, more);
}

/** Never blocks: the identity provider lives in this process. Answers what was printed, whatever the exit code. */
function execute(argv: readonly string[], cwd: string, env: Way): Promise<string> {
  const [file = '', ...args] = argv;
  return new Promise((resolve) => {
    execFile(file, args, { cwd, env: { ...process.env, ...env }, timeout: 900_000, maxBuffer: 1 << 28 }, (_, stdout) => resolve(stdout));
  });
}

/** The name of each test and what came out. */
async function run(suite: Suite, way: Way, label: string): Promise<Map<string, string>> {
  prepare(suite);
  const folder = join(work, suite.name.replaceAll('/', '-'), label);
  mkdirSync(folder, { recursive: true });
  const dsn = `host=${way['PGHOST']} port=${way['PGPORT']} user=${way['PGUSER']} password=${way['PGPASSWORD']} dbname=${suite.database} sslmode=disable`;
  const others = { PGDATABASE: suite.database, PGSSLMODE: 'disable', GO111MODULE: 'off', GOPATH: go, PGX_TEST_DATABASE: dsn, PGX_TEST_TCP_CONN_STRING: dsn, PGX_TEST_CONN_STRING: dsn };
  const stdout = await execute(suite.command(way, folder), folder, { ...way, ...others });
  const results = join(folder, 'results');
  if (!existsSync(results)) {
    writeFileSync(join(folder, 'out'), stdout);
    return new Map(stdout.split('\n').filter(Boolean).map((line) => [line, '']));
  }
  const outputs = readdirSync(results).filter((name) => name.endsWith('.out'));
  return new Map(outputs.map((name) => [name, readFileSync(join(results, name), 'utf8').replaceAll(folder, '')]));
}

async function openTunnel(relay: string, target: string): Promise<{ way: Way; close: () => void }> {
  const env = { GATE_RELAY: relay, GATE_CONFIG_DIR: join(work, 'config'), GATE_KEYCHAIN: 'off' };
  if (!existsSync(env.GATE_CONFIG_DIR)) await execute([...program, 'dev', 'login', 'dba'], work, env);
  const child = spawn(program[0], [program[1], 'connect', target, '--json', '--reason', 'suites'], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const { event, host, port, user, password } = JSON.parse(line) as Record<string, string>;
    if (event === 'ready') return { way: { PGHOST: String(host), PGPORT: String(port), PGUSER: String(user), PGPASSWORD: String(password) }, close: () => child.kill('SIGTERM') };
  }
  throw new Error('gate connect ended without a ready event');
}

// The server, which may run as another user, writes files into the folders of the results.
process.umask(0);
chmodSync(work, 0o755);
const only = process.argv.find((argument) => argument.startsWith('--only='))?.slice('--only='.length);
const chosen = suites.filter(({ name, needs }) => needs !== '' && existsSync(needs) && (only === undefined || name === only));
const names = [...new Set(chosen.map(({ database }) => database))];
const targetOf = (database: string) => database.replaceAll('_', '-');
const stack = await startStack({ program, targets: names.map((database) => ({ name: targetOf(database), dsn: new URL(`/${database}`, server).href })) });
const direct = { PGHOST: server.hostname, PGPORT: server.port, PGUSER: server.username, PGPASSWORD: decodeURIComponent(server.password) };
try {
  for (const suite of chosen) {
    const expected = await run(suite, direct, 'direct');
    const tunnel = await openTunnel(stack.relayUrl, targetOf(suite.database));
    const actual = await run(suite, tunnel.way, 'gate');
    tunnel.close();
    const differ = [...expected].filter(([name, text]) => actual.get(name) !== text).map(([name]) => name);
    process.stdout.write(`${suite.name}: ${expected.size} results, ${expected.size - differ.length} the same${differ.length > 0 ? `; differ: ${differ.join(', ')}` : ''}\n`);
  }
  process.stdout.write(`The results stand in ${work}.\n`);
} finally {
  await stack.stop();
  rmSync(join(work, 'config'), { recursive: true, force: true });
}
