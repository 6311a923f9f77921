/** What the analysis of a masked principal's text comes to. Plain data: it crosses from the parser's worker thread. */

/** A byte range of the client's text, the characters in it, and what is sent in its place. In order, not overlapping. */
export type Edit = { readonly start: number; readonly end: number; readonly characters: number; readonly text: string };

/** `schema.relation.column` and the rule that masks it, for the record. */
export type MaskedColumn = { readonly column: string; readonly rule: string; readonly kind: string };

export type Masked =
  | {
      readonly ok: true;
      /** What is sent. */
      readonly sql: string;
      readonly edits: readonly Edit[];
      /** Columns of masks that were spliced in, without repetition. */
      readonly columns: readonly MaskedColumn[];
      /** Literals and parameters ($n) that a write stores, to be held against images of masks: "$1" or the text. */
      readonly stored: readonly StoredValue[];
      /** Masked relations are written, or code runs that could quote a row: reports of the server lose what may quote values. */
      readonly isWrite: boolean;
    }
  | {
      readonly ok: false;
      /** `masks/<element>`: relation, function, operator, type, statement, setting, write, column, syntax. */
      readonly rule: string;
      readonly reason: string;
      readonly hint: string;
      /** 1-based, in characters of the client's text. */
      readonly position?: number;
    };

export type StoredValue = { readonly parameter: number } | { readonly text: string };
