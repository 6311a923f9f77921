/**
 * Messages from the client, decoded: https://www.postgresql.org/docs/18/protocol-message-formats.html.
 * Only what the relay must understand to decide and record is decoded; the raw bytes are what travels on.
 */
import { GateError } from '../errors/errors.ts';
import { ByteReader, cstring, encodeMessage, int16, int32 } from './bytes.ts';

/** The server's own limit for start-up packets (MAX_STARTUP_PACKET_LENGTH). */
export const startupLengthMax = 10_000;
/** PostgreSQL compares statement and portal names on their first 63 bytes (NAMEDATALEN - 1); longer ones are refused. */
export const nameBytesMax = 63;

const sslRequestCode = 80877103;
const gssencRequestCode = 80877104;
const cancelRequestCode = 80877102;

export type StartupPacket =
  | { readonly kind: 'ssl' | 'gssenc' }
  | { readonly kind: 'cancel'; readonly pid: number; readonly key: Buffer }
  | { readonly kind: 'startup'; readonly minor: number; readonly parameters: ReadonlyMap<string, string> };

/** Decodes one untyped packet, length word included. Protocol 3.x only; a repeated parameter is refused. */
export function decodeStartupPacket(bytes: Buffer): StartupPacket {
  const reader = new ByteReader(bytes, 4);
  const code = reader.int32();
  if (code === sslRequestCode || code === gssencRequestCode) {
    reader.end();
    return { kind: code === sslRequestCode ? 'ssl' : 'gssenc' };
  }
  if (code === cancelRequestCode) return { kind: 'cancel', pid: reader.int32(), key: reader.rest() };
  const major = code >> 16;
  if (major !== 3) {
    throw new GateError('protocol-violation', `protocol version ${major}.${code & 0xffff} is not supported, only 3.x is`);
  }
  const parameters = new Map<string, string>();
  for (let name = reader.string(); name !== ''; name = reader.string()) {
    // The server lets the last one win; a relay that lets the first one win would be talked past.
    if (parameters.has(name)) throw new GateError('protocol-violation', `start-up parameter "${name}" is given twice`);
    parameters.set(name, reader.string());
  }
  reader.end();
  return { kind: 'startup', minor: code & 0xffff, parameters };
}

/** A bound value: null, text as the client sent it, or bytes in binary format. */
export type BoundValue = null | { readonly format: 'text' | 'binary'; readonly bytes: Buffer };

export type FrontendMessage =
  | { readonly type: 'Query'; readonly sql: string }
  /** `parameterTypes`: OIDs as declared; 0 leaves one to the server. */
  | { readonly type: 'Parse'; readonly name: string; readonly sql: string; readonly parameterTypes: readonly number[] }
  | { readonly type: 'Bind'; readonly portal: string; readonly statement: string; readonly values: readonly BoundValue[] }
  | { readonly type: 'Describe' | 'Close'; readonly of: 'statement' | 'portal'; readonly name: string }
  /** `rowsMax` 0: all. */
  | { readonly type: 'Execute'; readonly portal: string; readonly rowsMax: number }
  | { readonly type: 'Sync' | 'Flush' | 'CopyDone' | 'CopyFail' | 'Terminate' | 'FunctionCall' };

/** Decodes one message of a client that is past start-up. Unknown types are protocol violations. */
export function decodeFrontend(type: number, bytes: Buffer): FrontendMessage {
  const reader = new ByteReader(bytes);
  const message = decodeBody(String.fromCharCode(type), reader);
  // CopyFail carries a reason and FunctionCall arguments that nobody here reads.
  if (message.type !== 'CopyFail' && message.type !== 'FunctionCall') reader.end();
  return message;
}

function decodeBody(type: string, reader: ByteReader): FrontendMessage {
  switch (type) {
    case 'Q':
      return { type: 'Query', sql: reader.string() };
    case 'P':
      return decodeParse(reader);
    case 'B':
      return decodeBind(reader);
    case 'D':
      return { type: 'Describe', ...decodeReference(reader) };
    case 'C':
      return { type: 'Close', ...decodeReference(reader) };
    case 'E': {
      const portal = reader.string();
      return { type: 'Execute', portal, rowsMax: Math.max(0, reader.int32()) };
    }
    case 'S':
      return { type: 'Sync' };
    case 'H':
      return { type: 'Flush' };
    case 'c':
      return { type: 'CopyDone' };
    case 'f':
      return { type: 'CopyFail' };
    case 'X':
      return { type: 'Terminate' };
    case 'F':
      return { type: 'FunctionCall' };
    default:
      throw new GateError('protocol-violation', `a client may not send message type '${type}' here`);
  }
}

function decodeParse(reader: ByteReader): FrontendMessage {
  const name = reader.string();
  const sql = reader.string();
  const types = reader.take(4 * reader.uint16());
  const parameterTypes = Array.from({ length: types.length / 4 }, (_, index) => types.readUInt32BE(4 * index));
  return { type: 'Parse', name, sql, parameterTypes };
}

function decodeBind(reader: ByteReader): FrontendMessage {
  const portal = reader.string();
  const statement = reader.string();
  const formats = decodeFormats(reader);
  const count = reader.uint16();
  if (formats.length > 1 && formats.length !== count) {
    throw new GateError('protocol-violation', `Bind has ${formats.length} parameter formats for ${count} parameters`);
  }
  const values: BoundValue[] = [];
  for (let index = 0; index < count; index++) {
    const length = reader.int32();
    // No format means text for all, one format holds for all.
    const format = formats[formats.length === 1 ? 0 : index] ?? 0;
    values.push(length === -1 ? null : { format: format === 0 ? 'text' : 'binary', bytes: reader.take(length) });
  }
  decodeFormats(reader);
  return { type: 'Bind', portal, statement, values };
}

function decodeFormats(reader: ByteReader): number[] {
  const count = reader.uint16();
  const formats: number[] = [];
  for (let index = 0; index < count; index++) {
    const format = reader.uint16();
    if (format !== 0 && format !== 1) throw new GateError('protocol-violation', `format code ${format} is unknown`);
    formats.push(format);
  }
  return formats;
}

function decodeReference(reader: ByteReader): { of: 'statement' | 'portal'; name: string } {
  const of = String.fromCharCode(reader.byte());
  if (of !== 'S' && of !== 'P') throw new GateError('protocol-violation', `'${of}' is neither a statement nor a portal`);
  return { of: of === 'S' ? 'statement' : 'portal', name: reader.string() };
}

/** A simple Query, as the relay itself sends one. */
export const terminateMessage = Buffer.from([0x58, 0, 0, 0, 4]);

export function encodeQuery(sql: string): Buffer {
  return encodeMessage('Q', cstring(sql));
}

/** `parameterTypes`: OIDs, 0 where the server is to find the type. */
export function encodeParse(name: string, sql: string, parameterTypes: readonly number[] = []): Buffer {
  return encodeMessage('P', cstring(name), cstring(sql), int16(parameterTypes.length), ...parameterTypes.map((oid) => int32(oid | 0)));
}

/** Bind of the unnamed statement to the unnamed portal, without parameters, results as text; and its description. */
export function encodeBindAndDescribe(): Buffer {
  return Buffer.concat([
    encodeMessage('B', cstring(''), cstring(''), int16(0), int16(0), int16(0)),
    encodeDescribePortal(''),
  ]);
}

/** Describe of a portal. */
export function encodeDescribePortal(portal: string): Buffer {
  return encodeMessage('D', Buffer.from('P'), cstring(portal));
}

/** Execute; `rowsMax` 0 asks for all rows. */
export function encodeExecute(portal: string, rowsMax: number): Buffer {
  return encodeMessage('E', cstring(portal), int32(rowsMax));
}

/** A start-up packet of protocol 3.`minor`. */
export function encodeStartup(minor: number, parameters: Readonly<Record<string, string>>): Buffer {
  const fields = Object.entries(parameters).flatMap(([name, value]) => [cstring(name), cstring(value)]);
  const body = Buffer.concat([int32((3 << 16) | minor), ...fields, Buffer.from([0])]);
  return Buffer.concat([int32(body.length + 4), body]);
}
