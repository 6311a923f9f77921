/** TLS on the local port, as a server with `hostssl` alone: SSLRequest or direct TLS, and nothing readable but cancels. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { GateError } from '../errors/errors.ts';
import { decodeStartupPacket, startupLengthMax } from '../pgwire/frontend.ts';
import { refuse } from './local-connection.ts';
import type { LocalIdentity } from './local-ca.ts';

/** From the connection to the end of the TLS handshake. */
const handshakeTimeoutMs = 30_000;
/** First byte of a TLS record with a handshake message; no start-up packet is long enough to begin with it. */
const tlsHandshakeByte = 0x16;
/** https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SSL */
const alpnProtocol = 'postgresql';

export type TlsHandlers = {
  /** An encrypted stream, or the bare one of a cancel request; paused. */
  readonly onStream: (stream: Duplex) => void;
  /** A client gave up, or was turned away; half a sentence for the user. */
  readonly onRefused: (reason: string) => void;
};

/** Takes connections that were accepted paused. `caFile` is what refused clients are told to trust. */
export function createTlsDoor(identity: LocalIdentity, handlers: TlsHandlers): (socket: Socket) => void {
  const settings = { key: identity.key, cert: identity.cert, minVersion: 'TLSv1.2', ALPNProtocols: [alpnProtocol], handshakeTimeout: handshakeTimeoutMs } as const;
  const onError = (error: Error) => handlers.onRefused(`a client gave up the TLS handshake: ${error.message}`);
  const negotiated = createServer({ ...settings, pauseOnConnect: true }, handlers.onStream);
  const direct = createServer({ ...settings, pauseOnConnect: true }, (socket: TLSSocket) => {
    if (socket.alpnProtocol === alpnProtocol) return handlers.onStream(socket);
    // Without the protocol's name a browser could be led to talk to a database (ALPACA); PostgreSQL insists as well.
    handlers.onRefused('a client began with TLS without naming PostgreSQL as its protocol');
    socket.destroy();
  });
  for (const server of [negotiated, direct]) server.on('tlsClientError', onError);
  return (socket) => {
    socket.on('error', () => socket.destroy());
    const timer = setTimeout(() => socket.destroy(), handshakeTimeoutMs);
    socket.once('close', () => clearTimeout(timer));
    const enter = (server: Server) => {
      clearTimeout(timer);
      server.emit('connection', socket);
    };
    readOpening(socket, {
      onDirect: () => enter(direct),
      onSslRequest: () => socket.write('S', () => enter(negotiated)),
      onCancel: () => {
        clearTimeout(timer);
        handlers.onStream(socket);
      },
      onStartup: () => {
        handlers.onRefused('a client was turned away because it did not ask for TLS');
        refuse(socket, plainTextRefused(identity.caFile));
      },
    });
  };
}

type Openings = Readonly<Record<'onDirect' | 'onSslRequest' | 'onCancel' | 'onStartup', () => void>>;

/** Reads the least that tells how the client begins; all but the requests for encryption are put back. */
function readOpening(socket: Socket, openings: Openings): void {
  let received: Buffer = Buffer.alloc(0);
  let hasAskedForGss = false;
  const leave = (next: () => void) => {
    socket.off('data', onData).off('end', onEnd).pause();
    if (received.length > 0) socket.unshift(received);
    next();
  };
  const onEnd = () => socket.destroy();
  const onData = (bytes: Buffer) => {
    received = received.length === 0 ? bytes : Buffer.concat([received, bytes]);
    if (received[0] === tlsHandshakeByte) return leave(openings.onDirect);
    const kind = readKind(received);
    if (kind === 'partial') return;
    if (kind === 'startup') return leave(openings.onStartup);
    if (kind === 'cancel') return leave(openings.onCancel);
    // Bytes behind a request for encryption would be taken for encrypted ones (CVE-2021-23214).
    const isAlone = received.length === 8;
    received = Buffer.alloc(0);
    if (kind === 'ssl' && isAlone) return leave(openings.onSslRequest);
    if (kind !== 'gssenc' || !isAlone || hasAskedForGss) return void socket.destroy();
    hasAskedForGss = true;
    socket.write('N');
  };
  socket.on('data', onData).on('end', onEnd).resume();
}

function readKind(received: Buffer): 'partial' | 'ssl' | 'gssenc' | 'cancel' | 'startup' | 'unknown' {
  if (received.length < 8) return 'partial';
  const length = received.readUInt32BE(0);
  if (length < 8 || length > startupLengthMax) return 'unknown';
  if (received.length < length) return 'partial';
  try {
    return decodeStartupPacket(received.subarray(0, length)).kind;
  } catch {
    return 'unknown';
  }
}

function plainTextRefused(caFile: string): GateError {
  return new GateError('denied', 'this port takes encrypted connections only', {
    rule: 'local-tls',
    hint: `Connect with sslmode=verify-full sslrootcert=${caFile}, or start gate connect without --tls.`,
  });
}
