/** Errors, notices and settings as a client with masks may hear of them: without what could quote a row, positions in the client's own text. */
import { encodeMessage } from '../pgwire/bytes.ts';
import { decodeReport } from '../pgwire/backend.ts';
import { charactersIn } from './edits.ts';
import type { Edit } from './masked.ts';

/** Severity, SQLSTATE, message, position, and names of objects: fields of section 54.8 that quote no values of rows. */
const shownFields = new Set(['S', 'V', 'C', 'M', 'P', 's', 't', 'c', 'd', 'n']);
/** Classes and codes whose messages hold names of objects and nothing of a row. */
const namesOnly = /^(?:03|08|0A|0B|0L|0P|25|26|28|2B|2D|34|3B|3D|3F|40|42|53|54|55|57|58)|^(?:21000|23502|23503|23505|23514|23P01|22P05|F0)/;

const shownStatus = new Set([
  'client_encoding', 'DateStyle', 'integer_datetimes', 'IntervalStyle', 'in_hot_standby', 'default_transaction_read_only', 'scram_iterations', 'search_path',
  'server_encoding', 'server_version', 'session_authorization', 'standard_conforming_strings', 'TimeZone', 'application_name', 'is_superuser',
]);

/** Undefined for a setting that is not shown. Who stands behind the relay is not told. */
export function showStatus(name: string, value: string): string | undefined {
  if (name === 'is_superuser') return 'off';
  return shownStatus.has(name) ? value : undefined;
}

/** What the server has run in place of a text. */
export type Rewritten = { readonly sql: string; readonly edits: readonly Edit[]; readonly isWrite: boolean };

/** An ErrorResponse or NoticeResponse; `sent` is what the server speaks of, `cover` hides what a message should not say either. */
export function showReport(bytes: Buffer, sent: Rewritten | undefined, cover: (message: string) => string = (message) => message): Buffer {
  const fields = decodeReport(bytes);
  const parts: Buffer[] = [];
  for (const [code, value] of fields) {
    if (!shownFields.has(code)) continue;
    let shown = code === 'M' ? cover(value) : value;
    // A write computes checks and generated columns over whole rows, and an error of that may quote what it was given.
    if (code === 'M' && sent?.isWrite === true && !namesOnly.test(fields.get('C') ?? '')) shown = 'the server reports an error whose text may quote masked values';
    if (code === 'P' && sent !== undefined) shown = String(mapPosition(Number(value), sent));
    parts.push(Buffer.from(`${code}${shown}\0`, 'utf8'));
  }
  return encodeMessage(String.fromCharCode(bytes[0] as number), ...parts, Buffer.from([0]));
}

/**
 * From a 1-based position in characters of the sent text to one of the client's text: behind the edits before it, or at
 * the beginning of the edit that it lies in.
 */
export function mapPosition(position: number, { sql, edits }: Pick<Rewritten, 'sql' | 'edits'>): number {
  const sent = Buffer.from(sql, 'utf8');
  const at = byteOf(sent, position - 1);
  let removed = 0;
  let added = 0;
  // Characters, as far as the edits are concerned, are counted by what they took out and put in.
  let charactersRemoved = 0;
  let charactersAdded = 0;
  for (const edit of edits) {
    const length = Buffer.byteLength(edit.text);
    const start = edit.start - removed + added;
    if (at < start) break;
    if (at < start + length) return charactersIn(sent.subarray(0, start)) - charactersAdded + charactersRemoved + 1;
    removed += edit.end - edit.start;
    added += length;
    charactersAdded += charactersIn(Buffer.from(edit.text, 'utf8'));
    charactersRemoved += edit.characters;
  }
  return position - charactersAdded + charactersRemoved;
}

function byteOf(bytes: Buffer, characters: number): number {
  let at = 0;
  for (let left = characters; left > 0 && at < bytes.length; left--) {
    at += 1;
    while (at < bytes.length && ((bytes[at] as number) & 0xc0) === 0x80) at += 1;
  }
  return at;
}
