/** The framing layer: however the bytes are cut, the same messages come out, and nothing is held that was not announced. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GateError } from '../../src/errors/errors.ts';
import { describeType, FrameScanner } from '../../src/pgwire/frame.ts';

const rawType = 0x64;

type Seen = { messages: string[]; raw: Buffer; order: string };

/** Feeds `bytes` cut at `cuts`; messages of type 'd' are wanted raw, all others whole. */
function scan(bytes: Buffer, cuts: readonly number[]): Seen & { scanner: FrameScanner } {
  const seen: Seen = { messages: [], raw: Buffer.alloc(0), order: '' };
  const scanner = new FrameScanner({
    begin: (type, bodyLength) => {
      seen.order += `${String.fromCharCode(type)}${bodyLength} `;
      return type === rawType ? 'raw' : 'whole';
    },
    raw: (run) => {
      seen.raw = Buffer.concat([seen.raw, run]);
    },
    message: (type, message) => {
      expect(message[0]).toBe(type);
      seen.messages.push(message.toString('hex'));
    },
  });
  let at = 0;
  for (const cut of [...cuts.toSorted((one, other) => one - other), bytes.length]) {
    // Each piece in memory of its own, overwritten afterwards as a reused read buffer is.
    const piece = Buffer.from(bytes.subarray(at, cut));
    scanner.push(piece);
    at = cut;
  }
  return { ...seen, scanner };
}

function frame(type: number, body: Uint8Array): Buffer {
  const header = Buffer.alloc(5);
  header[0] = type;
  header.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([header, body]);
}

/** Up to the last that is whole. */
function lengthOfMessages(bytes: Buffer): number {
  let at = 0;
  while (at + 5 <= bytes.length && at + 1 + bytes.readUInt32BE(at + 1) <= bytes.length) at += 1 + bytes.readUInt32BE(at + 1);
  return at;
}

const messages = fc.array(
  fc.tuple(fc.constantFrom(0x51, 0x50, 0x64, 0x64, 0x53, 0x00, 0xff), fc.uint8Array({ maxLength: 40 })),
  { maxLength: 12 },
);

describe('any cut of any sequence', () => {
  test('gives the same messages and the same raw bytes in the same order', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat({ max: 600 }), { maxLength: 20 }), (sequence, positions) => {
        const frames = sequence.map(([type, body]) => frame(type, body));
        const bytes = Buffer.concat(frames);
        const { scanner, ...seen } = scan(bytes, positions.map((position) => Math.min(position, bytes.length)));
        const isRaw = (one: Buffer) => one[0] === rawType;
        expect(seen.messages).toEqual(frames.filter((one) => !isRaw(one)).map((one) => one.toString('hex')));
        expect(seen.raw).toEqual(Buffer.concat(frames.filter(isRaw)));
        expect(seen.order).toBe(sequence.map(([type, body]) => `${String.fromCharCode(type)}${body.length} `).join(''));
        expect(scanner.isAtBoundary).toBe(true);
      }),
      { numRuns: 400 },
    );
  });

  test('what is wanted uncut comes as whole messages, and as one where they lie side by side', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat({ max: 600 }), { maxLength: 20 }), (sequence, positions) => {
        const frames = sequence.map(([type, body]) => frame(type, body));
        const bytes = Buffer.concat(frames);
        const runs: Buffer[] = [];
        let others = 0;
        const scanner = new FrameScanner({ begin: (type) => (type === rawType ? 'uncut' : 'whole'), raw: (run) => runs.push(Buffer.from(run)), message: () => others++ });
        let at = 0;
        const cuts = positions.map((position) => Math.min(position, bytes.length)).toSorted((one, other) => one - other);
        for (const cut of [...cuts, bytes.length]) scanner.push(Buffer.from(bytes.subarray(at, (at = cut))));
        const wanted = frames.filter((one) => one[0] === rawType);
        expect(Buffer.concat(runs)).toEqual(Buffer.concat(wanted));
        for (const run of runs) expect(lengthOfMessages(run)).toBe(run.length);
        expect(others).toBe(frames.length - wanted.length);
        if (cuts.length === 0 && wanted.length === frames.length) expect(runs.length).toBe(Math.min(1, frames.length));
      }),
      { numRuns: 400 },
    );
  });

  test('byte by byte, and every single cut of two messages', () => {
    const bytes = Buffer.concat([frame(0x51, Buffer.from('abc')), frame(rawType, Buffer.from('defg')), frame(0x53, Buffer.alloc(0))]);
    const whole = scan(bytes, []);
    const steps = Array.from({ length: bytes.length }, (_, index) => index);
    expect({ ...scan(bytes, steps), scanner: 0 }).toEqual({ ...whole, scanner: 0 });
    for (const cut of steps) expect({ ...scan(bytes, [cut]), scanner: 0 }).toEqual({ ...whole, scanner: 0 });
  });

  test('isAtBoundary only behind whole messages', () => {
    const bytes = frame(0x51, Buffer.from('ab'));
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(scan(bytes.subarray(0, cut), []).scanner.isAtBoundary).toBe(cut === 0 || cut === bytes.length);
    }
  });

  test('a straddling message is the scanner’s own copy: a reused read buffer does not change it', () => {
    const bytes = frame(0x51, Buffer.from('secret'));
    let seen = '';
    const scanner = new FrameScanner({ begin: () => 'whole', raw: () => undefined, message: (_type, one) => (seen = one.toString()) });
    const reused = Buffer.alloc(8);
    bytes.copy(reused, 0, 0, 8);
    scanner.push(reused);
    bytes.copy(reused, 0, 8);
    scanner.push(reused.subarray(0, bytes.length - 8));
    expect(seen).toBe(bytes.toString());
  });
});

describe('hostile lengths', () => {
  const header = (length: number) => Buffer.from([0x51, length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255]);

  test.each([0, 1, 2, 3])('a length of %d does not even hold itself', (length) => {
    for (const cut of [0, 1, 3, 5]) {
      expect(() => scan(header(length), [cut])).toThrow(expect.objectContaining({ code: 'protocol-violation' }) as Error);
    }
  });

  test.each([
    [0x7fffffff, 0x7ffffffb],
    [0x80000000, 0x7ffffffc],
    [0xffffffff, 0xfffffffb],
  ])('%d is unsigned and shown to the sink before a byte of the body is awaited', (length, bodyLength) => {
    for (const cut of [0, 2, 4]) {
      const limits: number[] = [];
      const scanner = new FrameScanner({
        begin: (_type, announced) => {
          limits.push(announced);
          throw new GateError('too-large', 'no');
        },
        raw: () => undefined,
        message: () => undefined,
      });
      expect(() => {
        scanner.push(header(length).subarray(0, cut));
        scanner.push(header(length).subarray(cut));
      }).toThrow('no');
      expect(limits).toEqual([bodyLength]);
    }
  });

  test('what is announced costs nothing until it arrives, and then at most twice as much', () => {
    const before = process.memoryUsage().arrayBuffers;
    const scanners = Array.from({ length: 50 }, () => {
      const scanner = new FrameScanner({ begin: () => 'whole', raw: () => undefined, message: () => undefined });
      scanner.push(header(0x3fffffff));
      scanner.push(Buffer.alloc(1000));
      return scanner;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50 * 8192);
    expect(scanners.every((scanner) => !scanner.isAtBoundary)).toBe(true);
  });

  test('a message in very many small pieces is put together once', () => {
    const body = Buffer.alloc(300_000, 'x');
    let bytes: Buffer | undefined;
    const scanner = new FrameScanner({ begin: () => 'whole', raw: () => undefined, message: (_type, one) => (bytes = one) });
    const all = frame(0x51, body);
    for (let at = 0; at < all.length; at++) scanner.push(all.subarray(at, at + 1));
    expect(bytes?.equals(all)).toBe(true);
  });

  test('raw bytes are passed on as they come and never held', () => {
    const sizes: number[] = [];
    const scanner = new FrameScanner({ begin: () => 'raw', raw: (run) => sizes.push(run.length), message: () => undefined });
    scanner.push(header(4 + 1_000_000));
    for (let index = 0; index < 10; index++) scanner.push(Buffer.alloc(100_000));
    expect(sizes).toEqual([5, ...Array.from({ length: 10 }, () => 100_000)]);
    expect(scanner.isAtBoundary).toBe(true);
  });
});

test('types are shown as letters where they are some', () => {
  expect([0x51, 0x00, 0x0a, 0xff].map(describeType)).toEqual(["'Q'", '0x00', '0x0a', '0xff']);
});
