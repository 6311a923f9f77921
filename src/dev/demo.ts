/** gate dev demo: the main job as a play in acts, on real parts; it succeeds only if every step gave what it should. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GateError } from '../errors/errors.ts';
import { findOnPath, neutralEnvironment } from './config.ts';
import { approveDevice } from './device-page.ts';
import { actAccessRequest, actApproval } from './demo-decisions.ts';
import { startCiIssuer } from './ci-issuer.ts';
import type { TokenClaims } from './ci-tokens.ts';
import { actEvidence } from './demo-evidence.ts';
import { actLeaving, actMachines, machinesOfDemo, type Pipeline } from './demo-machines.ts';
import { actMasks } from './demo-masks.ts';
import { actSpeed } from './demo-speed.ts';
import { accountIdOf } from './provider.ts';
import { loadPeer } from './peers.ts';
import type { Play, Tunnel } from './play.ts';
import { Stage, type StageIo } from './stage.ts';
import { startStack, type Stack } from './stack.ts';

export type DemoContext = { readonly io: StageIo; stopSignal(): AbortSignal };

export async function runDemo(context: DemoContext, program: readonly [string, ...string[]]): Promise<void> {
  const signal = context.stopSignal();
  const home = await mkdtemp(join(tmpdir(), 'gate-demo-'));
  const stage = new Stage(context.io, signal);
  try {
    await stage.say('Starting an OIDC provider, an issuer for pipelines, a relay, and a PostgreSQL server with a small shop …');
    const pipeline = await startPipeline();
    const machines = machinesOfDemo(pipeline.issuer.url, accountIdOf({ name: 'engineer' }));
    const stack = await startStack({ program, machines });
    try {
      await play(stage, { stack, pipeline }, (who, ...args) => ({
        argv: [...program, ...args],
        shown: ['gate', ...args.map(quote)].join(' '),
        env: neutralEnvironment({ GATE_CONFIG_DIR: join(home, who), GATE_RELAY: stack.relayUrl, GATE_KEYCHAIN: 'off' }),
      }));
    } finally {
      await stage.close();
      await stack.stop();
      await pipeline.issuer[Symbol.asyncDispose]();
    }
  } catch (error) {
    // An interruption ends the commands on the stage too, and what they then say would mislead.
    throw signal.aborted ? new GateError('cancelled', 'the demo was interrupted; nothing is left running') : error;
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** Its tokens say what the act of the moment wants. */
async function startPipeline(): Promise<Pipeline> {
  const claims: { 'github-actions': TokenClaims } = { 'github-actions': {} };
  const issuer = await startCiIssuer({ claims });
  return {
    issuer,
    get claims() {
      return claims['github-actions'];
    },
    set claims(said) {
      claims['github-actions'] = said;
    },
  };
}

async function play(stage: Stage, { stack, pipeline }: { stack: Stack; pipeline: Pipeline }, gate: Play['gate']): Promise<void> {
  const whole: Play = { stage, stack, gate };
  await stage.say(
    `Everything runs on this machine: provider ${stack.issuer}, relay ${stack.relayUrl}, PostgreSQL ${stack.postgres.version}. ` +
      'Three people play: Erin, an engineer, Dario, a DBA, and Oana, who audits. The database password is known to the relay alone.',
  );
  await actLogin(whole);
  const tunnel = await actConnect(whole);
  await actRefusal(whole, tunnel);
  await actExec(whole);
  await actApproval(whole, tunnel);
  await actAccessRequest(whole);
  await actMasks(whole, tunnel);
  await actAnyClient(whole);
  await actMachines(whole, pipeline);
  await actSpeed(whole);
  await tunnel.client.end();
  await stage.say('Erin is done. Ctrl-C in her terminal closes the port and ends the session.');
  const { exitCode } = await tunnel.connect.interrupt();
  await stage.check('gate connect ended as Ctrl-C ends things', exitCode === 130);
  await actReplay(whole, tunnel.session);
  await actEvidence(whole, tunnel.session);
  await actLeaving(whole, pipeline);
  await stage.say('The end. Every step above was checked; nothing is left running.');
}

async function actLogin({ stage, stack, gate }: Play): Promise<void> {
  await stage.act(
    'Erin logs in as herself',
    'No shared account and no database password: Erin proves who she is to the identity provider with a device code ' +
      '(RFC 8628). The demo opens the page and confirms the code in her place, on the real page.',
  );
  const login = await stage.start(gate('engineer', 'login'));
  const [, code = ''] = await login.waitFor(/\b([A-Z0-9]{4}-[A-Z0-9]{4})\b/);
  const [verificationUri = ''] = await login.waitFor(/https?:\/\/\S+\/device\b/);
  await login.waitFor(/Waiting for you/);
  await approveDevice({ verificationUri, userCode: code, account: 'engineer', decision: 'approve' });
  const { exitCode, stderr } = await login.finished;
  await stage.show(stderr);
  await stage.check('the login succeeded on the page, without any secret on a command line', exitCode === 0);
  const targets = await stage.run(gate('engineer', 'targets'));
  await stage.check('she may reach prod-db, because of her group', targets.stdout.includes('prod-db'));
  await stage.say('The other player, Oana of the audit group, logs in the same way; that part is shortened here.');
  const operator = await stage.run(gate('operator', 'dev', 'login', 'operator'));
  await stage.check('both are logged in', operator.exitCode === 0 && stack.accounts.length >= 2);
}

async function actConnect({ stage, gate }: Play): Promise<Tunnel> {
  await stage.act(
    'A grant just in time, and a local port for any client',
    'The target asks for a reason. The grant ends by itself; the port is protected by a password that lives as long ' +
      'as this session. Behind the port every client works as if it were the database.',
  );
  const noReason = await stage.run(gate('engineer', 'connect', 'prod-db'), 2);
  await stage.check('without a reason there is no grant', noReason.stderr.includes('reason'));
  const connect = await stage.start(gate('engineer', 'connect', 'prod-db', '--reason', 'OPS-4711: a customer was charged twice'));
  const [ready, session = ''] = await connect.waitFor(/.*session (s_\w+)[\s\S]*Ctrl-C closes.*/);
  const url = (await connect.waitFor(/postgresql:\/\/\S+/))[0];
  const passfile = (await connect.waitFor(/PGPASSFILE=(\S+) psql -h (\S+) -p (\d+) -U (\S+) (\S+)/));
  await stage.show(ready);
  const pg = await loadPeer('pg', () => import('pg'));
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  await stage.say('A program with an ordinary PostgreSQL library (node-postgres) connects to that port:');
  const sql = 'select name, amount_cents, method from payments join orders on orders.id = order_id join customers on customers.id = customer_id where customer_id = $1 limit 2';
  await stage.showCommand(`client.query('${sql}', [7])`);
  const { rows } = await client.query(sql, [7]);
  await stage.show(JSON.stringify(rows));
  await stage.check('the rows came back through the tunnel', rows.length > 0);
  await runPsql(stage, passfile);
  return { session, url, connect, client };
}

/** With psql too, where it is installed. */
async function runPsql(stage: Stage, found: RegExpExecArray): Promise<void> {
  const psql = findOnPath('psql');
  if (psql === undefined) return stage.say('(psql is not installed here; it would work in the same way.)');
  const [, passfile = '', host = '', port = '', user = '', database = ''] = found;
  const sql = 'select status, count(*) from orders group by status order by status';
  const finished = await stage.run({
    argv: [psql, '-X', '-h', host, '-p', port, '-U', user, '-c', sql, database],
    shown: `psql -h ${host} -p ${port} -U ${user} -c ${quote(sql)} ${database}`,
    env: neutralEnvironment({ PGPASSFILE: passfile, PGCONNECT_TIMEOUT: '20' }),
  });
  await stage.check('psql works through the same port', finished.stdout.includes('status'));
}

async function actRefusal({ stage, stack }: Play, { client }: Tunnel): Promise<void> {
  await stage.act(
    'What policy does not allow never reaches the database',
    "Each statement is parsed with PostgreSQL's own grammar before it is forwarded. Erin's role may read and write " +
      'rows, but not change the schema; hiding the DROP behind another statement does not help.',
  );
  for (const sql of ['drop table payments', 'select 1; drop table payments cascade']) {
    await stage.showCommand(`client.query(${JSON.stringify(sql)})`);
    const error = await client.query(sql).then(
      () => undefined,
      (reason: unknown) => reason as { code?: string; message?: string; detail?: string },
    );
    await stage.show(`ERROR ${error?.code}: ${error?.message}\n${error?.detail}`);
    await stage.check('it was refused with the rule that decided', error?.code === '42501' && /Rule: /.test(error.detail ?? ''));
  }
  const { rows } = await client.query('select count(*)::int as payments from payments');
  await stage.show(JSON.stringify(rows));
  await stage.check('the table is still there and the session goes on', rows[0]?.payments > 0 && stack.relayPid() > 0);
}

async function actExec({ stage, gate }: Play): Promise<void> {
  await stage.act(
    'The same for scripts',
    'gate exec runs one text and prints its result as a table, JSON, NDJSON or CSV. Its exit code tells what happened: ' +
      '0 done, 3 refused by policy, 9 an SQL error.',
  );
  const reason = ['--reason', 'OPS-4711: refund check'];
  const done = await stage.run(
    gate('engineer', 'exec', 'prod-db', '--sql', 'select id, name, country from customers order by id limit 3', ...reason),
  );
  await stage.check('three customers came back', done.stdout.includes('3 rows'));
  const refused = await stage.run(gate('engineer', 'exec', 'prod-db', '--sql', 'truncate payments; drop schema public', ...reason), 3);
  await stage.check('a refusal has an exit code of its own', refused.exitCode === 3);
}

async function actAnyClient({ stage, gate }: Play): Promise<void> {
  await stage.act(
    'Nobody has to think about the port',
    'Behind "--" stands any program: gate opens the port for it, sets the variables that libpq reads, gives it a private ' +
      'password file, and ends with its exit code. When something does not work, gate doctor says what, and what to do.',
  );
  const reason = ['--reason', 'OPS-4711: count the open orders'];
  const program =
    findOnPath('psql') === undefined
      ? ['sh', '-c', 'echo $PGUSER at port $PGPORT']
      : ['psql', '-XAtc', "select count(*) || ' open orders' from orders where status = 'open'"];
  const counted = await stage.run(gate('engineer', 'connect', 'prod-db', ...reason, '--', ...program));
  await stage.check('the program found its database by itself', /\d+ open orders|engineer at port/.test(counted.stdout));
  const doctor = await stage.run(gate('engineer', 'doctor', 'prod-db', '--reason', 'OPS-4711: is it me?'));
  await stage.check('the doctor went all the way to the database and back', /round-trip/.test(`${doctor.stdout}${doctor.stderr}`));
}

async function actReplay({ stage, gate }: Play, session: string): Promise<void> {
  await stage.act(
    'Oana sees who asked, why, and what came of it',
    'Every statement was on disk before it was forwarded, with the person, the reason and the decision. Auditors list ' +
      'and replay sessions; others see only their own.',
  );
  const list = await stage.run(gate('operator', 'sessions', 'list'));
  await stage.check("Erin's sessions are listed with her reason", list.stdout.includes(session) && list.stdout.includes('OPS-4711'));
  const replay = await stage.run(gate('operator', 'sessions', 'replay', session));
  await stage.check(
    'the replay shows the person, the reason, the statements and the refusal',
    ['engineer', 'OPS-4711', 'join customers', 'drop table payments', 'prod-db/engineer/allow', 'held for approval', 'this has no WHERE', 'approved by'].every((text) => replay.stdout.includes(text)),
  );
}

function quote(word: string): string {
  return /^[\w./:=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
