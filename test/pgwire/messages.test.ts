/** Messages in both directions, with pg-protocol as the outside oracle, and with bytes that no client would send. */
import * as fc from 'fast-check';
import { serialize } from 'pg-protocol';
import type { BackendMessage } from 'pg-protocol/dist/messages.js';
import { Parser } from 'pg-protocol/dist/parser.js';
import { describe, expect, test } from 'vitest';
import { GateError } from '../../src/errors/errors.ts';
import * as backend from '../../src/pgwire/backend.ts';
import { encodeMessage } from '../../src/pgwire/bytes.ts';
import { decodeFrontend, decodeStartupPacket, encodeParse, encodeQuery, type FrontendMessage } from '../../src/pgwire/frontend.ts';

const decode = (bytes: Buffer): FrontendMessage => decodeFrontend(bytes[0] as number, bytes);
const text = fc.string({ unit: 'grapheme', maxLength: 30 }).map((value) => value.replaceAll('\0', ''));
const violation = expect.objectContaining({ code: 'protocol-violation' }) as Error;

function oracle(bytes: Buffer): BackendMessage[] {
  const messages: BackendMessage[] = [];
  new Parser().parse(bytes, (message) => messages.push(message));
  return messages;
}

function int16(value: number): Buffer {
  return Buffer.from([(value >> 8) & 255, value & 255]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

describe('from the client', () => {
  test('what pg-protocol writes is read as it was meant', () => {
    fc.assert(
      fc.property(text, text, text, (one, two, three) => {
        expect(decode(serialize.query(one))).toEqual({ type: 'Query', sql: one });
        expect(decode(serialize.parse({ name: one, text: two, types: [23, 25] }))).toEqual({ type: 'Parse', name: one, sql: two, parameterTypes: [23, 25] });
        const values = [one, null, Buffer.from(two), three];
        expect(decode(serialize.bind({ portal: one, statement: two, values, binary: three.length % 2 === 0 }))).toEqual({
          type: 'Bind',
          portal: one,
          statement: two,
          values: [
            { format: 'text', bytes: Buffer.from(one) },
            null,
            { format: 'binary', bytes: Buffer.from(two) },
            { format: 'text', bytes: Buffer.from(three) },
          ],
        });
        expect(decode(serialize.describe({ type: 'S', name: one }))).toEqual({ type: 'Describe', of: 'statement', name: one });
        expect(decode(serialize.close({ type: 'P', name: one }))).toEqual({ type: 'Close', of: 'portal', name: one });
        expect(decode(serialize.execute({ portal: one, rows: 7 }))).toEqual({ type: 'Execute', portal: one, rowsMax: 7 });
        expect(decode(serialize.copyFail(one))).toEqual({ type: 'CopyFail' });
      }),
    );
    expect([serialize.sync(), serialize.flush(), serialize.copyDone(), serialize.end()].map((one) => decode(one).type)).toEqual([
      'Sync',
      'Flush',
      'CopyDone',
      'Terminate',
    ]);
  });

  test('what the relay writes itself is what pg-protocol would write', () => {
    expect(encodeQuery('select 1')).toEqual(serialize.query('select 1'));
    expect(encodeParse('n', 'select 1')).toEqual(serialize.parse({ name: 'n', text: 'select 1' }));
  });

  const seeds = [
    serialize.query('select 1'),
    serialize.parse({ name: 'n', text: 'select $1', types: [23] }),
    serialize.bind({ portal: 'p', statement: 's', values: ['a', null, Buffer.from('b')] }),
    serialize.describe({ type: 'S', name: 'x' }),
    serialize.execute({ portal: 'p', rows: 1 }),
    serialize.close({ type: 'P', name: 'x' }),
    serialize.copyFail('no'),
    serialize.sync(),
  ].map((bytes) => Buffer.from(bytes));

  test('changed bytes are read or refused, never anything else, and never past the message', () => {
    const changes = fc.array(fc.tuple(fc.nat({ max: 80 }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.constantFrom(...seeds), changes, fc.nat({ max: 80 }), (seed, mutations, cut) => {
        const canary = Buffer.from('canary-behind-the-message');
        const bytes = Buffer.from(seed.subarray(0, Math.max(5, seed.length - (cut % seed.length))));
        for (const [at, value] of mutations) bytes[at % bytes.length] = value;
        const slab = Buffer.concat([canary, bytes, canary]);
        const inside = slab.subarray(canary.length, canary.length + bytes.length);
        let message: FrontendMessage;
        try {
          message = decode(inside);
        } catch (error) {
          expect(error).toBeInstanceOf(GateError);
          expect(error).toMatchObject({ code: 'protocol-violation' });
          return;
        }
        // Values are views: hex shows their bytes, and the canary must not be among them.
        const shown = JSON.stringify(message, (_key, value: unknown) =>
          typeof value === 'object' && value !== null && 'bytes' in value ? String(value.bytes) : value,
        );
        expect(shown).not.toContain('canary');
      }),
      { numRuns: 3000 },
    );
  });

  const zero = Buffer.from([0]);
  test.each([
    ['a Query without its zero', encodeMessage('Q', Buffer.from('select 1'))],
    ['a Query with a zero inside', encodeMessage('Q', Buffer.from('select 1\0; drop table t\0'))],
    ['an empty Query message', encodeMessage('Q')],
    ['a Query that is not UTF-8', encodeMessage('Q', Buffer.from([0x27, 0xbf, 0x5c, 0x27, 0]))],
    ['a Query with an overlong encoding', encodeMessage('Q', Buffer.from([0xc0, 0xa7, 0]))],
    ['a Query with half of a surrogate', encodeMessage('Q', Buffer.from([0xed, 0xa0, 0x80, 0]))],
    ['a Parse without its count', encodeMessage('P', zero, Buffer.from('select 1\0'))],
    ['a Parse with too few types', encodeMessage('P', zero, Buffer.from('select 1\0'), int16(2), int32(23))],
    ['a Parse with bytes behind its types', encodeMessage('P', zero, Buffer.from('select 1\0'), int16(0), zero)],
    ['a Parse of 65,535 types that are not there', encodeMessage('P', zero, zero, int16(-1))],
    ['a Bind with a value past the end', encodeMessage('B', zero, zero, int16(0), int16(1), int32(99), zero, int16(0))],
    ['a Bind with a value of -2 bytes', encodeMessage('B', zero, zero, int16(0), int16(1), int32(-2), int16(0))],
    ['a Bind with a value of 2^31 - 1 bytes', encodeMessage('B', zero, zero, int16(0), int16(1), int32(0x7fffffff), int16(0))],
    ['a Bind with two formats for three values', encodeMessage('B', zero, zero, int16(2), int16(0), int16(0), int16(3), int32(-1), int32(-1), int32(-1), int16(0))],
    ['a Bind with an unknown format', encodeMessage('B', zero, zero, int16(1), int16(2), int16(0), int16(0))],
    ['a Bind with a negative format', encodeMessage('B', zero, zero, int16(1), int16(-1), int16(0), int16(0))],
    ['a Bind with bytes behind it', encodeMessage('B', zero, zero, int16(0), int16(0), int16(0), zero)],
    ['a Describe of neither', encodeMessage('D', Buffer.from('X\0'))],
    ['a Describe of nothing', encodeMessage('D')],
    ['a Close with two names', encodeMessage('C', Buffer.from('Sa\0b\0'))],
    ['an Execute without its limit', encodeMessage('E', zero)],
    ['a Sync with a body', encodeMessage('S', zero)],
    ['a Flush with a body', encodeMessage('H', zero)],
    ['a CopyDone with a body', encodeMessage('c', zero)],
    ['a message of the server', encodeMessage('T', zero)],
    ['a password', encodeMessage('p', zero)],
    ['a type of zero', encodeMessage('\0')],
  ])('%s is refused', (_name, bytes) => {
    expect(() => decode(bytes)).toThrow(violation);
  });

  test('counts are unsigned, as the server reads them: 65,535 parameters are possible', () => {
    const count = 65_535;
    const values = Array.from({ length: count }, () => int32(-1));
    const bind = encodeMessage('B', zero, zero, int16(0), int16(count), ...values, int16(0));
    expect(decode(bind)).toMatchObject({ type: 'Bind', values: { length: count } });
    const types = Buffer.alloc(4 * count);
    expect(decode(encodeMessage('P', zero, zero, int16(count), types))).toMatchObject({ type: 'Parse' });
    const formats = Array.from({ length: count }, () => int16(1));
    const binary = encodeMessage(
      'B',
      Buffer.concat([zero, zero, int16(count), ...formats]),
      Buffer.concat([int16(count), ...values.slice(1), int32(1), Buffer.from('x'), int16(0)]),
    );
    const { values: read } = decode(binary) as Extract<FrontendMessage, { type: 'Bind' }>;
    expect(read.at(-1)).toEqual({ format: 'binary', bytes: Buffer.from('x') });
  });

  test('a count that is negative to one reader and large to another cannot be read in two ways', () => {
    // As -32,768 formats there would be no formats, and what follows would pass for values.
    const body = [zero, zero, int16(0x8000), int16(0), int16(0)];
    expect(() => decode(encodeMessage('B', ...body))).toThrow(violation);
  });
});

describe('start-up', () => {
  const packet = (...parts: Buffer[]) => {
    const body = Buffer.concat(parts);
    return Buffer.concat([int32(body.length + 4), body]);
  };
  const version = int32(196_608);

  test('what pg-protocol writes', () => {
    expect(decodeStartupPacket(serialize.requestSsl())).toEqual({ kind: 'ssl' });
    expect(decodeStartupPacket(serialize.cancel(7, 1234))).toEqual({ kind: 'cancel', pid: 7, key: int32(1234) });
    expect(decodeStartupPacket(serialize.startup({ user: 'ünï', database: 'd' }))).toEqual({
      kind: 'startup',
      minor: 0,
      parameters: new Map([['user', 'ünï'], ['database', 'd'], ['client_encoding', 'UTF8']]),
    });
  });

  test('protocol 3.2: options of the protocol and long cancel keys', () => {
    const key = Buffer.alloc(32, 7);
    expect(decodeStartupPacket(packet(int32(80_877_102), int32(-5), key))).toEqual({ kind: 'cancel', pid: -5, key });
    expect(decodeStartupPacket(packet(int32(196_610), Buffer.from('_pq_.x\0y\0\0')))).toMatchObject({ minor: 2 });
  });

  test.each([
    ['a parameter twice', packet(version, Buffer.from('user\0a\0user\0postgres\0\0'))],
    ['no end of the list', packet(version, Buffer.from('user\0a\0'))],
    ['a name without a value', packet(version, Buffer.from('user\0\0'))],
    ['bytes behind the list', packet(version, Buffer.from('user\0a\0\0user\0postgres\0\0'))],
    ['not UTF-8', packet(version, Buffer.from([0x75, 0, 0xff, 0, 0]))],
    ['protocol 2', packet(int32(131_072))],
    ['protocol 4', packet(int32(262_144))],
    ['a negative version', packet(int32(-1))],
    ['an SSL request with a body', packet(int32(80_877_103), Buffer.from([0]))],
    ['a cancel request without a process', packet(int32(80_877_102))],
    ['nothing', packet()],
  ])('%s is refused', (_name, bytes) => {
    expect(() => decodeStartupPacket(bytes)).toThrow(violation);
  });

  test('changed bytes are read or refused', () => {
    const seed = Buffer.from(serialize.startup({ user: 'u', database: 'd', application_name: 'x' }));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat({ max: 80 }), fc.nat({ max: 255 })), { minLength: 1 }), (mutations) => {
        const bytes = Buffer.from(seed);
        for (const [at, value] of mutations) bytes[at % bytes.length] = value;
        try {
          decodeStartupPacket(bytes);
        } catch (error) {
          expect(error).toMatchObject({ name: 'GateError', code: 'protocol-violation' });
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('to the client', () => {
  test('pg-protocol reads reports as they were meant', () => {
    fc.assert(
      fc.property(text, text, text, fc.nat(), (message, detail, hint, position) => {
        const report = { severity: 'ERROR', sqlstate: '42501', message, detail, hint, position, routine: 'denied' } as const;
        expect(oracle(backend.encodeErrorResponse(report))).toMatchObject([
          { name: 'error', severity: 'ERROR', code: '42501', message, detail, hint, position: String(position), routine: 'denied' },
        ]);
        const notice = backend.encodeNoticeResponse({ ...report, severity: 'NOTICE' });
        expect(oracle(notice)).toMatchObject([{ name: 'notice', severity: 'NOTICE', message, detail }]);
        const fields = backend.decodeReport(notice);
        expect([fields.get('M'), fields.get('D'), fields.get('H'), fields.get('P'), fields.get('C')]).toEqual([
          message,
          detail,
          hint,
          String(position),
          '42501',
        ]);
      }),
    );
  });

  test('a refusal carries message, rule, hint and code; zero bytes in it end nothing early', () => {
    const error = new GateError('denied', 'no\0 way', { rule: 'a/b', hint: 'ask' });
    expect(oracle(backend.encodeGateError(error, 'ERROR', 3))).toMatchObject([
      { message: 'no way', detail: 'Rule: a/b', hint: 'ask', code: '42501', routine: 'denied', position: '3', file: 'gate' },
    ]);
  });

  test('a text that is not SQL is refused without a rule, as the server does', () => {
    const error = new GateError('sql-error', 'syntax error', { rule: 'parse' });
    expect(oracle(backend.encodeGateError(error, 'ERROR'))).toMatchObject([{ message: 'syntax error', detail: undefined, code: '42601' }]);
  });

  test('the other messages', () => {
    expect(oracle(backend.encodeReadyForQuery('T'))).toMatchObject([{ name: 'readyForQuery', status: 'T' }]);
    expect(oracle(backend.encodeParameterStatus('a', 'é'))).toMatchObject([{ parameterName: 'a', parameterValue: 'é' }]);
    expect(oracle(backend.encodeBackendKeyData(7, int32(1234)))).toMatchObject([{ processID: 7, secretKey: 1234 }]);
    expect(oracle(backend.authenticationOk)).toMatchObject([{ name: 'authenticationOk' }]);
    expect(oracle(backend.encodeAuthenticationSasl(['SCRAM-SHA-256']))).toMatchObject([{ mechanisms: ['SCRAM-SHA-256'] }]);
    expect(oracle(backend.encodeAuthenticationSaslContinue('r=x'))).toMatchObject([{ name: 'authenticationSASLContinue', data: 'r=x' }]);
    expect(oracle(backend.encodeAuthenticationSaslFinal('v=x'))).toMatchObject([{ name: 'authenticationSASLFinal', data: 'v=x' }]);
    expect(backend.encodeNegotiateProtocolVersion(0, ['_pq_.a']).toString('hex')).toBe(
      `76000000130003000000000001${Buffer.from('_pq_.a\0').toString('hex')}`,
    );
  });

  test('what is read of the server', () => {
    expect(backend.decodeReadyForQuery(backend.encodeReadyForQuery('E'))).toBe('E');
    expect(backend.decodeParameterStatus(backend.encodeParameterStatus('n', 'v'))).toEqual({ name: 'n', value: 'v' });
    expect(backend.decodeBackendKeyData(backend.encodeBackendKeyData(-1, Buffer.alloc(32, 1)))).toEqual({ pid: -1, key: Buffer.alloc(32, 1) });
    expect(backend.decodeCommandTag(encodeMessage('C', Buffer.from('SELECT 1\0')))).toBe('SELECT 1');
    expect(backend.decodeAuthentication(backend.authenticationOk)).toEqual({ method: 'ok' });
    expect(backend.decodeAuthentication(encodeMessage('R', int32(5), Buffer.from('salt')))).toEqual({ method: 'md5', salt: Buffer.from('salt') });
    expect(backend.decodeAuthentication(backend.encodeAuthenticationSasl(['a', 'b']))).toEqual({ method: 'sasl', mechanisms: ['a', 'b'] });
    expect(backend.decodeAuthentication(encodeMessage('R', int32(7)))).toEqual({ method: 'other', code: 7 });
  });

  test.each([
    ['a status that is none', () => backend.decodeReadyForQuery(encodeMessage('Z', Buffer.from('X')))],
    ['no status', () => backend.decodeReadyForQuery(encodeMessage('Z'))],
    ['two statuses', () => backend.decodeReadyForQuery(encodeMessage('Z', Buffer.from('II')))],
    ['a report without an end', () => backend.decodeReport(encodeMessage('E', Buffer.from('Mhello')))],
    ['an endless list of mechanisms', () => backend.decodeAuthentication(encodeMessage('R', int32(10), Buffer.from('a\0b\0')))],
    ['half a salt', () => backend.decodeAuthentication(encodeMessage('R', int32(5), Buffer.from('s')))],
    ['no code', () => backend.decodeAuthentication(encodeMessage('R'))],
    ['a tag without an end', () => backend.decodeCommandTag(encodeMessage('C', Buffer.from('SELECT')))],
  ])('a hostile server: %s', (_name, decodeIt) => {
    expect(decodeIt).toThrow(GateError);
  });

  test('a report without SQLSTATE is read without it', () => {
    expect([...backend.decodeReport(encodeMessage('E', Buffer.from('Mx\0\0')))]).toEqual([['M', 'x']]);
  });
});
