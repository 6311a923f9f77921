/** Masks as the level `display` applies them: to a value of a result, in place of the database. What does not fit is NULL. */
import { createHmac } from 'node:crypto';
import { hashPrefix, redacted, stars } from './expressions.ts';
import type { BucketUnit, Mask } from './plan.ts';
import { boolType, dateType, floatTypes, isNumberType, jsonbType, jsonType, numericType, textTypes, timestampType, uuidType, wholeNumberBits } from './type-ids.ts';

export type ResultValue = {
  /** pg_type.oid, of a domain its base type's. */
  readonly type: number;
  /** As RowDescription says: 0 text, 1 binary. */
  readonly format: number;
  /** It lies in there. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
};

const redactedBytes = Buffer.from(redacted);
const starsBytes = Buffer.from(stars);

/** The same values that mask expressions give in the database, for the types that are common; null for NULL. */
export function shownValue(mask: Mask, value: ResultValue, key: Buffer): Buffer | null {
  const { bytes, start, end } = value;
  if (mask.kind === 'clear') return bytes.subarray(start, end);
  // Of other types the binary form is another than the text that is made here.
  if (value.format !== 0 && !textTypes.has(value.type)) return null;
  if (mask.kind === 'null') return null;
  const isText = textTypes.has(value.type);
  if (mask.kind === 'redact' && isText) return redactedBytes;
  if (mask.kind === 'partial' && isText && isAscii(bytes, start, end)) return partialAscii(mask, bytes, start, end);
  const shown = shownText(mask, value.type, bytes.toString('utf8', start, end), key);
  return shown === undefined ? null : Buffer.from(shown, 'utf8');
}

function shownText(mask: Mask, type: number, text: string, key: Buffer): string | undefined {
  const isText = textTypes.has(type);
  switch (mask.kind) {
    case 'redact':
      return isText ? redacted : neutral(type);
    case 'partial':
      return isText ? partialText(text, mask) : partialNumber(type, text, mask.last);
    case 'email':
      return isText ? emailText(text) : undefined;
    case 'hash':
      return hashed(type, text, key);
    case 'bucket':
      return mask.unit === undefined ? bucketNumber(type, text, mask.size) : bucketTime(type, text, mask.unit);
    case 'constant':
      return constant(type, mask.value);
    case 'null':
    case 'sql':
    case 'clear':
      return undefined;
  }
}

function isAscii(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if ((bytes[at] as number) > 0x7f) return false;
  return true;
}

/** `partialText` where characters are bytes. */
function partialAscii({ last, first }: Extract<Mask, { kind: 'partial' }>, bytes: Buffer, start: number, end: number): Buffer {
  const count = last ?? first ?? 0;
  if (end - start <= count) return starsBytes;
  const shown = Buffer.allocUnsafe(starsBytes.length + count);
  const [starsAt, at, from] = last === undefined ? [count, 0, start] : [0, starsBytes.length, end - count];
  for (let index = 0; index < starsBytes.length; index++) shown[starsAt + index] = starsBytes[index] as number;
  for (let index = 0; index < count; index++) shown[at + index] = bytes[from + index] as number;
  return shown;
}

function neutral(type: number): string | undefined {
  if (isNumberType(type)) return '0';
  if (type === boolType) return 'f';
  return type === jsonType || type === jsonbType ? `"${redacted}"` : undefined;
}

function partialText(text: string, { last, first }: Extract<Mask, { kind: 'partial' }>): string {
  const characters = Array.from(text);
  const count = last ?? first ?? 0;
  if (characters.length <= count) return stars;
  if (last === undefined) return characters.slice(0, count).join('') + stars;
  return stars + characters.slice(characters.length - count).join('');
}

function partialNumber(type: number, text: string, last: number | undefined): string | undefined {
  if (last === undefined || (!wholeNumberBits.has(type) && type !== numericType)) return undefined;
  const whole = /^-?\d+/.exec(text)?.[0];
  return whole === undefined ? undefined : String(BigInt(whole) % 10n ** BigInt(last));
}

function emailText(text: string): string {
  const [local = '', domain, ...more] = text.split('@');
  return local === '' || domain === undefined || more.length > 0 ? redacted : `***@${domain}`;
}

function hashed(type: number, text: string, key: Buffer): string | undefined {
  const bits = type === numericType ? 63 : wholeNumberBits.get(type);
  const plain = type === numericType && text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text;
  const hex = createHmac('sha256', key).update(plain, 'utf8').digest('hex');
  if (textTypes.has(type)) return `${hashPrefix}${hex.slice(0, 32)}`;
  if (type === uuidType) return hex.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return bits === undefined ? undefined : String(BigInt(`0x${hex.slice(0, 16)}`) & (2n ** BigInt(bits) - 1n));
}

function bucketNumber(type: number, text: string, size: number | undefined): string | undefined {
  if (size === undefined || !Number.isInteger(size) || !wholeNumberBits.has(type)) return undefined;
  const value = BigInt(text);
  return String(value - (value % BigInt(size)));
}

/** Only as ISO writes it; an instant is written in the session's zone, in which its unit begins elsewhere. */
function bucketTime(type: number, text: string, unit: BucketUnit): string | undefined {
  const [, year, month, day, hour = '00', minute = '00'] = /^(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):\d\d(?:\.\d+)?)?$/.exec(text) ?? [];
  if (year === undefined || (type !== dateType && type !== timestampType)) return undefined;
  const date = new Date(`${year}-${month}-${day}T00:00:00Z`);
  if (unit === 'week') date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
  const starts: Readonly<Record<BucketUnit, string>> = {
    minute: `${year}-${month}-${day} ${hour}:${minute}:00`,
    hour: `${year}-${month}-${day} ${hour}:00:00`,
    day: `${year}-${month}-${day} 00:00:00`,
    week: `${date.toISOString().slice(0, 10)} 00:00:00`,
    month: `${year}-${month}-01 00:00:00`,
    quarter: `${year}-${String(3 * Math.floor((Number(month) - 1) / 3) + 1).padStart(2, '0')}-01 00:00:00`,
    year: `${year}-01-01 00:00:00`,
    decade: `${year.slice(0, 3)}0-01-01 00:00:00`,
  };
  return type === dateType ? starts[unit].slice(0, 10) : starts[unit];
}

function constant(type: number, value: string | number | boolean): string | undefined {
  if (typeof value === 'boolean') return type === boolType ? (value ? 't' : 'f') : undefined;
  if (typeof value === 'number') {
    const bits = wholeNumberBits.get(type);
    const fits = bits === undefined ? type === numericType || floatTypes.has(type) : Number.isInteger(value) && Math.abs(value) < 2 ** bits;
    return fits ? String(value) : undefined;
  }
  if (type === jsonType || type === jsonbType) return JSON.stringify(value);
  return textTypes.has(type) ? value : undefined;
}
