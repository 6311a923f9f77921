/** What the client is told from outside, in one place: flag, then environment, then the user's file, then default. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { GateError } from '../errors/errors.ts';
import { parseSecureUrl } from '../oidc/secure-url.ts';
import { systemCodeOf, writePrivateFile } from './private-file.ts';

export type ClientConfig = {
  /** Where the user's settings and credentials live; absolute, and not made before something is written. */
  readonly directory: string;
  /** The relay to talk to, https or http on loopback, without a trailing slash. */
  readonly relay?: string;
  /** GATE_TOKEN: used in place of any stored login, and never stored. */
  readonly token?: string;
  readonly isKeychainWanted: boolean;
};

export type ConfigFlags = { readonly relay?: string };

/** Reads the settings; `environment` is a parameter only so that tests need not change their own. */
export async function loadClientConfig(
  flags: ConfigFlags,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<ClientConfig> {
  const directory = await findDirectory(environment);
  const file = await loadUserFile(userFilePath(directory));
  const relay = chooseRelay([
    { text: flags.relay, from: 'the relay of --relay' },
    { text: environment['GATE_RELAY'], from: 'the relay of GATE_RELAY' },
    { text: file.relay, from: `the relay in ${userFilePath(directory)}` },
  ]);
  const token = readToken(environment['GATE_TOKEN']);
  const keychain = environment['GATE_KEYCHAIN'] || (file.keychain ?? 'on');
  if (keychain !== 'on' && keychain !== 'off') {
    throw new GateError('usage', `GATE_KEYCHAIN is "on" or "off", not ${JSON.stringify(keychain)}`);
  }
  return {
    directory,
    isKeychainWanted: keychain === 'on',
    ...(relay !== undefined && { relay }),
    ...(token !== undefined && { token }),
  };
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

export function userFilePath(directory: string): string {
  return join(directory, 'config.yaml');
}

async function findDirectory(environment: NodeJS.ProcessEnv): Promise<string> {
  const chosen = environment['GATE_CONFIG_DIR'];
  if (chosen) return resolve(chosen);
  const { default: envPaths } = await import('env-paths');
  return envPaths('gate', { suffix: '' }).config;
}

/** The first source that says anything; an empty variable says nothing. */
function chooseRelay(sources: readonly { text: string | undefined; from: string }[]): string | undefined {
  const source = sources.find(({ text }) => text !== undefined && text !== '');
  if (source?.text === undefined) return undefined;
  const url = parseSecureUrl(source.text, source.from, 'usage');
  if (url.search !== '' || url.hash !== '') throw new GateError('usage', `${source.from} must end with its path`);
  return url.href.replace(/\/+$/, '');
}

/** Checked here, because the HTTP client would quote a token that it cannot send in its error. */
function readToken(text: string | undefined): string | undefined {
  const token = text?.trim();
  if (token === undefined || token === '') return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new GateError('usage', 'GATE_TOKEN holds blanks or characters that no token has');
}

type UserFile = { readonly relay?: string; readonly keychain?: 'on' | 'off' };

/** The YAML and schema libraries are loaded only where there is a file to read. */
async function loadUserFile(path: string): Promise<UserFile> {
  const text = await readIfThere(path);
  if (text === undefined) return {};
  const [z, { parseYaml }] = await Promise.all([import('zod/mini'), import('../yaml/yaml-file.ts')]);
  const schema = z.strictObject(
    {
      relay: z.optional(z.string({ error: 'a URL is expected, as in https://gate.example.com' })),
      keychain: z.optional(z.enum(['on', 'off'], { error: '"on" or "off" is expected' })),
    },
    { error: ({ code }) => (code === 'invalid_type' ? 'settings are expected, as in relay: https://…' : undefined) },
  );
  const { relay, keychain } = parseYaml(text, path, schema);
  return { ...(relay !== undefined && { relay }), ...(keychain !== undefined && { keychain }) };
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
