/** The way down: what the client sends is framed, decided, recorded, and only then forwarded. */
import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Event } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import { decodeFrontend, encodeParse, encodeQuery, type FrontendMessage } from '../pgwire/frontend.ts';
import { encodeGateError } from '../pgwire/backend.ts';
import { checkedName } from './frontend-limits.ts';
import { Gatekeeper, type Verdict } from './gatekeeper.ts';
import { Inbox, type Item } from './inbox.ts';
import type { Journal } from './journal.ts';
import { recordedParameters } from './journal.ts';
import type { Owed, Pending, Prepared, Run } from './pending.ts';

/** Messages that are decided on and forwarded together. */
const unitMessagesMax = 256;
const syncMessage = Buffer.from([0x53, 0, 0, 0, 4]);
const flushMessage = Buffer.from([0x48, 0, 0, 0, 4]);
/** A client with much to decide about lets the others have their turn after this time. */
const turnMs = 10;

type Forwarded = { readonly bytes: Buffer; readonly owed?: Owed; readonly copyBytes?: number; readonly endsCopyIn?: true };
/** What is forwarded together once its events are durable: at most up to the end of one segment. */
type Unit = {
  readonly forward: Forwarded[];
  readonly events: Event[];
  isSegmentEnd: boolean;
  isSimple: boolean;
  isCancelled: boolean;
};

export type StatementsOptions = {
  readonly connection: number;
  readonly pending: Pending;
  readonly journal: Journal;
  readonly gatekeeper: Gatekeeper;
  /** Sends to the server; false asks to wait for `drained`. */
  readonly write: (bytes: Buffer) => boolean;
  readonly drained: () => Promise<void>;
  /** While a cancel request is on its way to the server: resolves when the server has taken it. */
  readonly cancelling: () => Promise<void> | undefined;
  readonly pauseClient: () => void;
  readonly resumeClient: () => void;
  /** The client broke the protocol, or said goodbye. */
  readonly onEnd: (error?: GateError) => void;
};

export class Statements {
  readonly #options: StatementsOptions;
  readonly #inbox = new Inbox();
  #isRunning = false;
  #hasEnded = false;
  /** A message of this segment was refused: like the server, drop everything up to Sync. */
  #isSkipping = false;
  #segment = 1;
  /** What is being decided on or recorded, and not sent yet. */
  #unsent: Unit | undefined;
  /** Gives up the wait for a long text to be examined. */
  #stopExamining: ((error: GateError) => void) | undefined;
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
    if (this.#inbox.isFull) this.#options.pauseClient();
    if (!this.#isRunning) void this.#run().catch((error: unknown) => this.#fail(error));
  }

  /** Nothing more is forwarded. */
  end(): void {
    this.#hasEnded = true;
    this.#inbox.clear();
  }

  /** Makes the statement that waits for its decision or its record fail with `cancelled`, if there is one. */
  cancelUnsent(): boolean {
    const unit = this.#unsent;
    const hasStatement = unit?.forward.some(({ owed }) => owed?.kind === 'query' || owed?.kind === 'execute');
    if (unit === undefined || (!hasStatement && this.#stopExamining === undefined)) return false;
    unit.isCancelled = hasStatement === true;
    this.#stopExamining?.(cancelled());
    return true;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    let turnStart = performance.now();
    for (let item = this.#take(); item !== undefined; item = this.#take()) {
      const unit: Unit = { forward: [], events: [], isSegmentEnd: false, isSimple: false, isCancelled: false };
      this.#unsent = unit;
      for (let count = 1; item !== undefined; count++) {
        await this.#admit(item, unit);
        if (unit.isSegmentEnd || isOfCopy(item) || count === unitMessagesMax) break;
        item = this.#take();
      }
      await this.#forward(unit);
      if (this.#inbox.hasRoom) this.#options.resumeClient();
      if (performance.now() - turnStart > turnMs) {
        await nextTurn();
        turnStart = performance.now();
      }
    }
    this.#isRunning = false;
  }

  #take(): Item | undefined {
    return this.#hasEnded ? undefined : this.#inbox.take();
  }

  async #forward(unit: Unit): Promise<void> {
    let forward = unit.forward;
    if (unit.events.length > 0) {
      try {
        await this.#options.journal.record(unit.events);
      } catch (error) {
        forward = this.#refuseUnit(unit, error as GateError);
      }
    }
    this.#unsent = undefined;
    if (unit.isCancelled && forward === unit.forward) {
      for (const { owed } of forward) this.#noteNotSent(owed);
      forward = this.#refuseUnit(unit, cancelled());
    }
    const { pending } = this.#options;
    for (const { bytes, owed, copyBytes, endsCopyIn } of forward) {
      await pending.room();
      if (copyBytes === undefined && pending.copyIn !== undefined) await pending.copyInKnown();
      for (let sent = this.#options.cancelling(); sent !== undefined; sent = this.#options.cancelling()) await sent;
      if (this.#hasEnded) {
        this.#noteNotSent(owed);
        continue;
      }
      if (owed?.kind === 'sync' && pending.holdSync()) continue;
      if (owed !== undefined) pending.push(owed);
      if (copyBytes !== undefined) pending.noteCopyData(copyBytes);
      if (endsCopyIn) pending.endCopyIn();
      if (!this.#options.write(bytes)) await this.#options.drained();
    }
  }

  /** It is on record, but does not get to the server. */
  #noteNotSent(owed: Owed | undefined): void {
    const { journal, connection } = this.#options;
    if (owed?.kind === 'query' || owed?.kind === 'execute') journal.noteOutcome(connection, owed.run, 'skipped');
  }

  /** Nothing of the unit is forwarded; the client gets one error at its first statement, as for any failure. */
  #refuseUnit(unit: Unit, error: GateError): Forwarded[] {
    for (const { owed } of unit.forward) this.#options.pending.cancel(owed);
    const refusal = this.#refusal(error, unit.isSimple);
    const sync = unit.forward.find(({ owed }) => owed?.kind === 'sync');
    // In extended mode without its Sync yet, the rest of the segment is dropped like after any error.
    if (sync === undefined && !unit.isSimple) this.#isSkipping = true;
    // What ends or feeds an earlier COPY still goes, or the server would go on taking data.
    const before = unit.forward.slice(0, unit.forward.findIndex(({ owed }) => owed !== undefined));
    return sync === undefined ? [...before, refusal] : [...before, refusal, sync];
  }

  async #admit(item: Item, unit: Unit): Promise<void> {
    // The server ignores copy data that it does not expect, so there is nothing to decide about it.
    if (item.type === undefined) {
      if (!this.#isSkipping) unit.forward.push({ bytes: item.bytes, copyBytes: item.bytes.length });
      return;
    }
    const message = decodeFrontend(item.type, item.bytes);
    if (message.type === 'Terminate') return this.#terminate();
    if (this.#isSkipping && message.type !== 'Sync') return;
    try {
      await this.#admitMessage(message, item.bytes, unit);
    } catch (error) {
      if (!(error instanceof GateError) || error.code === 'protocol-violation') throw error;
      this.#refuse(unit, error, message.type === 'Query' || message.type === 'FunctionCall');
    }
  }

  async #admitMessage(message: FrontendMessage, bytes: Buffer, unit: Unit): Promise<void> {
    switch (message.type) {
      case 'Query':
        return this.#admitQuery(message.sql, bytes, unit);
      case 'Parse':
        return this.#admitParse(message.name, message.sql, bytes, unit);
      case 'Bind': {
        const prepared = await this.#options.gatekeeper.findStatement(message.statement, this.#segment);
        const value = { prepared, values: message.values };
        const change = { segment: this.#segment, name: checkedName(message.portal), value };
        unit.forward.push({ bytes, owed: { kind: 'bind', change: this.#options.pending.portals.propose(change) } });
        return;
      }
      case 'Describe':
        if (message.of === 'statement') await this.#options.gatekeeper.findStatement(message.name, this.#segment);
        else await this.#options.gatekeeper.lookUpPortal(message.name, this.#segment);
        unit.forward.push({ bytes, owed: { kind: 'describe' } });
        return;
      case 'Execute':
        return this.#admitExecute(message.portal, bytes, unit);
      case 'Close':
        return this.#admitClose(message.of, checkedName(message.name), bytes, unit);
      case 'Sync':
        return this.#admitSync(bytes, unit);
      case 'CopyDone':
      case 'CopyFail':
        // What follows waits for the outcome, which the server would keep in its buffer up to a Sync.
        unit.forward.push({ bytes: Buffer.concat([bytes, flushMessage]), endsCopyIn: true });
        return;
      case 'Flush':
        unit.forward.push({ bytes });
        return;
      case 'FunctionCall':
        throw new GateError('not-supported', 'the function call message is not supported', {
          rule: 'protocol',
          hint: 'It carries no text that a policy could decide on. Call the function in a SELECT.',
        });
      case 'Terminate':
    }
  }

  #examine(sql: string): Promise<Verdict> {
    const stopped = () => new Promise<never>((_, reject) => (this.#stopExamining = reject));
    const forget = () => (this.#stopExamining = undefined);
    return this.#options.gatekeeper.examine(sql, this.#segment, stopped).finally(forget);
  }

  async #admitQuery(sql: string, bytes: Buffer, unit: Unit): Promise<void> {
    const verdict = await this.#examine(sql);
    const statement = this.#recordStatement(unit, verdict, 'simple');
    if (!verdict.ok) return this.#refuse(unit, verdict.error, true, verdict.position);
    const run = this.#startRun(statement, verdict.prepared);
    const portal = this.#options.pending.portals.propose({ segment: this.#segment, name: '', value: undefined });
    unit.forward.push({ bytes, owed: { kind: 'query', run, drop: this.#dropUnnamed(), portal } });
    this.#endSegment(unit, true);
  }

  async #admitParse(name: string, sql: string, bytes: Buffer, unit: Unit): Promise<void> {
    checkedName(name);
    const verdict = await this.#examine(sql);
    if (!verdict.ok) {
      this.#recordStatement(unit, verdict, 'extended');
      return this.#refuse(unit, verdict.error, false, verdict.position, name === '');
    }
    const change = { segment: this.#segment, name, value: verdict.prepared };
    unit.forward.push({ bytes, owed: { kind: 'parse', change: this.#options.pending.statements.propose(change) } });
  }

  async #admitExecute(portalName: string, bytes: Buffer, unit: Unit): Promise<void> {
    const portal = await this.#options.gatekeeper.findPortal(portalName, this.#segment);
    const verdict = await this.#options.gatekeeper.decideToRun(portal.prepared, this.#segment);
    const statement = this.#recordStatement(unit, verdict, 'extended', recordedParameters(portal.values, portal.prepared.isRedacted));
    if (!verdict.ok) return this.#refuse(unit, verdict.error, false);
    unit.forward.push({ bytes, owed: { kind: 'execute', run: this.#startRun(statement, portal.prepared) } });
  }

  #admitClose(of: 'statement' | 'portal', name: string, bytes: Buffer, unit: Unit): void {
    const change = { segment: this.#segment, name, value: undefined };
    const { statements, portals } = this.#options.pending;
    const owed: Owed =
      of === 'statement'
        ? { kind: 'close', statement: statements.propose(change) }
        : { kind: 'close', portal: portals.propose(change) };
    unit.forward.push({ bytes, owed });
  }

  #admitSync(bytes: Buffer, unit: Unit): void {
    this.#isSkipping = false;
    unit.forward.push({ bytes, owed: { kind: 'sync' } });
    this.#endSegment(unit, false);
  }

  #endSegment(unit: Unit, isSimple: boolean): void {
    unit.isSegmentEnd = true;
    unit.isSimple = isSimple;
    this.#segment++;
  }

  #dropUnnamed() {
    return this.#options.pending.statements.propose({ segment: this.#segment, name: '', value: undefined });
  }

  #startRun(statement: number, prepared: Prepared): Run {
    const nameChanges = prepared.nameChanges.map((change) => {
      const name = 'name' in change ? change.name : undefined;
      const value = change.tag === 'PREPARE' ? { ...prepared, kinds: change.kinds, nameChanges: [], executes: [] } : undefined;
      return {
        tag: change.tag,
        change: this.#options.pending.statements.propose({ segment: this.#segment, name, value }),
      };
    });
    const { isCopyIn } = prepared;
    return { statement, startedAtMs: performance.now(), isCopyIn, nameChanges, tags: [], rows: 0, bytesOut: 0, bytesIn: 0 };
  }

  #recordStatement(
    unit: Unit,
    verdict: Verdict,
    protocol: 'simple' | 'extended',
    parameters: ReturnType<typeof recordedParameters> = [],
  ): number {
    const { prepared, decision } = verdict;
    const statement = this.#options.journal.nextStatement();
    unit.events.push({
      kind: 'statement',
      connection: this.#options.connection,
      statement,
      protocol,
      sql: prepared.sql,
      ...(prepared.isRedacted && { redacted: true as const }),
      ...(parameters.length > 0 && { parameters }),
      kinds: [...prepared.kinds],
      effect: decision.effect === 'allow' ? 'allow' : 'deny',
      rule: decision.rule,
      reason: decision.reason,
    });
    return statement;
  }

  #refuse(unit: Unit, error: GateError, isSimple: boolean, position?: number, dropsUnnamed = isSimple): void {
    unit.forward.push(this.#refusal(error, isSimple, position, dropsUnnamed));
    if (isSimple) this.#endSegment(unit, true);
    else this.#isSkipping = true;
  }

  /**
   * In place of the refused message the server gets one that fails to parse, at the same position in the stream. So
   * both sides take the same turn: the transaction fails, the pipeline is passed over up to Sync, and every status that
   * the server reports afterwards is true. Its error is recognised by the nonce and replaced by the refusal.
   */
  #refusal(error: GateError, isSimple: boolean, position?: number, dropsUnnamed = isSimple): Forwarded {
    const nonce = `gate-${randomBytes(9).toString('base64url')}`;
    const text = `"${nonce}" stands for a statement that gate refused in session ${this.#options.journal.session}`;
    const owed = {
      kind: 'refusal',
      error: encodeGateError(error, 'ERROR', position),
      nonce,
      isSimple,
      ...(dropsUnnamed && { drop: this.#dropUnnamed() }),
    } as const;
    // A named Parse leaves the server's unnamed statement alone; it fails before the name is stored.
    return { bytes: isSimple ? encodeQuery(text) : encodeParse('gate-refused', text), owed };
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

function cancelled(): GateError {
  return new GateError('cancelled', 'the statement was cancelled before it was sent to the database');
}

/** The rest must not wait for an answer that these, still unsent, are to bring about. */
function isOfCopy({ type }: Item): boolean {
  return type === undefined || type === 0x63 || type === 0x66;
}
