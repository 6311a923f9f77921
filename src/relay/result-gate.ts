/** What a masked client may be told: the port that the way up asks about messages of the server. */
import type { Sent } from './masking.ts';

export type ResultGate = {
  /** Rows and copy data must be looked at one by one. */
  readonly hasRowWork: boolean;
  /** Fails with what cuts the connection when a raw column is announced. */
  rowDescription(bytes: Buffer): void;
  /** A DataRow or CopyData as it is shown. */
  row(bytes: Buffer): Buffer;
  /** An ErrorResponse or NoticeResponse as it is shown; `sent` is the rewritten text that it speaks of. */
  report(bytes: Buffer, sent: Sent | undefined): Buffer;
  /** Undefined for one that is not shown. */
  parameterStatus(bytes: Buffer): Buffer | undefined;
};
