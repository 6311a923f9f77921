/** Where clients of this machine connect: a port on both loopback addresses, or a Unix socket in a private directory. */
import { mkdir, rm, stat } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join, resolve as resolvePath } from 'node:path';
import { GateError, messageOf } from '../errors/errors.ts';
import { withFileLock } from './file-lock.ts';
import { systemCodeOf } from './private-file.ts';

/** Connections that wait for the kernel to hand them over. */
const backlog = 128;
/** How often any free port is asked for, should its twin on ::1 be somebody else's. */
const attemptsMax = 10;
export const socketPort = 5432;
/** Gates that may share a socket directory, each with a port number of its own. */
const socketsPerDirectoryMax = 100;
/** Bytes of sockaddr_un.sun_path without the final NUL. */
const socketPathBytesMax = process.platform === 'linux' ? 107 : 103;

export type Listening = { readonly host: string; readonly port: number; readonly servers: readonly Server[] };
type Accept = (socket: Socket) => void;

/** 0 takes any free port. Fails with `usage` when the port cannot be had. */
export async function listenOnLoopback(port: number, accept: Accept): Promise<Listening> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await listenOnBoth(port, accept);
    } catch (error) {
      if (port !== 0 || attempt === attemptsMax || !isAddressInUse(error)) throw error;
    }
  }
}

async function listenOnBoth(port: number, accept: Accept): Promise<Listening> {
  const first = await listen({ host: '127.0.0.1', port }, accept);
  const bound = (first.address() as AddressInfo).port;
  // Clients that try ::1 first must not reach somebody else's server there. Machines without IPv6 go without.
  const second = await listen({ host: '::1', port: bound, ipv6Only: true }, accept).catch((error: unknown) => {
    if (!isAddressInUse(error)) return undefined;
    first.close();
    throw error;
  });
  return { host: '127.0.0.1', port: bound, servers: second === undefined ? [first] : [first, second] };
}

/**
 * A socket with PostgreSQL's naming, so that clients find it by directory and port: the port that is asked for, or
 * the first from 5432 on that no living server has. What a dead one left behind is taken over. The directory is made
 * 0700 where it is missing; fails with `usage` where it is open to others.
 */
export async function listenOnUnixSocket(where: { directory: string; port?: number }, accept: Accept): Promise<Listening> {
  const directory = resolvePath(where.directory);
  await makeSocketDirectory(directory);
  const first = where.port ?? socketPort;
  const last = where.port ?? socketPort + socketsPerDirectoryMax - 1;
  // Two gates that find the same dead socket must not remove each other's.
  return withFileLock(join(directory, '.gate.lock'), async () => {
    for (let port = first; port <= last; port++) {
      const path = join(directory, `.s.PGSQL.${port}`);
      checkPathLength(path);
      if (await isServed(path)) continue;
      await rm(path, { force: true });
      return { host: directory, port, servers: [await listen({ path }, accept)] };
    }
    throw new GateError('usage', `a server already listens on ${join(directory, `.s.PGSQL.${first}`)}`, {
      hint: where.port === undefined ? 'Choose another directory.' : 'Choose another port number with -p, or leave -p out.',
    });
  });
}

async function makeSocketDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') throw new GateError('usage', 'there are no Unix sockets on Windows', { hint: 'Leave --socket-dir out.' });
  checkPathLength(join(directory, `.s.PGSQL.${socketPort}`));
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new GateError('usage', `cannot make the socket directory ${directory}: ${messageOf(error)}`, { cause: error });
  }
  const { mode, uid } = await stat(directory);
  if (uid !== process.getuid?.()) throw new GateError('usage', `the socket directory ${directory} belongs to another user`);
  if ((mode & 0o077) !== 0) {
    throw new GateError('usage', `the socket directory ${directory} must be yours alone`, { hint: `Run chmod 700 ${directory}` });
  }
}

function checkPathLength(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= socketPathBytesMax) return;
  throw new GateError('usage', `the socket's path would take ${bytes} bytes, and the system allows ${socketPathBytesMax}: ${path}`, {
    hint: 'Choose a directory with a shorter path.',
  });
}

/** Somebody answers there. A file that nobody listens on is what a killed process left. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => resolve(!['ENOENT', 'ECONNREFUSED'].includes(systemCodeOf(error) ?? '')));
  });
}

/** The failure says that another server has the address. */
export function isAddressInUse(error: unknown): boolean {
  return error instanceof GateError && systemCodeOf(error.cause) === 'EADDRINUSE';
}

function listen(where: Parameters<Server['listen']>[0], accept: Accept): Promise<Server> {
  // Both halves of a connection end on their own, so that the last bytes of either side arrive.
  const server = createServer({ noDelay: true, allowHalfOpen: true, pauseOnConnect: true }, accept);
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(new GateError('usage', `cannot listen locally: ${error.message}`, { cause: error, hint: 'Choose another port with -p.' }));
    });
    server.listen({ ...(where as object), backlog }, () => resolve(server));
  });
}
