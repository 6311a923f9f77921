/** SQL texts with their parameters, and what their caller is told while they run. */
import type { TunnelNews } from '../api/api.ts';

export type SqlField = { readonly name: string; readonly typeOid: number };
/** Values in PostgreSQL's text format. */
export type SqlRow = readonly (string | null)[];

/** A value for $1, $2 …: text in PostgreSQL's text format, bytes in its binary one. Type 0 leaves it to the server. */
export type SqlParameter = { readonly typeOid: number; readonly value: string | Buffer | null };

/** One or more statements; PostgreSQL runs them as one transaction unless they say otherwise. With parameters only one. */
export type SqlText = { readonly sql: string; readonly parameters?: readonly SqlParameter[] };

/** What is known of a text that did not end well. */
export type Fate =
  /** Nothing of it took effect but what it committed itself, as a procedure can. */
  | 'undone'
  /** A COMMIT of its own took effect. */
  | 'partly'
  /** It took effect, though not all that it gave back was written. */
  | 'done'
  /** The connection broke before the server said. */
  | 'unknown';

/** Called in the server's order, one at a time; nothing more is read from the tunnel while one is pending. */
export type SqlHandlers = {
  /** A text is about to be sent. */
  readonly begin?: (index: number) => void;
  /** The texts ended here, before the promise rejects. Nothing of those behind `index` was sent. */
  readonly stopped?: (index: number, fate: Fate) => void;
  /** A result with rows begins. */
  readonly fields: (fields: readonly SqlField[]) => Promise<void>;
  readonly rows: (rows: readonly SqlRow[]) => Promise<void>;
  /** COPY … TO STDOUT begins. */
  readonly copy: (isBinary: boolean) => Promise<void>;
  /** Its data; PostgreSQL sends one piece per row. Valid until the promise settles. */
  readonly copyData: (pieces: readonly Buffer[]) => Promise<void>;
  /** A statement is done; the tag is PostgreSQL's, as in `INSERT 0 1`. */
  readonly complete: (tag: string) => Promise<void>;
  /** In place of `complete`: `rowsMax` rows were handed on, and there are more. */
  readonly cut?: (rowsMax: number) => Promise<void>;
  /** The statement waits for approval; called again and again while it does. A notice says the same. */
  readonly held?: (news: TunnelNews) => void;
  /** It runs now. */
  readonly released?: (requestId: string) => void;
  /** A notice as psql prints it. */
  readonly notice: (text: string) => void;
};
