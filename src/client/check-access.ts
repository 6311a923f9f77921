/** The checks of gate doctor that need a login: the token, the role on a target, and a real round trip through it. */
import type { TargetInfo } from '../api/api.ts';
import { GateError } from '../errors/errors.ts';
import { failed, known, ok, skipped, warning, type DoctorOptions, type Facts, type Finding, type Step } from './check-step.ts';
import { isStoredFirst } from './access-token.ts';
import { createCredentialStore } from './credentials.ts';

/** For select 1, which waits for nothing but the way there and back. */
const statementMsMax = 30_000;

export function accessSteps(options: DoctorOptions): readonly Step[] {
  const login: Step = { name: 'login', needs: ['relay-http'], run: (facts) => checkLogin(facts, options) };
  const { target } = options;
  if (target === undefined) return [login];
  return [
    login,
    { name: 'role', needs: ['login'], run: (facts) => checkRole(facts, target, options.role) },
    { name: 'masking', needs: ['role'], run: (facts) => checkMasking(facts, target) },
    {
      name: 'round-trip',
      needs: ['role', 'relay-ready', 'relay-websocket'],
      fix: 'Try the same with gate exec, which says more.',
      run: (facts) => checkRoundTrip(facts, target, options),
    },
  ];
}

/** A login that has to be renewed is renewed, as any command would. */
async function checkLogin(facts: Facts, { createClient }: DoctorOptions): Promise<Finding> {
  const config = known(facts.config);
  const client = createClient(config);
  const who = await client.whoAmI().catch((error: unknown) => {
    if (config.token === undefined || !(error instanceof GateError) || error.code !== 'login-required') throw error;
    throw new GateError('login-required', `the relay does not take GATE_TOKEN: ${error.message}`, {
      hint: 'Set GATE_TOKEN to a token that is valid now, or unset it and run gate login.',
    });
  });
  facts.client = client;
  const groups = who.groups.length === 0 ? 'no group' : who.groups.join(', ');
  const minutes = Math.round((Date.parse(who.expiresAt) - Date.now()) / 60_000);
  return ok(`${who.name} (${who.subject}), in ${groups}; the token expires in ${minutes} min${await describeRenewal(facts)}`);
}

async function describeRenewal(facts: Facts): Promise<string> {
  const config = known(facts.config);
  if (config.token !== undefined) return ' and comes from GATE_TOKEN';
  const [store, { url }] = [createCredentialStore(config, { warn: () => undefined }), known(facts.client)];
  if (config.platform !== undefined && !(await isStoredFirst(config.platform, store, url))) return ` and comes of ${config.platform.source}`;
  const stored = await store.load(url);
  return stored?.credential.refreshToken === undefined ? ' and is not renewed' : ' and renews itself';
}

type Role = TargetInfo['roles'][number];

async function checkRole(facts: Facts, name: string, roleName: string | undefined): Promise<Finding> {
  const targets = await known(facts.client).targets();
  const target = targets.find((candidate) => candidate.name === name);
  if (target === undefined) {
    const names = targets.map((candidate) => candidate.name).join(', ') || 'none';
    return failed('target-unknown', `no target ${name} is open to you (open: ${names})`, 'Run gate targets, or ask whoever keeps the policy to add one of your groups.');
  }
  facts.target = target;
  const role = roleOf(target, roleName);
  if (role === undefined) {
    const names = target.roles.map((candidate) => candidate.name).join(', ');
    return failed('denied', `you have no role ${roleName} on ${name} (yours: ${names})`, 'Choose another with --role, or ask whoever keeps the policy.');
  }
  const refuses = role.denies.length === 0 ? 'nothing' : role.denies.join(', ');
  const requires = role.requires.length === 0 ? 'nothing' : role.requires.join(', ');
  return ok(`${name} as ${role.name}: refuses ${refuses}, requires ${requires}, at most ${Math.round(role.durationMaxSeconds / 60)} min`);
}

/** As the relay chooses: without a name the first that the caller may take. */
function roleOf({ roles }: TargetInfo, name: string | undefined): Role | undefined {
  return name === undefined ? roles[0] : roles.find((candidate) => candidate.name === name);
}

/** Whoever keeps the policy is told what stands in the way; others how surely columns are masked. */
async function checkMasking(facts: Facts, target: string): Promise<Finding> {
  const { level, reasons = [], findings, sql } = await known(facts.client).masking(target);
  if (level === undefined) return ok(`no columns of ${target} are masked`);
  if (findings === undefined) return ok(`columns of ${target} are masked, ${level}`);
  const why = reasons.length === 0 ? '' : ` and no better because ${reasons.join('; ')}`;
  const others = findings.filter(({ what }) => !reasons.includes(what));
  const [first] = others;
  const detail = [`columns of ${target} are masked, ${level}${why}`, ...others.map(({ what, fix }) => `${what} (${fix})`)].join('; ');
  if (reasons.length === 0 && first === undefined) return ok(detail);
  return warning(detail, sql === undefined || sql === '' ? (first?.fix ?? 'See the masks of the policy.') : `gate doctor ${target} --sql prints what would make it airtight.`);
}

/** A grant of its own, a session, a tunnel, one statement; all of it stands in the record like any other. */
async function checkRoundTrip(facts: Facts, target: string, options: DoctorOptions): Promise<Finding> {
  const { role, reason } = options;
  if (reason === undefined) {
    return skipped('it opens a recorded session, so it wants a reason', `Run gate doctor ${target} --reason 'checking the way'`);
  }
  const first = facts.target && roleOf(facts.target, role);
  if (first?.approval !== undefined || first?.review !== undefined) {
    return skipped(`as ${first.name} it would ask people for approval`, `Choose a role without with --role, or run gate connect ${target}`);
  }
  const [{ openSession }, { runSql }] = await Promise.all([import('./session.ts'), import('./sql-session.ts')]);
  const client = known(facts.client);
  const timeout = AbortSignal.timeout(statementMsMax);
  const signal = AbortSignal.any([options.signal(), timeout]);
  const startedAt = performance.now();
  const request = { target, reason, durationSeconds: 60, ...(role !== undefined && { role }) };
  const session = await openSession(client, 'exec', request);
  const openedAt = performance.now();
  const values: (string | null | undefined)[] = [];
  try {
    await runSql({
      relay: client.url,
      session,
      accessToken: () => client.accessToken(),
      texts: [{ sql: 'select 1' }],
      signal,
      handlers: {
        fields: () => Promise.resolve(),
        rows: (rows) => {
          values.push(...rows.map(([value]) => value));
          return Promise.resolve();
        },
        copy: () => Promise.resolve(),
        copyData: () => Promise.resolve(),
        complete: () => Promise.resolve(),
        notice: () => undefined,
      },
    });
  } catch (error) {
    if (!timeout.aborted) throw error;
    throw new GateError('upstream-unreachable', `${target} did not answer select 1 within ${statementMsMax / 1000} s`, { cause: error });
  } finally {
    await client.endSession(session.id).catch(() => undefined);
  }
  const endedAt = performance.now();
  if (values.length !== 1 || values[0] !== '1') return failed('upstream-protocol', 'select 1 did not answer 1', 'Tell whoever runs the relay.');
  const { state } = await client.session(session.id);
  const [opening, answering] = [openedAt - startedAt, endedAt - openedAt].map((ms) => `${Math.round(ms)} ms`);
  if (state !== 'ended') return failed('protocol-violation', `session ${session.id} is still open`, 'Tell whoever runs the relay; it ends with its grant in a minute.');
  return ok(`grant and session in ${opening}, select 1 in ${answering}; session ${session.id} is ended`);
}
