/** Messages from the server: the few that the relay writes itself, and the few whose fields it must read. */
import { GateError } from '../errors/errors.ts';
import { ByteReader, cstring, encodeMessage, int32 } from './bytes.ts';

/** ReadyForQuery: idle, in a transaction, in a failed transaction. */
export type TransactionStatus = 'I' | 'T' | 'E';

/** Fields of ErrorResponse and NoticeResponse, section 54.8. `routine` names the gate error code. */
export type Report = {
  readonly severity: 'ERROR' | 'FATAL' | 'NOTICE' | 'WARNING';
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  /** 1-based character position in the client's text. */
  readonly position?: number | undefined;
  readonly routine?: string | undefined;
};

export function encodeErrorResponse(report: Report): Buffer {
  return encodeReport('E', report);
}

export function encodeNoticeResponse(report: Report): Buffer {
  return encodeReport('N', report);
}

function encodeReport(type: 'E' | 'N', report: Report): Buffer {
  const fields: [string, string | undefined][] = [
    ['S', report.severity],
    ['V', report.severity],
    ['C', report.sqlstate],
    ['M', report.message],
    ['D', report.detail],
    ['H', report.hint],
    ['P', report.position === undefined ? undefined : String(report.position)],
    ['F', 'gate'],
    ['R', report.routine],
  ];
  const parts = fields.flatMap(([code, value]) => (value === undefined ? [] : [Buffer.from(code), cstring(value)]));
  return encodeMessage(type, ...parts, Buffer.from([0]));
}

/** A GateError as a client sees it: message, rule and request as DETAIL, next step as HINT, gate's own code as routine. */
export function encodeGateError(error: GateError, severity: 'ERROR' | 'FATAL', position?: number): Buffer {
  return encodeErrorResponse({
    severity,
    sqlstate: error.sqlstate,
    message: error.message,
    detail: detailOf(error),
    hint: error.hint,
    position,
    routine: error.code,
  });
}

/** That a text is not SQL is no rule of gate's: it is said as the server says it. */
function detailOf({ code, rule, requestId }: GateError): string | undefined {
  const lines = [code !== 'sql-error' && rule && `Rule: ${rule}`, requestId && `Request: ${requestId}`].filter(Boolean);
  return lines.length === 0 ? undefined : lines.join('\n');
}

export function encodeReadyForQuery(status: TransactionStatus): Buffer {
  return encodeMessage('Z', Buffer.from(status));
}

export function encodeParameterStatus(name: string, value: string): Buffer {
  return encodeMessage('S', cstring(name), cstring(value));
}

export function encodeBackendKeyData(pid: number, key: Buffer): Buffer {
  return encodeMessage('K', int32(pid), key);
}

/** Tells a client of 3.x with x > `minor`, or with unknown `_pq_.` options, what is spoken here. */
export function encodeNegotiateProtocolVersion(minor: number, unknownOptions: readonly string[]): Buffer {
  return encodeMessage('v', int32((3 << 16) | minor), int32(unknownOptions.length), ...unknownOptions.map(cstring));
}

export const authenticationOk = encodeMessage('R', int32(0));

export function encodeAuthenticationSasl(mechanisms: readonly string[]): Buffer {
  return encodeMessage('R', int32(10), ...mechanisms.map(cstring), Buffer.from([0]));
}

export function encodeAuthenticationSaslContinue(data: string): Buffer {
  return encodeMessage('R', int32(11), Buffer.from(data, 'utf8'));
}

export function encodeAuthenticationSaslFinal(data: string): Buffer {
  return encodeMessage('R', int32(12), Buffer.from(data, 'utf8'));
}

/** The fields of ErrorResponse or NoticeResponse by their one-letter codes. Text that is not UTF-8 is shown lossily. */
export function decodeReport(bytes: Buffer): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  let at = 5;
  while (at < bytes.length && bytes[at] !== 0) {
    const end = bytes.indexOf(0, at + 1);
    if (end === -1) throw new GateError('upstream-protocol', 'the server sent an error report without an end');
    fields.set(String.fromCharCode(bytes[at] as number), bytes.subarray(at + 1, end).toString('utf8'));
    at = end + 1;
  }
  return fields;
}

export function decodeReadyForQuery(bytes: Buffer): TransactionStatus {
  const status = String.fromCharCode(bytes[5] ?? 0);
  if (bytes.length !== 6 || (status !== 'I' && status !== 'T' && status !== 'E')) {
    throw new GateError('upstream-protocol', `the server reported transaction status '${status}'`);
  }
  return status;
}

export function decodeCommandTag(bytes: Buffer): string {
  return new ByteReader(bytes).string();
}

export function decodeParameterStatus(bytes: Buffer): { name: string; value: string } {
  const reader = new ByteReader(bytes);
  return { name: reader.string(), value: reader.string() };
}

export function decodeBackendKeyData(bytes: Buffer): { pid: number; key: Buffer } {
  const reader = new ByteReader(bytes);
  return { pid: reader.int32(), key: Buffer.from(reader.rest()) };
}

export type Authentication =
  | { readonly method: 'ok' | 'cleartext' }
  | { readonly method: 'md5'; readonly salt: Buffer }
  | { readonly method: 'sasl'; readonly mechanisms: readonly string[] }
  | { readonly method: 'sasl-continue' | 'sasl-final'; readonly data: string }
  | { readonly method: 'other'; readonly code: number };

export function decodeAuthentication(bytes: Buffer): Authentication {
  const reader = new ByteReader(bytes);
  const code = reader.int32();
  switch (code) {
    case 0:
      return { method: 'ok' };
    case 3:
      return { method: 'cleartext' };
    case 5:
      return { method: 'md5', salt: reader.take(4) };
    case 10: {
      const mechanisms: string[] = [];
      for (let name = reader.string(); name !== ''; name = reader.string()) mechanisms.push(name);
      return { method: 'sasl', mechanisms };
    }
    case 11:
    case 12:
      return { method: code === 11 ? 'sasl-continue' : 'sasl-final', data: reader.rest().toString('utf8') };
    default:
      return { method: 'other', code };
  }
}
