/** The checks of gate doctor that need no network: Node, settings, files, keychain, local port, proxy variables. */
import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { GateError } from '../errors/errors.ts';
import { failed, known, ok, skipped, warning, type DoctorOptions, type Facts, type Finding, type Step } from './check-step.ts';
import { readNetworkEnvironment, requireRelay, userFilePath, type ClientConfig } from './config.ts';
import { createKeychain, KeychainUnavailable } from './keychain.ts';
import { findExposure, systemCodeOf } from './private-file.ts';

/** The last month of each line with long-term support, from the release schedule of Node.js. */
const nodeEnds: Readonly<Record<number, string>> = { 20: '2026-04-30', 22: '2027-04-30', 24: '2028-04-30', 26: '2029-04-30' };

export function machineSteps(options: DoctorOptions): readonly Step[] {
  return [
    { name: 'node', needs: [], run: () => Promise.resolve(checkNode(process.versions.node, new Date())) },
    { name: 'settings', needs: [], run: (facts) => checkSettings(facts, options) },
    { name: 'permissions', needs: ['settings'], run: ({ config }) => checkPermissions(known(config)) },
    { name: 'keychain', needs: ['settings'], run: ({ config }) => checkKeychain(known(config)) },
    { name: 'local-port', needs: [], run: () => checkLocalPort(options.port) },
    { name: 'proxy', needs: [], run: () => Promise.resolve(checkProxy()) },
    { name: 'relay', needs: ['settings'], run: (facts) => checkRelay(facts) },
  ];
}

/** An odd line never has long-term support; one that is newer than this table is taken to be alive. */
export function checkNode(version: string, now: Date): Finding {
  const major = Number(version.split('.')[0]);
  const end = nodeEnds[major];
  const hasEnded = end === undefined ? major < 26 : now > new Date(`${end}T23:59:59Z`);
  if (!hasEnded) return ok(`Node ${version}`);
  return warning(
    `Node ${version} works, but is past its end of life${end === undefined ? '' : ` (${end})`} and gets no security fixes`,
    'Install Node 24 from https://nodejs.org or your package manager.',
  );
}

async function checkSettings(facts: Facts, { loadConfig }: DoctorOptions): Promise<Finding> {
  const config = await loadConfig();
  facts.config = config;
  const path = userFilePath(config.directory);
  const files = (await modeOf(path)) === undefined ? [] : [path];
  for (const { origin, source } of config.settings ?? []) if (origin === 'project-file' && source !== undefined) files.push(source);
  return ok(files.length === 0 ? `no settings file yet in ${config.directory}` : `read from ${files.join(' and ')}`);
}

/** Directories and settings must not be changed by others, files with secrets not even read. */
async function checkPermissions({ directory }: ClientConfig): Promise<Finding> {
  if (process.platform === 'win32') return skipped('Windows keeps a profile private by other means');
  for (const path of [directory, join(directory, 'passfiles'), userFilePath(directory)]) {
    const mode = await modeOf(path);
    if (mode === undefined || (mode & 0o022) === 0) continue;
    return failed('config-invalid', `${path} can be changed by other users (mode ${octal(mode)})`, `Run chmod go-w ${path}`);
  }
  const credentials = join(directory, 'credentials.json');
  const exposure = await findExposure(credentials);
  if (exposure !== undefined) {
    const fix = `If nobody else can have read it, run chmod 600 ${credentials}; otherwise also gate logout and gate login.`;
    return failed('config-invalid', `${credentials} ${exposure}, but it is where logins are kept`, fix);
  }
  const mode = await modeOf(directory);
  if (mode === undefined) return ok(`${directory} does not exist yet`);
  if ((mode & 0o077) === 0) return ok(`${directory} is yours alone`);
  return warning(`other users can look into ${directory} (mode ${octal(mode)})`, `Run chmod 700 ${directory}`);
}

async function modeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mode & 0o777;
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new GateError('config-invalid', `cannot look at ${path} (${code ?? 'unknown error'})`, { cause: error });
  }
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

async function checkKeychain({ isKeychainWanted, directory }: ClientConfig): Promise<Finding> {
  const fallback = `logins are kept in ${join(directory, 'credentials.json')}, which only you can read`;
  if (!isKeychainWanted) return ok(`switched off; ${fallback}`);
  try {
    // An entry that nobody ever saved: only the answer counts.
    await createKeychain({ isWanted: true }).load('gate doctor');
    return ok('the OS keychain answers; logins are kept there');
  } catch (error) {
    if (!(error instanceof KeychainUnavailable)) throw error;
    return warning(
      `no OS keychain here: ${error.message}; ${fallback}`,
      'Nothing is needed; to stop trying: export GATE_KEYCHAIN=off, or keychain: off in the settings file.',
    );
  }
}

/** The addresses of gate connect. ::1 is missing on machines without IPv6, where gate connect goes without. */
async function checkLocalPort(port: number): Promise<Finding> {
  const what = port === 0 ? 'a local port' : `local port ${port}`;
  const code = await tryToListen('127.0.0.1', port);
  if (code !== undefined) {
    const reason = code === 'EADDRINUSE' ? 'another program has it' : code;
    return failed('usage', `${what} cannot be opened on 127.0.0.1: ${reason}`, 'Choose another with -p, or let gate choose with -p 0.');
  }
  const code6 = await tryToListen('::1', port);
  if (code6 === undefined) return ok(`${what} can be opened on 127.0.0.1 and ::1`);
  if (code6 !== 'EADDRINUSE') return ok(`${what} can be opened on 127.0.0.1; there is no ::1 here (${code6})`);
  return failed('usage', `${what} cannot be opened on ::1: another program has it`, 'Choose another with -p, or let gate choose with -p 0.');
}

function tryToListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(systemCodeOf(error) ?? error.message));
    server.listen({ host, port, ipv6Only: host === '::1' }, () => server.close(() => resolve(undefined)));
  });
}

/** What is true of this gate: neither its HTTP requests nor its tunnels look at these variables by themselves. */
function checkProxy(): Finding {
  const { proxyVariables, isNodeProxying, isVerificationOff } = readNetworkEnvironment();
  if (isVerificationOff) {
    return warning(
      'NODE_TLS_REJECT_UNAUTHORIZED=0 switches the check of certificates off: anybody on the way can read your token',
      'Run unset NODE_TLS_REJECT_UNAUTHORIZED, and name an authority of your own in NODE_EXTRA_CA_CERTS.',
    );
  }
  if (proxyVariables.length === 0) return ok('no proxy variable is set; gate connects directly');
  const names = proxyVariables.join(', ');
  return isNodeProxying
    ? warning(
        `${names} is set, and Node sends gate's HTTP requests through it, but tunnels connect directly`,
        'If only the proxy leads out, ask for a direct way to the relay; if not, run unset NODE_USE_ENV_PROXY.',
      )
    : warning(
        `${names} is set, but gate does not use it: it connects to relay and issuer directly`,
        'If only the proxy leads out, ask for a direct way to the relay; if the checks below are ok, nothing is needed.',
      );
}

function checkRelay(facts: Facts): Promise<Finding> {
  const config = known(facts.config);
  const relay = requireRelay(config);
  facts.relay = new URL(relay);
  const source = config.settings?.find(({ name }) => name === 'relay')?.source;
  return Promise.resolve(ok(source === undefined ? relay : `${relay}, from ${source}`));
}
