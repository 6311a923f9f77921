/** From a mask and a column to the SQL that stands in its place: total, of the same type, and its image where it can be told. */
import type { ColumnDetails } from '../sql/catalog-details.ts';
import { quoteName } from '../sql/names.ts';
import type { Mask } from './plan.ts';

/** `problem`: the mask does not fit the type; the column is then shown as NULL, and people are told. */
export type MaskExpression = { readonly sql: string; readonly image?: RegExp; readonly problem?: string };

/** Settings of the relay's own connection that hold the two blocks of the HMAC key, in hex (RFC 2104, inner and outer pad applied). */
export const hashKeySettings = { inner: 'gate.mask_inner', outer: 'gate.mask_outer' } as const;

/** What a hash begins with, so that people and the relay know it for one. */
export const hashPrefix = 'gm_';
export const redacted = '[redacted]';
export const stars = '************';

/** The column stands in the expression quoted and without a qualifier. A column that the relay's role may not read is NULL. */
export function maskExpression(column: ColumnDetails, mask: Mask): MaskExpression {
  const nothing = `NULL::${column.type}`;
  if (column.isUnreadable === true || mask.kind === 'null') return { sql: nothing };
  const made = make(column, mask);
  return made ?? { sql: nothing, problem: `the mask ${mask.kind} does not fit the type ${column.baseType} of ${column.name}: it is shown as NULL` };
}

function make(column: ColumnDetails, mask: Mask): MaskExpression | undefined {
  switch (mask.kind) {
    case 'redact':
      return redact(column);
    case 'partial':
      return partial(column, mask);
    case 'email':
      return email(column);
    case 'hash':
      return hash(column);
    case 'bucket':
      return bucket(column, mask);
    case 'constant':
      return constant(column, mask.value);
    case 'sql':
      return custom(column, mask);
    case 'null':
    case 'clear':
      return undefined;
  }
}

const wholeNumbers = new Set(['int2', 'int4', 'int8']);

/** text, varchar, bpchar, name, citext: the value as text, whatever the settings of the session. */
function isText({ baseType, category, typeKind }: ColumnDetails): boolean {
  return typeKind === 'b' && category === 'S' && (['text', 'varchar', 'bpchar', 'name'].includes(baseType) || baseType.endsWith('.citext'));
}

function nullable({ name, type }: ColumnDetails, value: string): string {
  return `CASE WHEN ${quoteName(name)} IS NOT NULL THEN (${value})::${type} END`;
}

function textOf({ name }: ColumnDetails): string {
  return `${quoteName(name)}::pg_catalog.text`;
}

/** By type of pg_catalog: what stands for a value that is there. Others are NULL. */
const neutral: Readonly<Record<string, string>> = {
  int2: '0', int4: '0', int8: '0', numeric: '0', float4: '0', float8: '0', money: '0', bool: 'false',
  date: `'2000-01-01'`, timestamp: `'2000-01-01'`, timestamptz: `'2000-01-01 00:00:00+00'`, time: `'00:00'`, timetz: `'00:00+00'`, interval: `'0'`,
  json: `'"${redacted}"'`, jsonb: `'"${redacted}"'`, uuid: `'00000000-0000-0000-0000-000000000000'`, bytea: `''`, inet: `'0.0.0.0'`, cidr: `'0.0.0.0/32'`,
  macaddr: `'00:00:00:00:00:00'`, tsvector: `''`,
};

function redact(column: ColumnDetails): MaskExpression {
  if (isText(column)) return { sql: nullable(column, `'${redacted}'::pg_catalog.text`), image: /^\[redacted\]$/ };
  const { category, typeKind, baseType, type } = column;
  const value = category === 'A' ? `'{}'` : typeKind === 'r' ? `'empty'` : typeKind === 'm' ? `'{}'` : typeKind === 'b' ? neutral[baseType] : undefined;
  return { sql: value === undefined ? `NULL::${type}` : nullable(column, value) };
}

function partial(column: ColumnDetails, { last, first }: Extract<Mask, { kind: 'partial' }>): MaskExpression | undefined {
  const { baseType, name, type } = column;
  const count = last ?? first ?? 0;
  if (wholeNumbers.has(baseType) || baseType === 'numeric') {
    if (last === undefined) return undefined;
    // The remainder of a division never overflows, and is total for every number; NaN and infinity have none to show.
    const divisor = baseType === 'numeric' || last > 18 ? `1${'0'.repeat(last)}::pg_catalog.numeric` : `1${'0'.repeat(last)}::pg_catalog.int8`;
    if (baseType === 'numeric') {
      const isFinite = `${quoteName(name)} NOT IN ('NaN', 'Infinity', '-Infinity')`;
      return { sql: `CASE WHEN ${isFinite} THEN (pg_catalog.trunc(${quoteName(name)}) OPERATOR(pg_catalog.%) ${divisor})::${type} END` };
    }
    return { sql: `(${quoteName(name)}::pg_catalog.int8 OPERATOR(pg_catalog.%) ${divisor})::${type}` };
  }
  if (!isText(column)) return undefined;
  const kept = last === undefined ? `pg_catalog.left(${textOf(column)}, ${count}) OPERATOR(pg_catalog.||) '${stars}'` : `'${stars}' OPERATOR(pg_catalog.||) pg_catalog.right(${textOf(column)}, ${count})`;
  // A value that is not longer than what is kept would be shown whole.
  const value = `CASE WHEN pg_catalog.length(${textOf(column)}) OPERATOR(pg_catalog.>) ${count} THEN ${kept} ELSE '${stars}' END`;
  const image = last === undefined ? new RegExp(`^.{0,${count}}\\*{12}$`, 's') : new RegExp(`^\\*{12}.{0,${count}}$`, 's');
  return { sql: nullable(column, value), image };
}

function email(column: ColumnDetails): MaskExpression | undefined {
  if (!isText(column)) return undefined;
  const text = textOf(column);
  const at = `pg_catalog.strpos(${text}, '@')`;
  const domain = `pg_catalog.substr(${text}, ${at} OPERATOR(pg_catalog.+) 1)`;
  const isAddress = `${at} OPERATOR(pg_catalog.>) 1 AND pg_catalog.strpos(${domain}, '@') OPERATOR(pg_catalog.=) 0`;
  return {
    sql: nullable(column, `CASE WHEN ${isAddress} THEN '***@' OPERATOR(pg_catalog.||) ${domain} ELSE '${redacted}' END`),
    image: /^(?:\*\*\*@[^@]*|\[redacted\])$/s,
  };
}

/** HMAC-SHA-256 (RFC 2104) under a key that stands in no text: joinable over columns of one sort, told by nobody without the key. */
function hash(column: ColumnDetails): MaskExpression | undefined {
  const { baseType, name, type } = column;
  const isNumber = wholeNumbers.has(baseType) || baseType === 'numeric';
  if (!isText(column) && !isNumber && baseType !== 'uuid' && baseType !== 'bytea') return undefined;
  const bytes = baseType === 'bytea' ? quoteName(name) : `pg_catalog.convert_to(${baseType === 'numeric' ? `pg_catalog.trim_scale(${quoteName(name)})::pg_catalog.text` : textOf(column)}, 'UTF8')`;
  const block = (setting: string) => `pg_catalog.decode(pg_catalog.current_setting('${setting}'), 'hex')`;
  const inner = `pg_catalog.sha256(${block(hashKeySettings.inner)} OPERATOR(pg_catalog.||) ${bytes})`;
  const digest = `pg_catalog.sha256(${block(hashKeySettings.outer)} OPERATOR(pg_catalog.||) ${inner})`;
  const hex = `pg_catalog.encode(${digest}, 'hex')`;
  if (isText(column)) return { sql: nullable(column, `'${hashPrefix}' OPERATOR(pg_catalog.||) pg_catalog.left(${hex}, 32)`), image: /^gm_[0-9a-f]{32}$/ };
  if (baseType === 'uuid') return { sql: nullable(column, `pg_catalog.left(${hex}, 32)`) };
  if (baseType === 'bytea') return { sql: nullable(column, digest) };
  const bits = { int2: 15, int4: 31, int8: 63, numeric: 63 }[baseType as 'int2' | 'int4' | 'int8' | 'numeric'];
  const number = `('x' OPERATOR(pg_catalog.||) pg_catalog.left(${hex}, 16))::pg_catalog."bit"(64)::pg_catalog.int8`;
  return { sql: `CASE WHEN ${quoteName(name)} IS NOT NULL THEN (${number} OPERATOR(pg_catalog.&) ${(2n ** BigInt(bits) - 1n).toString()})::${type} END` };
}

function bucket(column: ColumnDetails, { size, unit }: Extract<Mask, { kind: 'bucket' }>): MaskExpression | undefined {
  const { baseType, name, type } = column;
  const value = quoteName(name);
  if (unit !== undefined) {
    // Of an instant, by a zone of its own: the session's could be moved until the boundary tells the value.
    const zone = baseType === 'timestamptz' ? `, 'UTC'` : '';
    const text = baseType === 'date' ? `${value}::pg_catalog."timestamp"` : value;
    if (!['date', 'timestamp', 'timestamptz'].includes(baseType)) return undefined;
    // Far from these years the beginning of a unit may lie outside of what the type can hold, which is an error.
    const [first, last] = ['0001-01-01', '9999-12-31'].map((day) => `'${day}${baseType === 'timestamptz' ? ' 00:00:00+00' : ''}'::pg_catalog.${quoteName(baseType)}`);
    const isNear = `${value} OPERATOR(pg_catalog.>=) ${first} AND ${value} OPERATOR(pg_catalog.<=) ${last}`;
    return { sql: `CASE WHEN ${isNear} THEN pg_catalog.date_trunc('${unit}', ${text}${zone})::${type} END` };
  }
  if (size === undefined) return undefined;
  // Toward zero: what is taken away never overflows.
  if (wholeNumbers.has(baseType) && Number.isInteger(size)) return { sql: `(${value}::pg_catalog.int8 OPERATOR(pg_catalog.-) (${value}::pg_catalog.int8 OPERATOR(pg_catalog.%) ${size}::pg_catalog.int8))::${type}` };
  if (baseType === 'numeric') {
    const isFinite = `${value} NOT IN ('NaN', 'Infinity', '-Infinity')`;
    return { sql: `CASE WHEN ${isFinite} THEN (${value} OPERATOR(pg_catalog.-) (${value} OPERATOR(pg_catalog.%) ${size}::pg_catalog.numeric))::${type} ELSE ${value} END` };
  }
  return undefined;
}

function constant({ baseType, category, type, ...column }: ColumnDetails, value: string | number | boolean): MaskExpression | undefined {
  const whole = { ...column, baseType, category, type };
  if (typeof value === 'string' && isText(whole)) return { sql: `${quoteText(value)}::${type}`, image: new RegExp(`^${escape(value)}$`) };
  if (typeof value === 'number' && (baseType === 'numeric' || (wholeNumbers.has(baseType) && Number.isInteger(value) && Math.abs(value) <= { int2: 32767, int4: 2147483647, int8: Number.MAX_SAFE_INTEGER }[baseType as 'int2' | 'int4' | 'int8']))) {
    return { sql: `(${value})::${type}` };
  }
  if (typeof value === 'number' && ['float4', 'float8'].includes(baseType)) return { sql: `(${value})::${type}` };
  if (typeof value === 'boolean' && baseType === 'bool') return { sql: String(value) };
  if (typeof value === 'string' && (baseType === 'json' || baseType === 'jsonb')) return { sql: `${quoteText(JSON.stringify(value))}::${type}` };
  return undefined;
}

/** `parts`: the text around each `value`, as custom.ts has cut it. */
function custom(column: ColumnDetails, mask: Extract<Mask, { kind: 'sql' }>): MaskExpression | undefined {
  if (!isText(column) || mask.parts === undefined) return undefined;
  return { sql: `(${mask.parts.join(textOf(column))})::pg_catalog.text::${column.type}` };
}

/** Read alike whatever standard_conforming_strings says, which is pinned anyway. */
function quoteText(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  return text.includes('\\') ? `E${quoted}` : quoted;
}

function escape(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}
