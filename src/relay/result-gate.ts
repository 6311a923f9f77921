/** What a masked client may be told: looked at message by message on the way up. */
import type { EventOf } from '../audit/entry.ts';
import { GateError } from '../errors/errors.ts';
import { decodeRowDescription, guardColumns, type ResultColumn } from '../mask/guard.ts';
import type { DetectorKind, Mask, MaskPlan, MaskRules } from '../mask/plan.ts';
import { showStatus, showReport } from '../mask/reports.ts';
import { ResultRows } from '../mask/result-rows.ts';
import { decodeParameterStatus, encodeParameterStatus } from '../pgwire/backend.ts';
import { firstUserId } from '../sql/catalog.ts';
import type { Sent } from './masking.ts';

export type ResultGateOptions = {
  /** The one by which statements are rewritten, or results shown, now. */
  readonly plan: () => MaskPlan | undefined;
  readonly rules: Pick<MaskRules, 'level' | 'detect'>;
  /** Of hashes. */
  readonly key: Buffer;
  readonly connection: number;
  /** Into the record of the session. */
  readonly note: (event: EventOf<'masks.detected' | 'masks.breach'>) => void;
};

type Found = { readonly detector: DetectorKind; readonly column?: string; readonly count: number };

export class ResultGate {
  readonly #options: ResultGateOptions;
  readonly #rows: ResultRows;
  readonly #found = new Map<string, Found>();
  /** Rows and copy data must be given to `rows`. */
  readonly hasRowWork: boolean;

  constructor(options: ResultGateOptions) {
    this.#options = options;
    const { rules, key } = options;
    const isDisplay = rules.level === 'display';
    this.hasRowWork = isDisplay || rules.detect.length > 0;
    this.#rows = new ResultRows({
      kinds: rules.detect,
      key,
      ...(isDisplay && { maskOf: (column) => this.#maskOf(column) }),
      onFound: (kind, column) => this.#note(kind, column),
    });
  }

  /** Fails with `masks-breached`, which cuts the connection and stands on record, when a raw column is announced: the analysis has missed something. */
  rowDescription(bytes: Buffer, statement: number | undefined): void {
    const plan = this.#options.plan();
    const columns = decodeRowDescription(bytes);
    if (this.hasRowWork) this.#rows.describe(columns);
    const raw = this.#options.rules.level === 'display' ? undefined : plan && guardColumns(columns, plan.rawColumns);
    if (raw === undefined) return;
    const { note, connection } = this.#options;
    note({ kind: 'masks.breach', connection, ...(statement !== undefined && { statement }), column: this.#nameOf(raw) ?? raw.name });
    throw new GateError('masks-breached', `the result would have shown the raw values of ${raw.name}`, {
      rule: 'masks/guard',
      hint: 'Nothing of it was sent. Please report the statement: it should have been refused or masked.',
    });
  }

  /** What follows has no rows. */
  forget(): void {
    this.#rows.forget();
  }

  /** Whole messages of rows or copy data. */
  rows(bytes: Buffer): Buffer {
    return this.#rows.pass(bytes);
  }

  /** An ErrorResponse or NoticeResponse as it is shown; `sent` is the rewritten text that it speaks of. */
  report(bytes: Buffer, sent: Sent | undefined): Buffer {
    return showReport(bytes, sent, (message) => this.#rows.text(message));
  }

  /** Undefined for one that is not shown. */
  parameterStatus(bytes: Buffer): Buffer | undefined {
    const { name, value } = decodeParameterStatus(bytes);
    const shown = showStatus(name, value);
    if (shown === undefined) return undefined;
    return shown === value ? bytes : encodeParameterStatus(name, shown);
  }

  /** Puts on record what detectors have found in the answers to a statement. */
  noteFound(statement: number): void {
    const { note, connection } = this.#options;
    for (const found of this.#found.values()) note({ kind: 'masks.detected', connection, statement, ...found });
    this.#found.clear();
  }

  #note(detector: DetectorKind, column: ResultColumn | undefined): void {
    const name = column && this.#nameOf(column);
    const key = `${detector} ${name ?? ''}`;
    const count = (this.#found.get(key)?.count ?? 0) + 1;
    this.#found.set(key, { detector, ...(name !== undefined && { column: name }), count });
  }

  /** At the level `display`. What is computed has no origin, and is not known for what it is. */
  #maskOf({ relation, column }: ResultColumn): Mask | undefined {
    if (relation === 0) return undefined;
    const planned = this.#options.plan()?.relation(relation);
    if (planned === undefined) return relation < firstUserId ? undefined : { kind: 'null' };
    if (planned.access === 'clean') return undefined;
    const known = planned.access === 'masked' ? planned.columns.find(({ number }) => number === column) : undefined;
    return known === undefined ? { kind: 'null' } : known.shownBy;
  }

  #nameOf({ relation, column, name }: ResultColumn): string | undefined {
    const planned = this.#options.plan()?.relation(relation);
    if (planned === undefined) return undefined;
    const known = planned.access === 'masked' ? planned.columns.find(({ number }) => number === column)?.name : undefined;
    return `${planned.schema}.${planned.name}.${known ?? name}`;
  }
}
