/** Pending: the replies that the server still owes, in order. What joins the two directions of a connection. */
import type { TransactionStatus } from '../pgwire/backend.ts';
import type { StatementKind } from '../sql/kind.ts';
import type { StatementOutline } from '../sql/outline.ts';
import type { NameChange as SqlNameChange } from '../sql/statement.ts';
import type { BoundValue } from '../pgwire/frontend.ts';
import type { Sent } from './masking.ts';
import type { Capture } from './capture.ts';
import { Names, type NameChange } from './names.ts';

/** A prepared statement as the relay decided on it. */
export type Prepared = {
  /** The text as it is recorded. */
  readonly sql: string;
  /** The text itself, which is never recorded: for the fingerprint of what is approved, and for its plan. */
  readonly text: string;
  /** What each statement of the text does, names not yet looked up. */
  readonly outlines: readonly StatementOutline[];
  /** Type OIDs as Parse declared them; empty for a simple Query. */
  readonly parameterTypes: readonly number[];
  readonly isRedacted: boolean;
  readonly kinds: readonly StatementKind[];
  readonly isCopyIn: boolean;
  readonly nameChanges: readonly SqlNameChange[];
  /** Names that the text runs with EXECUTE; what they stand for may have changed by the time it runs. */
  readonly executes: readonly string[];
  /** Of `sql`, where it was worked out with the facts. */
  readonly shape?: string;
  /** What masks have made of the text, which is what the server has. */
  readonly sent?: Sent;
};
export type Portal = {
  readonly prepared: Prepared;
  readonly values: readonly BoundValue[];
  /** Policy holds the statement, and this approval lets it run. */
  readonly approved?: Approved;
  /** Rows that it has returned so far, where their number is limited. */
  rowsRead: number;
};

/** By which request a statement may run, what stands in the record as the reason, and what exactly was approved. */
export type Approved = { readonly request: string; readonly reason: string; readonly fingerprint: string };

/** A statement that was forwarded, while its outcome comes in. */
export type Run = {
  readonly statement: number;
  readonly startedAtMs: number;
  readonly isCopyIn: boolean;
  /** Changes by PREPARE, DEALLOCATE and DISCARD inside the text, each confirmed by its command tag. */
  readonly nameChanges: { readonly tag: string; readonly change: NameChange<Prepared> }[];
  readonly tags: string[];
  rows: number;
  bytesOut: number;
  bytesIn: number;
  sqlstate?: string;
  /** Longest time that the server may work on it. */
  readonly timeoutMs?: number;
  /** The rewritten text that the server runs. */
  readonly sent?: Sent;
  readonly capture: Capture;
  /** It took longer, and was cancelled. */
  isTimedOut?: true;
  hasEnded?: true;
};

/** How a statement ended whose rows are limited; `over`: it would have returned or changed more than it may. */
export type LimitedEnd = 'done' | 'over' | 'error';

export type Owed =
  /** `sent`: the rewritten text that an error of its analysis or planning speaks of. */
  | { readonly kind: 'parse'; readonly change: NameChange<Prepared>; readonly sent?: Sent }
  | { readonly kind: 'bind'; readonly change: NameChange<Portal>; readonly sent?: Sent }
  | { readonly kind: 'close'; readonly statement?: NameChange<Prepared>; readonly portal?: NameChange<Portal> }
  | { readonly kind: 'sync' }
  /** `isOwn`: the relay asks for itself what the rows that follow are made of; the client does not hear of it. */
  | { readonly kind: 'describe'; readonly isOwn?: true }
  | { readonly kind: 'execute'; readonly run: Run }
  /**
   * One statement whose rows are counted before its end is passed on; nothing is sent behind it until then. `isWhole`:
   * the relay has sent its Parse, Bind and Describe as well, in place of a simple Query.
   */
  | {
      readonly kind: 'limited';
      readonly run: Run;
      readonly rowsMax: number;
      /** Rows that the same portal has returned before. */
      readonly rowsBefore: () => number;
      readonly isWhole: boolean;
      readonly drop?: NameChange<Prepared>;
      readonly portal?: NameChange<Portal>;
      readonly finish: (end: LimitedEnd) => void;
    }
  /** A simple Query also drops the unnamed prepared statement, and uses the unnamed portal for itself. */
  | { readonly kind: 'query'; readonly run: Run; readonly drop: NameChange<Prepared>; readonly portal: NameChange<Portal> }
  /**
   * In place of a refused message the server was sent one that must fail; its error becomes the refusal. `drop`: a
   * failed Query, and a failed Parse of the unnamed statement, take the old unnamed statement with them.
   */
  | {
      readonly kind: 'refusal';
      readonly error: Buffer;
      readonly nonce: string;
      readonly isSimple: boolean;
      readonly drop?: NameChange<Prepared>;
    }
  /** A simple refusal whose error has been delivered; ReadyForQuery is still to come. */
  | { readonly kind: 'refused-query'; readonly drop?: NameChange<Prepared> };

/**
 * A COPY … FROM STDIN that was forwarded: `asked` until the server answers, `open` while it takes data, `ended` once
 * the client has ended the data. In `asked` and `ended` it is not known how the server will take what comes next.
 */
export type CopyIn = {
  readonly run: Run;
  phase: 'asked' | 'open' | 'ended';
  hasData: boolean;
  /** Syncs of the client behind data: swallowed when the COPY succeeds, answered when it fails. */
  heldSyncs: number;
};

/** Past this many owed replies nothing more is sent until some have come: a client that never reads must not fill us. */
export const owedMax = 10_000;

export class Pending {
  readonly statements = new Names<Prepared>();
  readonly portals = new Names<Portal>();
  readonly #owed: Owed[] = [];
  #waiters: (() => void)[] = [];
  #roomWaiter: (() => void) | undefined;
  /** As the server last reported it. */
  status: TransactionStatus = 'I';
  /** After an error in the extended protocol the server passes over everything up to the next Sync. */
  isServerSkipping = false;
  copyIn: CopyIn | undefined;
  #changeWaiters: (() => void)[] = [];
  /** Sends Syncs that were held back during a COPY that then failed. */
  onHeldSyncs: (count: number) => void = () => undefined;

  /** Called with runs that the server passed over. */
  constructor(private readonly onSkipped: (run: Run) => void) {}

  push(owed: Owed): void {
    if (this.isServerSkipping && owed.kind !== 'sync') this.#skip(owed);
    else {
      if (owed.kind === 'sync') this.isServerSkipping = false;
      this.#owed.push(owed);
      const run = runOf(owed);
      if (run?.isCopyIn) this.copyIn = { run, phase: 'asked', hasData: false, heldSyncs: 0 };
    }
  }

  get head(): Owed | undefined {
    return this.#owed[0];
  }

  shift(): void {
    this.#noteGone(this.#owed.shift());
    this.#wakeChanged();
  }

  get hasRoom(): boolean {
    return this.hasRoomFor(1);
  }

  hasRoomFor(count: number): boolean {
    return this.#owed.length + count <= owedMax;
  }

  /** Resolves when there is room for another reply to be owed, or the connection has ended. */
  async room(): Promise<void> {
    while (this.#owed.length >= owedMax) await new Promise<void>((resolve) => (this.#roomWaiter = resolve));
  }

  replaceHead(owed: Owed): void {
    this.#owed[0] = owed;
  }

  /** The statement that the server works on, or will next. */
  get running(): Run | undefined {
    for (const owed of this.#owed) if (runOf(owed) !== undefined) return runOf(owed);
    return undefined;
  }

  get isIdle(): boolean {
    return this.#owed.length === 0;
  }

  /** CopyInResponse came. False when no statement that was forwarded can have asked for it. */
  openCopyIn(): boolean {
    const run = this.#owed[0] === undefined ? undefined : runOf(this.#owed[0]);
    if (this.copyIn === undefined || this.copyIn.run !== run) return false;
    this.copyIn.phase = 'open';
    this.#wakeChanged();
    return true;
  }

  noteCopyData(bytes: number): void {
    if (this.copyIn === undefined) return;
    this.copyIn.hasData = true;
    this.copyIn.run.bytesIn += bytes;
  }

  /** CopyDone or CopyFail was sent. */
  endCopyIn(): void {
    if (this.copyIn?.phase === 'open') Object.assign(this.copyIn, { phase: 'ended', hasData: false });
  }

  /** Whether a Sync is not to be sent now: while COPY takes data the server swallows it without an answer. */
  holdSync(): boolean {
    if (this.copyIn?.phase !== 'open') return false;
    // Without data before it the COPY cannot have failed yet.
    if (this.copyIn.hasData) this.copyIn.heldSyncs++;
    return true;
  }

  /** One statement of a simple Query is done; the next one may be another COPY. */
  completeStatement(run: Run): void {
    if (this.copyIn?.run === run) Object.assign(this.copyIn, { phase: 'asked', heldSyncs: 0 });
  }

  /** The server reported an error for this run, and takes no data for it any more. */
  failCopyIn(run: Run, heldSyncs = this.copyIn?.heldSyncs ?? 0): void {
    if (this.copyIn?.run === run) this.copyIn = undefined;
    this.#wakeChanged();
    if (heldSyncs > 0) this.onHeldSyncs(heldSyncs);
  }

  /** Resolves when it is known whether the server takes COPY data. */
  async copyInKnown(): Promise<void> {
    while (this.copyIn?.phase === 'asked' || this.copyIn?.phase === 'ended') await this.changed();
  }

  /**
   * After an error in the extended protocol: nothing up to the next Sync will be answered. When it struck before an
   * Execute (in its Parse, Bind or Describe), `sqlstate` is the error of the statement that this Execute was to run.
   */
  skipToSync(sqlstate?: string): void {
    const next = this.running;
    if (sqlstate !== undefined && next !== undefined && this.#isBeforeSync(next)) next.sqlstate = sqlstate;
    while (this.#owed.length > 0 && this.#owed[0]?.kind !== 'sync') this.#skip(this.#owed.shift() as Owed);
    if (this.#owed.length === 0) this.isServerSkipping = true;
    this.#wakeChanged();
  }

  /** ReadyForQuery came: everything up to its cause is done. Answers the runs that were among it. */
  settle(status: TransactionStatus): Run[] {
    const runs: Run[] = [];
    while (this.#owed.length > 0) {
      const owed = this.#owed.shift() as Owed;
      this.#noteGone(owed);
      const run = runOf(owed);
      if (run !== undefined) runs.push(run);
      if ('drop' in owed && owed.drop !== undefined) this.statements.confirm(owed.drop);
      const hasRun = owed.kind === 'query' && owed.run.sqlstate === undefined && owed.run.tags.length > 0;
      if (hasRun) this.portals.confirm(owed.portal);
      // A text without a statement, or one that could not be parsed, has left the portal alone; any other failure has made it useless.
      else if (owed.kind === 'query') this.portals.cancel(owed.portal);
      if (owed.kind === 'sync' || owed.kind === 'query' || owed.kind === 'refused-query') break;
    }
    this.status = status;
    // Portals do not outlive their transaction.
    if (status === 'I') this.portals.clearConfirmed();
    this.#wake();
    return runs;
  }

  /** Resolves at the next ReadyForQuery, or when the connection ends. */
  settled(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Resolves when a reply has come that was owed, or the connection has ended. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#changeWaiters.push(resolve));
  }

  /** Resolves when every segment that was sent to its end has been answered, so that `status` is what it is now. */
  async segmentsSettled(): Promise<void> {
    const endsSegment = ({ kind }: Owed) => kind === 'sync' || kind === 'query' || kind === 'refused-query';
    while (this.#owed.some(endsSegment)) await this.changed();
  }

  /** The connection is over: answers every run without an outcome. */
  abandon(): Run[] {
    const runs = this.#owed.flatMap((owed) => runOf(owed) ?? []);
    for (const owed of this.#owed) if (owed.kind === 'limited') owed.finish('error');
    this.#owed.length = 0;
    this.copyIn = undefined;
    this.#wake();
    return runs;
  }

  #isBeforeSync(run: Run): boolean {
    const at = this.#owed.findIndex((owed) => owed.kind === 'sync' || runOf(owed) === run);
    return this.#owed[at] !== undefined && this.#owed[at]?.kind !== 'sync';
  }

  #skip(owed: Owed): void {
    this.cancel(owed);
    this.#noteGone(owed);
    const run = runOf(owed);
    if (run !== undefined) this.onSkipped(run);
    if (owed.kind === 'limited') owed.finish('error');
  }

  /** What it would have changed will not come to pass. */
  cancel(owed: Owed | undefined): void {
    switch (owed?.kind) {
      case 'parse':
        return this.statements.cancel(owed.change);
      case 'bind':
        return this.portals.cancel(owed.change);
      case 'close':
        if (owed.statement) this.statements.cancel(owed.statement);
        if (owed.portal) this.portals.cancel(owed.portal);
        return;
      case 'query':
      case 'execute':
      case 'limited':
        if (owed.kind !== 'execute' && owed.drop) this.statements.cancel(owed.drop);
        if (owed.kind !== 'execute' && owed.portal) this.portals.cancel(owed.portal);
        for (const { change } of owed.run.nameChanges) this.statements.cancel(change);
        return;
      case 'refusal':
      case 'refused-query':
        if (owed.drop) this.statements.cancel(owed.drop);
        return;
      case 'describe':
      case 'sync':
      case undefined:
    }
  }

  #noteGone(owed: Owed | undefined): void {
    if (owed !== undefined && this.copyIn !== undefined && runOf(owed) === this.copyIn.run) this.copyIn = undefined;
  }

  #wakeChanged(): void {
    this.#wakeRoom();
    const waiters = this.#changeWaiters;
    this.#changeWaiters = [];
    for (const wake of waiters) wake();
  }

  #wakeRoom(): void {
    if (this.#owed.length < owedMax) this.#roomWaiter?.();
  }

  #wake(): void {
    this.#wakeChanged();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

export function runOf(owed: Owed | undefined): Run | undefined {
  return owed?.kind === 'query' || owed?.kind === 'execute' || owed?.kind === 'limited' ? owed.run : undefined;
}
