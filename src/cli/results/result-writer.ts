/** What each output format of exec does with a result as it streams by. */
import type { SqlField, SqlRow } from '../../client/sql-text.ts';

export const resultFormats = ['table', 'json', 'ndjson', 'csv'] as const;
export type ResultFormat = (typeof resultFormats)[number];

/** Takes data for stdout; resolves when it may be given more. */
export type WriteOut = (data: string | Uint8Array) => Promise<void>;

/** The results of one text in their order; every call is awaited before the next. */
export interface ResultWriter {
  fields(fields: readonly SqlField[]): Promise<void>;
  rows(rows: readonly SqlRow[]): Promise<void>;
  /** The rows of COPY … TO STDOUT begin. */
  copy(isBinary: boolean): Promise<void>;
  copyData(pieces: readonly Buffer[]): Promise<void>;
  complete(tag: string): Promise<void>;
  /** In place of `complete`: there are more rows than the `rowsMax` that were wanted. */
  cut(rowsMax: number): Promise<void>;
  /** Once, also after a failure: what was begun is closed, and never looks complete when it is not. */
  end(): Promise<void>;
}

/** OIDs of pg_type that are the same in every PostgreSQL. */
export const typeOids = {
  bool: 16,
  int8: 20,
  int2: 21,
  int4: 23,
  oid: 26,
  xid: 28,
  cid: 29,
  json: 114,
  float4: 700,
  float8: 701,
  money: 790,
  numeric: 1700,
  jsonb: 3802,
  xid8: 5069,
} as const;
