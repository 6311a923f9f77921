/** What the client is told from outside, in one place: flag, environment, project file, the user's file, default. */
import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { GateError } from '../errors/errors.ts';
import { parseSecureUrl } from '../oidc/secure-url.ts';
import type { CommitPlace } from './commit-object.ts';
import { findPlatform, isPlatformWish, platformNames, type Platform } from './platform.ts';
import { systemCodeOf, writePrivateFile } from './private-file.ts';
import { readRunFacts, type RunFacts } from './run-facts.ts';
import type { UserFile } from './settings-file.ts';

export type ClientConfig = {
  /** Where the user's settings and credentials live; absolute, and not made before something is written. */
  readonly directory: string;
  /** The relay to talk to, https or http on loopback, without a trailing slash. */
  readonly relay?: string;
  /** GATE_TOKEN: used in place of any stored login, and never stored. */
  readonly token?: string;
  /** Where the platform on which this runs keeps a token; GATE_TOKEN goes before it. */
  readonly platform?: Platform;
  /** What is thrown in place of sending a platform's token to a relay that only a project file names. */
  readonly foreignRelay?: GateError;
  /** What the environment says of the run, which goes along with a platform's token. */
  readonly run?: RunFacts;
  readonly checkout?: CommitPlace;
  readonly isKeychainWanted: boolean;
  /** Each setting with its origin, for showing; missing where the configuration was put together by hand. */
  readonly settings?: readonly Setting[];
};

/** One setting as it is in force. */
export type Setting = {
  readonly name: 'directory' | 'relay' | 'token' | 'platform' | 'keychain';
  /** Undefined where nothing is set; of a token only that it is set. */
  readonly value: string | undefined;
  readonly origin: 'flag' | 'environment' | 'project-file' | 'user-file' | 'default';
  /** The flag, the variable, or the file's path; undefined for a default. */
  readonly source: string | undefined;
};

export type ConfigFlags = { readonly relay?: string };

/** Found in the working directory or above it, so that a repository can name the relay of its databases. */
const projectFileName = '.gate.yaml';

/** Reads the settings; `environment` and `workingDirectory` are parameters only so that tests need not change their own. */
export async function loadClientConfig(
  flags: ConfigFlags,
  environment: NodeJS.ProcessEnv = process.env,
  workingDirectory?: string,
): Promise<ClientConfig> {
  const directory = await findDirectory(environment);
  const file = await loadUserFile(userFilePath(directory));
  const relay = await chooseRelay({ flags, environment, file, directory, workingDirectory });
  const token = readToken(environment['GATE_TOKEN']);
  const platform = await choosePlatform(environment);
  const foreignRelay = findForeignRelay(relay, file.relay, token === undefined ? platform?.source : 'GATE_TOKEN');
  if (token !== undefined && foreignRelay !== undefined) throw foreignRelay;
  const checkout = workingDirectory ?? currentDirectory();
  const keychain = chooseKeychain(environment['GATE_KEYCHAIN'], file.keychain, directory);
  return {
    directory,
    isKeychainWanted: keychain.value === 'on',
    ...(relay.value !== undefined && { relay: relay.value }),
    ...(token !== undefined && { token }),
    ...(platform !== undefined && { platform }),
    ...(foreignRelay !== undefined && { foreignRelay }),
    run: readRunFacts(environment),
    ...(checkout !== undefined && { checkout: { directory: checkout, environment } }),
    settings: [
      {
        name: 'directory',
        value: directory,
        ...(environment['GATE_CONFIG_DIR'] ? fromVariable('GATE_CONFIG_DIR') : byDefault),
      },
      relay,
      { name: 'token', ...(token === undefined ? { value: undefined, ...byDefault } : { value: 'set', ...fromVariable('GATE_TOKEN') }) },
      { name: 'platform', value: platform?.name, ...(platform === undefined ? byDefault : fromVariable(platform.source)) },
      keychain,
    ],
  };
}

/**
 * The environment for a program that gate starts: this process's own, with `more` in place of what it names; undefined
 * takes a variable away.
 */
export function childEnvironment(
  more: Readonly<Record<string, string | undefined>>,
  environment: NodeJS.ProcessEnv = process.env,
): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries({ ...environment, ...more }).filter(([, value]) => value !== undefined));
}

/** The relay's URL, or GateError `usage` where none is known. */
export function requireRelay(config: ClientConfig): string {
  if (config.relay !== undefined) return config.relay;
  throw new GateError('usage', 'no relay is known yet', {
    hint: 'Log in first: gate login --relay https://gate.example.com',
  });
}

/** Makes `relay` the default in the user's file, which keeps its comments. Durable when the promise resolves. */
export async function rememberRelay(config: ClientConfig, relay: string): Promise<void> {
  const path = userFilePath(config.directory);
  const { Document, parseDocument } = await import('yaml');
  const text = await readIfThere(path);
  const parsed = text === undefined ? undefined : parseDocument(text);
  if (parsed?.get('relay') === relay) return;
  const document = parsed?.contents ? parsed : new Document({});
  // A file of comments alone has no map to put the setting in; the comments go on top of the new one.
  if (parsed && !parsed.contents) document.commentBefore = parsed.comment ?? parsed.commentBefore;
  document.set('relay', relay);
  await writePrivateFile(path, document.toString());
}

/** Where completion finds its names, without reading any settings: it must answer before anyone notices. */
export async function findCompletionPlace(
  environment: NodeJS.ProcessEnv = process.env,
): Promise<{ readonly directory: string; readonly relay: string | undefined }> {
  return { directory: await findDirectory(environment), relay: environment['GATE_RELAY']?.replace(/\/+$/, '') || undefined };
}

/** What the environment says about the way to the network; names only, since a proxy's URL may hold a password. */
export type NetworkEnvironment = {
  readonly proxyVariables: readonly string[];
  /** Node was told to send its HTTP requests through them. */
  readonly isNodeProxying: boolean;
  /** Node was told not to check certificates. */
  readonly isVerificationOff: boolean;
};

export function readNetworkEnvironment(environment: NodeJS.ProcessEnv = process.env): NetworkEnvironment {
  const names = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'];
  const words = `${environment['NODE_OPTIONS'] ?? ''} ${process.execArgv.join(' ')}`;
  return {
    proxyVariables: names.filter((name) => environment[name]),
    isNodeProxying:
      process.allowedNodeEnvironmentFlags.has('--use-env-proxy') &&
      (environment['NODE_USE_ENV_PROXY'] === '1' || words.includes('--use-env-proxy')),
    isVerificationOff: environment['NODE_TLS_REJECT_UNAUTHORIZED'] === '0',
  };
}

export function userFilePath(directory: string): string {
  return join(directory, 'config.yaml');
}

type Origin = Pick<Setting, 'origin' | 'source'>;

const byDefault: Origin = { origin: 'default', source: undefined };

function fromVariable(source: string): Origin {
  return { origin: 'environment', source };
}

async function findDirectory(environment: NodeJS.ProcessEnv): Promise<string> {
  const chosen = environment['GATE_CONFIG_DIR'];
  if (chosen) return resolve(chosen);
  const { default: envPaths } = await import('env-paths');
  return envPaths('gate', { suffix: '' }).config;
}

type RelaySources = {
  readonly flags: ConfigFlags;
  readonly environment: NodeJS.ProcessEnv;
  readonly file: UserFile;
  readonly directory: string;
  readonly workingDirectory: string | undefined;
};

/** The first source that says anything; an empty variable says nothing. */
async function chooseRelay(sources: RelaySources): Promise<Setting> {
  const { flags, environment, file, directory, workingDirectory } = sources;
  const none: Setting = { name: 'relay', value: undefined, ...byDefault };
  const named = (text: string, what: string, origin: Origin): Setting => ({ name: 'relay', value: parseRelay(text, what), ...origin });
  if (flags.relay) return named(flags.relay, 'the relay of --relay', { origin: 'flag', source: '--relay' });
  const variable = environment['GATE_RELAY'];
  if (variable) return named(variable, 'the relay of GATE_RELAY', fromVariable('GATE_RELAY'));
  const project = await findProjectRelay(workingDirectory ?? currentDirectory());
  if (project !== undefined) return named(project.relay, `the relay in ${project.path}`, { origin: 'project-file', source: project.path });
  if (!file.relay) return none;
  const path = userFilePath(directory);
  return named(file.relay, `the relay in ${path}`, { origin: 'user-file', source: path });
}

function parseRelay(text: string, what: string): string {
  const url = parseSecureUrl(text, what, 'usage');
  if (url.search !== '' || url.hash !== '') throw new GateError('usage', `${what} must end with its path`);
  return url.href.replace(/\/+$/, '');
}

async function choosePlatform(environment: NodeJS.ProcessEnv): Promise<Platform | undefined> {
  const wish = environment['GATE_PLATFORM'];
  if (wish && !isPlatformWish(wish)) {
    throw new GateError('usage', `GATE_PLATFORM names no platform that gate knows: ${JSON.stringify(wish)}`, {
      hint: `Write one of ${platformNames.join(', ')}, or none.`,
    });
  }
  return findPlatform(environment);
}

/**
 * Whoever writes a project file must not come by a token with it. A stored login cannot go astray, because it is looked
 * up by the URL of its relay; GATE_TOKEN and a platform's token belong to no relay, so they go only where their owner said
 * by other means.
 */
function findForeignRelay(relay: Setting, ownRelay: string | undefined, source: string | undefined): GateError | undefined {
  if (source === undefined || relay.origin !== 'project-file') return undefined;
  if (ownRelay && parseRelay(ownRelay, 'the relay in the user file') === relay.value) return undefined;
  const what = source === 'GATE_TOKEN' ? 'GATE_TOKEN is set' : `a token is to be had (${source})`;
  return new GateError('usage', `${what}, and only ${relay.source} names the relay that it would be sent to`, {
    hint: `If you trust that file: GATE_RELAY=${relay.value}, or --relay.`,
  });
}

function chooseKeychain(variable: string | undefined, ofFile: 'on' | 'off' | undefined, directory: string): Setting {
  if (variable) {
    if (variable === 'on' || variable === 'off') return { name: 'keychain', value: variable, ...fromVariable('GATE_KEYCHAIN') };
    throw new GateError('usage', `GATE_KEYCHAIN is "on" or "off", not ${JSON.stringify(variable)}`);
  }
  if (ofFile === undefined) return { name: 'keychain', value: 'on', ...byDefault };
  return { name: 'keychain', value: ofFile, origin: 'user-file', source: userFilePath(directory) };
}

/** A shell may stand in a directory that is gone. */
function currentDirectory(): string | undefined {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}

/** The nearest project file that names a relay; the search ends at the first file, whatever it says. */
async function findProjectRelay(start: string | undefined): Promise<{ relay: string; path: string } | undefined> {
  for (let directory = start; directory !== undefined; directory = dirname(directory) === directory ? undefined : dirname(directory)) {
    const path = join(directory, projectFileName);
    const text = await readIfThere(path);
    if (text === undefined) continue;
    const { relay } = (await import('./settings-file.ts')).parseSettings(text, path, 'project');
    return relay === undefined ? undefined : { relay, path };
  }
  return undefined;
}

/** Checked here, because the HTTP client would quote a token that it cannot send in its error. */
function readToken(text: string | undefined): string | undefined {
  const token = text?.trim();
  if (token === undefined || token === '') return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new GateError('usage', 'GATE_TOKEN holds blanks or characters that no token has');
}

async function loadUserFile(path: string): Promise<UserFile> {
  const text = await readIfThere(path);
  if (text === undefined) return {};
  const { keychain, ...rest } = (await import('./settings-file.ts')).parseSettings(text, path, 'user');
  return { ...rest, ...(keychain !== undefined && { keychain }) };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new GateError('config-invalid', `cannot read ${path} (${code ?? 'unknown error'})`, { cause: error });
  }
}
