/** What tools send by themselves, at start-up and to look around, passes for the presets: nothing of it is held or denied. */
import { execFile } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findOnPath } from '../../src/dev/config.ts';
import { startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { startUp } from './start-up-queries.ts';

const policy = `
auditors: [audit]
approvers: { dbas: { groups: [dba] } }
targets:
  prod-db:
    roles:
      read-only: { preset: read-only, groups: [engineering] }
      engineer: { preset: engineer, groups: [engineering], approvers: [dbas] }
  plain-db:
    roles:
      read-only: { preset: read-only, groups: [engineering] }
      engineer: { preset: engineer, groups: [engineering], approvers: [dbas] }
`;
/** Its login is not a superuser: pg_dump then leaves out what only those may read. */
const targets = '  plain-db: { host: 127.0.0.1, port: @PORT@, database: postgres, user: gate_plain, passwordFile: ./password, tls: disable }';
const presets = ['read-only', 'engineer'] as const;

let fixture: RelayFixture;
const tunnels = new Map<string, OpenTunnel>();
const tunnelOf = (preset: string, target = 'prod-db') => tunnels.get(`${target} ${preset}`) as OpenTunnel;

beforeAll(async () => {
  fixture = await startRelayFixture({ policy, targets });
  await fixture.admin.query(`create role gate_plain login password 'upstream-canary-7261' in role pg_read_all_data`);
  // What is held fails at once.
  for (const target of ['prod-db', 'plain-db']) {
    for (const preset of presets) tunnels.set(`${target} ${preset}`, await fixture.connect('engineer', preset, undefined, target, 0));
  }
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());

const psql = findOnPath('psql');
const pgDump = findOnPath('pg_dump');

/** A program that is told where the database is. */
async function run(program: string | undefined, tunnel: OpenTunnel, args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { host, port } = tunnel.port;
  const { user, database, password } = tunnel.session;
  const env = { PATH: process.env['PATH'], PGPASSWORD: password };
  const all = ['-h', host, '-p', String(port), '-U', user, '-d', database, ...args];
  return new Promise((resolve) =>
    execFile(program as string, all, { env }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })),
  );
}

const backslashCommands = String.raw`\d \d+ \da \dA \db \dc \dC \dconfig \dd \dD \ddp \dE \des \det \dew \df \dF \dFd \dFp
  \dFt \dg \di \dl \dL \dm \dn \do \dO \dp \dP \drds \ds \dS \dt \dT \du \dv \dx \dX \dy \l \z \encoding \conninfo`.split(/\s+/);

describe.skipIf(psql === undefined)('psql (where it is installed)', () => {
  const commands = [...backslashCommands, String.raw`\d items`, String.raw`\d+ items`, String.raw`\sf lower(text)`, String.raw`\df+ now`, String.raw`\dRs`, String.raw`\dRp`];

  test.each(presets.flatMap((preset) => commands.map((command) => [preset, command] as const)))('%s: %s', async (preset, command) => {
    const { stderr } = await run(psql, tunnelOf(preset), ['-X', '-c', command]);
    expect(stderr).not.toContain('Rule: ');
    // psql 15 does not know \dconfig's newer columns; anything else that is an error is not gate's either.
    expect(stderr.replace(/^Did not find any .*\n/gm, '')).not.toContain('may not run');
  });
});

describe.skipIf(pgDump === undefined)('pg_dump (where it is installed)', () => {
  test.each([
    ['read-only', 'plain-db', []],
    ['engineer', 'plain-db', []],
    // As a superuser it would read the connection strings of subscriptions.
    ['read-only', 'prod-db', ['--no-subscriptions']],
    ['engineer', 'prod-db', ['--no-subscriptions']],
  ])('%s on %s: the schema', async (preset, target, flags) => {
    const { code, stdout, stderr } = await run(pgDump, tunnelOf(preset, target), ['--schema-only', ...flags]);
    // It refuses servers that are newer than it by itself.
    if (stderr.includes('server version mismatch')) return;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('CREATE TABLE public.items');
  });
});

describe('start-up queries', () => {
  const all = Object.entries(startUp).flatMap(([tool, texts]) => texts.map((text) => [tool, text] as const));

  test.each(presets.flatMap((preset) => all.map(([tool, text]) => [preset, tool, text] as const)))('%s: %s: %s', async (preset, _, text) => {
    const client = await tunnelOf(preset).client();
    const failure = await client.query(text).then(
      () => undefined,
      (error: { routine?: string; message: string }) => error,
    );
    await client.end();
    expect(failure?.message).toBeUndefined();
  });
});
