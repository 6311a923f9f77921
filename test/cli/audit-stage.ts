/** What the tests of gate audit and gate evidence share: a relay, the commands in this process, and gate as the built program. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { createProgram } from '../../src/cli/main.ts';
import type { Context } from '../../src/cli/context.ts';
import { createIo, type IoStreams } from '../../src/cli/io.ts';
import { GateError } from '../../src/errors/errors.ts';
import { ExitCode } from '../../src/cli/exit-code.ts';
import { eventually, fixturePolicy, startRelayFixture, type RelayFixture } from '../relay/fixture.ts';

export const program = join(import.meta.dirname, '../../dist/gate.cjs');
export const auditPolicy = fixturePolicy.replace('auditors: [audit]', 'auditors: [audit]\nadministrators: [dba]');

export type Ran = { readonly code: string | number; readonly out: string; readonly err: string };

export type AuditStage = {
  readonly fixture: RelayFixture;
  /** A command line in this process, to its end. `code`: that of the error, or the exit code. */
  run(account: string, argv: readonly string[], signal?: AbortSignal): Promise<Ran>;
  /** gate as a process of its own. */
  start(account: string, argv: readonly string[]): Promise<{ kill(signal: NodeJS.Signals): void; ended: Promise<Ran> }>;
  /** A session that has ended, with these texts. */
  work(texts: readonly string[], account?: string): Promise<string>;
};

export async function startAuditStage(): Promise<AuditStage> {
  const fixture = await startRelayFixture({ policy: auditPolicy });
  return {
    fixture,
    run: (account, argv, signal) => run(fixture, account, argv, signal),
    start: (account, argv) => start(fixture, account, argv),
    work: (texts, account) => work(fixture, texts, account),
  };
}

async function run(fixture: RelayFixture, account: string, argv: readonly string[], signal = new AbortController().signal): Promise<Ran> {
  const relay = await fixture.clientFor(account);
  const [out, err]: [string[], string[]] = [[], []];
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
  stderr.setEncoding('utf8').on('data', (text: string) => err.push(text));
  const streams = { stdin: new PassThrough(), stdout, stderr } as unknown as IoStreams;
  const context: Context = {
    io: createIo(streams, { json: argv.includes('--json') }),
    config: () => Promise.resolve({ directory: join(fixture.directory, 'config'), isKeychainWanted: false }),
    relay: () => Promise.resolve(relay),
    stopSignal: () => signal,
  };
  const gate = await createProgram(context, []);
  gate.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  const code = await gate.parseAsync(argv, { from: 'user' }).then(
    () => 0,
    (error: unknown) => {
      if (error instanceof ExitCode) return error.exitCode;
      if (!(error instanceof GateError)) throw error;
      err.push(`${error.message}\n${error.hint ?? ''}`);
      return error.code;
    },
  );
  return { code, out: out.join(''), err: err.join('') };
}

async function start(fixture: RelayFixture, account: string, argv: readonly string[]): ReturnType<AuditStage['start']> {
  const token = await (await fixture.clientFor(account)).accessToken();
  const child = spawn(process.execPath, [program, ...argv], {
    env: {
      PATH: process.env['PATH'],
      HOME: fixture.directory,
      GATE_CONFIG_DIR: join(fixture.directory, 'config'),
      GATE_KEYCHAIN: 'off',
      GATE_RELAY: fixture.relayUrl,
      GATE_TOKEN: token,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<Ran>((resolve, reject) => {
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code: code ?? String(signal), out, err }));
  });
  return { kill: (signal) => void child.kill(signal), ended };
}

async function work(fixture: RelayFixture, texts: readonly string[], account = 'engineer'): Promise<string> {
  const tunnel = await fixture.connect(account);
  const { session, port } = tunnel;
  const owner = await fixture.clientFor(account);
  const pg = await tunnel.client();
  for (const text of texts) await pg.query(text).catch(() => undefined);
  await pg.end();
  await eventually('the connection is closed', async () => {
    for await (const { event } of owner.entries(session.id)) if (event.kind === 'connection.close') return true;
    return false;
  });
  await port.close();
  await owner.endSession(session.id);
  return session.id;
}
