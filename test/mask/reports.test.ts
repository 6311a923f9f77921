/** Errors, notices and settings as a client with masks may hear of them. */
import { describe, expect, test } from 'vitest';
import { mapPosition, showReport, showStatus } from '../../src/mask/reports.ts';
import { decodeReport } from '../../src/pgwire/backend.ts';
import { cstring, encodeMessage, int16, int32 } from '../../src/pgwire/bytes.ts';
import { ResultGate } from '../../src/relay/result-gate.ts';
import type { EventOf } from '../../src/audit/entry.ts';
import { rawColumnKey, type MaskPlan } from '../../src/mask/plan.ts';

function report(fields: Readonly<Record<string, string>>): Buffer {
  return encodeMessage('E', ...Object.entries(fields).map(([code, value]) => Buffer.from(`${code}${value}\0`)), Buffer.from([0]));
}

/** As the analyser edits: byte ranges of the client's text. */
function edited(client: string, replacements: readonly (readonly [part: string, by: string])[]) {
  let sql = '';
  let past = 0;
  const edits = replacements.map(([part, by]) => {
    const at = client.indexOf(part, past);
    sql += client.slice(past, at) + by;
    past = at + part.length;
    const start = Buffer.byteLength(client.slice(0, at));
    return { start, end: start + Buffer.byteLength(part), characters: Array.from(part).length, text: by };
  });
  return { sql: sql + client.slice(past), edits };
}

describe('positions', () => {
  const client = 'select é, 𝄞 from tä join tä as b on x = y';
  const sent = edited(client, [['tä', '(SELECT "ü" FROM "tä") AS "tä"'], ['tä', '(SELECT 1)']]);
  const at = (text: string, part: string, from = 0) => Array.from(text.slice(0, text.indexOf(part, from))).length + 1;

  test.each(['select', 'é', '𝄞', 'join', 'as b', 'on', 'y'])('of %s', (part) => {
    const from = sent.sql.indexOf(part, part === 'as b' ? sent.sql.indexOf('SELECT 1') : 0);
    expect(mapPosition(at(sent.sql, part, from), sent)).toBe(at(client, part));
  });

  test('inside of what was put in: where that begins', () => {
    for (const part of ['(SELECT "ü"', 'FROM "tä"', 'AS "tä"']) expect(mapPosition(at(sent.sql, part), sent)).toBe(at(client, 'tä'));
    expect(mapPosition(at(sent.sql, 'SELECT 1'), sent)).toBe(at(client, 'tä', client.indexOf('join')));
  });

  test('a text that was not edited, and a position past the end', () => {
    expect(mapPosition(3, { sql: 'select', edits: [] })).toBe(3);
    expect(mapPosition(1000, sent)).toBeGreaterThan(client.length);
  });
});

describe('reports', () => {
  const all = { S: 'ERROR', V: 'ERROR', C: '22P02', M: 'invalid', D: 'row (1, 4111)', H: 'hint', P: '1', p: '2', q: 'select', W: 'where', F: 'x.c', L: '1', R: 'f', s: 'public', t: 't', c: 'c', d: 'd', n: 'n' };

  test('only fields that quote no row', () => {
    expect(Object.fromEntries(decodeReport(showReport(report(all), undefined)))).toEqual({ S: 'ERROR', V: 'ERROR', C: '22P02', M: 'invalid', P: '1', s: 'public', t: 't', c: 'c', d: 'd', n: 'n' });
  });

  test.each([['22P02', false], ['22003', false], ['P0001', false], ['XX000', false], ['23505', true], ['23514', true], ['42703', true], ['40001', true]])(
    'of a write, the message of %s is shown: %s',
    (sqlstate, isShown) => {
      const shown = decodeReport(showReport(report({ ...all, C: sqlstate }), { sql: 'x', edits: [], isWrite: true })).get('M');
      expect(shown === 'invalid').toBe(isShown);
    },
  );
});

test('settings are shown by a list', () => {
  expect(['TimeZone', 'client_encoding', 'search_path'].map((name) => showStatus(name, 'x'))).toEqual(['x', 'x', 'x']);
  expect(showStatus('is_superuser', 'on')).toBe('off');
  expect(showStatus('my.secret', 'x')).toBeUndefined();
});

describe('the guard on descriptions', () => {
  const events: EventOf<'masks.detected' | 'masks.breach'>[] = [];
  const plan = { rawColumns: new Set([rawColumnKey(16400, 3)]), relation: () => ({ id: 16400, schema: 'public', name: 't', access: 'masked', columns: [{ name: 'card', number: 3 }], hidden: [] }) } as unknown as MaskPlan;
  const gate = new ResultGate({ plan: () => plan, rules: { level: 'proven', detect: [] }, key: Buffer.alloc(32), connection: 2, note: (event) => void events.push(event) });
  const description = (relation: number, column: number) => encodeMessage('T', int16(1), cstring('x'), int32(relation), int16(column), int32(25), int16(-1), int32(-1), int16(0));

  test('a raw column cuts the connection, and stands on record with its name', () => {
    expect(() => gate.rowDescription(description(16400, 3), 7)).toThrow('raw values of x');
    expect(events).toEqual([{ kind: 'masks.breach', connection: 2, statement: 7, column: 'public.t.card' }]);
  });

  test('other columns pass', () => {
    gate.rowDescription(description(16400, 2), 7);
    gate.rowDescription(description(0, 0), undefined);
    expect(events).toHaveLength(1);
  });
});
