/** Passes on what another process of the relay answers: requests one by one, tunnels as they are. */
import { request as sendRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { pipeline, type Duplex } from 'node:stream';
import { GateError } from '../errors/errors.ts';
import { errorBody } from './exchange.ts';
import type { RelayLog } from './relay-log.ts';

/** Who the client is, between processes of the relay only: what a client sends by this name is dropped. */
export const addressHeader = 'x-gate-client-address';

/** Of one connection, not of the message (RFC 9110, 7.6.1); `expect` has been answered. */
const hopHeaders = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade', 'expect', addressHeader]);

/** How long a client may take to close its end of a tunnel that is over. */
const lingerMs = 2000;

/** Bodies flow through in both directions, and either end's going away ends the other. */
export function forwardRequest(request: IncomingMessage, response: ServerResponse, socketPath: string, log: RelayLog): void {
  // The end that asked closes the connection: a server that did so behind its answer could cut that off.
  const headers = [...keptHeaders(request.rawHeaders), 'connection', 'keep-alive'];
  const forwarded = sendRequest({ socketPath, agent: false, method: request.method, path: request.url, headers, setHost: false });
  forwarded.once('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, keptHeaders(answer.rawHeaders));
    response.flushHeaders();
    pipeline(answer, response, () => forwarded.destroy());
  });
  forwarded.on('error', (failure) => {
    if (response.headersSent || response.destroyed) return;
    log.warn({ reason: failure.message, path: request.url?.replace(/\?.*/s, '') }, 'a request could not be passed on');
    const error = new GateError('relay-stopping', 'the relay is stopping', { hint: 'Try again in a moment.' });
    response.writeHead(error.httpStatus, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(errorBody(error)));
  });
  response.once('close', () => {
    forwarded.destroy();
    // What was not wanted of the body must not stand before the next request.
    request.unpipe(forwarded).resume();
  });
  request.pipe(forwarded);
}

/** As `writeHead` and `request` take them: name, value, name, value. */
function keptHeaders(raw: readonly string[]): string[] {
  return raw.flatMap((name, at) => (at % 2 === 0 && !hopHeaders.has(name.toLowerCase()) ? [name, raw[at + 1] ?? ''] : []));
}

/** From here on the socket is the other process's: it upgrades, refuses, and ends it. */
export function forwardUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, { at, address, onError }: ForwardedUpgrade): void {
  const { method, url, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/1.1`, `${addressHeader}: ${address}`];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() !== addressHeader) lines.push(`${rawHeaders[index]}: ${rawHeaders[index + 1]}`);
  }
  const other = connect({ path: at, allowHalfOpen: true });
  other.once('error', onError);
  other.once('connect', () => {
    other.off('error', onError);
    other.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
    other.write(head);
    socket.pipe(other);
    other.pipe(socket);
    for (const end of [socket, other]) end.on('error', () => end.destroy());
    socket.once('close', () => other.destroy());
    // What was sent last is still on its way to a client that reads; one that does not close its end is not waited for.
    other.once('close', () => setTimeout(() => socket.destroy(), lingerMs).unref());
  });
}

export type ForwardedUpgrade = { readonly at: string; readonly address: string; readonly onError: (error: unknown) => void };
