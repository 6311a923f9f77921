/** The reader of frames against streams that are right, cut anywhere, and streams that are wrong in one place. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameProblem, FrameReader, messageBytesMax, textBytesMax } from '../../src/tunnel/frame-reader.ts';
import { applyMask } from '../../src/tunnel/masking-key.ts';
import { closePayload, encodeFrame, type Frame } from './frames.ts';

/** What a reader has made of what it was given: bytes of the stream joined, everything in order. */
function read(chunks: readonly Buffer[], { isMasked = false, takesText = true } = {}): { seen: string[]; problem?: number } {
  const seen: (string | Buffer)[] = [];
  const reader = new FrameReader(
    { isMasked, takesText },
    {
      data: (piece) => {
        const last = seen.at(-1);
        if (Buffer.isBuffer(last)) seen[seen.length - 1] = Buffer.concat([last, piece]);
        else seen.push(Buffer.from(piece));
      },
      text: (text) => seen.push(`text ${text}`),
      ping: (payload) => seen.push(`ping ${payload.toString('hex')}`),
      close: (code, reason) => seen.push(`close ${code} ${reason}`),
    },
  );
  const shown = () => seen.map((one) => (Buffer.isBuffer(one) ? `data ${one.toString('hex')}` : one));
  try {
    for (const chunk of chunks) reader.push(Buffer.from(chunk));
  } catch (error) {
    if (!(error instanceof FrameProblem)) throw error;
    return { seen: shown(), problem: error.code };
  }
  return { seen: shown() };
}

/** Cuts at the given places, each a fraction of the whole. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => Math.floor(place * bytes.length)).toSorted((one, other) => one - other), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });
const key = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => Buffer.from(bytes));
const bytes = (maxLength: number) => fc.uint8Array({ maxLength, size: 'max' }).map((one) => Buffer.from(one));

/** A message in fragments, with control frames in between, and what is to be seen of it. */
type Part = { readonly frames: readonly Omit<Frame, 'key'>[]; readonly seen: readonly string[] };

const ping: fc.Arbitrary<Part> = bytes(125).map((payload) => ({ frames: [{ opcode: 9, payload }], seen: [`ping ${payload.toString('hex')}`] }));
const pong: fc.Arbitrary<Part> = bytes(125).map((payload) => ({ frames: [{ opcode: 10, payload }], seen: [] }));
const control = fc.oneof(ping, pong);

function message(opcode: 1 | 2, whole: Buffer, cuts: readonly number[], between: readonly Part[]): Part {
  const pieces = cut(whole, cuts);
  const frames: Omit<Frame, 'key'>[] = [];
  const seen: string[] = [];
  for (const [index, payload] of pieces.entries()) {
    frames.push({ opcode: index === 0 ? opcode : 0, payload, isFinal: index === pieces.length - 1 });
    if (opcode === 2 && payload.length > 0) seen.push(`data ${payload.toString('hex')}`);
    const other = between[index];
    if (other === undefined || index === pieces.length - 1) continue;
    frames.push(...other.frames);
    seen.push(...other.seen);
  }
  if (opcode === 1) seen.push(`text ${whole.toString('utf8')}`);
  return { frames, seen };
}

const fewCuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 });
const part = fc.oneof(
  control,
  fc.tuple(bytes(70_000), fewCuts, fc.array(control, { maxLength: 3 })).map(([whole, cuts, between]) => message(2, whole, cuts, between)),
  fc.tuple(fc.string({ unit: 'grapheme', maxLength: 200 }), fewCuts, fc.array(control, { maxLength: 3 })).map(([text, cuts, between]) => message(1, Buffer.from(text), cuts, between)),
);
const ending = fc.tuple(fc.constantFrom(1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4410, 4999), fc.string({ unit: 'grapheme', maxLength: 10 }));

/** Neighbouring data is one stream. */
function joined(seen: readonly string[]): string[] {
  const all: string[] = [];
  for (const one of seen) {
    if (one.startsWith('data ') && all.at(-1)?.startsWith('data ')) all[all.length - 1] += one.slice(5);
    else all.push(one);
  }
  return all;
}

describe('a stream that keeps the rules', () => {
  test.each([true, false])('cut anywhere gives the same (masked: %s)', (isMasked) => {
    const stream = fc.tuple(fc.array(part, { maxLength: 6 }), fc.option(ending), fc.array(key, { minLength: 1, maxLength: 4 }), places);
    fc.assert(
      fc.property(stream, ([parts, end, keys, cuts]) => {
        const frames = parts.flatMap((one) => one.frames);
        const seen = parts.flatMap((one) => one.seen);
        if (end !== null) {
          frames.push({ opcode: 8, payload: closePayload(...end) }, { opcode: 2, payload: Buffer.from('behind') }, { opcode: 7, payload: Buffer.alloc(0) });
          seen.push(`close ${end[0]} ${end[1]}`);
        }
        const wire = Buffer.concat(frames.map((frame, index) => encodeFrame({ ...frame, ...(isMasked && { key: keys[index % keys.length] as Buffer }) })));
        expect(read(cut(wire, cuts), { isMasked })).toEqual({ seen: joined(seen) });
      }),
      { numRuns: 200 },
    );
  });

  test('byte by byte', () => {
    const frames: Frame[] = [
      { opcode: 2, payload: Buffer.alloc(0) },
      { opcode: 2, payload: Buffer.alloc(125, 'a') },
      { opcode: 2, payload: Buffer.alloc(126, 'b'), isFinal: false },
      { opcode: 9, payload: Buffer.from('are you there') },
      { opcode: 0, payload: Buffer.alloc(65_535, 'c'), isFinal: false },
      { opcode: 0, payload: Buffer.alloc(65_536, 'd') },
      { opcode: 1, payload: Buffer.from('né'), isFinal: false },
      { opcode: 0, payload: Buffer.from('ws') },
      { opcode: 8, payload: Buffer.alloc(0) },
    ];
    const wire = Buffer.concat(frames.map((frame, index) => encodeFrame({ ...frame, key: Buffer.from([index, 0x80, 0xff, 1]) })));
    const whole = {
      seen: [
        `data ${'61'.repeat(125)}${'62'.repeat(126)}`,
        `ping ${Buffer.from('are you there').toString('hex')}`,
        `data ${'63'.repeat(65_535)}${'64'.repeat(65_536)}`,
        'text néws',
        'close 1005 ',
      ],
    };
    expect(read([wire], { isMasked: true })).toEqual(whole);
    expect(read(Array.from(wire, (byte) => Buffer.from([byte])), { isMasked: true })).toEqual(whole);
  });

  test('data is passed on as it comes, and nothing of it is kept', () => {
    const pieces: Buffer[] = [];
    const reader = new FrameReader({ isMasked: false, takesText: true }, { data: (piece) => pieces.push(piece), text: () => undefined, ping: () => undefined, close: () => undefined });
    const frame = encodeFrame({ opcode: 2, payload: Buffer.alloc(messageBytesMax, 'x') });
    for (let at = 0; at < frame.length; at += 1000) {
      const chunk = frame.subarray(at, at + 1000);
      const before = pieces.length;
      reader.push(chunk);
      expect(pieces.length - before).toBe(1);
      expect(pieces.at(-1)?.buffer).toBe(chunk.buffer);
    }
    expect(pieces.reduce((sum, { length }) => sum + length, 0)).toBe(messageBytesMax);
  });
});

const empty = Buffer.alloc(0);
const anyKey = Buffer.from([1, 2, 3, 4]);

describe('a stream that breaks them', () => {
  test.each<[string, Frame[], number]>([
    ['reserved bit 1', [{ opcode: 2, payload: empty, reserved: 4 }], 1002],
    ['reserved bit 2', [{ opcode: 2, payload: empty, reserved: 2 }], 1002],
    ['reserved bit 3', [{ opcode: 9, payload: empty, reserved: 1 }], 1002],
    ['a mask where none belongs', [{ opcode: 2, payload: Buffer.from('x'), key: anyKey }], 1002],
    ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): [string, Frame[], number] => [`opcode ${opcode}`, [{ opcode, payload: empty }], 1002]),
    ['a continuation of nothing', [{ opcode: 0, payload: empty }], 1002],
    ['a continuation behind a whole message', [{ opcode: 2, payload: empty }, { opcode: 0, payload: empty }], 1002],
    ['binary inside text', [{ opcode: 1, payload: empty, isFinal: false }, { opcode: 2, payload: empty }], 1002],
    ['text inside binary', [{ opcode: 2, payload: empty, isFinal: false }, { opcode: 1, payload: empty }], 1002],
    ['binary inside binary', [{ opcode: 2, payload: empty, isFinal: false }, { opcode: 2, payload: empty }], 1002],
    ['a ping in fragments', [{ opcode: 9, payload: empty, isFinal: false }], 1002],
    ['a pong in fragments', [{ opcode: 10, payload: empty, isFinal: false }], 1002],
    ['a close in fragments', [{ opcode: 8, payload: empty, isFinal: false }], 1002],
    ['a ping of 126 bytes', [{ opcode: 9, payload: Buffer.alloc(126) }], 1002],
    ['a pong of 126 bytes', [{ opcode: 10, payload: Buffer.alloc(126) }], 1002],
    ['a close of 126 bytes', [{ opcode: 8, payload: closePayload(1000, 'x'.repeat(124)) }], 1002],
    ['a ping with a long length', [{ opcode: 9, payload: Buffer.alloc(5), length: { bytes: 2 } }], 1002],
    ['125 bytes with a length of two', [{ opcode: 2, payload: Buffer.alloc(125), length: { bytes: 2 } }], 1002],
    ['125 bytes with a length of eight', [{ opcode: 2, payload: Buffer.alloc(125), length: { bytes: 8 } }], 1002],
    ['65535 bytes with a length of eight', [{ opcode: 2, payload: Buffer.alloc(65_535), length: { bytes: 8 } }], 1002],
    ['the highest bit of a length', [{ opcode: 2, payload: empty, length: { bytes: 8, value: 1n << 63n } }], 1002],
    ['the largest length', [{ opcode: 2, payload: empty, length: { bytes: 8, value: (1n << 63n) - 1025n } }], 1009],
    ['4 GiB', [{ opcode: 2, payload: empty, length: { bytes: 8, value: 1n << 32n } }], 1009],
    ['one byte past a message', [{ opcode: 2, payload: empty, length: { bytes: 8, value: BigInt(messageBytesMax + 1) } }], 1009],
    ['one byte past a text', [{ opcode: 1, payload: empty, length: { bytes: 8, value: BigInt(textBytesMax + 1) } }], 1009],
    ['one byte past a text, in fragments', [{ opcode: 1, payload: Buffer.alloc(40_000), isFinal: false }, { opcode: 0, payload: Buffer.alloc(textBytesMax - 40_000 + 1) }], 1009],
    ['text that is no UTF-8', [{ opcode: 1, payload: Buffer.from([0xc3]) }], 1007],
    ['text that ends in the middle', [{ opcode: 1, payload: Buffer.from([0xe2, 0x82]), isFinal: false }, { opcode: 0, payload: empty }], 1007],
    ['a surrogate in text', [{ opcode: 1, payload: Buffer.from([0xed, 0xa0, 0x80]) }], 1007],
    ['half a close code', [{ opcode: 8, payload: Buffer.from([3]) }], 1002],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map((code): [string, Frame[], number] => [`close code ${code}`, [{ opcode: 8, payload: closePayload(code) }], 1002]),
    ['a reason that is no UTF-8', [{ opcode: 8, payload: closePayload(1000, Buffer.from([0xff])) }], 1007],
  ])('%s', (_, frames, code) => {
    const wire = Buffer.concat(frames.map(encodeFrame));
    expect(read([wire])).toEqual({ seen: expect.any(Array), problem: code });
    expect(read(Array.from(wire, (byte) => Buffer.from([byte])))).toEqual({ seen: expect.any(Array), problem: code });
  });

  test('a frame without a mask from a client', () => {
    expect(read([encodeFrame({ opcode: 2, payload: Buffer.from('x') })], { isMasked: true })).toEqual({ seen: [], problem: 1002 });
  });

  test('text where none is taken, before any of it has come', () => {
    expect(read([encodeFrame({ opcode: 1, payload: Buffer.from('x') }).subarray(0, 2)], { takesText: false })).toEqual({ seen: [], problem: 1003 });
  });

  test('what is wrong in the first two bytes is found there', () => {
    expect(read([Buffer.from([0xff]), Buffer.from([0xff])])).toEqual({ seen: [], problem: 1002 });
  });

  test('nothing of what comes behind is read', () => {
    const seen: string[] = [];
    const reader = new FrameReader({ isMasked: false, takesText: true }, { data: (piece) => seen.push(piece.toString()), text: () => undefined, ping: () => undefined, close: () => undefined });
    const good = encodeFrame({ opcode: 2, payload: Buffer.from('good') });
    expect(() => reader.push(Buffer.concat([good, Buffer.from([0x83, 0]), good]))).toThrow(FrameProblem);
    reader.push(good);
    expect(seen).toEqual(['good']);
  });

  test('after a good beginning, wherever it is cut', () => {
    const bad = fc.constantFrom<[Frame, number]>(
      [{ opcode: 3, payload: empty }, 1002],
      [{ opcode: 0, payload: empty }, 1002],
      [{ opcode: 2, payload: empty, reserved: 4 }, 1002],
      [{ opcode: 9, payload: Buffer.alloc(126) }, 1002],
      [{ opcode: 8, payload: closePayload(1005) }, 1002],
      [{ opcode: 1, payload: Buffer.from([0xff]) }, 1007],
      [{ opcode: 2, payload: empty, length: { bytes: 8, value: 1n << 40n } }, 1009],
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 4 }), bad, places, (parts, [frame, code], cuts) => {
        const wire = Buffer.concat([...parts.flatMap((one) => one.frames), frame].map(encodeFrame));
        const before = joined(parts.flatMap((one) => one.seen));
        expect(read(cut(wire, cuts))).toEqual({ seen: before, problem: code });
      }),
      { numRuns: 200 },
    );
  });

  test('any bytes at all: never anything but a FrameProblem, and no more comes out than went in', () => {
    fc.assert(
      fc.property(bytes(300), places, fc.boolean(), (noise, cuts, isMasked) => {
        const { seen } = read(cut(noise, cuts), { isMasked });
        expect(seen.join('').length).toBeLessThan(noise.length * 8 + 64);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the mask', () => {
  test('at any place, of any length, in any pieces is the same as byte by byte', () => {
    fc.assert(
      fc.property(bytes(400), key, fc.nat(12), places, (plain, four, offset, cuts) => {
        const room = Buffer.concat([Buffer.alloc(offset), plain]);
        let turned = four.readInt32LE(0);
        let at = offset;
        for (const piece of cut(plain, cuts)) {
          turned = applyMask(room, at, at + piece.length, turned);
          at += piece.length;
        }
        expect(room.subarray(offset)).toEqual(Buffer.from(plain.map((byte, index) => byte ^ (four[index % 4] as number))));
        expect(room.subarray(0, offset)).toEqual(Buffer.alloc(offset));
      }),
      { numRuns: 500 },
    );
  });
});
