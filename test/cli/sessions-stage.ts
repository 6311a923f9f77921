/** A whole stack with three sessions made by two people, and gate on it: in this process, or as the built program. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Client } from 'pg';
import { expect, vi } from 'vitest';
import type { AuditEntry } from '../../src/audit/entry.ts';
import type { Context } from '../../src/cli/context.ts';
import { createIo, type IoStreams } from '../../src/cli/io.ts';
import { loadClientConfig, type ClientConfig } from '../../src/client/config.ts';
import { startLocalPort } from '../../src/client/local-port.ts';
import { login } from '../../src/client/login.ts';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { openSession } from '../../src/client/session.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startStack, type Stack } from '../../src/dev/stack.ts';

const program = join(import.meta.dirname, '../../dist/gate.cjs');
export const longReason =
  'ticket 4711: an order is stuck in payment, and the customer has been on the phone since nine o’clock';

export type Terminal = { readonly context: Context; readonly out: string[]; readonly err: string[] };
export type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };
export type Account = 'engineer' | 'operator' | 'dba';

export type Stage = {
  readonly stack: Stack;
  /** Engineer, ended: a parameter, a refusal, an error, a pause. */
  readonly worked: string;
  /** Engineer, open, without a statement. */
  readonly idle: string;
  /** Operator, ended. */
  readonly foreign: string;
  relayOf(account: Account): RelayClient;
  openTerminal(account: Account, more?: { json?: boolean; relay?: RelayClient; stop?: AbortSignal }): Terminal;
  entriesOf(id: string): Promise<AuditEntry[]>;
  /** Runs the built program to its end. */
  gate(account: Account, ...argv: string[]): Promise<Ended>;
  start(account: Account, argv: readonly string[]): { child: ChildProcess; ended: Promise<Ended> };
  stop(): Promise<void>;
};

export async function startStage(): Promise<Stage> {
  const stack = await startStack({ program: [process.execPath, program], groupsMaxAge: '24h', pollSeconds: 0.01 });
  const scratch = await mkdtemp(join(tmpdir(), 'gate-sessions-test-'));
  const stop = async () => {
    await stack.stop();
    await rm(scratch, { recursive: true, force: true });
  };
  try {
    return { ...(await setStage(stack, scratch)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function setStage(stack: Stack, scratch: string): Promise<Omit<Stage, 'stop'>> {
  const people = await logInAll(stack, scratch);
  const relayOf = (account: Account) => createRelayClient(people[account].config, { warn: () => undefined });
  const worked = await work(relayOf('engineer'), longReason, async (client) => {
    await client.query('select name from customers where id = $1 and name <> $2', [7, "O'Hara"]);
    await expect(client.query('create table nope (id int)')).rejects.toMatchObject({ code: '42501' });
    await expect(client.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' });
    await client.query('select pg_sleep(0.05)');
  });
  const foreign = await work(relayOf('operator'), 'looking around', async (client) => {
    await client.query("select 'needle in the record'");
  });
  const { id: idle } = await openSession(relayOf('engineer'), 'exec', { target: 'prod-db', reason: 'later' });
  const start: Stage['start'] = (account, argv) =>
    startGate({ ...process.env, ...people[account].environment, GATE_RELAY: stack.relayUrl }, argv);
  return {
    stack,
    worked,
    idle,
    foreign,
    relayOf,
    openTerminal: (account, more = {}) =>
      openTerminal({
        config: people[account].config,
        relay: relayOf(account),
        stop: new AbortController().signal,
        ...more,
      }),
    entriesOf: (id) => readEntries(relayOf('operator'), id),
    gate: (account, ...argv) => start(account, argv).ended,
    start,
  };
}

type Person = { readonly config: ClientConfig; readonly environment: NodeJS.ProcessEnv };

async function logInAll(stack: Stack, scratch: string): Promise<Record<Account, Person>> {
  const logIn = async (account: Account): Promise<Person> => {
    const environment = { GATE_CONFIG_DIR: join(scratch, account), GATE_KEYCHAIN: 'off' };
    const config = await loadClientConfig({ relay: stack.relayUrl }, environment);
    await login(config, {
      onPrompt: ({ verificationUri, userCode }) =>
        approveDevice({ verificationUri, userCode, account, decision: 'approve' }),
      signal: AbortSignal.timeout(60_000),
      warn: () => undefined,
    });
    return { config, environment };
  };
  return { engineer: await logIn('engineer'), operator: await logIn('operator'), dba: await logIn('dba') };
}

/** A session from its grant to its end, and what is done in it through a local port. */
async function work(
  relay: RelayClient,
  reason: string,
  queries: (client: Client) => Promise<void>,
): Promise<string> {
  const { id, user, password, database } = await openSession(relay, 'connect', { target: 'prod-db', reason });
  const port = await startLocalPort({
    relay: relay.url,
    session: id,
    accessToken: () => relay.accessToken(),
    listen: { port: 0 },
    onBroken: () => undefined,
  });
  try {
    const client = new Client({ host: port.host, port: port.port, user, password, database, application_name: 'test' });
    await client.connect();
    await queries(client);
    await client.end();
    await vi.waitFor(
      async () => {
        const kinds = (await readEntries(relay, id)).map(({ event }) => event.kind);
        expect(kinds).toContain('connection.close');
      },
      { timeout: 20_000, interval: 20 },
    );
  } finally {
    await port.close();
    await relay.endSession(id);
  }
  return id;
}

async function readEntries(relay: RelayClient, id: string): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for await (const entry of relay.entries(id)) entries.push(entry);
  return entries;
}

/** A PassThrough is what a piped stdin, stdout and stderr are to the commands. */
function areStreams(value: unknown): value is IoStreams {
  return typeof value === 'object';
}

type TerminalOptions = { config: ClientConfig; relay: RelayClient; stop: AbortSignal; json?: boolean };

function openTerminal({ config, relay, stop, json = false }: TerminalOptions): Terminal {
  const [out, err]: [string[], string[]] = [[], []];
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
  stderr.setEncoding('utf8').on('data', (text: string) => err.push(text));
  const streams: unknown = { stdin: new PassThrough(), stdout, stderr };
  if (!areStreams(streams)) throw new Error('no streams');
  const context: Context = {
    io: createIo(streams, { json }),
    config: () => Promise.resolve(config),
    relay: () => Promise.resolve(relay),
    stopSignal: () => stop,
  };
  return { context, out, err };
}

function startGate(env: NodeJS.ProcessEnv, argv: readonly string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [program, ...argv], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<Ended>((resolve, reject) => {
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { child, ended };
}
