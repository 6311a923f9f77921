/** One port for the HTTP API and the WebSocket tunnels. */
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { agentHeader } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import { socketOptions, Tunnel } from '../tunnel/tunnel.ts';
import type { RelayConfig } from './config.ts';
import { Connection } from './connection.ts';
import { errorBody } from './exchange.ts';
import { addressHeader, forwardUpgrade } from './forward.ts';
import type { LiveSession } from './live-session.ts';
import type { RelayLog } from './relay-log.ts';
import type { Asking, Elsewhere } from './worker-calls.ts';

/** Room for a token of the longest kind that is accepted, and the rest. */
const headerBytesMax = 32 * 1024;
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 30_000;
/** How long sockets may take to close when the relay stops. */
const closeTimeoutMs = 2000;
/** Open sockets of all kinds. */
export const socketsMax = 5000;

export type RelayServer = { readonly port: number; close(): Promise<void> };

export type ServerOptions = {
  /** A Unix socket is for other processes of the relay only, which say who their clients are. */
  readonly listen: RelayConfig['listen'] | { readonly path: string };
  readonly tls?: RelayConfig['tls'];
  /** Answers all requests but those for a tunnel. */
  readonly answer: (request: IncomingMessage, response: ServerResponse) => void;
  /** Who may open a tunnel: a caller with a token, on a session of their own. */
  readonly openTunnel: (asking: Asking, session: string) => Promise<LiveSession | Elsewhere>;
  /** Of this process, where it is one of several behind one port. */
  readonly socketsMax?: number;
  readonly log: RelayLog;
  readonly isStopping: () => boolean;
};

export async function startServer(options: ServerOptions): Promise<RelayServer> {
  const { listen, log } = options;
  const isInternal = 'path' in listen;
  const server = createServer(options);
  const tunnels = new WebSocketServer({ ...socketOptions, noServer: true, clientTracking: false });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', destroyOwn);
    const address = clientAddress(request, isInternal);
    const refuse = (error: unknown) => refuseUpgrade(socket, error, log);
    openTunnel(options, request).then((found) => {
      if ('at' in found) forwardUpgrade(request, socket, head, { ...found, address, onError: () => refuse(workerGone()) });
      else tunnels.handleUpgrade(request, socket, head, (webSocket) => serve(found, webSocket, address, log));
    }, refuse);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'it is in use' : error.message;
      const where = 'path' in listen ? listen.path : `${listen.host}:${listen.port}`;
      reject(new GateError('config-invalid', `cannot listen on ${where}: ${reason}`, { cause: error }));
    });
    // Exclusive: what comes by a Unix socket is for this process and no other.
    server.listen({ ...listen, exclusive: isInternal }, resolve);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    // Not by maxConnections, which would hand the socket from one full worker to the next for ever.
    if (sockets.size >= (options.socketsMax ?? socketsMax)) return socket.destroy();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return {
    port: isInternal ? 0 : (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        // Tunnels have been told why; a peer that does not close its end is not waited for.
        setTimeout(() => sockets.forEach((socket) => socket.destroy()), closeTimeoutMs).unref();
      }),
  };
}

/** Listens for as long as a tunnel lasts, so it keeps nothing of the request alive: that holds a token. */
function destroyOwn(this: Duplex): void {
  this.destroy();
}

function createServer({ tls, answer, socketsMax: ownMax }: ServerOptions): Server {
  const limits = { maxHeaderSize: headerBytesMax, headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs };
  const server = tls ? createHttpsServer({ ...limits, ...tls, minVersion: 'TLSv1.2' }, answer) : createHttpServer(limits, answer);
  if (ownMax === undefined) server.maxConnections = socketsMax;
  return server;
}

/** Never for a browser. */
async function openTunnel(options: ServerOptions, request: IncomingMessage): Promise<LiveSession | Elsewhere> {
  if (options.isStopping()) throw new GateError('relay-stopping', 'the relay is stopping');
  // Every browser sends Origin with a WebSocket; a web page must not reach a tunnel (cross-site WebSocket hijacking).
  if (request.headers.origin !== undefined || request.headers.cookie !== undefined) {
    throw new GateError('denied', 'tunnels are not for browsers', { rule: 'origin' });
  }
  const id = /^\/v1\/sessions\/([\w-]{1,100})\/tunnel$/.exec(request.url ?? '')?.[1];
  if (id === undefined) throw new GateError('not-found', `there is no tunnel at ${request.url?.replace(/\?.*/s, '').slice(0, 200)}`);
  const { authorization, [agentHeader]: agent } = request.headers;
  return options.openTunnel({ authorization, agent }, id);
}

function clientAddress({ socket, headers }: IncomingMessage, isInternal: boolean): string {
  return isInternal ? String(headers[addressHeader]) : `${socket.remoteAddress}:${socket.remotePort}`;
}

function workerGone(): GateError {
  return new GateError('relay-stopping', 'the part of the relay that serves this session has just ended', { hint: 'Connect again in a moment.' });
}

function refuseUpgrade(socket: Duplex, error: unknown, log: RelayLog): void {
  const known = error instanceof GateError ? error : new GateError('internal', 'the relay failed on this request');
  if (known.code === 'internal') log.error({ err: error }, 'upgrade failed');
  const body = JSON.stringify(errorBody(known));
  // Past the upgrade no timeout of the HTTP server applies, so a peer that keeps its half open is not waited for.
  socket.once('finish', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${known.httpStatus} ${known.code}\r\nContent-Type: application/json\r\nConnection: close\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function serve(session: LiveSession, webSocket: WebSocket, address: string, log: RelayLog): void {
  const connection = new Connection(session, () => tunnel, address);
  const tunnel = new Tunnel(webSocket, {
    onData: (bytes) => connection.onData(bytes),
    onDrain: () => connection.onDrain(),
    onClose: () => connection.onTunnelClosed(),
  });
  session.serve(connection).catch((error: unknown) => {
    log.error({ err: error, session: session.id }, 'connection failed');
    tunnel.terminate();
  });
}
