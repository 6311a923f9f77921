/** What each message of the client comes to: decided, perhaps held, and put into the unit that is recorded and forwarded. */
import { randomBytes } from 'node:crypto';
import { GateError } from '../errors/errors.ts';
import { encodeGateError } from '../pgwire/backend.ts';
import {
  decodeFrontend,
  encodeBindAndDescribe, encodeDescribePortal,
  encodeExecute,
  encodeParse,
  encodeQuery,
  type BoundValue,
  type FrontendMessage,
} from '../pgwire/frontend.ts';
import { andThen } from './and-then.ts';
import { Capture, captureLimits } from './capture.ts';
import { checkedName } from './frontend-limits.ts';
import { refused, type Allowed, type Gatekeeper, type Verdict } from './gatekeeper.ts';
import type { Item } from './inbox.ts';
import { hashLongParameters, parameterBytesMax, recordedParameters, type Journal } from './journal.ts';
import type { Masking } from './masking.ts';
import type { LimitedEnd, Owed, Pending, Portal, Prepared, Run } from './pending.ts';
import { transactionAborted } from './refusal.ts';
import { countsRows } from './row-limit.ts';
import type { SettingsWatch } from './settings-watch.ts';
import { knownShapeOf, maskedEvent, tablesEvent } from './statement-event.ts';
import { flushMessage, type Forwarded, type Unit } from './unit.ts';

export type AdmissionOptions = {
  readonly connection: number;
  readonly pending: Pending;
  readonly journal: Journal;
  readonly gatekeeper: Gatekeeper;
  readonly masking: Masking;
  readonly settings: SettingsWatch;
  /** Of the policy in force. */
  readonly policyDigest: () => string;
};

/** `terminate`: the client has said goodbye. */
export type Admitted = 'done' | 'must-wait' | 'terminate';

type Bind = Extract<FrontendMessage, { type: 'Bind' }>;
type Parse = Extract<FrontendMessage, { type: 'Parse' }>;
type Execute = Extract<FrontendMessage, { type: 'Execute' }>;
/** Nothing, where it is done. */
type Admitting = Admitted | void | Promise<Admitted | void>;

export class Admission {
  readonly #options: AdmissionOptions;
  /** A message of this segment was refused: like the server, drop everything up to Sync. */
  #isSkipping = false;
  #segment = 1;
  /** Gives up the wait for a long text to be examined. */
  #examining: AbortController | undefined;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** False when no text is being examined that others wait for. */
  stopExamining(error: GateError): boolean {
    this.#examining?.abort(error);
    return this.#examining !== undefined;
  }

  /** `must-wait`, and nothing done, when the message needs an approval first and `mayWait` is false. */
  admit(item: Item, unit: Unit, mayWait: boolean): Admitted | Promise<Admitted> {
    // The server ignores copy data that it does not expect, so there is nothing to decide about it.
    if (item.type === undefined) {
      if (!this.#isSkipping) unit.forward.push({ bytes: item.bytes, copyBytes: item.bytes.length });
      return 'done';
    }
    const message = decodeFrontend(item.type, item.bytes);
    if (message.type === 'Terminate') return 'terminate';
    if (this.#isSkipping && message.type !== 'Sync') return 'done';
    const refuse = (error: unknown): Admitted => {
      if (!(error instanceof GateError) || error.code === 'protocol-violation') throw error;
      this.#refuse(unit, error, message.type === 'Query' || message.type === 'FunctionCall');
      return 'done';
    };
    try {
      const admitting = this.#admitMessage(message, item.bytes, unit, mayWait);
      return admitting instanceof Promise ? admitting.then((admitted) => admitted ?? 'done', refuse) : (admitting ?? 'done');
    } catch (error) {
      return refuse(error);
    }
  }

  #admitMessage(message: FrontendMessage, bytes: Buffer, unit: Unit, mayWait: boolean): Admitting {
    switch (message.type) {
      case 'Query':
        return this.#admitQuery(message.sql, bytes, unit, mayWait);
      case 'Bind':
        return this.#admitBind(message, bytes, unit, mayWait);
      case 'Parse':
        return this.#admitParse(message, bytes, unit);
      case 'Describe':
        return this.#admitDescribe(message, bytes, unit);
      case 'Execute':
        return this.#admitExecute(message, bytes, unit);
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

  #examine(sql: string, parameterTypes: readonly number[] = []): Verdict | Promise<Verdict> {
    const stopping = () => (this.#examining ??= new AbortController()).signal;
    const forget = () => (this.#examining = undefined);
    const examining = this.#options.gatekeeper.examine({ sql, parameterTypes, segment: this.#segment, stopping });
    return examining instanceof Promise ? examining.finally(forget) : examining;
  }

  #admitQuery(sql: string, bytes: Buffer, unit: Unit, mayWait: boolean): Admitting {
    return andThen(this.#examine(sql), (verdict): Admitting => {
      if (!isHeld(verdict)) return this.#runQuery(verdict, sql, bytes, unit);
      if (!mayWait) return 'must-wait';
      return this.#settle(verdict, []).then((settled) => this.#runQuery(settled, sql, bytes, unit));
    });
  }

  #runQuery(decided: Verdict, sql: string, bytes: Buffer, unit: Unit): void {
    const verdict = decided.ok ? this.#checkStored(decided, []) : decided;
    const statement = this.#recordStatement(unit, verdict, 'simple');
    if (!verdict.ok) return this.#refuse(unit, verdict.error, true, verdict.position);
    const run = this.#startRun(statement, verdict);
    this.#note(verdict, run);
    const drop = this.#dropUnnamed();
    const portal = this.#options.pending.portals.propose({ segment: this.#segment, name: '', value: undefined });
    const { rowsMax } = verdict.decision;
    const text = verdict.prepared.sent?.sql ?? sql;
    if (rowsMax !== undefined && verdict.facts.some(countsRows)) {
      // As a simple Query, but in pieces: what comes before its Sync can still be taken back.
      const pieces = [encodeParse('', text), encodeBindAndDescribe(), encodeExecute('', rowsMax + 1), flushMessage];
      unit.forward.push(this.#limited(Buffer.concat(pieces), { run, rowsMax, rowsBefore: () => 0, isWhole: true, drop, portal }));
    } else unit.forward.push({ bytes: text === sql ? bytes : encodeQuery(text), owed: { kind: 'query', run, drop, portal } });
    this.#endSegment(unit, true);
  }

  /** Where the statement of a portal is held, its Bind waits already: the server plans with it, and may compute. */
  #admitBind(message: Bind, bytes: Buffer, unit: Unit, mayWait: boolean): Admitting {
    if (bytes.length <= parameterBytesMax) return this.#admitHashed(message, bytes, unit, mayWait);
    return hashLongParameters(message.values).then(() => this.#admitHashed(message, bytes, unit, mayWait));
  }

  #admitHashed(message: Bind, bytes: Buffer, unit: Unit, mayWait: boolean): Admitting {
    const { gatekeeper } = this.#options;
    return andThen(gatekeeper.findStatement(message.statement, this.#segment), (prepared) =>
      andThen(gatekeeper.decideToRun(prepared, this.#segment), (verdict): Admitting => {
        if (!isHeld(verdict)) return this.#bind(message, prepared, verdict, bytes, unit);
        if (!mayWait) return 'must-wait';
        return this.#settle(verdict, message.values).then((settled) => this.#bind(message, prepared, settled, bytes, unit));
      }),
    );
  }

  #bind(message: Bind, prepared: Prepared, decided: Verdict, bytes: Buffer, unit: Unit): void {
    const verdict = decided.ok ? this.#checkStored(decided, message.values) : decided;
    if (!verdict.ok) {
      this.#recordStatement(unit, verdict, 'extended', recordedParameters(message.values, prepared.isRedacted));
      return this.#refuse(unit, verdict.error, false);
    }
    const { approved } = verdict;
    const value: Portal = { prepared, values: message.values, rowsRead: 0, ...(approved !== undefined && { approved }) };
    const change = { segment: this.#segment, name: checkedName(message.portal), value };
    const { sent } = verdict.prepared;
    unit.forward.push({ bytes, owed: { kind: 'bind', change: this.#options.pending.portals.propose(change), ...(sent && { sent }) } });
  }

  /** Other sessions must see changes of definitions, too, whether or not this one says anything more. */
  #note({ changes, facts }: Allowed, run: Run): void {
    const { settings } = this.#options;
    settings.note(changes, facts);
    if (settings.isUncertain) void this.#noteSettled(run);
  }

  async #noteSettled(run: Run): Promise<void> {
    const { settings, pending } = this.#options;
    do await pending.settled();
    while (run.hasEnded !== true);
    settings.noteSettled(pending.status);
  }

  /** A write that would put what a mask shows in place of what it stands for. */
  #checkStored(verdict: Allowed, values: readonly BoundValue[]): Verdict {
    const { sent, text } = verdict.prepared;
    const { masking } = this.#options;
    const error = (sent && masking.checkStored(sent.stored, values)) ?? masking.checkAgent({ facts: verdict.facts, text }, values);
    return error === undefined ? verdict : refused(verdict.prepared, error);
  }

  /** Waits for an approval once everything before has been answered, so that the state of the transaction is known. */
  async #settle(verdict: Allowed, values: readonly BoundValue[]): Promise<Verdict> {
    const { pending, gatekeeper } = this.#options;
    await pending.copyInKnown();
    if (pending.copyIn !== undefined) throw new GateError('protocol-violation', 'COPY takes data, and data only');
    await pending.segmentsSettled();
    if (pending.status === 'E') return refused(verdict.prepared, transactionAborted());
    return gatekeeper.settle(verdict, values, this.#segment);
  }

  #admitParse(message: Parse, bytes: Buffer, unit: Unit): Admitting {
    const name = checkedName(message.name);
    return andThen(this.#examine(message.sql, message.parameterTypes), (verdict) => this.#parse(message, name, verdict, bytes, unit));
  }

  #parse(message: Parse, name: string, verdict: Verdict, bytes: Buffer, unit: Unit): void {
    if (!verdict.ok) {
      this.#recordStatement(unit, verdict, 'extended');
      return this.#refuse(unit, verdict.error, false, verdict.position, name === '');
    }
    const change = { segment: this.#segment, name, value: verdict.prepared };
    const { sent } = verdict.prepared;
    const text = sent?.sql ?? message.sql;
    unit.forward.push({
      bytes: text === message.sql ? bytes : encodeParse(message.name, text, message.parameterTypes),
      owed: { kind: 'parse', change: this.#options.pending.statements.propose(change), ...(sent && { sent }) },
    });
  }

  #admitExecute(message: Execute, bytes: Buffer, unit: Unit): Admitting {
    const { gatekeeper } = this.#options;
    return andThen(gatekeeper.findPortal(message.portal, this.#segment), (portal) =>
      andThen(gatekeeper.decideToRun(portal.prepared, this.#segment), (verdict) => this.#execute(message, portal, verdict, bytes, unit)),
    );
  }

  #execute(message: Execute, portal: Portal, decided: Verdict, bytes: Buffer, unit: Unit): void {
    const { gatekeeper, masking } = this.#options;
    const { prepared, values, approved } = portal;
    const verdict = isHeld(decided) ? gatekeeper.approve(decided, approved) : decided;
    const statement = this.#recordStatement(unit, verdict, 'extended', recordedParameters(values, prepared.isRedacted));
    if (!verdict.ok) return this.#refuse(unit, verdict.error, false);
    const run = this.#startRun(statement, verdict);
    this.#note(verdict, run);
    if (masking.looksAtRows || run.capture.keepsRows) unit.forward.push({ bytes: encodeDescribePortal(message.portal), owed: { kind: 'describe', isOwn: true } });
    const { rowsMax } = verdict.decision;
    if (rowsMax === undefined || !verdict.facts.some(countsRows)) return void unit.forward.push({ bytes, owed: { kind: 'execute', run } });
    const room = Math.max(0, rowsMax - portal.rowsRead) + 1;
    const asked = message.rowsMax === 0 ? room : Math.min(message.rowsMax, room);
    const execute = Buffer.concat([encodeExecute(message.portal, asked), flushMessage]);
    const limited = this.#limited(execute, { run, rowsMax, rowsBefore: () => portal.rowsRead, isWhole: false });
    unit.forward.push(limited);
    void limited.ended?.then(() => (portal.rowsRead += run.rows));
  }

  #limited(bytes: Buffer, what: Omit<Extract<Owed, { kind: 'limited' }>, 'kind' | 'finish'>): Forwarded {
    let finish: (end: LimitedEnd) => void = () => undefined;
    const ended = new Promise<LimitedEnd>((resolve) => (finish = resolve));
    return { bytes, owed: { kind: 'limited', ...what, finish }, ended };
  }

  #admitDescribe({ of, name }: { readonly of: 'statement' | 'portal'; readonly name: string }, bytes: Buffer, unit: Unit): Admitting {
    const { gatekeeper } = this.#options;
    const found = of === 'statement' ? gatekeeper.findStatement(name, this.#segment) : gatekeeper.lookUpPortal(name, this.#segment);
    return andThen<unknown, void>(found, () => void unit.forward.push({ bytes, owed: { kind: 'describe' } }));
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

  #startRun(statement: number, { prepared, decision }: Allowed): Run {
    const nameChanges = prepared.nameChanges.map((change) => {
      const name = 'name' in change ? change.name : undefined;
      const value = change.tag === 'PREPARE' ? { ...prepared, kinds: change.kinds, outlines: [change.outline], nameChanges: [], executes: [] } : undefined;
      return {
        tag: change.tag,
        change: this.#options.pending.statements.propose({ segment: this.#segment, name, value }),
      };
    });
    const { isCopyIn, sent } = prepared;
    const { statementTimeoutMs: timeoutMs, recordRows } = decision;
    const counts = { tags: [], rows: 0, bytesOut: 0, bytesIn: 0 };
    return {
      statement,
      startedAtMs: performance.now(),
      isCopyIn,
      nameChanges,
      ...counts,
      capture: new Capture(recordRows ? captureLimits : undefined),
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(sent && { sent }),
    };
  }

  #recordStatement(
    unit: Unit,
    verdict: Verdict,
    protocol: 'simple' | 'extended',
    parameters: ReturnType<typeof recordedParameters> = [],
  ): number {
    const { prepared, decision } = verdict;
    const request = verdict.ok ? verdict.approved?.request : verdict.error.requestId;
    const statement = this.#options.journal.nextStatement();
    unit.events.push({
      kind: 'statement',
      connection: this.#options.connection,
      statement,
      protocol,
      sql: prepared.sql,
      shape: prepared.shape ?? knownShapeOf(prepared),
      ...(prepared.isRedacted && { redacted: true as const }),
      ...(parameters.length > 0 && { parameters }),
      kinds: [...prepared.kinds],
      ...(verdict.ok && tablesEvent(verdict)),
      effect: verdict.ok ? 'allow' : 'deny',
      rule: decision.rule,
      reason: verdict.ok && verdict.approved !== undefined ? verdict.approved.reason : decision.reason,
      ...(request !== undefined && { request }),
      policy: this.#options.policyDigest(),
      ...(verdict.ok && maskedEvent(prepared)),
    });
    return statement;
  }

  #refuse(unit: Unit, error: GateError, isSimple: boolean, position?: number, dropsUnnamed = isSimple): void {
    unit.forward.push(this.refusal(error, isSimple, position, dropsUnnamed));
    if (isSimple) this.#endSegment(unit, true);
    else this.#isSkipping = true;
  }

  /**
   * In place of the refused message the server gets one that fails to parse, at the same position in the stream. So
   * both sides take the same turn: the transaction fails, the pipeline is passed over up to Sync, and every status that
   * the server reports afterwards is true. Its error is recognised by the nonce and replaced by the refusal.
   */
  refusal(error: GateError, isSimple: boolean, position?: number, dropsUnnamed = isSimple): Forwarded {
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

  /** Nothing of the unit is forwarded; the client gets one error at its first statement, as for any failure. */
  refuseUnit(unit: Unit, error: GateError): Forwarded[] {
    for (const { owed } of unit.forward) this.#options.pending.cancel(owed);
    const refusal = this.refusal(error, unit.isSimple);
    const sync = unit.forward.find(({ owed }) => owed?.kind === 'sync');
    // In extended mode without its Sync yet, the rest of the segment is dropped like after any error.
    if (sync === undefined && !unit.isSimple) this.#isSkipping = true;
    // What ends or feeds an earlier COPY still goes, or the server would go on taking data.
    const before = unit.forward.slice(0, unit.forward.findIndex(({ owed }) => owed !== undefined));
    return sync === undefined ? [...before, refusal] : [...before, refusal, sync];
  }
}

function isHeld(verdict: Verdict): verdict is Allowed {
  return verdict.ok && verdict.decision.effect === 'hold' && verdict.approved === undefined;
}
