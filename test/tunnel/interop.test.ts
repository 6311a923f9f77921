/** Both ends of a tunnel against the `ws` library as the peer, and against frames written by hand. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { requestUpgrade } from '../../src/tunnel/handshake.ts';
import type { TunnelOptions } from '../../src/tunnel/tunnel.ts';
import { End, Line, until } from './ends.ts';
import { closePayload, encodeFrame } from './frames.ts';

type Side = 'relay' | 'client';

/** A tunnel end of gate at one side, and the library at the other. */
type Pair = { readonly end: End; readonly peer: WebSocket; readonly heard: string[]; readonly closes: string[] };

let line: Line;
let closing: (() => unknown)[] = [];

beforeEach(async () => {
  line = await Line.start();
  closing = [];
});
afterEach(async () => {
  for (const close of closing) await close();
  await line.close();
});

async function pair(side: Side, options: TunnelOptions & { takesNews?: boolean } = {}): Promise<Pair> {
  const [end, peer] = side === 'relay' ? await gateAtRelay(options) : await gateAtClient(options);
  const heard: string[] = [];
  const closes: string[] = [];
  peer.on('error', () => undefined);
  peer.on('message', (data: Buffer, isBinary) => heard.push(`${isBinary ? 'data' : 'text'} ${data.toString('latin1')}`));
  peer.on('ping', (payload) => heard.push(`ping ${payload.toString()}`));
  peer.on('pong', (payload) => heard.push(`pong ${payload.toString()}`));
  peer.on('close', (code, reason) => closes.push(`${code} ${reason.toString()}`));
  closing.push(() => end.tunnel.terminate(), () => peer.terminate());
  return { end, peer, heard, closes };
}

async function gateAtRelay(options: TunnelOptions): Promise<[End, WebSocket]> {
  const accepted = line.accept();
  const peer = new WebSocket(`ws://127.0.0.1:${line.port}`, { perMessageDeflate: false });
  const [upgraded] = await Promise.all([accepted, once(peer, 'open')]);
  return [new End(upgraded, options), peer];
}

async function gateAtClient(options: TunnelOptions): Promise<[End, WebSocket]> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true });
  closing.push(() => server.close());
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[WebSocket]>;
  const answer = await requestUpgrade({ url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, timeoutMs: 10_000 });
  if ('response' in answer) throw new Error('no upgrade');
  return [new End(answer, options), (await accepted)[0]];
}

describe.each<Side>(['relay', 'client'])('gate at the %s', (side) => {
  test('takes data of every form of length, in fragments, with pings between them', async () => {
    const { end, peer, heard } = await pair(side);
    const sent: Buffer[] = [];
    for (const size of [0, 1, 125, 126, 127, 65_535, 65_536, 300_000]) {
      const bytes = randomBytes(size);
      sent.push(bytes, bytes);
      peer.send(bytes);
      peer.send(bytes.subarray(0, size >> 1), { fin: false });
      peer.ping(`at ${size}`);
      peer.send(bytes.subarray(size >> 1), { fin: true });
    }
    const expected = Buffer.concat(sent);
    await until('all has arrived', () => end.bytes === expected.length);
    expect(end.all.equals(expected)).toBe(true);
    await until('the last ping is answered', () => heard.includes('pong at 300000'));
    expect(end.closes).toEqual([]);
  });

  test('sends data of every form of length', async () => {
    const { end, peer } = await pair(side);
    const received: Buffer[] = [];
    peer.on('message', (data) => received.push(data as Buffer));
    const sent = [0, 1, 125, 126, 127, 16 * 1024, 16 * 1024 + 1, 65_535, 65_536, 65_537, 262_144, 262_145, 1_000_000].map((size) => randomBytes(size));
    const copies = sent.map((bytes) => Buffer.from(bytes));
    for (const bytes of sent) end.tunnel.write(bytes);
    const expected = Buffer.concat(copies);
    const length = () => received.reduce((sum, one) => sum + one.length, 0);
    await until('all has arrived', () => length() === expected.length);
    expect(Buffer.concat(received).equals(expected)).toBe(true);
    // The caller's bytes are as they were: a mask goes over a copy.
    expect(Buffer.concat(sent).equals(expected)).toBe(true);
  });

  test('news is text, in order with the data', async () => {
    const { end, heard } = await pair(side);
    end.tunnel.write(Buffer.from('one'));
    end.tunnel.tell('né');
    end.tunnel.write(Buffer.from('two'));
    await until('all has arrived', () => heard.length === 3);
    expect(heard).toEqual(['data one', `text ${Buffer.from('né').toString('latin1')}`, 'data two']);
  });

  test('takes news where it is wanted, in fragments as well', async () => {
    const { end, peer } = await pair(side, { takesNews: true });
    peer.send('whole');
    peer.send('in ', { fin: false });
    peer.send('piecés', { fin: true });
    await until('it has arrived', () => end.news.length === 2);
    expect(end.news).toEqual(['whole', 'in piecés']);
  });

  test.each([
    [1000, 'done'],
    [4410, 'x'.repeat(123)],
    [1012, ''],
  ])('closes with %d', async (code, reason) => {
    const { end, closes } = await pair(side);
    end.tunnel.write(Buffer.from('last'));
    end.tunnel.close(code, reason);
    await until('both have closed', () => end.closes.length === 1 && closes.length === 1);
    expect(closes).toEqual([`${code} ${reason}`]);
    expect(end.closes).toEqual([{ code, reason }]);
  });

  test('is closed, with a code and without', async () => {
    const first = await pair(side);
    first.peer.close(4401, 'see you');
    const second = await pair(side);
    second.peer.close();
    for (const { end, closes } of [first, second]) await until('both have closed', () => end.closes.length === 1 && closes.length === 1);
    expect([first.end.closes, first.closes]).toEqual([[{ code: 4401, reason: 'see you' }], ['4401 see you']]);
    expect([second.end.closes, second.closes]).toEqual([[{ code: 1005, reason: '' }], ['1005 ']]);
  });

  test('asks whether the peer is there, and hears that it is', async () => {
    const { end, heard } = await pair(side, { pingIntervalMs: 20 });
    await until('many pings have been answered', () => heard.filter((one) => one === 'ping ').length >= 10);
    expect(end.closes).toEqual([]);
  });

  test('a peer that does not answer the close frame is cut off', async () => {
    const { end, peer } = await pair(side, { closeTimeoutMs: 50 });
    peer.pause();
    end.tunnel.close(1000, '');
    await until('it has given up', () => end.closes.length === 1);
    expect(end.closes).toEqual([{ code: 1006, reason: '' }]);
  });

  test('a text message ends it where none is wanted', async () => {
    const { end, peer, closes } = await pair(side);
    peer.send('x'.repeat(100));
    await until('both have closed', () => end.closes.length === 1 && closes.length === 1);
    expect(closes).toEqual(['1003 the tunnel carries binary messages only']);
  });
});

/** A bare socket that has upgraded at gate's relay end. */
async function bare(options: TunnelOptions = {}): Promise<{ socket: Socket; end: End; sent: () => string }> {
  const accepted = line.accept();
  const socket = connect(line.port, '127.0.0.1');
  let sent = '';
  socket.on('data', (bytes: Buffer) => (sent += bytes.toString('latin1')));
  socket.on('error', () => undefined);
  socket.write(`GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
  const end = new End(await accepted, options);
  await until('it has upgraded', () => sent.includes('\r\n\r\n'));
  closing.push(() => socket.destroy(), () => end.tunnel.terminate());
  return { socket, end, sent: () => sent.slice(sent.indexOf('\r\n\r\n') + 4) };
}

const key = Buffer.from([7, 0x80, 0xff, 1]);
const latin = (bytes: Buffer) => bytes.toString('latin1');

describe('frames by hand', () => {
  test('what comes in one piece with the request for the upgrade is not lost', async () => {
    const accepted = line.accept();
    const socket = connect(line.port, '127.0.0.1');
    closing.push(() => socket.destroy());
    socket.write(
      Buffer.concat([
        Buffer.from(`GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`),
        encodeFrame({ opcode: 2, payload: Buffer.from('early'), key }),
      ]),
    );
    const end = new End(await accepted);
    closing.push(() => end.tunnel.terminate());
    await until('it has arrived', () => end.bytes === 5);
    expect(end.all.toString()).toBe('early');
  });

  test('a close frame that comes in pieces is answered with its own code, and the socket ends', async () => {
    const { socket, end, sent } = await bare();
    for (const byte of encodeFrame({ opcode: 8, payload: closePayload(4000, 'bye'), key })) {
      socket.write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    await once(socket, 'close');
    expect(sent()).toBe(latin(encodeFrame({ opcode: 8, payload: closePayload(4000, 'bye') })));
    await until('it is told', () => end.closes.length === 1);
    expect(end.closes).toEqual([{ code: 4000, reason: 'bye' }]);
  });

  test.each([
    ['a frame without a mask', encodeFrame({ opcode: 2, payload: Buffer.from('x') }), 1002],
    ['a reserved bit', encodeFrame({ opcode: 2, payload: Buffer.from('x'), key, reserved: 4 }), 1002],
    ['an unknown kind', encodeFrame({ opcode: 5, payload: Buffer.from('x'), key }), 1002],
    ['a close code that is none', encodeFrame({ opcode: 8, payload: closePayload(1006), key }), 1002],
    ['a message that is too large', encodeFrame({ opcode: 2, payload: Buffer.alloc(0), key, length: { bytes: 8, value: 1n << 32n } }), 1009],
  ])('%s closes with its code, once, and nothing behind it is delivered', async (_, wrong, code) => {
    const { socket, end, sent } = await bare();
    const good = encodeFrame({ opcode: 2, payload: Buffer.from('good'), key });
    socket.write(Buffer.concat([good, wrong, good]));
    await once(socket, 'close');
    expect(end.all.toString()).toBe('good');
    expect([sent().charCodeAt(0), sent().charCodeAt(2) * 256 + sent().charCodeAt(3)]).toEqual([0x88, code]);
    await until('it is told', () => end.closes.length === 1);
    expect(end.closes).toEqual([{ code: 1006, reason: '' }]);
  });

  test('half a frame and then the end is a broken tunnel', async () => {
    const { socket, end } = await bare();
    socket.end(encodeFrame({ opcode: 2, payload: Buffer.alloc(100), key }).subarray(0, 50));
    await until('it is told', () => end.closes.length === 1);
    expect([end.bytes, end.closes]).toEqual([44, [{ code: 1006, reason: '' }]]);
  });

  test('pings whose answers are not read keep one answer waiting, not all', async () => {
    const { socket, end, sent } = await bare();
    socket.pause();
    const chunk = Buffer.alloc(64 * 1024);
    while (end.tunnel.write(chunk)) await new Promise(setImmediate);
    const before = end.tunnel.unsentBytes;
    for (let index = 0; index < 1000; index++) socket.write(encodeFrame({ opcode: 9, payload: Buffer.from(String(index).padStart(100)), key }));
    socket.write(encodeFrame({ opcode: 2, payload: Buffer.from('!'), key }));
    await until('all pings have been read', () => end.bytes === 1);
    expect(end.tunnel.unsentBytes - before).toBeLessThan(1000);
    socket.resume();
    await until('the newest is answered', () => sent().endsWith(String(999).padStart(100)));
  });

  test('a tunnel end masks each frame with a key of its own', async () => {
    const upgrades: Socket[] = [];
    const server = createServer().listen(0, '127.0.0.1');
    closing.push(() => server.closeAllConnections(), () => server.close());
    const seen: Buffer[] = [];
    // The library's own server does the handshake, and somebody else reads what comes behind it.
    const handshakes = new WebSocketServer({ noServer: true });
    server.on('upgrade', (request, socket, head) => {
      handshakes.handleUpgrade(request, socket, head, () => undefined);
      socket.removeAllListeners('data');
      socket.on('data', (bytes: Buffer) => seen.push(bytes));
      upgrades.push(socket as Socket);
    });
    await once(server, 'listening');
    const answer = await requestUpgrade({ url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, timeoutMs: 10_000 });
    if ('response' in answer) throw new Error('no upgrade');
    const end = new End(answer);
    closing.push(() => end.tunnel.terminate(), () => upgrades.forEach((socket) => socket.destroy()));
    for (let index = 0; index < 20; index++) end.tunnel.write(Buffer.alloc(100));
    const all = () => Buffer.concat(seen);
    await until('all has arrived', () => all().length === 20 * 106);
    const keys = Array.from({ length: 20 }, (_, index) => all().subarray(index * 106 + 2, index * 106 + 6).toString('hex'));
    expect(new Set(keys).size).toBe(20);
    expect(keys.every((one, index) => all().subarray(index * 106 + 6, (index + 1) * 106).toString('hex') === one.repeat(25))).toBe(true);
  });
});
