/** One port for the HTTP API and the WebSocket tunnels. */
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import { WebSocketServer, type WebSocket } from 'ws';
import { agentHeader } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import { socketOptions, Tunnel } from '../tunnel/tunnel.ts';
import { agentOf } from './agents.ts';
import type { Callers } from './callers.ts';
import type { RelayConfig } from './config.ts';
import { Connection } from './connection.ts';
import { errorBody } from './exchange.ts';
import type { LiveSession } from './live-session.ts';
import type { RelayLog } from './relay-log.ts';
import type { Sessions } from './sessions.ts';

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
  readonly config: RelayConfig;
  readonly app: Hono;
  readonly sessions: Sessions;
  readonly callers: Callers;
  readonly log: RelayLog;
  readonly isStopping: () => boolean;
};

export async function startServer(options: ServerOptions): Promise<RelayServer> {
  const { host, port } = options.config.listen;
  const server = createServer(options);
  const tunnels = new WebSocketServer({ ...socketOptions, noServer: true, clientTracking: false });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    openTunnel(options, request).then(
      (session) => tunnels.handleUpgrade(request, socket, head, (webSocket) => serve(session, webSocket, request, options.log)),
      (error: unknown) => refuseUpgrade(socket, error, options.log),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'it is in use' : error.message;
      reject(new GateError('config-invalid', `cannot listen on ${host}:${port}: ${reason}`, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        // Tunnels have been told why; a peer that does not close its end is not waited for.
        setTimeout(() => sockets.forEach((socket) => socket.destroy()), closeTimeoutMs).unref();
      }),
  };
}

function createServer({ config, app }: ServerOptions): Server {
  const listener = getRequestListener(app.fetch);
  const handle = (request: IncomingMessage, response: ServerResponse) => void listener(request, response);
  const limits = { maxHeaderSize: headerBytesMax, headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs };
  const server = config.tls
    ? createHttpsServer({ ...limits, ...config.tls, minVersion: 'TLSv1.2' }, handle)
    : createHttpServer(limits, handle);
  server.maxConnections = socketsMax;
  return server;
}

/** Who may open a tunnel: a caller with a token, on a session of their own, and never a browser. */
async function openTunnel(options: ServerOptions, request: IncomingMessage): Promise<LiveSession> {
  if (options.isStopping()) throw new GateError('relay-stopping', 'the relay is stopping');
  // Every browser sends Origin with a WebSocket; a web page must not reach a tunnel (cross-site WebSocket hijacking).
  if (request.headers.origin !== undefined || request.headers.cookie !== undefined) {
    throw new GateError('denied', 'tunnels are not for browsers', { rule: 'origin' });
  }
  const id = /^\/v1\/sessions\/([\w-]{1,100})\/tunnel$/.exec(request.url ?? '')?.[1];
  if (id === undefined) throw new GateError('not-found', `there is no tunnel at ${request.url?.replace(/\?.*/s, '').slice(0, 200)}`);
  const { principal } = await options.callers.authenticate(request.headers.authorization, agentOf(request.headers[agentHeader]));
  return options.sessions.forTunnel(principal, id);
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

function serve(session: LiveSession, webSocket: WebSocket, request: IncomingMessage, log: RelayLog): void {
  const address = `${request.socket.remoteAddress}:${request.socket.remotePort}`;
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
