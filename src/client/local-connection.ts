/** One connection of a local client, pumped through a tunnel of its own, and told why where that cannot be. */
import type { Duplex } from 'node:stream';
import { parseTunnelNews, type TunnelNews } from '../api/api.ts';
import { ERRORS, GateError, messageOf } from '../errors/errors.ts';
import { encodeGateError } from '../pgwire/backend.ts';
import { decodeStartupPacket, startupLengthMax } from '../pgwire/frontend.ts';
import { hasSentAll } from '../tunnel/reused-reads.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import { FrameBorder } from './frame-border.ts';
import { openTunnel } from './open-tunnel.ts';

/** A client whose tunnel cannot be opened is told why, if it sends its start-up packet in this time. */
const refusalTimeoutMs = 5000;
/** When this end stops, a relay that does not answer the close frame is waited for this long. */
const closeTimeoutMs = 1000;
/** When a client is gone, this long: a relay that has paused sees no frame, and hears only of the end of the socket. */
const leaveTimeoutMs = 5000;
/** The WebSocket broke without a close frame: the relay had no chance to say why. */
const brokenCode = 1006;

export type ConnectionOptions = {
  /** Without a trailing slash. */
  readonly relay: string;
  readonly session: string;
  /** A token that is fresh for long enough to open a tunnel now. */
  readonly accessToken: () => Promise<string>;
  /**
   * A connection ended otherwise than by either side's wish. `code` is the WebSocket's, or that of the relay's error;
   * 0 where the client was turned away here. `isRelayAway`: it is worth trying again later.
   */
  readonly onBroken: (reason: string, code: number, isRelayAway: boolean) => void;
  /** A statement of some connection waits for approval; called again and again while it does. */
  readonly onNews?: (news: TunnelNews) => void;
  /** A tunnel is open: the relay is there. */
  readonly onOpen?: () => void;
};

/**
 * Pumps bytes in both directions, each side read only as fast as the other takes them, until either ends. The stream
 * must be paused. Where the relay is away or refuses, the client gets a FATAL error in place of the server's first
 * answer; where the tunnel breaks later, in between two messages. Resolves when the stream is closed; never rejects.
 */
export async function serveConnection(stream: Duplex, options: ConnectionOptions, signal: AbortSignal): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    if (stream.closed) resolve();
    else stream.once('close', resolve);
  });
  stream.on('error', () => stream.destroy());
  try {
    await pump(stream, options, signal);
  } catch (error) {
    const known = describeFailure(error);
    if (!signal.aborted) options.onBroken(known.message, known.closeCode, isAway(known));
    refuse(stream, known);
  }
  await closed;
}

async function pump(stream: Duplex, options: ConnectionOptions, signal: AbortSignal): Promise<void> {
  const { relay, session } = options;
  const border = new FrameBorder();
  let isTunnelClosed = false;
  let tunnel: Tunnel | undefined = undefined;
  tunnel = await openTunnel(
    { relay, session, accessToken: await options.accessToken(), signal },
    {
      onData: (bytes) => {
        border.push(bytes);
        if (!stream.write(bytes)) tunnel?.pause();
        return hasSentAll(stream);
      },
      onNews: (text) => {
        const news = parseTunnelNews(text);
        if (news !== undefined) options.onNews?.(news);
      },
      onDrain: () => stream.resume(),
      onClose: (code, reason) => {
        isTunnelClosed = true;
        const isBroken = code === brokenCode && !stream.destroyed && !signal.aborted;
        if (isBroken && border.isAtBorder) stream.write(encodeGateError(tunnelBroken(), 'FATAL'));
        stream.end(() => stream.destroy());
        // The peer may keep its half open for ever; what it still sends leads nowhere.
        stream.resume();
        if (isBroken) options.onBroken(tunnelBroken().message, code, true);
        else if (![1000, 1005, brokenCode].includes(code)) {
          options.onBroken(reason || `the relay closed the tunnel (${code})`, code, code === ERRORS['relay-stopping'].close);
        }
      },
    },
  );
  options.onOpen?.();
  const open = tunnel;
  const leave = () => {
    if (isTunnelClosed) return;
    open.close(1000, '');
    setTimeout(() => open.terminate(), signal.aborted ? closeTimeoutMs : leaveTimeoutMs).unref();
  };
  if (stream.destroyed) return leave();
  stream.once('close', leave);
  stream.on('drain', () => open.resume());
  stream.on('data', (bytes: Buffer) => {
    if (!open.write(bytes)) stream.pause();
  });
  // A client that closes its sending half without Terminate is gone, as for the server itself.
  stream.on('end', leave);
  stream.resume();
}

function tunnelBroken(): GateError {
  return new GateError('relay-unreachable', 'the connection to the relay broke', {
    hint: 'What ran last may or may not have taken effect. Connect again when the relay is back: port and password stay.',
  });
}

function describeFailure(error: unknown): GateError {
  if (!(error instanceof GateError)) return new GateError('internal', messageOf(error), { cause: error });
  if (!isAway(error)) return error;
  return new GateError(error.code, error.message, {
    cause: error.cause,
    hint: 'gate connect keeps this port. Connect again when the relay is back: port and password stay.',
  });
}

function isAway({ code }: GateError): boolean {
  return code === 'relay-unreachable' || code === 'relay-stopping';
}

/**
 * Tells a PostgreSQL client why it cannot be served, in the place where it expects the server's first answer: requests
 * for encryption are turned down first, as the server would. Closes the stream when the client has been told, or sent
 * something else, or nothing for a while.
 */
export function refuse(stream: Duplex, error: GateError): void {
  let received: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => stream.destroy(), refusalTimeoutMs);
  stream.once('close', () => clearTimeout(timer));
  stream.on('end', () => stream.destroy());
  stream.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    if (received.length < 8) return;
    const length = received.readUInt32BE(0);
    if (length < 8 || length > startupLengthMax) return void stream.destroy();
    if (received.length < length) return;
    const kind = kindOf(received.subarray(0, length));
    received = received.subarray(length);
    if (kind === 'ssl' || kind === 'gssenc') stream.write('N');
    else if (kind === 'startup') stream.end(encodeGateError(error, 'FATAL'), () => stream.destroy());
    // A cancel request is never answered.
    else stream.destroy();
  });
  stream.resume();
}

function kindOf(packet: Buffer) {
  try {
    return decodeStartupPacket(packet).kind;
  } catch {
    return undefined;
  }
}
