/** What the tests of connect share: a stack with two targets, and gate processes whose events are read as they come. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startPostgres } from '../../src/dev/postgres.ts';
import { startStack, type Stack } from '../../src/dev/stack.ts';
import { startDeviceLogin } from '../../src/oidc/device-login.ts';
import { eventually, program } from './exec-stage.ts';

/** An event of `--json`, or a line of any other kind as `{ text }`. */
export type Event = Readonly<Record<string, string | number | undefined>>;

export type Running = {
  readonly child: ChildProcessWithoutNullStreams;
  readonly out: Event[];
  readonly err: Event[];
  text(): { stdout: string; stderr: string };
  /** The n-th event of this kind on stdout; fails when the process ends without. */
  event(name: string, index?: number): Promise<Event>;
  /** Resolves with the exit code when the process and its streams have ended. */
  readonly ended: Promise<number | null>;
};

export type ConnectStage = {
  readonly stack: Stack;
  readonly directory: string;
  readonly relay: RelayClient;
  /** `gate connect …` as the engineer, in a process group of its own and without a terminal. */
  connect(words: readonly string[], more?: NodeJS.ProcessEnv): Running;
  /** The same on a terminal of its own, as its foreground job. */
  connectOnTerminal(words: readonly string[]): Running;
  /** The same as a job in the background of a shell, which says how it ended, or that it was stopped. */
  connectInBackground(words: readonly string[]): Running;
  /** A connected client, ended with the stage. */
  client(ready: Event): Promise<Client>;
  [Symbol.asyncDispose](): Promise<void>;
};

export async function startConnectStage(): Promise<ConnectStage> {
  const directory = await mkdtemp(join(tmpdir(), 'gate-connect-test-'));
  const postgres = await startPostgres({});
  const stack = await startStack({
    program: [process.execPath, program],
    groupsMaxAge: '24h',
    pollSeconds: 0.01,
    postgres,
    targets: [{ name: 'second-db', dsn: postgres.url('postgres') }],
  });
  const token = await logIn(stack.issuer);
  const clients: Client[] = [];
  const children: ChildProcessWithoutNullStreams[] = [];
  const environment = {
    PATH: process.env['PATH'],
    HOME: directory,
    GATE_CONFIG_DIR: join(directory, 'config'),
    GATE_KEYCHAIN: 'off',
    GATE_RELAY: stack.relayUrl,
    GATE_TOKEN: token,
  };
  const start = (command: string, words: readonly string[], more: NodeJS.ProcessEnv): Running => {
    const child = spawn(command, words, { detached: true, env: { ...environment, ...more } });
    child.stdin.on('error', () => undefined);
    children.push(child);
    return follow(child);
  };
  const connectWords = [program, 'connect', '--reason', 'testing'];
  return {
    stack,
    directory,
    relay: createRelayClient({ directory, relay: stack.relayUrl, isKeychainWanted: false, token }, { warn: () => undefined }),
    connect: (words, more = {}) => start(process.execPath, [...connectWords, ...words], more),
    connectOnTerminal: (words) => {
      // With a shell in between, the shell would have its own thoughts about Ctrl-C.
      const command = ['exec', process.execPath, ...connectWords, ...words].join(' ');
      return start('script', ['-qec', command, '/dev/null'], { TERM: 'dumb' });
    },
    connectInBackground: (words) => {
      const command = [process.execPath, ...connectWords, ...words].join(' ');
      const job = `stty cols 80; set -m; ${command} & wait $!; echo "ended with $?"; kill -KILL %1`;
      return start('script', ['-qec', `exec bash -c '${job}'`, '/dev/null'], {});
    },
    client: async ({ host, port, user, password, database }) => {
      const client = new Client({ host: String(host), port: Number(port), user: String(user), password: String(password), database: String(database) });
      client.on('error', () => undefined);
      await client.connect();
      clients.push(client);
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) await client.end().catch(() => undefined);
      for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
      await stack.stop();
      await postgres.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function follow(child: ChildProcessWithoutNullStreams): Running {
  const texts = { stdout: '', stderr: '' };
  const events = (name: 'stdout' | 'stderr') => texts[name].split('\n').slice(0, -1).map(parseLine);
  for (const name of ['stdout', 'stderr'] as const) child[name].on('data', (chunk: Buffer) => (texts[name] += chunk.toString('latin1')));
  let hasEnded = false;
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      hasEnded = true;
      resolve(code);
    });
  });
  return {
    child,
    ended,
    text: () => texts,
    get out() {
      return events('stdout');
    },
    get err() {
      return events('stderr');
    },
    event: async (name, index = 0) => {
      const found = () => events('stdout').filter(({ event }) => event === name)[index];
      await eventually(`gate says "${name}"`, () => found() !== undefined || hasEnded);
      const event = found();
      if (event === undefined) throw new Error(`gate ended without "${name}":\n${texts.stdout}${texts.stderr}`);
      return event;
    },
  };
}

function parseLine(line: string): Event {
  try {
    return JSON.parse(line) as Event;
  } catch {
    return { text: line };
  }
}

async function logIn(issuer: string): Promise<string> {
  const device = await startDeviceLogin({ issuer, clientId: 'gate-cli', scopes: ['openid', 'profile', 'offline_access'] });
  await approveDevice({ verificationUri: device.verificationUri, userCode: device.userCode, account: 'engineer', decision: 'approve' });
  return (await device.wait(AbortSignal.timeout(60_000))).accessToken;
}
