/** What runSql makes of the relay's end of the tunnel: byte by byte, refused, broken off, hostile. */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import { runSql, type SqlRequest } from '../../src/client/sql-session.ts';
import type { SqlHandlers, SqlRow } from '../../src/client/sql-text.ts';
import { GateError } from '../../src/errors/errors.ts';
import {
  authenticationOk,
  encodeAuthenticationSasl,
  encodeAuthenticationSaslContinue,
  encodeAuthenticationSaslFinal,
  encodeBackendKeyData,
  encodeErrorResponse,
  encodeGateError,
  encodeNoticeResponse,
  encodeReadyForQuery,
} from '../../src/pgwire/backend.ts';
import { cstring, encodeMessage, int16, int32 } from '../../src/pgwire/bytes.ts';
import { createVerifier, parseVerifier, ScramServer } from '../../src/pgwire/scram.ts';

/** What the relay's end answers to a Query, in place of a server. */
type Answer = (peer: { send(...parts: Buffer[]): void; close(code: number, reason: string): void; cut(): void }, sql: string) => void;

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

type Serving = { readonly answer: Answer; readonly pieceLength?: number; readonly skipsProof?: boolean };

async function serve(serving: Serving): Promise<{ relay: string; cancels: Buffer[] }> {
  const http = createServer();
  const tunnels = new WebSocketServer({ server: http });
  const cancels: Buffer[] = [];
  tunnels.on('connection', (socket) => serveOne(socket, serving, cancels));
  await new Promise<void>((resolve) => {
    http.listen(0, '127.0.0.1', resolve);
  });
  ends.push(async () => {
    for (const client of tunnels.clients) client.terminate();
    await new Promise((resolve) => http.close(resolve));
  });
  return { relay: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, cancels };
}

function serveOne(socket: WebSocket, { answer, pieceLength = 1 << 20, skipsProof = false }: Serving, cancels: Buffer[]): void {
  const send = (...parts: Buffer[]) => {
    const bytes = Buffer.concat(parts);
    for (let at = 0; at < bytes.length; at += pieceLength) socket.send(bytes.subarray(at, at + pieceLength));
  };
  const scram = new ScramServer(parseVerifier(createVerifier('secret', randomBytes(16))), 'nonce');
  const login = [authenticationOk, encodeBackendKeyData(7, Buffer.from([0xff, 2, 3, 4])), encodeReadyForQuery('I')];
  let step = 0;
  socket.on('message', (data) => {
    const bytes = data as Buffer;
    step++;
    if (step === 1 && bytes.readUInt32BE(4) === 80877102) {
      cancels.push(bytes);
      socket.close(1000);
    } else if (step === 1 && skipsProof) send(...login);
    else if (step === 1) send(encodeAuthenticationSasl(['SCRAM-SHA-256']));
    else if (step === 2) {
      const initial = bytes.subarray(5 + 'SCRAM-SHA-256'.length + 1 + 4).toString();
      send(encodeAuthenticationSaslContinue(scram.start(initial)));
    } else if (step === 3) send(encodeAuthenticationSaslFinal(scram.finish(bytes.subarray(5).toString())), ...login);
    else if (bytes[0] === 0x58) socket.close(1000);
    else if (bytes[0] === 0x51) {
      const peer = { send, close: (code: number, reason: string) => socket.close(code, reason), cut: () => socket.terminate() };
      answer(peer, bytes.subarray(5, -1).toString());
    }
  });
}

const session = {
  id: 's_1',
  grant: 'g_1',
  target: 'prod-db',
  role: 'engineer',
  user: 'erin',
  database: 'shop',
  expiresAt: '2026-01-01T00:00:00Z',
  password: 'secret',
};

type Run = { readonly seen: string[]; readonly result: Promise<readonly number[]> };

function run(relay: string, more: { sql?: string; password?: string; signal?: AbortSignal; handlers?: Partial<SqlHandlers>; options?: Partial<SqlRequest> } = {}): Run {
  const seen: string[] = [];
  const note = (line: string) => {
    seen.push(line);
    return Promise.resolve();
  };
  const handlers: SqlHandlers = {
    fields: (fields) => note(`fields ${fields.map(({ name, typeOid }) => `${name}:${typeOid}`).join()}`),
    rows: (rows: readonly SqlRow[]) => note(rows.map((row) => `row ${JSON.stringify(row)}`).join(' ')),
    copy: (isBinary) => note(`copy ${isBinary}`),
    copyData: (pieces) => note(`data ${Buffer.concat(pieces).toString()}`),
    complete: (tag) => note(`done ${tag}`),
    notice: (text) => void note(text),
    stopped: (index, fate) => void note(`stopped ${index} ${fate}`),
    ...more.handlers,
  };
  const { sql = 'select 1', password = 'secret', signal = new AbortController().signal } = more;
  const result = runSql({ relay, session: { ...session, password }, accessToken: async () => 'token', texts: [{ sql }], handlers, signal, ...more.options });
  // Some tests look at what was seen first.
  result.catch(() => undefined);
  return { seen, result };
}

const fields = (...names: string[]) =>
  encodeMessage('T', int16(names.length), ...names.map((name) => Buffer.concat([cstring(name), int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)])));
const row = (...values: (string | null)[]) =>
  encodeMessage('D', int16(values.length), ...values.map((value) => (value === null ? int32(-1) : Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]))));
const done = (tag: string) => encodeMessage('C', cstring(tag));
const ready = encodeReadyForQuery('I');
const error = { severity: 'ERROR', sqlstate: '22012', message: 'division by zero' } as const;

async function failureOf(result: Promise<unknown>): Promise<GateError> {
  const failure: unknown = await result.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (failure instanceof GateError) return failure;
  throw new Error('no GateError', { cause: failure });
}

describe('what comes back', () => {
  test.each([1, 2, 7, 1 << 20])('in pieces of %i bytes', async (pieceLength) => {
    const answer: Answer = (peer) =>
      peer.send(fields('a', 'ü'), row('1', null), row('', '日本'), done('SELECT 2'), encodeMessage('I'), done('UPDATE 0'), ready);
    const { relay } = await serve({ answer, pieceLength });
    const { seen, result } = run(relay);
    expect(await result).toEqual([2]);
    expect(seen.join(' ')).toBe('fields a:25,ü:25 row ["1",null] row ["","日本"] done SELECT 2 done UPDATE 0');
  });

  test('an error follows what came before it, and the first one counts', async () => {
    const later = { ...error, message: 'second' };
    const answer: Answer = (peer) => peer.send(fields('a'), row('1'), encodeErrorResponse(error), encodeErrorResponse(later), ready);
    const { seen, result } = run((await serve({ answer })).relay);
    expect(await failureOf(result)).toMatchObject({ code: 'sql-error', exitCode: 9 });
    expect(seen).toEqual(['fields a:25', 'row ["1"]', 'stopped 0 undone']);
  });

  test('notices are shown without control characters', async () => {
    const notice = { severity: 'NOTICE', sqlstate: '00000', message: 'a\u001b[2Jb', hint: 'h' } as const;
    const { seen, result } = run((await serve({ answer: (peer) => peer.send(encodeNoticeResponse(notice), done('DO'), ready) })).relay);
    await result;
    expect(seen).toEqual([String.raw`NOTICE:  a\x1b[2Jb` + '\nHINT:  h', 'done DO']);
  });

  test('a handler that fails ends the run with its failure', async () => {
    const { relay } = await serve({ answer: (peer) => peer.send(fields('a'), row('1')) });
    const broken = new Error('no reader');
    const { result } = run(relay, { handlers: { rows: () => Promise.reject(broken) } });
    await expect(result).rejects.toBe(broken);
  });
});

describe('an error of gate keeps its code', () => {
  test.each(['denied', 'record-unavailable', 'reason-required', 'grant-expired'] as const)('%s', async (code) => {
    const sent = new GateError(code, 'no \u001b[31mway', { rule: 'prod-db/rule', hint: 'Ask.' });
    const { relay } = await serve({ answer: (peer) => peer.send(encodeGateError(sent, 'ERROR'), ready) });
    const failure = await failureOf(run(relay).result);
    expect(failure).toMatchObject({ code, exitCode: sent.exitCode, rule: 'prod-db/rule', hint: 'Ask.' });
    expect(failure.message).toBe(String.raw`no \x1b[31mway`);
  });

  test('as the last word of the connection', async () => {
    const sent = new GateError('grant-expired', 'the grant has expired');
    const answer: Answer = (peer) => {
      peer.send(encodeGateError(sent, 'FATAL'));
      peer.close(sent.closeCode, sent.message);
    };
    expect(await failureOf(run((await serve({ answer })).relay).result)).toMatchObject({ code: 'grant-expired', exitCode: 3 });
  });

  test('a code of a newer relay is still a refusal', async () => {
    const report = { ...error, sqlstate: '42501', routine: 'approval-of-the-future', detail: 'Rule: r' };
    const { relay } = await serve({ answer: (peer) => peer.send(encodeErrorResponse(report), ready) });
    expect(await failureOf(run(relay).result)).toMatchObject({ code: 'denied', rule: 'r' });
  });

  test('a database cannot speak as gate', async () => {
    const fieldsOf = ['SERROR', 'VERROR', 'C42501', 'Mpermission denied', 'DRule: r', 'Faclchk.c', 'Rdenied'];
    const report = encodeMessage('E', ...fieldsOf.map(cstring), Buffer.from([0]));
    const { relay } = await serve({ answer: (peer) => peer.send(report, ready) });
    const failure = await failureOf(run(relay).result);
    expect(failure).toMatchObject({ code: 'sql-error', sqlstate: '42501', rule: undefined });
    expect(failure.message).toBe('ERROR:  permission denied (SQLSTATE 42501)\nDETAIL:  Rule: r');
  });
});

describe('the place of an error', () => {
  test.each<[string, string, number, string]>([
    ['on a later line', 'select 1;\nselect wrong;\nselect 3', 18, 'LINE 2: select wrong;\n               ^'],
    ['behind wide characters', "select '日本', x", 14, "LINE 1: select '日本', x\n                \u3000\u3000   ^"],
    ['behind characters of two units', "select '🙂', x", 13, "LINE 1: select '🙂', x\n                \u3000   ^"],
    ['at the end of the text', 'select', 7, 'LINE 1: select\n              ^'],
    ['in a long line', `${'a'.repeat(100)}x${'b'.repeat(100)}`, 101, `LINE 1: ...${'a'.repeat(60)}x${'b'.repeat(59)}...\n${' '.repeat(8 + 63)}^`],
    ['with a control character before it', 'select\u001b x', 9, 'LINE 1: select\\x1b x\n                   ^'],
  ])('%s', async (_, sql, position, expected) => {
    const { relay } = await serve({ answer: (peer) => peer.send(encodeErrorResponse({ ...error, position }), ready) });
    const { message } = await failureOf(run(relay, { sql }).result);
    expect(message).toBe(`ERROR:  division by zero (SQLSTATE 22012)\n${expected}`);
  });

  test.each([0, 9, -1])('that is not in the text (%i) is left out', async (position) => {
    const { relay } = await serve({ answer: (peer) => peer.send(encodeErrorResponse({ ...error, position }), ready) });
    expect((await failureOf(run(relay, { sql: 'select' }).result)).message).toBe('ERROR:  division by zero (SQLSTATE 22012)');
  });
});

describe('the end of the tunnel', () => {
  test('broken in the middle of a row', async () => {
    const answer: Answer = (peer) => {
      peer.send(fields('a'), row('1'), row('2').subarray(0, 6));
      peer.cut();
    };
    const { seen, result } = run((await serve({ answer })).relay);
    expect(await failureOf(result)).toMatchObject({ code: 'relay-unreachable', exitCode: 6 });
    expect(seen).toEqual(['fields a:25', 'row ["1"]', 'stopped 0 unknown']);
  });

  test.each([
    [4410, 'grant-expired'],
    [4411, 'session-ended'],
    [1012, 'relay-stopping'],
    [1000, 'relay-unreachable'],
    [1011, 'relay-unreachable'],
  ])('close code %i is %s', async (closeCode, code) => {
    const { relay } = await serve({ answer: (peer) => peer.close(closeCode, 'because') });
    const failure = await failureOf(run(relay).result);
    expect(failure.code).toBe(code);
    expect(failure.message).toContain('because');
  });
});

describe('a hostile relay', () => {
  test('that asks for no proof and gives none is refused before any SQL is sent', async () => {
    let asked = false;
    const { relay } = await serve({ answer: () => (asked = true), skipsProof: true });
    expect(await failureOf(run(relay).result)).toMatchObject({ code: 'upstream-protocol' });
    expect(asked).toBe(false);
  });

  test.each<[string, Buffer]>([
    ['an unknown message', encodeMessage('?', int32(1))],
    ['a message that is not due', encodeMessage('1')],
  ])('%s', async (_, bytes) => {
    const { relay } = await serve({ answer: (peer) => peer.send(bytes, ready) });
    expect(await failureOf(run(relay).result)).toMatchObject({ code: 'upstream-protocol' });
  });
});

describe('what is known of the outcome', () => {
  test('a text that ended before the cancel for its time limit came has taken effect', async () => {
    let answerNow: () => void = () => undefined;
    const { relay, cancels } = await serve({ answer: (peer) => (answerNow = () => peer.send(done('UPDATE 1'), ready)) });
    const { seen, result } = run(relay, { options: { timeoutMs: 20 } });
    await expect.poll(() => cancels.length).toBe(1);
    answerNow();
    expect(await failureOf(result)).toMatchObject({ code: 'statement-timeout', exitCode: 9, message: expect.stringContaining('has taken effect') });
    expect(seen).toEqual(['stopped 0 done']);
  });

  /** Answers BEGIN and the text; the rest is up to `end`. */
  const inTransaction = (end: Answer): Answer => (peer, sql) => {
    if (sql === 'BEGIN') peer.send(done('BEGIN'), encodeReadyForQuery('T'));
    else if (sql === 'select 1') peer.send(done('SELECT 1'), encodeReadyForQuery('T'));
    else end(peer, sql);
  };

  test.each<[string, Answer, string, string]>([
    ['a break at COMMIT', (peer) => peer.cut(), 'relay-unreachable', 'unknown'],
    ['an error at COMMIT', (peer) => peer.send(encodeErrorResponse(error), ready), 'sql-error', 'undone'],
    ['ROLLBACK in answer to COMMIT', (peer) => peer.send(done('ROLLBACK'), ready), 'sql-error', 'undone'],
  ])('%s', async (_, end, code, fate) => {
    const { seen, result } = run((await serve({ answer: inTransaction(end) })).relay, { options: { isSingleTransaction: true } });
    expect(await failureOf(result)).toMatchObject({ code });
    expect(seen).toEqual(['done SELECT 1', `stopped 0 ${fate}`]);
  });

  test('an interrupt that came too late for the last text still keeps the transaction from being committed', async () => {
    const controller = new AbortController();
    const sent: string[] = [];
    const answer: Answer = (peer, sql) => {
      sent.push(sql);
      if (sql === 'select 1') controller.abort('SIGINT');
      peer.send(done(sql === 'BEGIN' ? 'BEGIN' : 'SELECT 1'), encodeReadyForQuery('T'));
    };
    const { result } = run((await serve({ answer })).relay, { signal: controller.signal, options: { isSingleTransaction: true } });
    expect(await failureOf(result)).toMatchObject({ code: 'session-ended', message: 'interrupted; the transaction is rolled back' });
    expect(sent).toEqual(['BEGIN', 'select 1']);
  });

  test('a break in a text: not known by itself, undone in a transaction that is not committed', async () => {
    const { relay } = await serve({ answer: (peer, sql) => (sql === 'BEGIN' ? peer.send(done('BEGIN'), encodeReadyForQuery('T')) : peer.cut()) });
    const [alone, inside] = [run(relay), run(relay, { options: { isSingleTransaction: true } })];
    await Promise.allSettled([alone.result, inside.result]);
    expect([alone.seen, inside.seen]).toEqual([['stopped 0 unknown'], ['stopped 0 undone']]);
  });
});

describe('an interrupt', () => {
  test('sends a cancel request with the key of the login, and takes the answer', async () => {
    const controller = new AbortController();
    let answerNow: () => void = () => undefined;
    const answer: Answer = (peer) => {
      peer.send(fields('a'), row('1'));
      answerNow = () => peer.send(row('2'), encodeErrorResponse({ ...error, sqlstate: '57014', message: 'canceled' }), ready);
    };
    const { relay, cancels } = await serve({ answer });
    const handlers = {
      rows: () => {
        controller.abort('SIGINT');
        // A reader that stands still must not hold up the end.
        return new Promise<void>(() => undefined);
      },
    };
    const { result } = run(relay, { signal: controller.signal, handlers });
    await expect.poll(() => cancels.length).toBe(1);
    expect(cancels[0]).toEqual(Buffer.concat([int32(16), int32(80877102), int32(7), Buffer.from([0xff, 2, 3, 4])]));
    answerNow();
    expect(await failureOf(result)).toMatchObject({ code: 'sql-error', sqlstate: '57014' });
  });

  test('before the SQL is sent keeps it from being sent', async () => {
    let asked = false;
    const { relay } = await serve({ answer: () => (asked = true) });
    expect(await failureOf(run(relay, { signal: AbortSignal.abort('SIGINT') }).result)).toMatchObject({ code: 'session-ended' });
    expect(asked).toBe(false);
  });
});
