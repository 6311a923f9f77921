/** What detectors find in one value of a result, and what is shown in its place so that clients can still read the type. */
import { isCardNumber } from './detect-card.ts';
import { detect, maskSpans, type Span } from './detect.ts';
import type { DetectorKind } from './plan.ts';
import { int8Type, isNumberType, jsonbType, jsonType, numberArrayTypes, numericType, textTypes } from './type-ids.ts';

type ValueColumn = { readonly type: number; readonly format: number };

/** The same bytes where nothing was found. Of an unknown column: as text. */
export function coverValue(bytes: Buffer, column: ValueColumn | undefined, kinds: readonly DetectorKind[], onFound: (kind: DetectorKind) => void): Buffer {
  const { type, format } = column ?? { type: 25, format: 0 };
  if (isNumberType(type)) {
    const shown = kinds.includes('card') ? coverNumber(bytes, type, format) : undefined;
    if (shown !== undefined) onFound('card');
    return shown ?? bytes;
  }
  // All patterns are ASCII, so bytes can be looked at one by one, whatever else is among them.
  const text = bytes.toString('latin1');
  const spans = detect(text, kinds);
  if (spans.length === 0) return bytes;
  for (const { kind } of spans) onFound(kind);
  return Buffer.from(covered(text, spans, type, format), 'latin1');
}

function covered(text: string, spans: readonly Span[], type: number, format: number): string {
  if (type === jsonType || type === jsonbType) return coverJson(text, spans);
  if (textTypes.has(type)) return maskSpans(text, spans);
  // The binary form of arrays, composites and types of extensions holds lengths.
  if (format !== 0) return maskSpans(text, spans, 'same-length');
  return numberArrayTypes.has(type) ? replaced(text, spans, lastFour) : maskSpans(text, spans);
}

/** A number stays a number where no quotes are around it. */
function coverJson(text: string, spans: readonly Span[]): string {
  let at = 0;
  let isQuoted = false;
  return replaced(text, spans, (found, span) => {
    for (; at < span.start; at++) {
      if (text[at] === '\\') at++;
      else if (text[at] === '"') isQuoted = !isQuoted;
    }
    return isQuoted ? maskSpans(found, [{ ...span, start: 0, end: found.length }]) : lastFour(found);
  });
}

function replaced(text: string, spans: readonly Span[], by: (found: string, span: Span) => string): string {
  const parts: string[] = [];
  let past = 0;
  for (const span of spans) {
    parts.push(text.slice(past, span.start), by(text.slice(span.start, span.end), span));
    past = span.end;
  }
  return [...parts, text.slice(past)].join('');
}

function lastFour(digits: string): string {
  return String(Number(digits.slice(-4)));
}

/** A whole number that is a card's becomes its last four digits. */
function coverNumber(bytes: Buffer, type: number, format: number): Buffer | undefined {
  const digits = format === 0 ? wholeDigits(bytes) : type === int8Type ? int8Digits(bytes) : type === numericType ? numericDigits(bytes) : undefined;
  if (digits === undefined || !isCardNumber(digits)) return undefined;
  const shown = Number(digits.slice(-4));
  if (format === 0) return Buffer.from(String(shown));
  return type === int8Type ? encodeInt8(shown) : encodeNumeric(shown);
}

function wholeDigits(bytes: Buffer): string | undefined {
  return /^(\d{13,19})(?:\.0*)?$/.exec(bytes.toString('latin1', 0, 64))?.[1];
}

/** Of 13 or more, as all cards have. */
function int8Digits(bytes: Buffer): string | undefined {
  return bytes.length === 8 && bytes.readInt32BE(0) >= Math.floor(10 ** 12 / 2 ** 32) ? bytes.readBigInt64BE().toString() : undefined;
}

function encodeInt8(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

const positive = 0;

/** Of a positive numeric of 13 digits or more without a fraction: number of digits, weight of the first, sign, scale, then digits to the base of 10,000. */
function numericDigits(bytes: Buffer): string | undefined {
  if (bytes.length < 8 || bytes.readUInt16BE(4) !== positive) return undefined;
  const count = bytes.readUInt16BE(0);
  const weight = bytes.readInt16BE(2);
  if (bytes.length !== 8 + 2 * count || weight < 3 || weight > 5 || count > weight + 1) return undefined;
  let digits = '';
  for (let index = 0; index <= weight; index++) digits += String(index < count ? bytes.readUInt16BE(8 + 2 * index) : 0).padStart(4, '0');
  return digits.replace(/^0+/, '');
}

/** Below 10,000. */
function encodeNumeric(value: number): Buffer {
  const bytes = Buffer.alloc(value === 0 ? 8 : 10);
  if (value === 0) return bytes;
  bytes.writeUInt16BE(1, 0);
  bytes.writeUInt16BE(value, 8);
  return bytes;
}
