/** The way down: what the client sends is framed, decided, recorded, and only then forwarded. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { GateError } from '../errors/errors.ts';
import type { Admission } from './admission.ts';
import type { Holds } from './holds.ts';
import { Inbox, type Item } from './inbox.ts';
import type { Journal, Recorded } from './journal.ts';
import { runOf, type LimitedEnd, type Owed, type Pending, type Run } from './pending.ts';
import { cancelled, tooManyRows, withdrawn } from './refusal.ts';
import { isOfCopy, joined, newUnit, syncMessage, type Forwarded, type Unit } from './unit.ts';

/** Messages that are decided on and forwarded together. */
const unitMessagesMax = 256;
/** A client with much to decide about lets the others have their turn after this time. */
const turnMs = 10;
/** The relay's clock is not the server's. */
const timeoutGraceMs = 250;

export type StatementsOptions = {
  readonly connection: number;
  readonly pending: Pending;
  readonly journal: Journal;
  readonly admission: Admission;
  readonly holds: Holds;
  /** Sends to the server; false asks to wait for `drained`. */
  readonly write: (bytes: Buffer) => boolean;
  readonly drained: () => Promise<void>;
  /** While a cancel request is on its way to the server: resolves when the server has taken it. */
  readonly cancelling: () => Promise<void> | undefined;
  readonly pauseClient: () => void;
  readonly resumeClient: () => void;
  /** Nothing more goes to the client before this resolves. */
  readonly holdResults: (durable: Promise<void>) => void;
  /** Asks the server to cancel what runs. */
  readonly cancelRunning: () => void;
  /** The client broke the protocol, or said goodbye. */
  readonly onEnd: (error?: GateError) => void;
};

export class Statements {
  readonly #options: StatementsOptions;
  readonly #inbox = new Inbox();
  #isRunning = false;
  #isPaused = false;
  #hasEnded = false;
  /** What is being decided on or recorded, and not sent yet. */
  #unsent: Unit | undefined;
  bytesIn = 0;

  constructor(options: StatementsOptions) {
    this.#options = options;
    options.pending.onHeldSyncs = (count) => {
      for (; count > 0; count--) {
        options.pending.push({ kind: 'sync' });
        options.write(syncMessage);
      }
    };
  }

  push(chunk: Buffer): void {
    if (this.#hasEnded) return;
    this.bytesIn += chunk.length;
    try {
      this.#inbox.push(chunk);
    } catch (error) {
      // What came before the violation was in order, but nothing of it is forwarded any more.
      return this.#fail(error);
    }
    if (this.#inbox.isFull) {
      this.#isPaused = true;
      this.#options.pauseClient();
    }
    if (!this.#isRunning) void this.#run().catch((error: unknown) => this.#fail(error));
  }

  /** Nothing more is forwarded. */
  end(): void {
    this.#hasEnded = true;
    this.#inbox.clear();
    const ended = new GateError('session-ended', 'the connection ended while the statement waited');
    this.#options.holds.giveUp(ended);
    this.#options.admission.stopExamining(ended);
  }

  /** Makes the statement that waits for its decision or its record fail with `cancelled`, if there is one. */
  cancelUnsent(): boolean {
    if (this.#options.holds.giveUp(withdrawn())) return true;
    const unit = this.#unsent;
    if (unit === undefined) return false;
    unit.isCancelled = unit.forward.some(({ owed }) => runOf(owed) !== undefined);
    return this.#options.admission.stopExamining(cancelled()) || unit.isCancelled;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    let turnStart = performance.now();
    for (let item = this.#take(); item !== undefined; item = this.#take()) {
      let unit = this.#newUnit();
      for (let count = 1; item !== undefined; count++) {
        const admitting = this.#options.admission.admit(item, unit, false);
        let admitted = admitting instanceof Promise ? await admitting : admitting;
        if (admitted === 'must-wait') {
          // What came before must not wait with it.
          await this.#forward(unit);
          unit = this.#newUnit();
          admitted = await this.#options.admission.admit(item, unit, true);
        }
        if (admitted === 'terminate') this.#terminate();
        if (unit.isSegmentEnd || isOfCopy(item) || count === unitMessagesMax) break;
        item = this.#take();
      }
      const forwarding = this.#forward(unit);
      if (forwarding instanceof Promise) await forwarding;
      if (this.#isPaused && this.#inbox.hasRoom) {
        this.#isPaused = false;
        this.#options.resumeClient();
      }
      if (performance.now() - turnStart > turnMs) {
        await nextTurn();
        turnStart = performance.now();
      }
    }
    this.#isRunning = false;
  }

  #newUnit(): Unit {
    return (this.#unsent = newUnit());
  }

  #take(): Item | undefined {
    return this.#hasEnded ? undefined : this.#inbox.take();
  }

  /** No promise comes back where nothing had to be waited for. */
  #forward(unit: Unit): void | Promise<void> {
    if (unit.events.length === 0) return this.#forwardRecorded(unit, unit.forward);
    const recording = this.#options.journal.recordToForward(unit.events);
    if (recording instanceof Promise) {
      const recorded = ({ durable }: Recorded) => {
        if (durable !== undefined) this.#options.holdResults(durable);
        return unit.forward;
      };
      const refused = (error: unknown) => this.#options.admission.refuseUnit(unit, error as GateError);
      return recording.then(recorded, refused).then((forward) => this.#forwardRecorded(unit, forward));
    }
    if (recording.durable !== undefined) this.#options.holdResults(recording.durable);
    return this.#forwardRecorded(unit, unit.forward);
  }

  #forwardRecorded(unit: Unit, forward: readonly Forwarded[]): void | Promise<void> {
    this.#unsent = undefined;
    if (!unit.isCancelled || forward !== unit.forward) return this.#send(forward);
    for (const { owed } of forward) this.#noteNotSent(owed);
    return this.#send(this.#options.admission.refuseUnit(unit, cancelled()));
  }

  #send(forward: readonly Forwarded[]): void | Promise<void> {
    const { pending, cancelling, write, drained } = this.#options;
    const mustWait = this.#hasEnded || pending.copyIn !== undefined || cancelling() !== undefined || !pending.hasRoomFor(forward.length);
    if (mustWait || forward.some(({ owed, ended, endsCopyIn }) => ended !== undefined || endsCopyIn || runOf(owed)?.isCopyIn)) return this.#sendInTurn(forward);
    const unwritten: Buffer[] = [];
    for (const { bytes, owed } of forward) {
      if (owed !== undefined) pending.push(owed);
      unwritten.push(bytes);
      const run = runOf(owed);
      if (run?.timeoutMs !== undefined) this.#watchTime(run, run.timeoutMs);
    }
    const pieces = joined(unwritten);
    if (pieces.length === 1) return write(pieces[0] as Buffer) ? undefined : drained();
    return this.#writeInTurn(pieces);
  }

  async #writeInTurn(pieces: readonly Buffer[]): Promise<void> {
    for (const piece of pieces) if (!this.#options.write(piece)) await this.#options.drained();
  }

  /** In as few writes as there are waits: each one would wake the server for a part of what it needs. */
  async #sendInTurn(forward: readonly Forwarded[]): Promise<void> {
    const { pending, cancelling } = this.#options;
    let unwritten: Buffer[] = [];
    const flush = async () => {
      const pieces = joined(unwritten);
      unwritten = [];
      await this.#writeInTurn(pieces);
    };
    for (const { bytes, owed, copyBytes, endsCopyIn, ended } of forward) {
      const asksCopy = copyBytes === undefined && pending.copyIn !== undefined;
      if (!pending.hasRoom || asksCopy || cancelling() !== undefined) {
        await flush();
        await pending.room();
        if (asksCopy) await pending.copyInKnown();
        for (let sent = cancelling(); sent !== undefined; sent = cancelling()) await sent;
      }
      if (this.#hasEnded) {
        this.#noteNotSent(owed);
        continue;
      }
      if (owed?.kind === 'sync' && pending.holdSync()) continue;
      if (owed !== undefined) pending.push(owed);
      if (copyBytes !== undefined) pending.noteCopyData(copyBytes);
      if (endsCopyIn) pending.endCopyIn();
      unwritten.push(bytes);
      const run = runOf(owed);
      if (run?.timeoutMs !== undefined) this.#watchTime(run, run.timeoutMs);
      if (ended === undefined || owed?.kind !== 'limited') continue;
      await flush();
      this.#finishLimited(owed, await ended);
    }
    await flush();
  }

  /** The statement is over, but nothing of it lasts yet: what fails now takes it back. */
  #finishLimited(owed: Extract<Owed, { kind: 'limited' }>, end: LimitedEnd): void {
    const { pending, write } = this.#options;
    if (this.#hasEnded) return;
    if (end === 'over') {
      const refusal = this.#options.admission.refusal(tooManyRows(owed.rowsMax), false);
      pending.push(refusal.owed as Owed);
      write(refusal.bytes);
    }
    if (!owed.isWhole) return;
    pending.push({ kind: 'sync' });
    write(syncMessage);
  }

  /** The server's own statement_timeout comes first where it is set; a function may have lifted it. */
  #watchTime(run: Run, timeoutMs: number): void {
    const { pending, cancelRunning } = this.#options;
    const timer = setTimeout(() => {
      if (run.hasEnded || this.#hasEnded) return;
      // Behind others in a pipeline its time has not begun.
      if (pending.running !== run) return this.#watchTime(run, timeoutMs);
      run.isTimedOut = true;
      cancelRunning();
    }, timeoutMs + timeoutGraceMs);
    timer.unref();
  }

  /** It is on record, but does not get to the server. */
  #noteNotSent(owed: Owed | undefined): void {
    const { journal, connection } = this.#options;
    const run = runOf(owed);
    if (run !== undefined) journal.noteOutcome(connection, run, 'skipped');
  }

  #terminate(): void {
    this.end();
    this.#options.onEnd();
  }

  #fail(error: unknown): void {
    this.end();
    this.#options.onEnd(
      error instanceof GateError ? error : new GateError('internal', 'the relay failed on this message', { cause: error }),
    );
  }
}
