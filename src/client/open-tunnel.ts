/** Opens the client's end of a tunnel: one WebSocket to the relay for one connection to the database. */
import type { IncomingMessage } from 'node:http';
import { ErrorBody } from '../api/api.ts';
import { agentHeader } from '../api/workload-api.ts';
import { GateError, isErrorCode } from '../errors/errors.ts';
import { describeNetworkFailure } from '../oidc/network-failure.ts';
import { requestUpgrade } from '../tunnel/handshake.ts';
import { Tunnel, type TunnelHandlers } from '../tunnel/tunnel.ts';

const handshakeTimeoutMs = 15_000;
const errorBytesMax = 64 * 1024;

export type TunnelRequest = {
  /** The relay's URL without a trailing slash. */
  readonly relay: string;
  readonly session: string;
  readonly accessToken: string;
  /** As in RelayRequest. */
  readonly agent?: string;
  /** Gives up the attempt; an open tunnel is left alone. */
  readonly signal?: AbortSignal;
};

/** Fails with the relay's own error, or `relay-unreachable`. The token travels in the Authorization header only. */
export async function openTunnel(request: TunnelRequest, handlers: TunnelHandlers): Promise<Tunnel> {
  const { relay, session, accessToken, agent, signal } = request;
  const answer = await requestUpgrade({
    url: `${relay.replace(/^http/, 'ws')}/v1/sessions/${session}/tunnel`,
    timeoutMs: handshakeTimeoutMs,
    headers: { authorization: `Bearer ${accessToken}`, ...(agent !== undefined && { [agentHeader]: agent }) },
    ...(signal !== undefined && { signal }),
  }).catch((error: unknown) => {
    const { reason, hint } = describeNetworkFailure(error);
    throw new GateError('relay-unreachable', `cannot reach the relay ${relay}: ${reason}`, { cause: error, ...(hint !== undefined && { hint }) });
  });
  if ('response' in answer) throw await readError(answer.response);
  return new Tunnel(answer, handlers);
}

async function readError(response: IncomingMessage): Promise<GateError> {
  const unreadable = new GateError('relay-unreachable', `the relay refused the tunnel with status ${response.statusCode}`);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > errorBytesMax) return unreadable;
    chunks.push(chunk);
  }
  try {
    const { error } = ErrorBody.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
    if (!isErrorCode(error.code)) return unreadable;
    return new GateError(error.code, error.message, {
      ...(error.hint !== undefined && { hint: error.hint }),
      ...(error.rule !== undefined && { rule: error.rule }),
    });
  } catch {
    return unreadable;
  }
}
