/** The tunnel between two real WebSocket ends: bytes whole and in order, memory bounded, and a reason at the end. */
import { randomBytes, createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { messageBytesMax } from '../../src/tunnel/frame-reader.ts';
import { writeBufferBytes, type TunnelOptions } from '../../src/tunnel/tunnel.ts';
import { End, Line, until } from './ends.ts';

/** The longest header of one frame. */
const headerBytes = 14;

let line: Line;
let near: End;
let far: End;

async function open(options: TunnelOptions = {}): Promise<void> {
  const [nearEnd, farEnd] = await Promise.all([line.dial(), line.accept()]);
  near = new End(nearEnd, options);
  far = new End(farEnd, options);
}

/** Someone else's WebSocket at the near end, so that it can send what a tunnel never would. */
async function openStranger(): Promise<{ socket: WebSocket; closes: { code: number; reason: string }[] }> {
  const accepted = line.accept();
  const socket = new WebSocket(`ws://127.0.0.1:${line.port}`, { perMessageDeflate: false });
  const closes: { code: number; reason: string }[] = [];
  socket.on('error', () => undefined);
  socket.on('close', (code, reason) => closes.push({ code, reason: reason.toString() }));
  const opened = new Promise((resolve) => socket.once('open', resolve));
  far = new End(await accepted);
  await opened;
  return { socket, closes };
}

beforeEach(async () => {
  line = await Line.start();
});
afterEach(async () => {
  near?.tunnel.terminate();
  far?.tunnel.terminate();
  await line.close();
});

describe('bytes', () => {
  test('any sizes in both directions arrive whole and in order', async () => {
    await open();
    const hashes = [createHash('sha256'), createHash('sha256')];
    let sent = 0;
    for (const size of [0, 1, 5, 1000, 256 * 1024, 256 * 1024 + 1, 3 * 1024 * 1024]) {
      for (const [index, end] of [near, far].entries()) {
        const bytes = randomBytes(size);
        hashes[index]?.update(bytes);
        end.tunnel.write(bytes);
      }
      sent += size;
    }
    await until('all has arrived', () => near.bytes === sent && far.bytes === sent);
    expect(createHash('sha256').update(Buffer.concat(far.received)).digest('hex')).toBe(hashes[0]?.digest('hex'));
    expect(createHash('sha256').update(Buffer.concat(near.received)).digest('hex')).toBe(hashes[1]?.digest('hex'));
    expect(far.received.every((bytes) => bytes.length <= messageBytesMax)).toBe(true);
  });

  test('an empty write sends nothing, and a write to a closed tunnel is dropped', async () => {
    await open();
    expect(near.tunnel.write(Buffer.alloc(0))).toBe(true);
    near.tunnel.close(1000, '');
    await until('both have closed', () => near.closes.length === 1 && far.closes.length === 1);
    expect(near.tunnel.write(Buffer.from('x'))).toBe(true);
    expect([near.tunnel.unsentBytes, near.tunnel.isOpen, far.received]).toEqual([0, false, []]);
  });
});

describe('backpressure', () => {
  test.each(['near', 'far'] as const)('a writer at the %s end is told to stop, and to go on once the reader does', async (side) => {
    await open();
    const [writer, reader] = side === 'near' ? [near, far] : [far, near];
    reader.tunnel.pause();
    const chunk = randomBytes(64 * 1024);
    let written = 0;
    while (writer.tunnel.write(chunk)) {
      written += chunk.length;
      await new Promise(setImmediate);
      expect(written).toBeLessThan(512 * 1024 * 1024);
    }
    written += chunk.length;
    expect(writer.tunnel.unsentBytes).toBeGreaterThan(writeBufferBytes);
    expect(writer.tunnel.unsentBytes).toBeLessThanOrEqual(writeBufferBytes + chunk.length + headerBytes);
    expect(writer.drains).toBe(0);
    // What a paused reader gets is at most what it had read already.
    expect(reader.bytes).toBeLessThan(1024 * 1024);
    reader.tunnel.resume();
    await until('all has arrived', () => reader.bytes === written);
    await until('the writer may go on', () => writer.drains === 1);
    expect(writer.tunnel.unsentBytes).toBe(0);
    expect(writer.tunnel.write(chunk)).toBe(true);
  });

  test('150 MB through a reader that stops again and again stay bounded', async () => {
    await open();
    const total = 150 * 1024 * 1024;
    const chunk = Buffer.alloc(64 * 1024, 'x');
    let written = 0;
    let most = 0;
    let seen = 0;
    const pump = () => {
      while (written < total) {
        written += chunk.length;
        const goesOn = near.tunnel.write(chunk);
        most = Math.max(most, near.tunnel.unsentBytes);
        if (!goesOn) return;
      }
    };
    let drains = 0;
    pump();
    while (seen < total) {
      await until('something arrives', () => far.bytes > seen);
      far.tunnel.pause();
      seen = far.bytes;
      far.received = [];
      await new Promise(setImmediate);
      far.tunnel.resume();
      if (near.drains > drains) {
        drains = near.drains;
        pump();
      }
    }
    expect(seen).toBe(total);
    expect(drains).toBeGreaterThan(10);
    expect(most).toBeLessThanOrEqual(writeBufferBytes + chunk.length + headerBytes);
  });
});

describe('the end', () => {
  test.each([
    [1000, 'done', 'done'],
    [1012, 'the relay stops', 'the relay stops'],
    [4410, 'x'.repeat(123), 'x'.repeat(123)],
    [4410, 'x'.repeat(124), `${'x'.repeat(120)}…`],
    [4410, 'é'.repeat(62), `${'é'.repeat(60)}…`],
    [4410, `x${'é'.repeat(61)}`, `x${'é'.repeat(61)}`],
    [4410, `x${'é'.repeat(62)}`, `x${'é'.repeat(59)}…`],
    [4410, '日'.repeat(60), `${'日'.repeat(40)}…`],
    [4410, `xx${'🎉'.repeat(40)}`, `xx${'🎉'.repeat(29)}…`],
  ])('close %d %j', async (code, reason, shown) => {
    await open();
    far.tunnel.close(code, reason);
    await until('both have closed', () => near.closes.length === 1 && far.closes.length === 1);
    expect(near.closes).toEqual([{ code, reason: shown }]);
    expect(Buffer.byteLength(shown)).toBeLessThanOrEqual(123);
  });

  test('what was written before is delivered before, also behind a reader that had stopped', async () => {
    await open();
    near.tunnel.pause();
    const bytes = randomBytes(4 * 1024 * 1024);
    far.tunnel.write(bytes);
    far.tunnel.close(4410, 'over');
    near.tunnel.resume();
    await until('it has closed', () => near.closes.length === 1);
    expect(near.closes).toEqual([{ code: 4410, reason: 'over' }]);
    expect(Buffer.concat(near.received).equals(bytes)).toBe(true);
  });

  test('a paused end that closes still sees the other’s answer', async () => {
    await open();
    near.tunnel.pause();
    near.tunnel.close(1000, 'bye');
    await until('both have closed', () => near.closes.length === 1 && far.closes.length === 1);
    expect(far.closes).toEqual([{ code: 1000, reason: 'bye' }]);
  });

  test('a broken wire is 1006, once, at both ends', async () => {
    await open();
    for (const socket of line.wire) socket.destroy();
    await until('both have closed', () => near.closes.length === 1 && far.closes.length === 1);
    near.tunnel.close(1000, 'late');
    near.tunnel.terminate();
    await new Promise(setImmediate);
    expect(near.closes).toEqual([{ code: 1006, reason: '' }]);
    expect(far.closes).toEqual([{ code: 1006, reason: '' }]);
  });
});

describe('frames that do not belong here', () => {
  test('a text frame closes with 1003, and nothing behind it is delivered', async () => {
    const { socket, closes } = await openStranger();
    socket.send(Buffer.from('before'));
    socket.send('text');
    socket.send(Buffer.from('behind'));
    await until('both have closed', () => closes.length === 1 && far.closes.length === 1);
    expect(closes).toEqual([{ code: 1003, reason: 'the tunnel carries binary messages only' }]);
    expect(far.all.toString()).toBe('before');
  });

  test('a message at the limit passes, one byte more closes with 1009', async () => {
    const { socket, closes } = await openStranger();
    socket.send(Buffer.alloc(messageBytesMax));
    await until('it has arrived', () => far.bytes === messageBytesMax);
    socket.send(Buffer.alloc(messageBytesMax + 1));
    await until('both have closed', () => closes.length === 1 && far.closes.length === 1);
    expect(closes[0]?.code).toBe(1009);
    expect(far.bytes).toBe(messageBytesMax);
  });

  test('fragments count together', async () => {
    const { socket, closes } = await openStranger();
    socket.send(Buffer.alloc(messageBytesMax / 2), { fin: false });
    socket.send(Buffer.alloc(messageBytesMax / 2 + 1), { fin: true });
    await until('both have closed', () => closes.length === 1 && far.closes.length === 1);
    expect(closes[0]?.code).toBe(1009);
    expect(far.bytes).toBe(messageBytesMax / 2);
  });

  test('bytes that are no WebSocket frame end it', async () => {
    await open();
    // The wire's second socket leads to the server; these bytes claim a reserved opcode.
    line.wire[1]?.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
    await until('it has closed', () => far.closes.length === 1);
    expect(far.received).toEqual([]);
  });
});

describe('a peer that vanishes', () => {
  test('is found by its silence and cut off', async () => {
    await open({ pingIntervalMs: 50 });
    for (const socket of line.wire) socket.pause().unpipe();
    await until('both have given up', () => near.closes.length === 1 && far.closes.length === 1);
    expect(near.closes).toEqual([{ code: 1006, reason: '' }]);
  });

  test.each([
    ['one end', [true, false]],
    ['the other', [false, true]],
    ['both', [true, true]],
  ] as const)('is not one that only does not read for many intervals: %s', async (_name, [isNearPaused, isFarPaused]) => {
    await open({ pingIntervalMs: 20 });
    let ticks = 0;
    const clock = setInterval(() => ticks++, 20);
    if (isNearPaused) near.tunnel.pause();
    if (isFarPaused) far.tunnel.pause();
    await until('many intervals have passed', () => ticks >= 15);
    clearInterval(clock);
    near.tunnel.resume();
    far.tunnel.resume();
    near.tunnel.write(Buffer.from('still'));
    far.tunnel.write(Buffer.from('here'));
    await until('both hear each other', () => far.bytes === 5 && near.bytes === 4);
    expect([near.closes, far.closes]).toEqual([[], []]);
  });
});
