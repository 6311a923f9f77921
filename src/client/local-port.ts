/** The local end of `gate connect`: a loopback port or a private Unix socket, each connection through a tunnel of its own. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { LocalIdentity } from './local-ca.ts';
import { serveConnection, type ConnectionOptions } from './local-connection.ts';
import { listenOnLoopback, listenOnUnixSocket } from './local-listener.ts';

export type LocalPortOptions = ConnectionOptions & {
  /**
   * A TCP port on 127.0.0.1 (0 for a free one) and the same on ::1, or a directory for a Unix socket, whose port number
   * is the first free one from 5432 on unless it is given.
   */
  readonly listen: { readonly port: number } | { readonly directory: string; readonly port?: number };
  /** With it only TLS is spoken, but for cancel requests, which older clients send in the clear. */
  readonly tls?: LocalIdentity;
};

export type LocalPort = {
  /** What clients give as host: 127.0.0.1, localhost where they shall check a certificate, or the socket's directory. */
  readonly host: string;
  readonly port: number;
  /** Ends all connections. Resolves when they are closed and the address is free; takes about a second at most. */
  close(): Promise<void>;
};

/** Fails with `usage` when the port or the directory cannot be had. */
export async function startLocalPort(options: LocalPortOptions): Promise<LocalPort> {
  const sockets = new Set<Socket>();
  const stopping = new AbortController();
  const serve = (stream: Duplex) => void serveConnection(stream, options, stopping.signal);
  let enter: (socket: Socket) => void = serve;
  if (options.tls !== undefined) {
    const { createTlsDoor } = await import('./local-tls.ts');
    enter = createTlsDoor(options.tls, { onStream: serve, onRefused: (reason) => options.onBroken(reason, 0, false) });
  }
  const accept = (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    enter(socket);
  };
  const { listen } = options;
  const { host, port, servers } = 'directory' in listen ? await listenOnUnixSocket(listen, accept) : await listenOnLoopback(listen.port, accept);
  return {
    // Clients before libpq 15 cannot match a certificate with an address.
    host: options.tls !== undefined && !('directory' in listen) ? 'localhost' : host,
    port,
    close: async () => {
      stopping.abort();
      const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)));
      for (const socket of sockets) socket.destroy();
      await Promise.all(closed);
    },
  };
}
