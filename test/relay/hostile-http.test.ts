/** A stranger on the relay's own port: HTTP requests and WebSockets that break every rule, with and without a token. */
import { connect, type Socket } from 'node:net';
import { serialize } from 'pg-protocol';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { eventually, startRelayFixture, type OpenTunnel, type RelayFixture } from './fixture.ts';
import { RawTunnel } from './raw-tunnel.ts';
import { RelayChild } from './relay-child.ts';

const child = new RelayChild();
let fixture: RelayFixture;
let own: OpenTunnel;
let token: string;
let path: string;
let authorization: { authorization: string };

beforeAll(async () => {
  fixture = await startRelayFixture({ start: child.start });
  own = await fixture.connect();
  token = await (await fixture.clientFor('engineer')).accessToken();
  path = `/v1/sessions/${own.session.id}/tunnel`;
  authorization = { authorization: `Bearer ${token}` };
});
afterAll(async () => fixture?.[Symbol.asyncDispose]());
afterEach(async () => {
  expect(child.isAlive).toBe(true);
  const client = await own.client();
  expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  await client.end();
});

function call(method: string, target: string, headers: Record<string, string> = {}, body?: string): Promise<Response> {
  return fetch(`${fixture.relayUrl}${target}`, { method, headers, ...(body !== undefined && { body }) });
}

async function errorOf(response: Response): Promise<[number, string]> {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  expect(error.message).not.toMatch(/ at .*\.ts:\d|node_modules/);
  return [response.status, error.code];
}

/** A bare socket to the relay, and what it said until it closed. */
function raw(...bytes: (string | Buffer)[]): { socket: Socket; closed: Promise<string> } {
  const { hostname, port } = new URL(fixture.relayUrl);
  const socket = connect(Number(port), hostname);
  let said = '';
  socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  for (const part of bytes) socket.write(part);
  return { socket, closed: new Promise((resolve) => socket.once('close', () => resolve(said))) };
}

describe('the HTTP API', () => {
  test('nothing but the public paths answers without a good token', async () => {
    for (const target of ['/v1/whoami', '/v1/targets', '/v1/sessions', `/v1/sessions/${own.session.id}`, `/v1/sessions/${own.session.id}/entries`]) {
      expect([target, ...(await errorOf(await call('GET', target)))]).toEqual([target, 401, 'login-required']);
    }
    const [head = '', claims = '', signature = ''] = token.split('.');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    const tokens = [
      '',
      'x',
      `${head}.${claims}.`,
      `${none}.${claims}.`,
      `${none}.${claims}.${signature}`,
      `${head}.${Buffer.from(Buffer.from(claims, 'base64url').toString().replace('engineering', 'dba')).toString('base64url')}.${signature}`,
      `${head}.${claims}.${signature.slice(0, -8)}AAAAAAAA`,
      'x'.repeat(20_000),
    ];
    for (const bad of tokens) {
      expect(await errorOf(await call('GET', '/v1/whoami', { authorization: `Bearer ${bad}` }))).toEqual([401, 'login-required']);
    }
  });

  test.each([
    ['no JSON', 'select 1', [400, 'usage']],
    ['nothing', '', [400, 'usage']],
    ['half a document', '{"target":"prod-db"', [400, 'usage']],
    ['a list', '[]', [400, 'usage']],
    ['null', 'null', [400, 'usage']],
    ['a number for a name', '{"target":1}', [400, 'usage']],
    ['an unknown field', '{"target":"prod-db","admin":true}', [400, 'usage']],
    ['a prototype', '{"target":"prod-db","__proto__":{"role":"dba"}}', [400, 'usage']],
    ['a name of a property', '{"target":"__proto__","reason":"x"}', [404, 'target-unknown']],
    ['another of them', '{"target":"constructor","reason":"x"}', [404, 'target-unknown']],
    ['a role of a property', '{"target":"prod-db","role":"toString","reason":"x"}', [403, 'denied']],
    ['a negative time', '{"target":"prod-db","reason":"x","durationSeconds":-1}', [400, 'usage']],
    ['an endless time', '{"target":"prod-db","reason":"x","durationSeconds":1e300}', [400, 'usage']],
    ['a time past the role', '{"target":"prod-db","reason":"x","durationSeconds":999999999}', [403, 'denied']],
    ['a reason of blanks', '{"target":"prod-db","reason":"   "}', [422, 'reason-required']],
    ['a deep document', `{"target":${'['.repeat(8000)}${']'.repeat(8000)}}`, [400, 'usage']],
    ['a large document', JSON.stringify({ target: 'x'.repeat(20_000) }), [413, 'too-large']],
  ])('POST /v1/grants with %s', async (_, body, expected) => {
    expect(await errorOf(await call('POST', '/v1/grants', authorization, body))).toEqual(expected);
  });

  test("another person's grant and sessions do not exist", async () => {
    const dba = await fixture.clientFor('dba');
    const grant = await dba.createGrant({ target: 'prod-db', reason: 'theirs' });
    const verifier = `SCRAM-SHA-256$4096:${Buffer.alloc(16).toString('base64')}$${Buffer.alloc(32).toString('base64')}:${Buffer.alloc(32).toString('base64')}`;
    const body = JSON.stringify({ grant: grant.id, verifier, command: 'connect' });
    expect(await errorOf(await call('POST', '/v1/sessions', authorization, body))).toEqual([404, 'not-found']);
    const theirs = (await fixture.connect('dba')).session.id;
    for (const target of [theirs, `${theirs}/entries`, theirs.slice(0, 6), '%25', '_', '..%2f..%2fpolicy.yaml', '%00', '']) {
      const [status] = await errorOf(await call('GET', `/v1/sessions/${target}`, authorization));
      expect([target, status]).toEqual([target, 404]);
    }
    expect(await errorOf(await call('POST', `/v1/sessions/${theirs}/end`, authorization))).toEqual([404, 'not-found']);
    const weak = body.replace('4096', '1');
    expect((await errorOf(await call('POST', '/v1/sessions', authorization, weak)))[0]).toBeGreaterThanOrEqual(400);
  });

  test('wrong methods and paths', async () => {
    for (const [method, target] of [
      ['DELETE', '/v1/sessions'],
      ['PUT', '/v1/grants'],
      ['PUT', '/v1/requests'],
      ['GET', '/v1/requests/r_x/approve'],
      ['DELETE', '/v1/grants/g_x'],
      ['POST', '/'],
      ['GET', '/../../etc/passwd'],
      ['GET', '/v1//whoami'],
      ['GET', '/v1/whoami/%2e%2e/%2e%2e/etc/passwd'],
      ['GET', `/${'x'.repeat(10_000)}`],
      ['OPTIONS', '/v1/grants'],
    ] as const) {
      expect([method, target, (await errorOf(await call(method, target, authorization)))[0]]).toEqual([method, target, 404]);
    }
    for (const limit of ['0', '-1', 'NaN', '1.5', '1e999']) {
      expect(await errorOf(await call('GET', `/v1/sessions?limit=${limit}`, authorization))).toEqual([400, 'usage']);
    }
  });

  test.each([
    ['garbage', '\x00\x01\x02\x03\r\n\r\n'],
    ['a PostgreSQL start-up packet', serialize.startup({ user: 'x', database: 'y' })],
    ['a TLS ClientHello', Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0, 1]), Buffer.alloc(500)])],
    ['large headers', `GET /livez HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`],
    ['two lengths', 'POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\nabc'],
    ['a length and chunks (request smuggling)', 'POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a negative length', 'POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'],
    ['CONNECT', 'CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n'],
  ])('%s: an error status or nothing, and the end', async (_, bytes) => {
    const { socket, closed } = raw(bytes);
    const said = await closed;
    socket.destroy();
    expect(said).toMatch(/^$|^HTTP\/1\.1 4\d\d /);
  });

  test.each([
    ['with a token', () => `Authorization: Bearer ${token}\r\n`],
    ['without one', () => ''],
  ])('a chunked body that never ends, %s: refused, cut, and not kept', async (_, header) => {
    const before = (await child.memory()).now;
    const { socket } = raw(`POST /v1/grants HTTP/1.1\r\nHost: x\r\n${header()}Transfer-Encoding: chunked\r\n\r\n`);
    const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(1024 * 1024, 0x20), Buffer.from('\r\n')]);
    let sent = 0;
    while (!socket.destroyed && sent < 500) {
      sent++;
      // The callback is called with an error when the socket is closed.
      await new Promise((resolve) => socket.write(chunk, resolve));
    }
    expect((await child.memory()).peak - before).toBeLessThan(150_000_000);
    socket.destroy();
  });

  test('two hundred connections that say nothing, or half a request, keep nobody out', async () => {
    const sockets = Array.from({ length: 200 }, (_, index) => raw(index % 2 === 0 ? '' : 'GET /livez HTTP/1.1\r\nHost:'));
    await Promise.all(sockets.map(({ socket }) => new Promise((resolve) => socket.once('connect', resolve))));
    expect((await call('GET', '/livez')).status).toBe(200);
    for (const { socket } of sockets) socket.destroy();
  });
});

describe('the tunnel', () => {
  async function open(): Promise<RawTunnel> {
    const { tunnel } = await RawTunnel.open(fixture.relayUrl, path, authorization);
    if (tunnel === undefined) throw new Error('the tunnel was refused');
    return tunnel;
  }

  test.each([
    ['no token', () => path, () => ({}), 401],
    ['a token in the URL', () => `${path}?access_token=${token}`, () => ({}), 404],
    ['an Origin', () => path, () => ({ ...authorization, origin: 'https://evil.example' }), 403],
    ['an Origin of its own', () => path, () => ({ ...authorization, origin: fixture.relayUrl }), 403],
    ['a Cookie', () => path, () => ({ ...authorization, cookie: 'a=b' }), 403],
    ['no such session', () => '/v1/sessions/s_000000000000/tunnel', () => authorization, 404],
    ['a path trick', () => '/v1/sessions/../sessions/x/tunnel', () => authorization, 404],
    ['an escaped id', () => path.replace('s_', '%73_'), () => authorization, 404],
    ['a prefix of the id', () => path.replace(/..\/tunnel/, '/tunnel'), () => authorization, 404],
    ['another path', () => '/v1/whoami', () => authorization, 404],
  ])('%s: refused before it opens', async (_, target, headers, status) => {
    const answer = await RawTunnel.open(fixture.relayUrl, target(), headers());
    expect(answer.status).toBe(status);
  });

  test("another person's session: refused with that person's own words for what does not exist", async () => {
    const theirs = await fixture.connect('dba');
    const answer = await RawTunnel.open(fixture.relayUrl, `/v1/sessions/${theirs.session.id}/tunnel`, authorization);
    expect(answer).toMatchObject({ status: 404, body: expect.stringContaining('you have no session') });
  });

  test('a session that ended: refused with the reason', async () => {
    const client = await fixture.clientFor('engineer');
    const ended = await fixture.connect();
    await client.endSession(ended.session.id);
    const answer = await RawTunnel.open(fixture.relayUrl, `/v1/sessions/${ended.session.id}/tunnel`, authorization);
    expect(answer).toMatchObject({ status: 410, body: expect.stringContaining('ended by its owner') });
  });

  test('a refused upgrade does not keep its socket, whatever the other side does', async () => {
    const upgrade = `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`;
    const { hostname, port } = new URL(fixture.relayUrl);
    // This one keeps its own half open and goes on writing.
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    let said = '';
    socket.on('data', (chunk: Buffer) => (said += chunk.toString()));
    socket.on('error', () => undefined);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(upgrade);
    await eventually('it is refused', () => said.startsWith('HTTP/1.1 401 '));
    const poke = setInterval(() => socket.write('still here'), 20);
    await closed;
    clearInterval(poke);
  });

  test.each([
    ['text', (tunnel: RawTunnel) => tunnel.socket.send('select 1'), 1003],
    ['2 MiB in one message', (tunnel: RawTunnel) => tunnel.socket.send(Buffer.alloc(2 * 1024 * 1024)), 1009],
    [
      '2 MiB in fragments, of which the first is no start-up',
      (tunnel: RawTunnel) => {
        for (let part = 0; part < 64; part++) tunnel.socket.send(Buffer.alloc(32 * 1024), { fin: part === 63 });
      },
      1002,
    ],
    ['an HTTP request inside', (tunnel: RawTunnel) => tunnel.socket.send(Buffer.from('GET / HTTP/1.1\r\n\r\n')), 1002],
  ])('%s: closed with a code', async (_, send, code) => {
    const tunnel = await open();
    send(tunnel);
    expect((await tunnel.closed).code).toBe(code);
  });

  test.each([
    ['an unmasked frame', Buffer.from([0x82, 1, 0x51])],
    ['a reserved opcode', Buffer.from([0x83, 0x80, 0, 0, 0, 0])],
    ['reserved bits', Buffer.from([0xf2, 0x80, 0, 0, 0, 0])],
    ['a length of 2^63', Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])],
    ['a ping of 126 bytes', Buffer.concat([Buffer.from([0x89, 0xfe, 0, 126, 0, 0, 0, 0]), Buffer.alloc(126)])],
    ['a fragmented ping', Buffer.from([0x09, 0x80, 0, 0, 0, 0])],
    ['a continuation of nothing', Buffer.from([0x80, 0x81, 0, 0, 0, 0, 1])],
    ['a close frame of one byte', Buffer.from([0x88, 0x81, 0, 0, 0, 0, 1])],
    ['a close code that may not be sent', Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xee])],
  ])('%s on the socket: the end', async (_, bytes) => {
    const tunnel = await open();
    (tunnel.socket as unknown as { _socket: Socket })._socket.write(bytes);
    // The relay's close code would be 1002; a client that breaks the rules may also just be cut off.
    expect([1002, 1006, 1009]).toContain((await tunnel.closed).code);
  });

  test('any close code of the client is taken', async () => {
    for (const code of [1000, 1001, 1011, 3000, 4999]) {
      const tunnel = await open();
      await tunnel.logIn(own.session);
      tunnel.socket.close(code, 'x'.repeat(100));
      expect((await tunnel.closed).code).toBe(code);
    }
    await eventually('no backend is left', async () => (await backends(own)) === 0);
  });

  test('statements byte by byte and cut anywhere into messages work', async () => {
    const tunnel = await open();
    await tunnel.logIn(own.session);
    for (const byte of serialize.query('select 1')) tunnel.socket.send(Buffer.from([byte]));
    await tunnel.next('Z');
    const bytes = serialize.query('select 2');
    tunnel.socket.send(bytes.subarray(0, 3), { fin: false });
    tunnel.socket.send(bytes.subarray(3));
    await tunnel.next('Z');
    tunnel.socket.terminate();
  });

  test('a flood of pings from one who never reads does not fill the memory of the relay', async () => {
    const tunnel = await open();
    const socket = (tunnel.socket as unknown as { _socket: Socket })._socket;
    const before = (await child.memory()).now;
    socket.pause();
    const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 125, 0, 0, 0, 0]), Buffer.alloc(125, 1)]);
    const many = Buffer.concat(Array.from({ length: 8000 }, () => ping));
    let isStopped = false;
    for (let round = 0; round < 250 && !isStopped; round++) {
      if (socket.write(many)) continue;
      // Not being read any more is as good an answer as being read and forgotten.
      isStopped = await Promise.race([
        new Promise<boolean>((resolve) => socket.once('drain', () => resolve(false))),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 5000)),
      ]);
    }
    await child.quiet();
    expect((await child.memory()).peak - before).toBeLessThan(128_000_000);
    tunnel.socket.terminate();
  });

  test('a large message in pieces of one byte costs memory by its bytes, not by its pieces', async () => {
    const tunnel = await open();
    await tunnel.logIn(own.session);
    const before = (await child.memory()).now;
    const head = Buffer.alloc(5);
    head.write('Q');
    head.writeUInt32BE(60 * 1024 * 1024, 1);
    tunnel.socket.send(head);
    const socket = (tunnel.socket as unknown as { _socket: Socket })._socket;
    const many = Buffer.concat(Array.from({ length: 100_000 }, () => Buffer.from([0x82, 0x81, 0, 0, 0, 0, 0x20])));
    for (let round = 0; round < 20; round++) {
      if (!socket.write(many)) await new Promise((resolve) => socket.once('drain', resolve));
    }
    await child.quiet();
    expect((await child.memory()).peak - before).toBeLessThan(128_000_000);
    tunnel.socket.terminate();
  });

  test('a hundred connections of a session are served, one more is told', async () => {
    const crowd = await fixture.connect();
    const tunnels = await Promise.all(
      Array.from({ length: 100 }, () => RawTunnel.open(fixture.relayUrl, `/v1/sessions/${crowd.session.id}/tunnel`, authorization)),
    );
    await expect(crowd.client()).rejects.toMatchObject({ code: '53300' });
    for (const { tunnel } of tunnels) tunnel?.socket.terminate();
    await eventually('there is room again', () =>
      crowd.client().then(
        () => true,
        () => false,
      ),
    );
  });

  test('an upgrade to something else is refused', async () => {
    const { socket, closed } = raw('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
    expect(await closed).toMatch(/^HTTP\/1\.1 404 /);
    socket.destroy();
    await new Promise<void>((resolve) => {
      const old = new WebSocket(`${fixture.relayUrl.replace('http', 'ws')}${path}`, { headers: authorization, protocolVersion: 8 });
      old.once('error', () => resolve());
      old.once('open', () => resolve());
    });
  });
});

async function backends({ session }: OpenTunnel): Promise<number> {
  const { rowCount } = await fixture.admin.query(`select 1 from pg_stat_activity where application_name like 'gate/' || $1 || '%'`, [session.id]);
  return rowCount ?? 0;
}
