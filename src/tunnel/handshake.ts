/** The opening handshake is the `ws` library's (RFC 6455, section 4); what it agrees on with the peer is handed over with the bare socket. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { ReusedReads } from './reused-reads.ts';

/** A socket on which the handshake is done, and what the peer has sent behind it. Nobody reads from it yet. */
export type Upgraded = {
  readonly socket: Socket;
  readonly head: Buffer;
  /** This end has asked: it masks its frames, and the other does not. */
  readonly isClient: boolean;
  /** Of a socket that was made for them. */
  readonly reads?: ReusedReads;
};

/** No extensions: compression would cost memory and CPU, and leak lengths of secrets. */
const handshakeOptions = { perMessageDeflate: false } as const;

/** Ends where the library would begin to read and write frames: there it calls `setSocket`, on either side. Its version is pinned for that. */
class Handshake extends WebSocket {
  upgraded: Omit<Upgraded, 'isClient'> | undefined;

  setSocket(socket: Socket, head: Buffer): void {
    socket.setTimeout(0);
    socket.setNoDelay(true);
    this.upgraded = { socket, head };
    this.emit('open');
  }
}

const server = new WebSocketServer({ ...handshakeOptions, noServer: true, clientTracking: false, WebSocket: Handshake });

/** Answers a request for an upgrade. Where it is not as it must be it is refused, and `opened` never called. */
export function acceptUpgrade(request: IncomingMessage, socket: Socket, head: Buffer, opened: (upgraded: Upgraded) => void): void {
  server.handleUpgrade(request, socket, head, (handshake) => opened(handedOver(handshake, false)));
}

export type UpgradeRequest = {
  /** ws: or wss: */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Gives up the attempt; an open socket is left alone. */
  readonly signal?: AbortSignal;
};

/** The other end answered, and did not upgrade. */
export type Refused = { readonly response: IncomingMessage };

/** Asks for an upgrade. Whoever gets a refusal reads it, or destroys it. Fails with what kept the request from being answered. */
export function requestUpgrade({ url, headers = {}, timeoutMs, signal }: UpgradeRequest): Promise<Upgraded | Refused> {
  const reads = new ReusedReads();
  // What the library does not know it passes on to net.connect or tls.connect.
  const socketOptions = { onread: reads.onread };
  const handshake = new Handshake(url, { ...handshakeOptions, ...socketOptions, handshakeTimeout: timeoutMs, headers });
  return new Promise((resolve, reject) => {
    const giveUp = () => handshake.terminate();
    if (signal?.aborted) giveUp();
    signal?.addEventListener('abort', giveUp, { once: true });
    const stop = () => signal?.removeEventListener('abort', giveUp);
    handshake.once('close', stop);
    // What goes wrong after the answer concerns nobody here.
    handshake.on('error', reject);
    handshake.once('open', () => {
      stop();
      resolve({ ...handedOver(handshake, true), reads });
    });
    handshake.once('unexpected-response', (_, response: IncomingMessage) => resolve({ response }));
  });
}

function handedOver(handshake: Handshake | WebSocket, isClient: boolean): Upgraded {
  const { upgraded } = handshake as Handshake;
  if (upgraded === undefined) throw new Error('the WebSocket library did not hand over the socket');
  return { ...upgraded, isClient };
}
