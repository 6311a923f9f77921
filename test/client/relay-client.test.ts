/** What the caller of the relay's API gets for every kind of answer, and for none. */
import { createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { createRelayClient, type RelayClient } from '../../src/client/relay-client.ts';
import { GateError } from '../../src/errors/errors.ts';
import { configOf, makeScratch, sendJson, startHttp, type Answer } from './fixtures.ts';

const who = {
  issuer: 'https://login.example.com',
  subject: 'acct-1',
  name: 'Erin',
  kind: 'human',
  groups: ['engineering'],
  expiresAt: '2030-01-01T00:00:00.000Z',
};

function clientOf(relay: string, token = 'good-token'): RelayClient {
  return createRelayClient(configOf('/nowhere', relay, { token }), { warn: () => undefined });
}

async function failureOf(work: Promise<unknown>): Promise<GateError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof GateError) return error;
  throw new Error(`not a GateError: ${String(error)}`);
}

async function failureFor(answer: Answer): Promise<GateError> {
  await using server = await startHttp(answer);
  // Awaited here, so that the server outlives the call.
  return await failureOf(clientOf(server.url).whoAmI());
}

describe('answers', () => {
  test('each call goes where the contract says, with the token in the header alone', async () => {
    const seen: string[] = [];
    const session = {
      id: 'ses-1',
      grant: 'grt-1',
      target: 'prod-db',
      role: 'reader',
      command: 'exec',
      principal: who,
      state: 'open',
      startedAt: 't',
      expiresAt: 't',
      connections: 0,
      statements: 0,
      refused: 0,
    };
    const answers: Record<string, unknown> = {
      'GET /v1/whoami': who,
      'GET /v1/targets': { targets: [] },
      'POST /v1/grants': { id: 'grt-1', target: 'prod-db', role: 'reader', createdAt: 't', expiresAt: 't' },
      'POST /v1/sessions': {
        id: 'ses-1',
        grant: 'grt-1',
        target: 'prod-db',
        role: 'reader',
        user: 'u',
        database: 'd',
        expiresAt: 't',
      },
      'POST /v1/sessions/ses-1/end': {},
      'GET /v1/sessions': { sessions: [session] },
      'GET /v1/sessions?limit=5': { sessions: [] },
      'GET /v1/sessions/a%2Fb': session,
    };
    await using server = await startHttp((request, response, body) => {
      seen.push(`${request.headers.authorization} ${body}`);
      sendJson(response, 200, answers[`${request.method} ${request.url}`]);
    });
    const client = clientOf(server.url);
    expect(client.url).toBe(server.url);
    expect(await client.whoAmI()).toEqual(who);
    expect(await client.targets()).toEqual([]);
    expect((await client.createGrant({ target: 'prod-db', reason: 'why' })).id).toBe('grt-1');
    expect((await client.createSession({ grant: 'grt-1', verifier: 'v', command: 'exec' })).user).toBe('u');
    await client.endSession('ses-1');
    expect(await client.sessions()).toHaveLength(1);
    expect(await client.sessions({ limit: 5 })).toEqual([]);
    expect((await client.session('a/b')).id).toBe('ses-1');
    expect(await client.accessToken()).toBe('good-token');
    expect(server.requests).toEqual(Object.keys(answers));
    expect(seen.map((line) => line.startsWith('Bearer good-token '))).toEqual(Array(8).fill(true));
    expect(seen[2]).toBe('Bearer good-token {"target":"prod-db","reason":"why"}');
  });

  test('an error of the relay keeps its code, message, hint and rule', async () => {
    const error = await failureFor((_, response) =>
      sendJson(response, 403, {
        error: { code: 'denied', message: 'no rule lets you', hint: 'ask', rule: 'engineers-only' },
      }),
    );
    expect(error).toMatchObject({ code: 'denied', message: 'no rule lets you', hint: 'ask', rule: 'engineers-only' });
  });

  test.each([
    [400, 'usage'],
    [401, 'login-required'],
    [403, 'denied'],
    [404, 'not-found'],
    [409, 'protocol-violation'],
    [429, 'too-many'],
    [500, 'relay-unreachable'],
    [501, 'not-supported'],
  ])('a code of the future with status %i becomes %s', async (status, code) => {
    const error = await failureFor((_, response) =>
      sendJson(response, status, { error: { code: 'toString', message: 'something new' } }),
    );
    expect(error).toMatchObject({ code, message: 'something new' });
  });

  test('what the relay says cannot drive the terminal', async () => {
    const error = await failureFor((_, response) =>
      sendJson(response, 403, { error: { code: 'denied', message: 'a\u001b[2Jb\nc', hint: 'x\u202ey' } }),
    );
    expect(error.message).toBe('a\u{FFFD}[2Jb\nc');
    expect(error.hint).toBe('x\u{FFFD}y');
  });

  test.each([
    [502, 'relay-unreachable', '502 Bad Gateway'],
    [404, 'not-found', '404 Not Found'],
    [302, 'protocol-violation', '302 Found'],
  ])('a page with status %i from something else is not taken for the relay’s', async (status, code, words) => {
    const error = await failureFor((_, response) => {
      response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end('<html>');
    });
    expect(error).toMatchObject({ code, message: expect.stringContaining(words) });
  });

  test.each([
    ['no JSON', '<html>', ''],
    ['another shape', JSON.stringify({ ...who, groups: 'engineering' }), '(groups: '],
  ])('%s is not understood', async (_, body, where) => {
    const error = await failureFor((__, response) => {
      response.writeHead(200).end(body);
    });
    expect(error).toMatchObject({ code: 'protocol-violation', message: expect.stringContaining(where) });
  });
});

describe('no answer', () => {
  test('nothing listens', async () => {
    const server = await startHttp(() => undefined);
    await server[Symbol.asyncDispose]();
    expect(await failureOf(clientOf(server.url).whoAmI())).toMatchObject({
      code: 'relay-unreachable',
      message: `cannot reach the relay ${server.url}: nothing listens there (connection refused)`,
    });
  });

  test('the connection is cut', async () => {
    const error = await failureFor((request) => {
      request.socket.destroy();
    });
    expect(error).toMatchObject({ code: 'relay-unreachable', message: expect.stringContaining('was cut') });
  });

  test('no such host', async () => {
    const error = await failureOf(clientOf('https://gate.invalid').whoAmI());
    expect(error).toMatchObject({ code: 'relay-unreachable' });
    expect(error.message).toMatch(/no such host name|could not be looked up/);
  });

  test('something that does not speak TLS', async () => {
    await using server = await startHttp(() => undefined);
    const error = await failureOf(clientOf(server.url.replace('http:', 'https:')).whoAmI());
    expect(error).toMatchObject({ code: 'relay-unreachable', message: expect.stringContaining('does not speak TLS') });
  });

  test('something that does not speak HTTP', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      socket.once('data', () => socket.write('SSH-2.0-OpenSSH_9.9\r\n'));
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const error = await failureOf(clientOf(`http://127.0.0.1:${port}`).whoAmI());
    expect(error.code).toBe('relay-unreachable');
    for (const socket of sockets) socket.destroy();
    server.close();
  });
});

describe('without a login', () => {
  test('only the public part answers', async () => {
    await using scratch = await makeScratch();
    const info = { service: 'gate', version: '1', issuer: 'https://login.example.com', clientId: 'gate', scopes: [] };
    await using server = await startHttp((_, response) => sendJson(response, 200, info));
    const client = createRelayClient(configOf(scratch.directory, server.url), { warn: () => undefined });
    expect(await client.info()).toEqual(info);
    await expect(client.whoAmI()).rejects.toMatchObject({
      code: 'login-required',
      hint: 'Run gate login.',
    });
    expect(server.requests).toEqual(['GET /.well-known/gate']);
  });

  test('a GATE_TOKEN that the relay refuses is an error at once', async () => {
    await using server = await startHttp((_, response) =>
      sendJson(response, 401, { error: { code: 'login-required', message: 'the token has expired' } }),
    );
    await expect(clientOf(server.url).whoAmI()).rejects.toThrow('the token has expired');
    expect(server.requests).toHaveLength(1);
  });
});

function entry(seq: number, reason = 'done'): unknown {
  return { v: 1, session: 'ses-1', seq, prev: '', time: 't', event: { kind: 'session.close', reason } };
}

async function collect(answer: Answer): Promise<number[]> {
  await using server = await startHttp(answer);
  const seqs: number[] = [];
  for await (const { seq } of clientOf(server.url).entries('ses-1')) seqs.push(seq);
  return seqs;
}

describe('the record of a session', () => {
  test('is read line by line, wherever the chunks are cut', async () => {
    const bytes = Buffer.from(`${JSON.stringify(entry(1, 'é\u{1f512}'))}\n${JSON.stringify(entry(2))}\n`);
    const seqs = await collect(async (_, response) => {
      for (const byte of bytes) {
        response.write(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      response.end();
    });
    expect(seqs).toEqual([1, 2]);
  });

  test.each([
    ['in the middle of a line', '{"v":1,"ses'],
    ['after a line', ''],
  ])('that breaks off %s fails', async (_, rest) => {
    const work = collect((__, response) => {
      response.write(`${JSON.stringify(entry(1))}\n${rest}`, () => response.destroy());
    });
    await expect(work).rejects.toMatchObject({ code: 'relay-unreachable' });
  });

  test('that ends without its last line break fails', async () => {
    const work = collect((_, response) => {
      response.end(JSON.stringify(entry(1)));
    });
    await expect(work).rejects.toMatchObject({
      code: 'relay-unreachable',
      message: expect.stringContaining('broke off'),
    });
  });

  test('with a line that is no entry fails', async () => {
    const work = collect((_, response) => {
      response.end('{"v":2}\n');
    });
    await expect(work).rejects.toMatchObject({ code: 'protocol-violation' });
  });

  test('a consumer that stops early ends the request', async () => {
    let closed: Promise<void> | undefined;
    await using server = await startHttp((_, response) => {
      closed = new Promise((resolve) => {
        response.on('close', resolve);
      });
      response.write(`${JSON.stringify(entry(1))}\n`);
    });
    for await (const { seq } of clientOf(server.url).entries('ses-1')) {
      expect(seq).toBe(1);
      break;
    }
    await closed;
  });
});
