/** What a masked client may be told: looked at message by message on the way up. */
import { GateError } from '../errors/errors.ts';
import { decodeRowDescription, guardColumns } from '../mask/guard.ts';
import type { MaskPlan } from '../mask/plan.ts';
import { isShownStatus, showReport } from '../mask/reports.ts';
import { decodeParameterStatus } from '../pgwire/backend.ts';
import type { Sent } from './masking.ts';

export class ResultGate {
  readonly #plan: () => MaskPlan | undefined;

  /** `plan`: the one by which statements are rewritten now. */
  constructor(plan: () => MaskPlan | undefined) {
    this.#plan = plan;
  }

  /** Fails with `masks-breached`, which cuts the connection, when a raw column is announced: the analysis has missed something. */
  rowDescription(bytes: Buffer): void {
    const plan = this.#plan();
    const raw = plan && guardColumns(decodeRowDescription(bytes), plan.rawColumns);
    if (raw === undefined) return;
    throw new GateError('masks-breached', `the result would have shown the raw values of ${raw.name}`, {
      rule: 'masks/guard',
      hint: 'Nothing of it was sent. Please report the statement: it should have been refused or masked.',
    });
  }

  /** An ErrorResponse or NoticeResponse as it is shown; `sent` is the rewritten text that it speaks of. */
  report(bytes: Buffer, sent: Sent | undefined): Buffer {
    return showReport(bytes, sent);
  }

  /** Undefined for one that is not shown. */
  parameterStatus(bytes: Buffer): Buffer | undefined {
    return isShownStatus(decodeParameterStatus(bytes).name) ? bytes : undefined;
  }
}
