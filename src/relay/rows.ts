/** The way up: what the server sends is followed message by message and passed on, byte for byte where it may be. */
import { ERRORS, GateError } from '../errors/errors.ts';
import { decodeCommandTag, decodeReadyForQuery, decodeReport, encodeGateError } from '../pgwire/backend.ts';
import { describeType, FrameScanner } from '../pgwire/frame.ts';
import type { Journal } from './journal.ts';
import type { Sent } from './masking.ts';
import { timedOut } from './refusal.ts';
import { checkPinned } from './pinned.ts';
import type { ResultGate } from './result-gate.ts';
import { runOf, type LimitedEnd, type Owed, type Pending, type Run } from './pending.ts';

/** Largest server message that is held whole; rows and copy data are streamed. */
export const backendBodyBytesMax = 64 * 1024 * 1024;

export type RowsOptions = {
  readonly connection: number;
  readonly pending: Pending;
  readonly journal: Journal;
  /** The session's transactions are read-only, and nothing may lift that. */
  readonly isReadOnly: boolean;
  /** Sends to the client; false asks to stop reading from the server. */
  readonly write: (bytes: Buffer) => boolean;
  /** For a principal with masks: what may be said, and shown, to the client. */
  readonly gate?: ResultGate;
};

const dataRow = 0x44;
const copyData = 0x64;

export class Rows {
  readonly #options: RowsOptions;
  readonly #scanner: FrameScanner;
  /** What the current chunk gives the client, merged where it lies side by side. */
  #out: Buffer[] = [];
  /** Messages of the relay's own that wait for the end of the server's current one. */
  #inserts: Buffer[] = [];
  /** The last message for the client, and what to do once it is written; then everything behind it is kept from it. */
  #last: { readonly bytes: Buffer; readonly written: () => void } | undefined;
  #isAtLast = false;
  #isMuted = false;
  bytesOut = 0;
  /** The server has said that it ends the connection. */
  hasSeenFatal = false;

  constructor(options: RowsOptions) {
    this.#options = options;
    this.#scanner = new FrameScanner({
      begin: (type, bodyLength) => this.#begin(type, bodyLength),
      raw: (bytes) => this.#passRows(bytes),
      message: (type, bytes) => this.#message(type, bytes),
    });
  }

  /** Whether a message of the relay's own may be put in here. */
  get isAtBoundary(): boolean {
    return this.#scanner.isAtBoundary;
  }

  /** Puts a whole message of the relay's own into the stream, where it does not cut one of the server's in two. */
  insert(bytes: Buffer): void {
    this.#inserts.push(bytes);
    this.#writeInserts();
  }

  /** Writes this where the server's current message ends, and nothing after it. Resolves when it is written. */
  endWith(bytes: Buffer): Promise<void> {
    return new Promise((written) => {
      this.#last = { bytes, written };
      if (this.isAtBoundary) this.#mute();
    });
  }

  #mute(): void {
    if (this.#last === undefined || this.#isMuted) return;
    for (const bytes of this.#out) this.#options.write(bytes);
    this.#out = [];
    this.#options.write(this.#last.bytes);
    this.#isMuted = true;
    this.#last.written();
  }

  #writeInserts(): void {
    if (!this.isAtBoundary) return;
    for (const bytes of this.#inserts) this.#options.write(bytes);
    this.#inserts = [];
  }

  /** False asks to stop reading until the client has caught up. Fails with `upstream-protocol`. */
  push(chunk: Buffer): boolean {
    this.#scanner.push(chunk);
    let hasRoom = true;
    for (const bytes of this.#out) {
      this.bytesOut += bytes.length;
      hasRoom = this.#options.write(bytes);
    }
    this.#out = [];
    if (this.#isAtLast || this.isAtBoundary) this.#mute();
    if (this.#inserts.length > 0 && !this.#isMuted) this.#writeInserts();
    return hasRoom;
  }

  /** Side by side in one chunk is written as one. */
  #pass(bytes: Buffer): void {
    if (this.#isMuted) return;
    const last = this.#out.at(-1);
    if (last !== undefined && last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
      this.#out[this.#out.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length);
    } else this.#out.push(bytes);
  }

  /** Rows and copy data: whole where something is done to them, else cut anywhere. */
  #passRows(bytes: Buffer): void {
    if (this.#isMuted) return;
    const shown = this.#options.gate?.hasRowWork === true ? this.#options.gate.rows(bytes) : bytes;
    this.#run()?.capture.add(shown);
    this.#pass(shown);
  }

  #begin(type: number, bodyLength: number): 'whole' | 'raw' | 'uncut' {
    let wanted: 'whole' | 'raw' | 'uncut' = 'whole';
    if (type === dataRow || type === copyData) {
      const run = this.#run();
      if (run === undefined) throw unexpected(type);
      if (type === dataRow) run.rows++;
      // The row past the limit, and it alone, is held back.
      if (type === dataRow && this.#isOver(run)) return 'whole';
      run.bytesOut += bodyLength + 5;
      if (!this.#holdsLast()) wanted = this.#options.gate?.hasRowWork === true ? 'uncut' : 'raw';
    } else this.#holdsLast();
    if (wanted !== 'raw' && bodyLength > backendBodyBytesMax) {
      throw new GateError('upstream-protocol', `the server sent a message ${describeType(type)} of ${bodyLength} bytes`);
    }
    return wanted;
  }

  /** A message begins that the client is not to see any more: what came before it is whole. */
  #holdsLast(): boolean {
    if (this.#last !== undefined && !this.#isMuted) this.#isAtLast = true;
    return this.#isAtLast && !this.#isMuted;
  }

  #message(type: number, bytes: Buffer): void {
    if (this.#isAtLast) this.#mute();
    const { gate, pending } = this.#options;
    const { head } = pending;
    if (head?.kind === 'limited' && this.#limited(head, type, bytes)) return;
    switch (String.fromCharCode(type)) {
      case '1':
      case '2':
      case '3':
        this.#confirm(type);
        return this.#pass(bytes);
      case 'T':
        gate?.rowDescription(bytes, pending.running?.statement);
        pending.running?.capture.describe(bytes);
        return this.#described(bytes);
      case 'n':
        gate?.forget();
        return this.#described(bytes);
      case 'C':
        this.#complete(decodeCommandTag(bytes));
        return this.#pass(bytes);
      case 'I':
        this.#complete(undefined);
        return this.#pass(bytes);
      case 's':
        this.#finishExecute('suspended');
        return this.#pass(bytes);
      case 'E':
        return this.#error(bytes);
      case 'Z':
        this.#ready(bytes);
        return this.#pass(bytes);
      case 'G':
        if (!this.#options.pending.openCopyIn()) throw unexpected(type);
        return this.#pass(bytes);
      case 'S':
        checkPinned(bytes, this.#options.isReadOnly);
        return this.#passStatus(bytes);
      case 'D':
      case 'd':
        // Taken whole only behind the last message of the relay's own.
        if (!this.#isMuted) throw unexpected(type);
        return;
      case 'N':
        return this.#pass(this.#report(bytes));
      case 'A':
        // Its payload is anybody's, and may hold anything.
        return this.#options.gate === undefined ? this.#pass(bytes) : undefined;
      case 't':
      case 'H':
      case 'c':
        return this.#pass(bytes);
      default:
        throw unexpected(type);
    }
  }

  #described(bytes: Buffer): void {
    const { head } = this.#options.pending;
    if (head?.kind === 'describe') this.#options.pending.shift();
    if (head?.kind !== 'describe' || head.isOwn !== true) this.#pass(bytes);
  }

  #passStatus(bytes: Buffer): void {
    const { gate } = this.#options;
    const shown = gate === undefined ? bytes : gate.parameterStatus(bytes);
    if (shown !== undefined) this.#pass(shown);
  }

  /** An error or notice as the client may see it, its position in the client's own text. */
  #report(bytes: Buffer): Buffer {
    const { gate, pending } = this.#options;
    return gate === undefined ? bytes : gate.report(bytes, sentOf(pending.head));
  }

  #run(): Run | undefined {
    return runOf(this.#options.pending.head);
  }

  #isOver(run: Run): boolean {
    const head = this.#options.pending.head;
    return head?.kind === 'limited' && head.rowsBefore() + run.rows > head.rowsMax;
  }

  /** Whether the message of a statement with limited rows needs no more than was done about it here. */
  #limited(head: Extract<Owed, { kind: 'limited' }>, type: number, bytes: Buffer): boolean {
    switch (String.fromCharCode(type)) {
      // The client sent a Query, and never learns that the relay sent something else.
      case '1':
      case '2':
      case 'n':
        return head.isWhole;
      case 'D':
        return this.#isOver(head.run);
      case 'C':
        return this.#completeLimited(head, bytes);
      case 'I':
        this.#finishLimited(head, 'done');
        this.#pass(bytes);
        return true;
      case 's':
        if (this.#isOver(head.run)) this.#finishLimited(head, 'over');
        else {
          this.#finishLimited(head, 'done', 'suspended');
          this.#pass(bytes);
        }
        return true;
      case 'E': {
        if (isFatal(decodeReport(bytes))) return false;
        head.run.sqlstate = decodeReport(bytes).get('C') ?? '';
        const shown = this.#report(bytes);
        this.#finishLimited(head, 'error');
        this.#options.pending.skipToSync();
        this.#pass(shown);
        return true;
      }
      default:
        return false;
    }
  }

  /** INSERT, UPDATE, DELETE and their like say at the end how many rows they were. */
  #completeLimited(head: Extract<Owed, { kind: 'limited' }>, bytes: Buffer): boolean {
    const tag = decodeCommandTag(bytes);
    head.run.tags.push(tag);
    const [next] = head.run.nameChanges;
    if (next?.tag === tag) {
      this.#options.pending.statements.confirm(next.change);
      head.run.nameChanges.shift();
    }
    const rows = Number(/ (\d+)$/.exec(tag)?.[1] ?? 0);
    if (rows > head.rowsMax) {
      this.#finishLimited(head, 'over');
      return true;
    }
    this.#finishLimited(head, 'done');
    this.#pass(bytes);
    return true;
  }

  #finishLimited(head: Extract<Owed, { kind: 'limited' }>, end: LimitedEnd, state?: 'suspended'): void {
    if (end === 'over') head.run.sqlstate = ERRORS['row-limit'].sqlstate;
    const { pending } = this.#options;
    if (head.drop) pending.statements.confirm(head.drop);
    if (head.portal) pending.portals.confirm(head.portal);
    pending.shift();
    this.#finish(head.run, state ?? (end === 'done' ? 'ok' : 'error'));
    head.finish(end);
  }

  #confirm(type: number): void {
    const { pending } = this.#options;
    const head = pending.head;
    const expected = { 0x31: 'parse', 0x32: 'bind', 0x33: 'close' }[type];
    if (head === undefined || head.kind !== expected) throw unexpected(type);
    if (head.kind === 'parse') pending.statements.confirm(head.change);
    else if (head.kind === 'bind') pending.portals.confirm(head.change);
    else if (head.kind === 'close') {
      if (head.statement) pending.statements.confirm(head.statement);
      if (head.portal) pending.portals.confirm(head.portal);
    }
    pending.shift();
  }

  /** One statement of the text is done; `tag` undefined for an empty one. */
  #complete(tag: string | undefined): void {
    const run = this.#run();
    if (run === undefined) throw unexpected(0x43);
    if (tag !== undefined) {
      run.tags.push(tag);
      const next = run.nameChanges[0];
      if (next?.tag === tag) {
        this.#options.pending.statements.confirm(next.change);
        run.nameChanges.shift();
      }
    }
    // A simple Query may hold more statements; it ends with ReadyForQuery.
    if (this.#options.pending.head?.kind === 'execute') this.#finishExecute('ok');
    else this.#options.pending.completeStatement(run);
  }

  #finishExecute(state: 'ok' | 'suspended' | 'error'): void {
    const head = this.#options.pending.head;
    if (head?.kind !== 'execute') throw unexpected(0x73);
    this.#options.pending.shift();
    this.#finish(head.run, state);
  }

  #finish(run: Run, state: 'ok' | 'suspended' | 'error'): void {
    run.hasEnded = true;
    for (const { change } of run.nameChanges) this.#options.pending.statements.cancel(change);
    this.#options.gate?.noteFound(run.statement);
    this.#options.journal.noteOutcome(this.#options.connection, run, state);
  }

  #error(bytes: Buffer): void {
    const { pending } = this.#options;
    const fields = decodeReport(bytes);
    const head = pending.head;
    const run = runOf(head);
    if (run?.isTimedOut && fields.get('C') === '57014') bytes = encodeGateError(timedOut(run.timeoutMs ?? 0), 'ERROR');
    else if (head?.kind !== 'refusal') bytes = this.#report(bytes);
    if (isFatal(fields)) this.hasSeenFatal = true;
    if (isFatal(fields) || head === undefined || head.kind === 'sync') {
      // An error may come before that of the connection, and is the statement's own.
      if (run !== undefined) run.sqlstate ??= fields.get('C') ?? '';
      return this.#pass(bytes);
    }
    if (head.kind === 'query') {
      head.run.sqlstate = fields.get('C') ?? '';
      pending.failCopyIn(head.run);
      return this.#pass(bytes);
    }
    if (head.kind === 'refusal') return this.#refusal(head, fields, bytes);
    if (head.kind === 'execute') {
      head.run.sqlstate = fields.get('C') ?? '';
      const heldSyncs = pending.copyIn?.run === head.run ? pending.copyIn.heldSyncs : 0;
      this.#finishExecute('error');
      pending.skipToSync();
      pending.failCopyIn(head.run, heldSyncs);
    } else pending.skipToSync(fields.get('C'));
    this.#pass(bytes);
  }

  /** The error of the message that stood in for a refused one; its nonce proves that it is this and no other. */
  #refusal(
    head: Extract<NonNullable<Pending['head']>, { kind: 'refusal' }>,
    fields: ReadonlyMap<string, string>,
    bytes: Buffer,
  ): void {
    const { pending } = this.#options;
    // XX000: servers that lost their own track of an implicit transaction trip over any message that starts one.
    const isOfStandIn = fields.get('M')?.includes(head.nonce) === true || fields.get('C') === 'XX000';
    this.#pass(isOfStandIn ? head.error : this.#report(bytes));
    const { drop } = head;
    if (head.isSimple) return pending.replaceHead({ kind: 'refused-query', ...(drop !== undefined && { drop }) });
    if (drop !== undefined) pending.statements.confirm(drop);
    pending.skipToSync();
  }

  #ready(bytes: Buffer): void {
    for (const run of this.#options.pending.settle(decodeReadyForQuery(bytes))) {
      this.#finish(run, run.sqlstate === undefined ? 'ok' : 'error');
    }
  }
}

/** The rewritten text that the head of the line is about. */
function sentOf(head: Owed | undefined): Sent | undefined {
  return head?.kind === 'parse' || head?.kind === 'bind' ? head.sent : runOf(head)?.sent;
}

const isFatal = (fields: ReadonlyMap<string, string>): boolean => ['FATAL', 'PANIC'].includes(fields.get('V') ?? '');

function unexpected(type: number): GateError {
  return new GateError('upstream-protocol', `the server sent message ${describeType(type)} where none was due`);
}
