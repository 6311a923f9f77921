/**
 * A session for a command, where the grant may need approval first: says who may approve and how, waits, and goes on.
 *
 * Events of `--json`, one per line; fields are only ever added:
 * - `{"event":"approval-requested","requestId","target","role","approvers","count","expiresAt","approve"}`: `approve` is
 *   the command for an approver, `approvers` says who that is.
 * - `{"event":"approval-vote","requestId","approvals","denials","count"}` at each vote.
 * - `{"event":"approved","requestId","by"}`: the names of those who approved.
 */
import type { GrantRequest } from '../api/api.ts';
import type { RequestInfo } from '../api/request-api.ts';
import type { RelayClient } from '../client/relay-client.ts';
import type { TimedSession } from '../client/session.ts';
import { GateError, messageOf } from '../errors/errors.ts';
import { exitOfSignal } from './exit-code.ts';
import type { Interrupt } from './interrupt.ts';
import type { Io } from './io.ts';
import { formatSpan } from './output.ts';

/** How long an interrupted wait tries to take its request back. */
const withdrawTimeoutMs = 3000;
/** How often the wait is mentioned where there is no terminal to show it on. */
const mentionMs = 60_000;

export type ApprovalWait = {
  /** In seconds; undefined for as long as the request waits, false not to wait at all. */
  readonly wait: number | false | undefined;
  readonly interrupt: () => Interrupt;
  /** Takes an event of `--json`. */
  readonly event: (value: Readonly<Record<string, unknown>>) => void | Promise<void>;
  /** Before a line about this target, where there are several; else empty. */
  readonly label?: string;
};

/** As `openSession` of the client. Fails with `approval-pending` where it is not to wait, or has waited long enough. */
export async function openApprovedSession(
  io: Io,
  relay: RelayClient,
  { command, request }: { readonly command: 'connect' | 'exec'; readonly request: GrantRequest },
  options: ApprovalWait,
): Promise<TimedSession> {
  const { openSession } = await import('../client/session.ts');
  // A script that waits for a grant so long waits no longer for a statement; who has a port open decides by Ctrl-C.
  const waitSeconds = command === 'connect' ? undefined : options.wait === false ? 0 : options.wait;
  const open = (more: Partial<GrantRequest>) => openSession(relay, command, { ...request, ...more }, waitSeconds);
  const opened = await io.withSpinner(`Asking for a grant on ${request.target}`, () => open({}).catch(pendingOf));
  if (!('requestId' in opened)) return opened;
  const { requestId: id, error } = opened;
  if (options.wait === false) throw stillPending(error, id, { command, request });
  await waitForGrant(io, relay, id, { ...options, isOwn: request.request === undefined }).catch((reason: unknown) => {
    throw reason instanceof GateError && reason.code === 'approval-pending' ? stillPending(reason, id, { command, request }) : reason;
  });
  return open({ request: id });
}

type Pending = { readonly requestId: string; readonly error: GateError };

function pendingOf(error: unknown): Pending {
  if (error instanceof GateError && error.code === 'approval-pending' && error.requestId !== undefined) {
    return { requestId: error.requestId, error };
  }
  throw error;
}

function stillPending(error: GateError, id: string, { command, request }: { command: string; request: GrantRequest }): GateError {
  return new GateError('approval-pending', error.message, {
    requestId: id,
    hint: `An approver runs: gate approve ${id}. Then go on with: gate ${command} ${request.target} --request ${id}`,
  });
}

/** Says whom to ask, waits for the approval of a request, and takes it back when the user has had enough. */
export async function waitForGrant(
  io: Io,
  relay: RelayClient,
  id: string,
  options: ApprovalWait & { readonly isOwn: boolean },
): Promise<void> {
  const { wait, label = '', event, isOwn } = options;
  const { waitForApproval } = await import('../client/approval.ts');
  const interrupt = options.interrupt();
  const { signal } = interrupt;
  try {
    const state = { request: await relay.request(id) };
    await announce(io, state.request, options);
    const approved = await io.withSpinner(progress(state.request), async (change) => {
      const spinning = setInterval(() => change(progress(state.request)), 1000);
      const mentioning = setInterval(() => io.isInteractive || io.say(`${label}${progress(state.request)}`), mentionMs);
      try {
        return await waitForApproval(relay, id, {
          signal,
          seconds: wait === false ? 0 : wait,
          onVotes: (request) => {
            if (request.approvals + request.denials > 0) void event(voteEvent(request));
            state.request = request;
            change(progress(request));
          },
          onAway: (error) => change(`${error.message}; asking again`),
        });
      } finally {
        clearInterval(spinning);
        clearInterval(mentioning);
      }
    });
    const by = approved.votes.filter(({ decision }) => decision === 'approve').map((vote) => vote.by.name);
    await event({ event: 'approved', requestId: id, by });
    io.say(`${label}Approved by ${by.join(' and ')}.`);
  } catch (error) {
    if (!signal.aborted) throw error;
    if (isOwn) await withdraw(io, relay, id);
    throw exitOfSignal(signal.reason);
  } finally {
    interrupt.release();
  }
}

async function withdraw(io: Io, relay: RelayClient, id: string): Promise<void> {
  try {
    await relay.cancelRequest(id, undefined, withdrawTimeoutMs);
    io.say(`Request ${id} is withdrawn.`);
  } catch (error) {
    io.warn(`request ${id} could not be withdrawn (${messageOf(error)}); try gate requests cancel ${id}`);
  }
}

async function announce(io: Io, request: RequestInfo, { label = '', event, isOwn }: ApprovalWait & { isOwn: boolean }): Promise<void> {
  const { id, target, role, approval, expiresAt } = request;
  const { by, count } = approval;
  await event({ event: 'approval-requested', requestId: id, target, role, approvers: by, count, expiresAt, approve: `gate approve ${id}` });
  const wanted = count === 1 ? 'the approval of one of' : `${count} approvals out of`;
  io.say(`${label}${target} as ${role} needs ${wanted} ${by.join(' or ')}. You asked in request ${id}.`);
  io.say(`  to approve, one of them runs   gate approve ${id}`);
  io.say(`  to turn it down                gate deny ${id} --reason "…"`);
  io.say(`It waits for ${formatSpan(secondsLeft(request))}; this goes on by itself once it is approved. Ctrl-C ${isOwn ? 'withdraws it' : 'stops waiting'}.`);
}

function voteEvent({ id, approvals, denials, approval }: RequestInfo): Record<string, unknown> {
  return { event: 'approval-vote', requestId: id, approvals, denials, count: approval.count };
}

function progress(request: RequestInfo): string {
  const { id, approvals, approval } = request;
  const soFar = approvals === 0 ? '' : `, ${approvals} of ${approval.count} so far`;
  return `Waiting for approval of ${id}${soFar}; ${formatSpan(secondsLeft(request))} left`;
}

function secondsLeft({ expiresAt }: RequestInfo): number {
  return Math.max(0, Math.round((Date.parse(expiresAt) - Date.now()) / 1000));
}
