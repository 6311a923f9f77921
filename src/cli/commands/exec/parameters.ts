/**
 * Parameters of exec: `TYPE:VALUE`, `TYPE@FILE`, `null`, or the items of a JSON array. Everything is checked before
 * anything runs. No message repeats a value, which may be a secret.
 */
import type { SqlParameter } from '../../../client/sql-text.ts';
import { GateError } from '../../../errors/errors.ts';

type Type = {
  /** In pg_type; 0 leaves it to the server. */
  readonly oid: number;
  /** What is expected, for the message. */
  readonly what: string;
  readonly isValid: (text: string) => boolean;
  /** In place of the text itself. */
  readonly convert?: (text: string) => string | Buffer;
  /** White space around it means nothing, as the line break at the end of a file. */
  readonly isTrimmed?: true;
};

const between = (low: bigint, high: bigint) => (text: string) => /^[+-]?\d+$/.test(text) && BigInt(text) >= low && BigInt(text) <= high;
const anything = () => true;
const special = /^(?:[+-]?(?:infinity|inf)|nan)$/i;
const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const clock = String.raw`(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?`;
const dateTime = new RegExp(`^(\\S{10,13})[T ]${clock}$`);
const dateTimeAndZone = new RegExp(`^(\\S{10,13})[T ]${clock} ?(?:Z|[+-]\\d{2}(?::?\\d{2})?)$`, 'i');

const types: Readonly<Record<string, Type>> = {
  auto: { oid: 0, what: 'a text', isValid: anything },
  text: { oid: 25, what: 'a text', isValid: anything },
  smallint: { oid: 21, what: 'a whole number of two bytes', isValid: between(-(2n ** 15n), 2n ** 15n - 1n), isTrimmed: true },
  int: { oid: 23, what: 'a whole number of four bytes', isValid: between(-(2n ** 31n), 2n ** 31n - 1n), isTrimmed: true },
  bigint: { oid: 20, what: 'a whole number of eight bytes', isValid: between(-(2n ** 63n), 2n ** 63n - 1n), isTrimmed: true },
  numeric: { oid: 1700, what: 'a number', isValid: (text) => decimal.test(text) || special.test(text), isTrimmed: true },
  float: { oid: 701, what: 'a number', isValid: (text) => decimal.test(text) || special.test(text), isTrimmed: true },
  bool: { oid: 16, what: 'true or false', isValid: (text) => /^(?:true|false)$/i.test(text), isTrimmed: true },
  date: { oid: 1082, what: 'a date like 2026-01-31', isValid: isDate, isTrimmed: true },
  timestamp: { oid: 1114, what: 'a time like 2026-01-31T09:30:00', isValid: (text) => isMoment(text, dateTime), isTrimmed: true },
  timestamptz: {
    oid: 1184,
    what: 'a time with its offset, like 2026-01-31T09:30:00Z',
    isValid: (text) => isMoment(text, dateTimeAndZone),
    isTrimmed: true,
  },
  uuid: { oid: 2950, what: 'a UUID', isValid: (text) => /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text), isTrimmed: true },
  json: { oid: 114, what: 'JSON', isValid: isJson },
  jsonb: { oid: 3802, what: 'JSON', isValid: isJson },
  bytea: {
    oid: 17,
    what: 'bytes in hexadecimal digits',
    isValid: (text) => /^(?:\\x)?(?:[\da-f]{2})*$/i.test(text),
    convert: (text) => Buffer.from(text.replace(/^\\x/, ''), 'hex'),
  },
  base64: {
    oid: 17,
    what: 'bytes in Base64',
    isValid: (text) => Buffer.from(text, 'base64').toString('base64') === text,
    convert: (text) => Buffer.from(text, 'base64'),
    isTrimmed: true,
  },
};

const typeNames = Object.keys(types).join(', ');
const hint = `Write TYPE:VALUE, TYPE@FILE, or null; types are ${typeNames}. auto leaves the type to the server.`;

/** One `--param`; `number` is the place that it takes, from 1. Fails with `usage`. */
export async function readParameter(word: string, number: number, readFile: (path: string) => Promise<Buffer>): Promise<SqlParameter> {
  const [, name = '', separator, rest = ''] = /^([a-z\d]+)(?:([:@])(.*))?$/s.exec(word) ?? [];
  if (name === 'null' && separator !== '@') return nullOf(rest, number, separator === ':');
  const type = typeOf(name);
  if (type === undefined || separator === undefined) throw unreadable(number, 'does not begin with its type');
  if (separator === ':') return parameterOf(type, rest, number);
  const bytes = await readFile(rest);
  // The bytes themselves, with nothing to decode.
  if (name === 'bytea') return { typeOid: type.oid, value: bytes };
  return parameterOf(type, textOf(bytes, number), number);
}

/**
 * The items of a JSON array: null, true, false, whole numbers and strings, whose type is left to the server, or
 * `{"type", "value"}` with a string or null.
 */
export function parametersOfJson(text: string, name: string, first: number): SqlParameter[] {
  let items: unknown;
  try {
    items = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text.
    throw new GateError('usage', `${name} is not JSON`, { hint: jsonHint });
  }
  if (!Array.isArray(items)) throw new GateError('usage', `${name} is not a JSON array of parameters`, { hint: jsonHint });
  return items.map((item: unknown, index) => parameterOfItem(item, first + index));
}

const jsonHint = 'As in ["a text", 42, null, {"type": "jsonb", "value": "{}"}], in the order of $1, $2 …';

function parameterOfItem(item: unknown, number: number): SqlParameter {
  if (item === null) return { typeOid: 0, value: null };
  if (typeof item === 'boolean' || (typeof item === 'number' && Number.isSafeInteger(item))) return { typeOid: 0, value: String(item) };
  if (typeof item === 'string') return parameterOf(types['auto'] as Type, item, number);
  if (typeof item === 'number') throw unreadable(number, 'is a number that JSON may round: write it as a string');
  const { type: name, value, ...more } = item as Record<string, unknown>;
  const type = typeof name === 'string' ? typeOf(name) : undefined;
  if (type === undefined || Object.keys(more).length > 0) throw unreadable(number, 'is neither a value nor {"type", "value"} with a known type');
  if (value === null) return { typeOid: type.oid, value: null };
  if (typeof value !== 'string') throw unreadable(number, 'has a value that is not a string');
  return parameterOf(type, value, number);
}

function nullOf(name: string, number: number, hasType: boolean): SqlParameter {
  const type = hasType ? typeOf(name) : types['auto'];
  if (type === undefined) throw unreadable(number, 'is null of an unknown type');
  return { typeOid: type.oid, value: null };
}

function typeOf(name: string): Type | undefined {
  return Object.hasOwn(types, name) ? types[name] : undefined;
}

function parameterOf(type: Type, given: string, number: number): SqlParameter {
  const text = type.isTrimmed ? given.trim() : given;
  if (text.includes('\0')) throw unreadable(number, 'holds a zero byte, which PostgreSQL cannot take in a text');
  if (!type.isValid(text)) throw unreadable(number, `is not ${type.what}`);
  return { typeOid: type.oid, value: type.convert === undefined ? text : type.convert(text) };
}

function textOf(bytes: Buffer, number: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw unreadable(number, 'comes from a file that is not UTF-8 text; bytea@FILE takes bytes');
  }
}

function unreadable(number: number, why: string): GateError {
  return new GateError('usage', `parameter $${number} ${why}`, { hint });
}

function isDate(text: string): boolean {
  if (/^[+-]?infinity$/i.test(text)) return true;
  const [, year, month, day] = /^(\d{4,7})-(\d{2})-(\d{2})$/.exec(text) ?? [];
  if (year === undefined) return false;
  const [years, months, days] = [Number(year), Number(month), Number(day)];
  const isLeap = (years % 4 === 0 && years % 100 !== 0) || years % 400 === 0;
  const length = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][months - 1] ?? 0;
  return years >= 1 && days >= 1 && days <= length;
}

function isMoment(text: string, pattern: RegExp): boolean {
  if (/^[+-]?infinity$/i.test(text)) return true;
  const date = pattern.exec(text)?.[1];
  return date !== undefined && isDate(date);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
