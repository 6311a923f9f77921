/** relay.yaml: read, checked with line numbers, and its secrets fetched from files or the environment. */
import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { dirname, resolve } from 'node:path';
import * as z from 'zod/mini';
import { durabilities, type Durability } from '../audit/durability.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import type { IssuerSettings } from '../oidc/verify.ts';
import { asymmetricAlgorithms, Duration } from '../policy/policy-file.ts';
import { Name, parsePolicy, type Policy } from '../policy/policy.ts';
import { parseYaml } from '../yaml/yaml-file.ts';
import { DirectoryFile, resolveDirectory, StandingFile, type DirectoryConfig } from './directory-config.ts';
import { RecordFile, resolveRecord, type RecordConfig } from './record-config.ts';
import { loadSinks, SinkEntry, sinksMax, type Sink } from './sinks.ts';

const text = z.string().check(z.minLength(1));
const Port = z.int().check(z.minimum(0), z.maximum(65535));

/** Connections to one target that may be opened ahead for one session. */
export const warmUpstreamsMax = 16;

const Target = z.strictObject({
  description: z.optional(text),
  host: text,
  port: z._default(Port, 5432),
  database: text,
  user: text,
  /** Exactly one of the two, or none for trust authentication. */
  passwordFile: z.optional(text),
  passwordEnv: z.optional(text),
  /** verify-full: encrypted, certificate chain and host name checked. */
  tls: z._default(z.enum(['verify-full', 'disable']), 'verify-full'),
  caFile: z.optional(text),
  /** How far the record must be before a statement is forwarded, or its result sent. */
  durability: z._default(z.enum(durabilities), 'before-forward'),
  /** Connections that are opened ahead for each session, once it has had one; each takes up a place at the server. */
  warmUpstreams: z.optional(z.int().check(z.minimum(0), z.maximum(warmUpstreamsMax))),
});

const File = z.strictObject({
  listen: z._default(z.string().check(z.regex(/^(?:\[[\da-f:]+\]|[\w.-]+):\d{1,5}$/i, 'write host:port')), '127.0.0.1:7443'),
  tls: z.optional(z.strictObject({ certificateFile: text, keyFile: text })),
  stateDirectory: text,
  policyFile: text,
  issuer: z.strictObject({
    url: z.url(),
    clientId: text,
    audience: text,
    resource: z.optional(text),
    scopes: z._default(z.array(text), ['openid', 'profile', 'email', 'offline_access']),
    algorithms: z._default(z.array(z.enum(asymmetricAlgorithms)), [...asymmetricAlgorithms]),
    /** RFC 9068: with it only tokens whose header says so are accepted. Set it where the issuer offers it. */
    tokenType: z.optional(z.literal('at+jwt')),
    groupsClaim: z._default(text, 'groups'),
    nameClaim: z._default(text, 'preferred_username'),
    /** How old a token may be with which something is asked for or decided: its groups are as old. */
    groupsMaxAge: z._default(Duration, 300),
  }),
  targets: z.record(Name, Target),
  record: z.optional(RecordFile),
  standing: z.optional(StandingFile),
  directory: z.optional(DirectoryFile),
  notifications: z._default(z.array(SinkEntry).check(z.maxLength(sinksMax)), []),
});

export type Target = {
  readonly name: string;
  readonly description?: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password?: string;
  readonly tls: 'verify-full' | 'disable';
  /** PEM. Without it the system's certificate authorities count. */
  readonly ca?: string;
  readonly durability: Durability;
  /** Absent: none. */
  readonly warmUpstreams?: number;
};

export type RelayConfig = {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly stateDirectory: string;
  readonly issuer: IssuerSettings & {
    readonly clientId: string;
    readonly resource?: string;
    readonly scopes: readonly string[];
    /** In seconds. */
    readonly groupsMaxAge: number;
  };
  readonly targets: ReadonlyMap<string, Target>;
  readonly policyFile: string;
  /** As the file was when the configuration was loaded. */
  readonly policy: Policy;
  readonly record: RecordConfig;
  /** How often each grant is looked at again. */
  readonly standing: { readonly everySeconds: number };
  /** Where people are looked up; without it, what their newest tokens said counts. */
  readonly directory?: DirectoryConfig;
  readonly notifications: readonly Sink[];
  /** What works but should be looked at, for `gate relay check` and the log. */
  readonly warnings: readonly string[];
};

/** Loads relay.yaml and everything that it names. Paths are relative to the file. Fails with `config-invalid`. */
export async function loadRelayConfig(file: string): Promise<RelayConfig> {
  const base = dirname(resolve(file));
  const config = parseYaml(await read(file, 'configuration'), file, File);
  const policyFile = resolve(base, config.policyFile);
  const policy = parsePolicy(await read(policyFile, 'policy'), policyFile);
  const targets = new Map<string, Target>();
  for (const [name, target] of Object.entries(config.targets)) targets.set(name, await loadTarget(name, target, base));
  const notifications = await loadSinks(config.notifications, {
    fromFile: async (name, what) => (await readSecret(resolve(base, name), what)).replace(/\r?\n$/, ''),
    fromEnvironment: readEnvironment,
  });
  const { tls, issuer } = config;
  const listen = parseListen(config.listen);
  return {
    listen,
    stateDirectory: resolve(base, config.stateDirectory),
    issuer: { ...omitUndefined(issuer), url: checkIssuerUrl(issuer.url) },
    targets,
    policyFile,
    policy,
    standing: { everySeconds: (config.standing ?? StandingFile.parse({})).every },
    ...(config.directory && { directory: await resolveDirectory(config.directory, (name) => readToken(base, name)) }),
    record: resolveRecord(config.record ?? RecordFile.parse({}), base),
    notifications,
    warnings: [...warningsOf(listen, tls !== undefined, policy, targets), ...machineWarningsOf(policy, issuer.url), ...sinkWarningsOf(notifications, targets)],
    ...(tls && {
      tls: {
        cert: await read(resolve(base, tls.certificateFile), 'certificate'),
        key: await readSecret(resolve(base, tls.keyFile), 'key of the relay'),
      },
    }),
  };
}

async function loadTarget(name: string, target: z.infer<typeof Target>, base: string): Promise<Target> {
  const { passwordFile, passwordEnv, caFile, ...rest } = target;
  if (passwordFile !== undefined && passwordEnv !== undefined) {
    throw new GateError('config-invalid', `target ${name}: write passwordFile or passwordEnv, not both`);
  }
  const password =
    passwordFile !== undefined
      ? (await readSecret(resolve(base, passwordFile), `password of target ${name}`)).replace(/\r?\n$/, '')
      : passwordEnv !== undefined
        ? readEnvironment(passwordEnv, `password of target ${name}`)
        : undefined;
  return {
    name,
    ...omitUndefined(rest),
    ...(password !== undefined && { password }),
    ...(caFile !== undefined && { ca: await read(resolve(base, caFile), 'certificate authority') }),
  };
}

function readEnvironment(variable: string, what: string): string {
  const value = process.env[variable];
  if (!value) throw new GateError('config-invalid', `the ${what}: the environment variable ${variable} is not set`);
  return value;
}

/** What git needs of the environment to commit and push; it must never ask anybody anything. */
export function gitEnvironment(): Record<string, string> {
  const kept = ['PATH', 'HOME', 'SSH_AUTH_SOCK', 'GIT_SSH_COMMAND', 'LANG'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(kept), GIT_TERMINAL_PROMPT: '0' };
}

async function read(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new GateError('config-invalid', `cannot read the ${what} file ${file}: ${messageOf(error)}`, { cause: error });
  }
}

async function readToken(base: string, name: string): Promise<string> {
  return (await readSecret(resolve(base, name), 'token of the directory')).replace(/\r?\n$/, '');
}

async function readSecret(file: string, what: string): Promise<string> {
  const secret = await read(file, what);
  const { mode } = await stat(file);
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw new GateError('config-invalid', `the ${what} in ${file} can be read by other users`, { hint: `Run chmod 600 ${file}` });
  }
  return secret;
}

function parseListen(listen: string): { host: string; port: number } {
  const colon = listen.lastIndexOf(':');
  return { host: listen.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(listen.slice(colon + 1)) };
}

function checkIssuerUrl(url: string): string {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname))) return url;
  throw new GateError('config-invalid', `issuer.url ${url} must be https (plain http is for loopback only)`);
}

function warningsOf(
  listen: { host: string },
  hasTls: boolean,
  policy: Policy,
  targets: ReadonlyMap<string, Target>,
): string[] {
  const warnings: string[] = [];
  if (!hasTls && !isLoopback(listen.host)) {
    warnings.push(`listening on ${listen.host} without tls: put a TLS proxy in front, or tokens travel in the clear`);
  }
  for (const name of policy.targets.keys()) {
    if (!targets.has(name)) warnings.push(`the policy names a target "${name}" that is not configured`);
  }
  for (const { name, tls, host } of targets.values()) {
    if (!policy.targets.has(name)) warnings.push(`no policy for target "${name}": nobody can reach it`);
    if (tls === 'disable' && !isLoopback(host)) warnings.push(`target "${name}" at ${host} is reached without TLS`);
  }
  return warnings;
}

function machineWarningsOf({ machines }: Policy, peopleIssuer: string): string[] {
  return [...machines.issuers.values()].flatMap(({ name, url }) => [
    ...(machines.workloads.some(({ issuer }) => issuer === name) ? [] : [`no workload of the trusted issuer "${name}": its tokens open nothing`]),
    ...(url === peopleIssuer ? [`the trusted issuer "${name}" is also that of people's logins: see that people cannot get tokens for its audience`] : []),
    ...(new URL(url).protocol === 'http:' ? [`the trusted issuer "${name}" is reached by plain http, on this machine only`] : []),
  ]);
}

function sinkWarningsOf(sinks: readonly Sink[], targets: ReadonlyMap<string, Target>): string[] {
  return sinks.flatMap(({ name, targets: told = [] }) =>
    told.filter((target) => !targets.has(target)).map((target) => `notification "${name}" is for a target "${target}" that is not configured`),
  );
}

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '');
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'));
}

function omitUndefined<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const defined = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(defined) as { [K in keyof T]: Exclude<T[K], undefined> };
}
