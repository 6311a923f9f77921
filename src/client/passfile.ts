/** A libpq password file for one session, so that no password has to stand on a command line. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClientConfig } from './config.ts';
import type { LocalPort } from './local-port.ts';
import { makePrivateDirectory, writePrivateFile } from './private-file.ts';
import type { OpenSession } from './session.ts';

export type Passfile = { readonly path: string; remove(): Promise<void> };

/**
 * Writes it 0600 below the configuration directory (libpq ignores one that others can read). Without a port it holds
 * for every address, for clients that come by standard input and output.
 */
export async function writePassfile(
  config: ClientConfig,
  session: OpenSession,
  port?: Pick<LocalPort, 'host' | 'port'>,
): Promise<Passfile> {
  const directory = join(config.directory, 'passfiles');
  await makePrivateDirectory(config.directory);
  await makePrivateDirectory(directory);
  const path = join(directory, `${session.id}.pgpass`);
  const { user, password } = session;
  const lines = hostsOf(port?.host).map((host) => `${host}:${port?.port ?? '*'}:*:${escape(user)}:${escape(password)}\n`);
  await writePrivateFile(path, lines.join(''));
  return { path, remove: () => rm(path, { force: true }) };
}

/** libpq looks loopback up under the name that was given, and a Unix socket under localhost or its directory. */
function hostsOf(host: string | undefined): string[] {
  if (host === undefined) return ['*'];
  return (host.startsWith('/') ? ['localhost', host] : ['127.0.0.1', 'localhost', '::1']).map(escape);
}

function escape(text: string): string {
  return text.replaceAll(/[:\\]/g, '\\$&');
}
