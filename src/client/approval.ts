/** Waiting for people to decide on a request, through restarts of the relay. */
import type { RequestInfo } from '../api/request-api.ts';
import { GateError } from '../errors/errors.ts';
import { refusalOf } from '../grant/life-cycle.ts';
import type { RelayClient } from './relay-client.ts';

/** How soon a relay that is away is asked again. */
const retryMs = 1000;

export type WaitOptions = {
  readonly signal: AbortSignal;
  /** Give up after so long; without it the request's own time counts. */
  readonly seconds?: number | undefined;
  /** At first, and whenever there are more votes. */
  readonly onVotes: (request: RequestInfo) => void;
  /** The relay could not be asked; it is asked again. */
  readonly onAway: (error: GateError) => void;
};

/**
 * Resolves with the approved request. Fails with `approval-rejected` or `approval-expired` when it will not be approved,
 * with `approval-pending` when the time to wait is up, and with the reason of the signal.
 */
export async function waitForApproval(
  relay: Pick<RelayClient, 'request' | 'waitRequest'>,
  id: string,
  options: WaitOptions,
): Promise<RequestInfo> {
  const { signal, seconds, onVotes, onAway } = options;
  const timeout = seconds === undefined ? undefined : AbortSignal.timeout(seconds * 1000);
  const stop = timeout === undefined ? signal : AbortSignal.any([signal, timeout]);
  let votes = -1;
  for (;;) {
    signal.throwIfAborted();
    if (timeout?.aborted === true) throw refusalOf({ id, state: 'pending' });
    try {
      const request = votes === -1 ? await relay.request(id) : await relay.waitRequest(id, votes, stop);
      const count = request.approvals + request.denials;
      if (count > votes) onVotes(request);
      votes = count;
      if (request.state === 'approved') return request;
      if (request.state !== 'pending') throw refusalOf(request);
    } catch (error) {
      if (stop.aborted) continue;
      if (!(error instanceof GateError) || !isAway(error) || votes === -1) throw error;
      onAway(error);
      await sleep(retryMs, stop);
    }
  }
}

function isAway({ code }: GateError): boolean {
  return code === 'relay-unreachable' || code === 'relay-stopping' || code === 'issuer-unreachable';
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
