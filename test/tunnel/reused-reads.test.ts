/** Reads into buffers that are used again: nothing lost, nothing that somebody keeps overwritten, and little held by who is idle. */
import { createHash, generateKeyPairSync, randomBytes, type KeyPairKeyObjectResult } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createCaCertificate, createLocalhostCertificate } from '../../src/client/certificate.ts';
import { hasHeadRoom, headRoom, largeBytes, largeHoldersMax, middleBytes, ReusedReads, smallBytes } from '../../src/tunnel/reused-reads.ts';
import { Tunnel } from '../../src/tunnel/tunnel.ts';
import { End, Line, until } from './ends.ts';

let server: Server;
let accepted: Socket[];
let sockets: Socket[];

beforeEach(async () => {
  accepted = [];
  sockets = [];
  server = createServer((socket) => accepted.push(socket.on('error', () => undefined)));
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  // All of them gone: what they held counts in the next test.
  for (const socket of [...sockets, ...accepted]) if (!socket.destroy().closed) await once(socket, 'close');
  await new Promise((resolve) => server.close(resolve));
});

/** One connection: what it reads with, and the other end of it. */
async function open(): Promise<{ reads: ReusedReads; socket: Socket; peer: Socket }> {
  const reads = new ReusedReads();
  const before = accepted.length;
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', onread: reads.onread });
  sockets.push(socket);
  await once(socket, 'connect');
  await until('it is accepted', () => accepted.length > before);
  return { reads, socket, peer: accepted.at(-1) as Socket };
}

/** How much the next read can bring. */
const capacityOf = (reads: ReusedReads): number => (reads.onread.buffer as () => Buffer)().length;

describe('what is read', () => {
  test.each(['always', 'never', 'now and then'])('arrives whole and in order, and stays as it is where it is kept: %s', async (kept) => {
    const { reads, socket, peer } = await open();
    const all: Buffer[] = [];
    let length = 0;
    let turn = 0;
    const memory = new Set<ArrayBufferLike>();
    reads.receive(socket, (bytes) => {
      memory.add(bytes.buffer);
      const isKept = kept === 'always' || (kept === 'now and then' && turn++ % 3 === 0);
      all.push(isKept ? bytes : Buffer.from(bytes));
      length += bytes.length;
      if (!isKept) bytes.fill(0xdd);
      return !isKept;
    });
    const sent = Array.from({ length: 200 }, (_, index) => randomBytes([3, 200, 2048, 5000, 70_000, 300_000][index % 6] as number));
    for (const bytes of sent) if (!peer.write(bytes)) await once(peer, 'drain');
    const expected = Buffer.concat(sent);
    await until('all has arrived', () => length === expected.length);
    expect(Buffer.concat(all).equals(expected)).toBe(true);
    if (kept === 'never') expect(memory.size).toBeLessThan(20);
  });

  test('while it is paused, and before anybody receives it, it waits in order', async () => {
    const { reads, socket, peer } = await open();
    const all: string[] = [];
    socket.once('data', (bytes: Buffer) => {
      all.push(bytes.toString());
      socket.pause();
    });
    peer.write('first');
    await until('the first has come', () => all.length === 1);
    peer.write('second');
    await new Promise((resolve) => setTimeout(resolve, 50));
    reads.receive(socket, (bytes) => all.push(bytes.toString()) > 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(all).toEqual(['first']);
    socket.resume();
    peer.write('third');
    await until('all has come', () => all.join('') === 'firstsecondthird');
    socket.pause();
    peer.write('fourth');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(all.join('')).toBe('firstsecondthird');
    peer.end('fifth');
    socket.resume();
    await once(socket, 'close');
    expect(all.join('')).toBe('firstsecondthirdfourthfifth');
  });

  test('a receiver that stops again and again gets it all', async () => {
    const { reads, socket, peer } = await open();
    const hash = createHash('sha256');
    let length = 0;
    reads.receive(socket, (bytes) => {
      expect(socket.isPaused()).toBe(false);
      hash.update(bytes);
      length += bytes.length;
      socket.pause();
      setImmediate(() => socket.resume());
      return true;
    });
    const sent = randomBytes(8 * 1024 * 1024);
    peer.end(sent);
    await once(socket, 'close');
    expect([length, hash.digest('hex')]).toEqual([sent.length, createHash('sha256').update(sent).digest('hex')]);
  });

  test('through TLS', async () => {
    const [authority, own] = [0, 1].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' })) as [KeyPairKeyObjectResult, KeyPairKeyObjectResult];
    const issuer = { commonName: 'test', privateKey: authority.privateKey };
    const time = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
    const ca = createCaCertificate({ publicKey: authority.publicKey, commonName: 'test', issuer, ...time });
    const cert = createLocalhostCertificate({ publicKey: own.publicKey, commonName: 'localhost', issuer, ...time });
    const key = own.privateKey.export({ type: 'pkcs8', format: 'pem' });
    const peers: Socket[] = [];
    const secure = createTlsServer({ cert, key }, (socket) => peers.push(socket));
    await once(secure.listen(0, '127.0.0.1'), 'listening');
    const reads = new ReusedReads();
    const options = { port: (secure.address() as AddressInfo).port, host: '127.0.0.1', ca, onread: reads.onread };
    const socket = connectTls(options);
    sockets.push(socket);
    const all: Buffer[] = [];
    let length = 0;
    reads.receive(socket, (bytes) => {
      all.push(Buffer.from(bytes));
      length += bytes.length;
      bytes.fill(0xdd);
      return true;
    });
    await once(socket, 'secureConnect');
    await until('it is accepted', () => peers.length === 1);
    const sent = randomBytes(2 * 1024 * 1024);
    peers[0]?.write(sent);
    await until('all has arrived', () => length === sent.length);
    expect(Buffer.concat(all).equals(sent)).toBe(true);
    socket.destroy();
    await new Promise((resolve) => secure.close(resolve));
  });
});

describe('what is held', () => {
  test('little while little comes, much while much does, and little again', async () => {
    const { reads, socket, peer } = await open();
    let length = 0;
    reads.receive(socket, (bytes) => (length += bytes.length) > 0);
    const arrives = async (size: number): Promise<number> => {
      const before = length;
      peer.write(Buffer.alloc(size));
      await until('it has arrived', () => length === before + size);
      return capacityOf(reads);
    };
    expect(capacityOf(reads)).toBe(smallBytes);
    expect(await arrives(smallBytes - 1)).toBe(smallBytes);
    await arrives(smallBytes);
    expect(await arrives(1_000_000)).toBe(largeBytes);
    expect(await arrives(smallBytes / 2 + 1)).toBe(largeBytes);
    expect(await arrives(smallBytes / 2)).toBe(smallBytes);
  });

  test('large buffers by so many sockets and no more; one that closes makes room', async () => {
    const all: Awaited<ReturnType<typeof open>>[] = [];
    const fill = async (): Promise<number> => {
      const one = await open();
      all.push(one);
      let length = 0;
      one.reads.receive(one.socket, (bytes) => (length += bytes.length) > 0);
      one.peer.write(Buffer.alloc(smallBytes + smallBytes));
      await until('it has arrived', () => length === smallBytes * 2);
      return capacityOf(one.reads);
    };
    const sizes: number[] = [];
    for (let index = 0; index < largeHoldersMax + 1; index++) sizes.push(await fill());
    expect(sizes).toEqual([...Array<number>(largeHoldersMax).fill(largeBytes), middleBytes]);
    all[0]?.socket.destroy();
    await once(all[0]?.socket as Socket, 'close');
    expect(await fill()).toBe(largeBytes);
    expect(await fill()).toBe(middleBytes);
  });
});

describe('head room', () => {
  test('is in front of what a read has brought, from its first byte on, and nowhere else', async () => {
    const { reads, socket, peer } = await open();
    const found: boolean[] = [];
    reads.receive(socket, (bytes) => {
      found.push(hasHeadRoom(bytes), hasHeadRoom(bytes.subarray(0, 2)), hasHeadRoom(bytes.subarray(1)), hasHeadRoom(Buffer.from(bytes)));
      return true;
    });
    peer.write('abc');
    await until('it has arrived', () => found.length > 0);
    expect(found).toEqual([true, true, false, false]);
    expect(hasHeadRoom(Buffer.allocUnsafeSlow(100).subarray(headRoom))).toBe(false);
  });

  test('from a server through a tunnel to a client that stops now and then: what comes out is what went in', async () => {
    const line = await Line.start();
    const [nearEnd, farEnd] = await Promise.all([line.dial(), line.accept()]);
    const client = new End(nearEnd);
    const { reads, socket, peer } = await open();
    let reused = 0;
    const tunnel = new Tunnel(farEnd, { onData: () => undefined, onDrain: () => socket.resume(), onClose: () => undefined });
    reads.receive(socket, (bytes) => {
      if (!tunnel.write(bytes)) socket.pause();
      const isDone = tunnel.unsentBytes === 0;
      // Whoever read these bytes later would see this.
      if (isDone) bytes.fill(0xdd);
      reused += Number(isDone);
      return isDone;
    });
    const sent = Array.from({ length: 300 }, (_, index) => randomBytes([1, 90, 1500, 20_000, 64 * 1024, 250_000][index % 6] as number));
    const expected = Buffer.concat(sent);
    const write = async () => {
      for (const bytes of sent) if (!peer.write(bytes)) await once(peer, 'drain');
    };
    const writing = write();
    while (client.bytes < expected.length) {
      client.tunnel.pause();
      await new Promise((resolve) => setTimeout(resolve, 5));
      client.tunnel.resume();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await writing;
    expect(client.all.equals(expected)).toBe(true);
    expect(reused).toBeGreaterThan(0);
    client.tunnel.terminate();
    tunnel.terminate();
    await line.close();
  });
});
