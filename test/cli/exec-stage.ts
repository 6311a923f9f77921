/** What the tests of exec share: the demo stack, people who are logged in, and gate processes that are measured. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { approveDevice } from '../../src/dev/device-page.ts';
import { startStack, type Stack } from '../../src/dev/stack.ts';
import { startDeviceLogin } from '../../src/oidc/device-login.ts';

export const program = join(import.meta.dirname, '../../dist/gate.cjs');

export type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

export type ExecStage = {
  readonly stack: Stack;
  readonly directory: string;
  /** A gate process as this account; without one, as nobody. */
  start(account: string | undefined, words: readonly string[], more?: NodeJS.ProcessEnv): ChildProcessWithoutNullStreams;
  /** The same to its end, with `input` on stdin. */
  run(account: string | undefined, words: readonly string[], input?: string): Promise<Ended>;
  relayOf(account: string): RelayClient;
  /** `gate exec prod-db --reason …` as the engineer. */
  exec(sql: string, ...flags: readonly string[]): Promise<Ended>;
  [Symbol.asyncDispose](): Promise<void>;
};

export async function startExecStage(): Promise<ExecStage> {
  const directory = await mkdtemp(join(tmpdir(), 'gate-exec-test-'));
  const stack = await startStack({ program: [process.execPath, program], groupsMaxAge: '24h', pollSeconds: 0.01 });
  const tokens = new Map<string, string>();
  await Promise.all(stack.accounts.map(async ({ name }) => tokens.set(name, await logIn(stack.issuer, name))));
  const start: ExecStage['start'] = (account, words, more = {}) => {
    const child = spawn(process.execPath, [program, ...words], {
      env: {
        PATH: process.env['PATH'],
        HOME: directory,
        GATE_CONFIG_DIR: join(directory, 'config'),
        GATE_KEYCHAIN: 'off',
        GATE_RELAY: stack.relayUrl,
        ...(account !== undefined && { GATE_TOKEN: tokens.get(account) }),
        ...more,
      },
    });
    child.stdin.on('error', () => undefined);
    return child;
  };
  const run: ExecStage['run'] = (account, words, input = '') => {
    const child = start(account, words);
    child.stdin.end(input);
    return ended(child);
  };
  return {
    stack,
    directory,
    start,
    run,
    relayOf: (account) => {
      const config = { directory, relay: stack.relayUrl, isKeychainWanted: false, token: tokens.get(account) ?? '' };
      return createRelayClient(config, { warn: () => undefined });
    },
    exec: (sql, ...flags) => run('engineer', ['exec', 'prod-db', '--reason', 'testing', '--sql', sql, ...flags]),
    [Symbol.asyncDispose]: async () => {
      await stack.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export function ended(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

async function logIn(issuer: string, account: string): Promise<string> {
  const device = await startDeviceLogin({ issuer, clientId: 'gate-cli', scopes: ['openid', 'profile', 'offline_access'] });
  await approveDevice({ verificationUri: device.verificationUri, userCode: device.userCode, account, decision: 'approve' });
  return (await device.wait(AbortSignal.timeout(60_000))).accessToken;
}

/** The most memory that a process has had at once, in MiB; 0 when it is gone. */
export async function peakMemoryMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
}

/** Waits until a condition holds; fails with its description after longer than any machine needs. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > giveUp) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
