/** What the tests of doctor share: gate doctor in this process or in one of its own, and servers to come upon. */
import { ColumnSeal } from '../../src/store/column-seal.ts';
import { spawn } from 'node:child_process';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import * as x509 from '@peculiar/x509';
import { runDoctor, type DoctorFlags } from '../../src/cli/commands/doctor.ts';
import type { Context } from '../../src/cli/context.ts';
import { ExitCode } from '../../src/cli/exit-code.ts';
import { createIo, type IoStreams } from '../../src/cli/io.ts';
import type { Check } from '../../src/client/checks.ts';
import { loadClientConfig } from '../../src/client/config.ts';
import { createRelayClient } from '../../src/client/relay-client.ts';
import { TokenVerifier } from '../../src/oidc/verify.ts';
import { CancelKeys } from '../../src/relay/cancel-keys.ts';
import { Catalogs } from '../../src/relay/catalogs.ts';
import { loadRelayConfig, type Target } from '../../src/relay/config.ts';
import { openDesks } from '../../src/relay/desks.ts';
import { openFront } from '../../src/relay/front.ts';
import { loadMaskKey } from '../../src/relay/mask-key.ts';
import { MaskPlans } from '../../src/relay/mask-plans.ts';
import { StatementParser } from '../../src/relay/parsing.ts';
import { PolicySource } from '../../src/relay/policy-source.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { createRoutes } from '../../src/relay/routes.ts';
import { openDatabase } from '../../src/store/database.ts';
import { openLog } from '../../src/store/log.ts';
import { openStateDirectory } from '../../src/store/state-directory.ts';

const root = join(import.meta.dirname, '../..');

export type Report = {
  readonly code: number;
  readonly ok: boolean;
  readonly checks: readonly Check[];
  readonly text: string;
  check(name: string): Check;
  /** The names of the checks with this status. */
  with(status: Check['status']): string[];
};

export type DoctorRequest = {
  readonly environment: NodeJS.ProcessEnv;
  readonly target?: string;
  readonly flags?: Partial<DoctorFlags>;
};

/** `gate doctor --json` in this process. */
export async function doctor({ environment, target, flags = {} }: DoctorRequest): Promise<Report> {
  const { context, output } = openTerminal(environment, true);
  const code = await codeOf(runDoctor(context, target, { port: 0, ...flags }));
  return toReport(code, output());
}

/** `gate doctor` for people, in this process. */
export async function doctorText({ environment, target, flags = {} }: DoctorRequest): Promise<{ code: number; text: string }> {
  const { context, output } = openTerminal(environment, false);
  const code = await codeOf(runDoctor(context, target, { port: 0, ...flags }));
  return { code, text: output() };
}

async function codeOf(running: Promise<void>): Promise<number> {
  try {
    await running;
    return 0;
  } catch (error) {
    if (error instanceof ExitCode) return error.exitCode;
    throw error;
  }
}

/** `gate doctor --json` in a process that starts with this environment, as authorities and proxies need. */
export async function doctorProcess(environment: NodeJS.ProcessEnv): Promise<Report> {
  const { code, stdout } = await gateProcess(['doctor', '--json'], environment);
  return toReport(code ?? -1, stdout);
}

export function gateProcess(
  words: readonly string[],
  environment: NodeJS.ProcessEnv,
  cwd = root,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const loader = import.meta.resolve('tsx');
  const child = spawn(process.execPath, ['--import', loader, join(root, 'bin/gate.ts'), ...words], {
    cwd,
    env: { PATH: process.env['PATH'], GATE_KEYCHAIN: 'off', TSX_TSCONFIG_PATH: join(root, 'tsconfig.json'), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

function toReport(code: number, text: string): Report {
  const { checks, ok } = JSON.parse(text) as { checks: Check[]; ok: boolean };
  return {
    code,
    ok,
    checks,
    text,
    check(name) {
      const found = checks.find((check) => check.name === name);
      if (found === undefined) throw new Error(`no check ${name} in ${text}`);
      return found;
    },
    with: (status) => checks.filter((check) => check.status === status).map(({ name }) => name),
  };
}

/** A PassThrough is what a piped stdin, stdout and stderr are to the commands. */
function areStreams(value: unknown): value is IoStreams {
  return typeof value === 'object';
}

export function openTerminal(environment: NodeJS.ProcessEnv, json: boolean, workingDirectory = '/'): { context: Context; output: () => string } {
  const out: string[] = [];
  const stdout = new PassThrough().setEncoding('utf8').on('data', (chunk: string) => out.push(chunk));
  const streams: unknown = { stdin: new PassThrough(), stdout, stderr: new PassThrough().resume() };
  if (!areStreams(streams)) throw new Error('no streams');
  const io = createIo(streams, { json });
  const config = () => loadClientConfig({}, { GATE_KEYCHAIN: 'off', ...environment }, workingDirectory);
  return {
    context: {
      io,
      config,
      relay: async () => createRelayClient(await config(), { warn: () => undefined }),
      stopSignal: () => new AbortController().signal,
    },
    output: () => out.join(''),
  };
}

export type Listening = { readonly port: number } & AsyncDisposable;

export async function listen(server: Server): Promise<Listening> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A proxy before the relay that passes requests on as plain ones, so without upgrades, and may change the answers. */
export async function startFront(
  relayUrl: string,
  change: (incoming: IncomingMessage, answer: { headers: Record<string, unknown>; body: string }) => void = () => undefined,
): Promise<Listening> {
  return listen(
    createServer((incoming, outgoing) => {
      const { upgrade: _, connection: __, ...headers } = incoming.headers;
      const onward = request(`${relayUrl}${incoming.url}`, { method: incoming.method, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const { 'transfer-encoding': ___, 'content-length': ____, ...rest } = response.headers;
          const answer = { headers: rest as Record<string, unknown>, body: Buffer.concat(chunks).toString() };
          change(incoming, answer);
          send(outgoing, response.statusCode ?? 500, answer);
        });
      });
      onward.end();
    }),
  );
}

function send(outgoing: ServerResponse, status: number, { headers, body }: { headers: Record<string, unknown>; body: string }): void {
  outgoing.writeHead(status, headers as Record<string, string>).end(body);
}

/** A relay in the moment between the order to stop and its end, which otherwise passes too soon to be met. */
export async function startStoppingRelay(configFile: string): Promise<Listening> {
  const directory = await mkdtemp(join(tmpdir(), 'gate-stopping-'));
  const loaded = await loadRelayConfig(configFile);
  const config = { ...loaded, listen: { ...loaded.listen, port: 0 }, stateDirectory: directory };
  const [log, isStopping] = [createRelayLog('silent'), () => true];
  const state = await openStateDirectory(directory);
  const database = await openDatabase(state);
  const recorder = await openLog(join(state.path, 'log'));
  const parser = await StatementParser.load();
  const verifier = new TokenVerifier(config.issuer);
  const policies = await PolicySource.start({ file: config.policyFile, policy: config.policy, recorder, log });
  const catalogs = new Catalogs(log);
  const masks = { maskPlans: new MaskPlans(parser, log), maskKey: await loadMaskKey(state.path) };
  const services = { parser, cancelKeys: new CancelKeys(), catalogOf: (target: Target) => catalogs.of(target), ...masks, log };
  const notifier = { notify: () => Promise.resolve() };
  const policy = () => policies.current;
  const desks = await openDesks({ config, policy, database, columns: new ColumnSeal(Buffer.alloc(32)), recorder, verifier, notifier, services, relayVersion: '0' });
  const shared = { ...desks, services, config, log, isStopping };
  const app = createRoutes({ ...shared, database, verifier, policies, recorder, version: '0' });
  const server = await openFront({ ...shared, app, workers: 1, policies, recorder, catalogs, desk: desks.requests, maskKey: masks.maskKey });
  return {
    port: server.port,
    [Symbol.asyncDispose]: async () => {
      await desks.stop();
      await server.close();
      policies.close();
      await catalogs.close();
      await parser.close();
      await recorder.close();
      await database.destroy();
      await state.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const day = 86_400_000;

export type Authority = {
  /** PEM. */
  readonly certificate: string;
  /** A TLS server with a certificate of this authority for `name`, which ends in so many days. */
  serve(name: string, endsInDays: number, answer?: (request: IncomingMessage, response: ServerResponse) => void): Promise<Listening>;
};

/** An authority of the test's own, which a process trusts through NODE_EXTRA_CA_CERTS. */
export async function createAuthority(): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const authority = await x509.X509CertificateGenerator.createSelfSigned(
    {
      name: 'O=Test Authority',
      keys,
      notBefore: new Date(Date.now() - 400 * day),
      notAfter: new Date(Date.now() + 400 * day),
      signingAlgorithm: algorithm,
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
    },
    crypto,
  );
  return {
    certificate: authority.toString('pem'),
    async serve(name, endsInDays, answer = (_, response) => void response.writeHead(404).end()) {
      const own = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
      const certificate = await x509.X509CertificateGenerator.create(
        {
          subject: 'CN=relay',
          issuer: authority.subject,
          notBefore: new Date(Date.now() - 200 * day),
          notAfter: new Date(Date.now() + endsInDays * day),
          signingAlgorithm: algorithm,
          publicKey: own.publicKey,
          signingKey: keys.privateKey,
          extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
        },
        crypto,
      );
      const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', own.privateKey), 'PRIVATE KEY');
      return listen(createTlsServer({ cert: certificate.toString('pem'), key }, answer));
    },
  };
}
