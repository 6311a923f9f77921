/** Statements that wait for approval: asked for, announced to the client again and again, and decided or given up. */
import { shapeOf } from '../sql/shape.ts';
import type { Parameter } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import type { AccessRequest, ApprovalDesk, ApprovalRule, StatementKey } from '../grant/request.ts';
import type { Grant } from '../grant/grant.ts';
import { encodeNoticeResponse, type TransactionStatus } from '../pgwire/backend.ts';
import type { BoundValue } from '../pgwire/frontend.ts';
import type { StatementFacts } from '../sql/facts.ts';
import type { Findings } from './inspect.ts';
import type { Journal } from './journal.ts';
import type { Approved } from './pending.ts';

/** How often a waiting client is told that it waits. */
export const noticeIntervalMs = 15_000;
/** While a transaction is open its locks keep others waiting, so nobody is waited for longer than this. */
const holdInTransactionSecondsMax = 300;

/** A statement that policy holds, as it is about to run. */
export type Held = {
  /** As recorded: secrets replaced. */
  readonly sql: string;
  /** The text itself, never recorded. */
  readonly text: string;
  readonly isRedacted: boolean;
  readonly kinds: readonly string[];
  readonly values: readonly BoundValue[];
  readonly parameters: readonly Parameter[];
  readonly facts: readonly StatementFacts[];
  readonly fingerprint: string;
  readonly parameterHash: string;
  readonly rule: string;
  readonly reason: string;
  readonly approval: ApprovalRule;
  readonly transaction: TransactionStatus;
};

export type HoldsOptions = {
  readonly session: string;
  readonly grant: Grant;
  readonly connection: number;
  readonly journal: Journal;
  readonly desk: ApprovalDesk;
  /** Approver sets, with who is in them. */
  readonly describeApprovers: (by: readonly string[]) => string;
  /** How long this session waits for approvals; 0: not at all, the statement is to be run again. */
  readonly waitSeconds: number | undefined;
  /** Locks and the plan's estimate, for whoever decides. */
  readonly inspect: (held: Held) => Promise<Findings>;
  /** A message for the client in its stream, and the same for `gate connect` beside it. */
  readonly tell: (message: Buffer, news: string) => void;
};

export class Holds {
  readonly #options: HoldsOptions;
  #waiting: AbortController | undefined;

  constructor(options: HoldsOptions) {
    this.#options = options;
  }

  /** Gives the wait up with this error, if there is one. */
  giveUp(error: GateError): boolean {
    this.#waiting?.abort(error);
    return this.#waiting !== undefined;
  }

  /**
   * Resolves when exactly this statement may run once. Rejects with `approval-rejected`, `approval-expired`,
   * `approval-pending` where the session does not wait, and with what `giveUp` was called with.
   */
  async settle(held: Held): Promise<Approved> {
    const stop = new AbortController();
    this.#waiting = stop;
    try {
      const key = this.#keyOf(held);
      const unspent = await this.#options.desk.take(key);
      if (unspent !== undefined) return { request: unspent.request, reason: 'approved before', fingerprint: held.fingerprint };
      stop.signal.throwIfAborted();
      const request = await this.#ask(held);
      if (this.#options.waitSeconds === 0) throw pending(request, this.#whoOf(request.approval));
      const decided = await this.#wait(request, held, stop.signal);
      if (decided.state !== 'approved') throw turnedDown(decided);
      // Its use is spent before it runs: whatever happens next, it does not run twice on one approval.
      const taken = await this.#options.desk.take(key);
      // An approver has left the group meanwhile, or another connection of the same person was faster.
      if (taken === undefined) throw turnedDown(await this.#options.desk.decided(request.id, stop.signal));
      return { request: request.id, reason: namesOf(decided), fingerprint: held.fingerprint };
    } finally {
      this.#waiting = undefined;
    }
  }

  async #ask(held: Held): Promise<AccessRequest> {
    const { desk, grant, session, connection, journal, waitSeconds } = this.#options;
    const findings = await this.#options.inspect(held);
    const { fingerprint, parameterHash, sql, parameters, facts, transaction, rule, approval } = held;
    const limit = transaction === 'I' ? approval.withinSeconds : Math.min(approval.withinSeconds, holdInTransactionSecondsMax);
    const request = await desk.ask({
      requester: grant.principal,
      target: grant.target,
      role: grant.role,
      rule,
      approval: { ...approval, withinSeconds: limit },
      ...(grant.reason !== undefined && { reason: grant.reason }),
      ...(grant.ticket !== undefined && { ticket: grant.ticket }),
      statement: {
        session,
        connection,
        grant: grant.id,
        sql,
        parameters,
        fingerprint,
        parameterHash,
        facts,
        transaction,
        ...findings,
        isWaiting: waitSeconds !== 0,
      },
    });
    await journal.record([
      {
        kind: 'hold',
        connection,
        request: request.id,
        sql,
        shape: shapeOf(sql),
        ...(held.isRedacted && { redacted: true as const }),
        ...(parameters.length > 0 && { parameters: [...parameters] }),
        kinds: [...held.kinds],
        rule,
        reason: held.reason,
        expiresAt: request.expiresAt.toISOString(),
      },
    ]);
    return request;
  }

  async #wait(request: AccessRequest, held: Held, signal: AbortSignal): Promise<AccessRequest> {
    const { desk, grant } = this.#options;
    const locks = request.statement?.locks ?? [];
    const announce = () => this.#announce(request, held, locks);
    announce();
    const notices = setInterval(announce, noticeIntervalMs);
    const { waitSeconds } = this.#options;
    const enough = waitSeconds === undefined ? undefined : setTimeout(() => this.giveUp(pending(request, this.#whoOf(request.approval))), waitSeconds * 1000);
    try {
      return await desk.decided(request.id, signal);
    } catch (error) {
      // Who has only waited long enough comes back for it.
      const isLeft = signal.reason instanceof GateError && signal.reason.code === 'approval-pending';
      if (signal.aborted && !isLeft) await desk.withdraw(request.id, signal.reason instanceof GateError ? signal.reason.message : 'the client has gone');
      if (new Date() >= grant.expiresAt) throw new GateError('grant-expired', `the grant expired at ${grant.expiresAt.toISOString()}`, about(request));
      throw error;
    } finally {
      clearInterval(notices);
      clearTimeout(enough);
    }
  }

  /** What psql prints: what waits, for whom, for how long, and both ways out. */
  #announce(request: AccessRequest, held: Held, locks: readonly string[]): void {
    const left = formatLeft(request.expiresAt.getTime() - Date.now());
    const who = this.#whoOf(request.approval);
    const keeps = locks.length === 0 ? '' : ` Your open transaction keeps its locks meanwhile: ${locks.join(', ')}.`;
    const message = `this statement waits for approval by ${who}, ${left} left (request ${request.id})`;
    const hint = `Ctrl-C withdraws it. An approver runs: gate approve ${request.id}`;
    const notice = encodeNoticeResponse({
      severity: 'NOTICE',
      sqlstate: '00000',
      message,
      detail: `${held.reason} (rule ${held.rule}).${keeps}`,
      hint,
      routine: 'approval-pending',
    });
    const news = { event: 'held', requestId: request.id, message: `${held.reason}: ${message}`, hint, expiresAt: request.expiresAt.toISOString() };
    this.#options.tell(notice, JSON.stringify(news));
  }

  /** "2 of dbas (group dba) or owners". */
  #whoOf({ by, count }: ApprovalRule): string {
    const sets = this.#options.describeApprovers(by);
    return count === 1 ? sets : `${count} people of ${sets}`;
  }

  #keyOf({ fingerprint, parameterHash }: Held): StatementKey {
    const { principal, target, role } = this.#options.grant;
    return { principal, target, role, fingerprint, parameterHash };
  }
}

function namesOf({ votes }: AccessRequest): string {
  const names = votes.filter(({ decision }) => decision === 'approve').map(({ by }) => by.name);
  return `approved by ${names.join(' and ')}`;
}

function about(request: AccessRequest) {
  return { rule: request.rule, requestId: request.id };
}

function pending(request: AccessRequest, who: string): GateError {
  return new GateError('approval-pending', `the statement needs approval by ${who}; nothing has run`, {
    ...about(request),
    hint: `Wait with gate requests wait ${request.id}, then run the same command again. An approver runs: gate approve ${request.id}`,
  });
}

function turnedDown(request: AccessRequest): GateError {
  if (request.state === 'denied') {
    const no = request.votes.findLast(({ decision }) => decision === 'deny');
    const hint = 'Nothing has run. Change the statement, or talk to them.';
    if (no === undefined) return new GateError('approval-rejected', request.endReason ?? 'the approval does not count', { ...about(request), hint });
    const why = no.reason === undefined ? '' : `: ${no.reason}`;
    return new GateError('approval-rejected', `${no.by.name} denied the statement${why}`, { ...about(request), hint });
  }
  const why = request.endReason ?? `the request is ${request.state}`;
  if (request.state === 'used') return new GateError('approval-expired', 'the approval was used by another connection', about(request));
  if (request.state === 'withdrawn') return new GateError('approval-rejected', `the request was withdrawn: ${why}`, about(request));
  return new GateError('approval-expired', `nobody approved the statement in time: ${why}`, {
    ...about(request),
    hint: 'Nothing has run. Send it again to ask again.',
  });
}

/** "4 min", "20 s". */
function formatLeft(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

