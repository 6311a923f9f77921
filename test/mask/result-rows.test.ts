/** Rows on their way to a client: what detectors cover in each type and format, and that masks of `display` are those of the database. */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../../src/dev/postgres.ts';
import { hashKeySettings, maskExpression } from '../../src/mask/expressions.ts';
import { decodeRowDescription, type ResultColumn } from '../../src/mask/guard.ts';
import { detectorKinds, type Mask } from '../../src/mask/plan.ts';
import { ResultRows } from '../../src/mask/result-rows.ts';
import { cstring, encodeMessage, int16, int32 } from '../../src/pgwire/bytes.ts';

const key = Buffer.alloc(32, 7);

function column(type: number, format = 0): ResultColumn {
  return { name: 'c', relation: 1, column: 1, type, format };
}

function row(...fields: (Buffer | string | null)[]): Buffer {
  const parts = fields.flatMap((field) => (field === null ? [int32(-1)] : [int32(Buffer.byteLength(field)), Buffer.from(field)]));
  return encodeMessage('D', int16(fields.length), ...parts);
}

function fieldsOf(bytes: Buffer): (Buffer | null)[] {
  expect(bytes.readUInt32BE(1)).toBe(bytes.length - 1);
  const fields: (Buffer | null)[] = [];
  let at = 7;
  for (let left = bytes.readUInt16BE(5); left > 0; left--) {
    const length = bytes.readInt32BE(at);
    fields.push(length === -1 ? null : bytes.subarray(at + 4, at + 4 + length));
    at += 4 + Math.max(0, length);
  }
  expect(at).toBe(bytes.length);
  return fields;
}

function detecting(columns?: readonly ResultColumn[]): { rows: ResultRows; found: string[] } {
  const found: string[] = [];
  const rows = new ResultRows({ kinds: detectorKinds, key, onFound: (kind, of) => found.push(`${kind} ${of?.name ?? '-'}`) });
  if (columns !== undefined) rows.describe(columns);
  return { rows, found };
}

describe('detectors', () => {
  const int8 = Buffer.alloc(8);
  int8.writeBigInt64BE(4111111111111111n);
  const numeric = Buffer.concat([int16(4), int16(3), int16(0), int16(0), int16(4111), int16(1111), int16(1111), int16(1111)]);
  const lastOfNumeric = Buffer.concat([int16(1), int16(0), int16(0), int16(0), int16(1111)]);
  const lastOfInt8 = Buffer.alloc(8);
  lastOfInt8.writeBigInt64BE(1111n);

  test.each<[string, number, number, Buffer | string, Buffer | string]>([
    ['text', 25, 0, 'about 4111111111111111', 'about ************1111'],
    ['binary text', 25, 1, 'about 4111111111111111 é', 'about ************1111 é'],
    ['int8', 20, 0, '4111111111111111', '1111'],
    ['binary int8', 20, 1, int8, lastOfInt8],
    ['numeric', 1700, 0, '4111111111111111.00', '1111'],
    ['binary numeric', 1700, 1, numeric, lastOfNumeric],
    ['int8[]', 1016, 0, '{1,4111111111111111}', '{1,1111}'],
    ['json', 114, 0, '{"a\\"": 4111111111111111, "b": "4111111111111111"}', '{"a\\"": 1111, "b": "************1111"}'],
    ['jsonb', 3802, 0, '["ann@mail.test"]', '["[redacted]"]'],
    ['binary jsonb', 3802, 1, '\u0001["ann@mail.test"]', '\u0001["[redacted]"]'],
    ['a binary array', 1009, 1, '\0\0\0\u0010 4111111111111111\0', '\0\0\0\u0010 ************1111\0'],
  ])('in %s', (_, type, format, value, expected) => {
    const { rows, found } = detecting([column(type, format)]);
    expect(fieldsOf(rows.pass(row(value)))).toEqual([Buffer.from(expected)]);
    expect(found.length).toBeGreaterThan(0);
  });

  test('what holds nothing stays the same bytes', () => {
    const { rows, found } = detecting([column(25), column(20), column(2950)]);
    const bytes = row('hello', '1234567', null);
    expect(rows.pass(bytes)).toBe(bytes);
    expect(found).toEqual([]);
  });

  test('without a description fields are looked at as text', () => {
    const { rows, found } = detecting();
    expect(fieldsOf(rows.pass(row('4111111111111111', null)))).toEqual([Buffer.from('************1111'), null]);
    expect(found).toEqual(['card -']);
  });

  test('COPY data keeps its length', () => {
    const { rows } = detecting();
    const bytes = encodeMessage('d', Buffer.from('1\tann@mail.test\t4111111111111111\n'));
    expect(rows.pass(bytes).toString('latin1', 5)).toBe('1\t*************\t************1111\n');
    const clean = encodeMessage('d', Buffer.from('1\tx\n'));
    expect(rows.pass(clean)).toBe(clean);
  });

  test('a row is read strictly inside its frame', () => {
    const { rows } = detecting();
    const bytes = row('hello');
    const longer = encodeMessage('D', bytes.subarray(5), Buffer.from('x'));
    expect(() => rows.pass(longer)).toThrow('after its last field');
    expect(() => rows.pass(encodeMessage('D', Buffer.from([0])))).toThrow('past the end');
    bytes.writeInt32BE(100, 7);
    expect(() => rows.pass(bytes)).toThrow('past the end');
    bytes.writeInt32BE(-2, 7);
    expect(() => rows.pass(bytes)).toThrow('length of -2');
    rows.describe([column(25), column(25)]);
    expect(() => rows.pass(row('one'))).toThrow('a row of 1 fields');
  });
});

describe('display', () => {
  const masks: Mask[] = [{ kind: 'redact' }, { kind: 'clear' }];
  const rows = new ResultRows({ kinds: [], key, maskOf: ({ column: number }) => masks[number - 1], onFound: () => undefined });

  test('columns are masked by their origin, clear ones pass, and NULL stays NULL', () => {
    rows.describe([column(25), { ...column(25), column: 2 }, { ...column(25), column: 3 }]);
    expect(fieldsOf(rows.pass(row('a', 'b', 'c'))).map(String)).toEqual(['[redacted]', 'b', 'c']);
    expect(fieldsOf(rows.pass(row(null, 'b', 'c')))[0]).toBeNull();
  });

  test('the binary form of what is no text is NULL', () => {
    rows.describe([column(23, 1)]);
    expect(fieldsOf(rows.pass(row(int32(7))))).toEqual([null]);
    rows.describe([column(25, 1)]);
    expect(fieldsOf(rows.pass(row('x'))).map(String)).toEqual(['[redacted]']);
  });

  test('rows of unknown columns are NULL', () => {
    rows.forget();
    expect(fieldsOf(rows.pass(row('a', 'b')))).toEqual([null, null]);
  });
});

describe('masks of display are those of the database', () => {
  let server: Postgres;
  let client: Client;
  beforeAll(async () => {
    server = await startPostgres();
    client = new Client({ connectionString: server.url('postgres') });
    await client.connect();
    const pad = (byte: number) => Buffer.alloc(64, byte).map((one, at) => one ^ (key[at] ?? 0));
    for (const [name, bytes] of [[hashKeySettings.inner, pad(0x36)], [hashKeySettings.outer, pad(0x5c)]] as const) {
      await client.query(`select set_config($1, $2, false)`, [name, Buffer.from(bytes).toString('hex')]);
    }
  }, 60_000);
  afterAll(async () => {
    await client?.end();
    await server?.[Symbol.asyncDispose]();
  });

  const types = { text: [25, 'S'], int4: [23, 'N'], int8: [20, 'N'], numeric: [1700, 'N'], bool: [16, 'B'], date: [1082, 'D'], timestamp: [1114, 'D'], jsonb: [3802, 'U'], uuid: [2950, 'U'] } as const;
  const values: readonly [keyof typeof types, string][] = [
    ['text', 'ann@mail.test'], ['text', ''], ['text', '@x'], ['text', 'a@b@c'], ['text', 'äöüß€𝄞xyz'], ['int4', '-1234567'], ['int4', '0'], ['int8', '4111111111111111'],
    ['numeric', '12345.600'], ['numeric', '-5'], ['bool', 't'], ['date', '2024-02-29'], ['date', '1999-12-31'], ['timestamp', '2026-11-26 09:41:59.5'],
    ['jsonb', '{"a": 1}'], ['uuid', '550e8400-e29b-41d4-a716-446655440000'],
  ];
  const masks: Mask[] = [
    { kind: 'null' }, { kind: 'redact' }, { kind: 'email' }, { kind: 'hash' }, { kind: 'partial', last: 4 }, { kind: 'partial', first: 2 },
    { kind: 'bucket', size: 10 }, ...(['minute', 'hour', 'day', 'week', 'month', 'quarter', 'year', 'decade'] as const).map((unit): Mask => ({ kind: 'bucket', unit })),
    { kind: 'constant', value: 'x' }, { kind: 'constant', value: 7 }, { kind: 'constant', value: true },
  ];

  test.each(values)('%s %j', async (type, value) => {
    const [id, category] = types[type];
    for (const mask of masks) {
      const { sql } = maskExpression({ name: 'c', number: 1, type: `pg_catalog."${type}"`, baseType: type, typeKind: 'b', category }, mask);
      const { rows: [fromDatabase] } = await client.query<{ shown: string | null }>(`select (${sql})::text as shown from (select $1::${type} as c) t`, [value]);
      const rows = new ResultRows({ kinds: [], key, maskOf: () => mask, onFound: () => undefined });
      rows.describe([column(id)]);
      const [shown] = fieldsOf(rows.pass(row(value)));
      const expected = type === 'bool' && fromDatabase?.shown !== null ? fromDatabase?.shown.slice(0, 1) : fromDatabase?.shown;
      // What the relay cannot do as the database does is NULL, never more.
      if (shown === null && isLeftToDatabase(mask, type)) continue;
      expect({ mask, shown: shown?.toString('utf8') ?? null }).toEqual({ mask, shown: expected });
    }
  });

  /** By its types' own rules. */
  function isLeftToDatabase(mask: Mask, type: string): boolean {
    if (mask.kind === 'redact') return ['date', 'timestamp', 'uuid'].includes(type);
    return mask.kind === 'bucket' && type === 'numeric';
  }
});

test('a description is read strictly inside its frame', () => {
  const field = (name: string) => [cstring(name), int32(16400), int16(3), int32(25), int16(-1), int32(-1), int16(0)];
  const bytes = encodeMessage('T', int16(2), ...field('a'), ...field('b'));
  expect(decodeRowDescription(bytes)).toEqual(['a', 'b'].map((name) => ({ name, relation: 16400, column: 3, type: 25, format: 0 })));
  expect(() => decodeRowDescription(bytes.subarray(0, bytes.length - 1))).toThrow('past the end');
  expect(() => decodeRowDescription(Buffer.concat([bytes, Buffer.from([0])]))).toThrow('after its last field');
});
