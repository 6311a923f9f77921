/** The local end of `gate connect`: a loopback port or a private Unix socket, each connection pumped through one tunnel. */
import { mkdir, rm, stat } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { GateError, messageOf } from '../errors/errors.ts';
import { encodeGateError } from '../pgwire/backend.ts';
import { decodeStartupPacket, startupLengthMax } from '../pgwire/frontend.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import { openTunnel } from './open-tunnel.ts';

/** Connections that wait for the kernel to hand them over. */
const backlog = 128;
/** A client whose tunnel cannot be opened is told why, if it sends its start-up packet in this time. */
const refusalTimeoutMs = 5000;

export type LocalPortOptions = {
  readonly relay: string;
  readonly session: string;
  /** A token that is fresh for long enough to open a tunnel now. */
  readonly accessToken: () => Promise<string>;
  /** A TCP port on 127.0.0.1 (0 for a free one) and the same on ::1, or a directory for a Unix socket. */
  readonly listen: { readonly port: number } | { readonly directory: string };
  /** A connection ended otherwise than by either side's wish. */
  readonly onBroken: (reason: string, code: number) => void;
};

export type LocalPort = {
  /** What clients give as host: 127.0.0.1, or the directory of the Unix socket. */
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
};

/** Fails with `usage` when the port or the directory cannot be had. */
export async function startLocalPort(options: LocalPortOptions): Promise<LocalPort> {
  const sockets = new Set<Socket>();
  const accept = (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    void pump(socket, options);
  };
  const { host, port, servers, cleanUp } =
    'port' in options.listen ? await listenTcp(options.listen.port, accept) : await listenUnix(options.listen.directory, accept);
  return {
    host,
    port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
      await cleanUp();
    },
  };
}

type Listening = { host: string; port: number; servers: Server[]; cleanUp: () => Promise<void> };

async function listenTcp(port: number, accept: (socket: Socket) => void): Promise<Listening> {
  const first = await listen({ host: '127.0.0.1', port }, accept);
  const bound = (first.address() as AddressInfo).port;
  // Clients that try ::1 first must not reach somebody else's server there. Machines without IPv6 go without.
  const second = await listen({ host: '::1', port: bound, ipv6Only: true }, accept).catch((error: unknown) => {
    if (error instanceof GateError && /EADDRINUSE/.test(messageOf(error.cause))) {
      first.close();
      throw error;
    }
    return undefined;
  });
  return {
    host: '127.0.0.1',
    port: bound,
    servers: second === undefined ? [first] : [first, second],
    cleanUp: () => Promise.resolve(),
  };
}

/** PostgreSQL's naming, so that clients find it by directory and port. */
async function listenUnix(directory: string, accept: (socket: Socket) => void): Promise<Listening> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { mode, uid } = await stat(directory);
  if ((mode & 0o077) !== 0 || uid !== process.getuid?.()) {
    throw new GateError('usage', `the socket directory ${directory} must be yours alone`, { hint: `Run chmod 700 ${directory}` });
  }
  const port = 5432;
  const path = join(directory, `.s.PGSQL.${port}`);
  const server = await listen({ path }, accept);
  return { host: directory, port, servers: [server], cleanUp: () => rm(path, { force: true }) };
}

function listen(where: Parameters<Server['listen']>[0], accept: (socket: Socket) => void): Promise<Server> {
  // Both halves of a connection end on their own, so that the last bytes of either side arrive.
  const server = createServer({ noDelay: true, allowHalfOpen: true, pauseOnConnect: true }, accept);
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(new GateError('usage', `cannot listen locally: ${error.message}`, { cause: error, hint: 'Choose another port with -p.' }));
    });
    server.listen({ ...(where as object), backlog }, () => resolve(server));
  });
}

/** Bytes in both directions, each side read only as fast as the other takes them. */
async function pump(socket: Socket, options: LocalPortOptions): Promise<void> {
  let tunnel: Tunnel | undefined;
  socket.on('error', () => socket.destroy());
  socket.once('close', () => tunnel?.close(1000, ''));
  try {
    const { relay, session } = options;
    tunnel = await openTunnel(
      { relay, session, accessToken: await options.accessToken() },
      {
        onData: (bytes) => {
          if (!socket.write(bytes)) tunnel?.pause();
        },
        onDrain: () => socket.resume(),
        onClose: (code, reason) => {
          socket.end();
          // The peer may keep its half open for ever; what it still sends leads nowhere.
          socket.resume().destroySoon();
          if (code !== 1000 && code !== 1005) options.onBroken(reason || 'the tunnel broke', code);
        },
      },
    );
  } catch (error) {
    const known = error instanceof GateError ? error : new GateError('internal', messageOf(error), { cause: error });
    options.onBroken(known.message, 0);
    return refuse(socket, known);
  }
  const open = tunnel;
  if (socket.destroyed) return open.close(1000, '');
  socket.on('drain', () => open.resume());
  socket.on('data', (bytes: Buffer) => {
    if (!open.write(bytes)) socket.pause();
  });
  // A client that closes its sending half without Terminate is gone, as for the server itself.
  socket.on('end', () => open.close(1000, ''));
  socket.resume();
}

/** Tells a PostgreSQL client why it cannot be served, in the place where it expects the server's first answer. */
function refuse(socket: Socket, error: GateError): void {
  let received = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), refusalTimeoutMs);
  socket.once('close', () => clearTimeout(timer));
  socket.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    if (received.length < 8) return;
    const length = received.readUInt32BE(0);
    if (length < 8 || length > startupLengthMax) return void socket.destroy();
    if (received.length < length) return;
    try {
      const packet = decodeStartupPacket(received.subarray(0, length));
      received = received.subarray(length);
      if (packet.kind === 'ssl' || packet.kind === 'gssenc') socket.write('N');
      else socket.end(encodeGateError(error, 'FATAL'));
    } catch {
      socket.destroy();
    }
  });
  socket.resume();
}
