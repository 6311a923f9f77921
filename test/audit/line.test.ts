import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AuditEntry, Event } from '../../src/audit/entry.ts';
import { formatEntry, splitEvent } from '../../src/audit/seal.ts';
import { checkChain, frameEntry, frameLine, lineBytesMax, parseLine, type FramedLine, type LogLine } from '../../src/audit/line.ts';

function formatLine(entry: Pick<AuditEntry, 'session' | 'seq' | 'prev' | 'time'> & { readonly event: object }): FramedLine {
  return frameEntry(formatEntry({ v: 1, ...entry }, splitEvent(entry.event as Event).open, undefined));
}

function chainOf(session: string, events: readonly Event[]): LogLine[] {
  let prev = '';
  return events.map((event, index) => {
    const entry: AuditEntry = { v: 1, session, seq: index + 1, prev, time: '2026-11-02T10:00:00.000Z', event };
    const line = formatLine(entry);
    prev = line.hash;
    return { entry, hash: line.hash };
  });
}

/** The lines at these places of the original three, from 1 on. */
function pick(lines: readonly LogLine[], ...places: number[]): LogLine[] {
  return places.flatMap((place) => lines.slice(place - 1, place));
}

const close = (reason: string): Event => ({ kind: 'session.close', reason });
const three = [close('one'), close('two'), close('three')];

describe('a line', () => {
  test('is a CRC-32 in hex, a blank, JSON and a line feed, and its hash is that of the JSON', () => {
    const [line] = chainOf('s1', [close('done')]);
    if (line === undefined) throw new Error('no line');
    const { bytes, hash } = formatLine(line.entry);
    const text = bytes.toString();
    expect(text).toBe(
      '86c969b8 {"v":1,"session":"s1","seq":1,"prev":"","time":"2026-11-02T10:00:00.000Z",' +
        '"event":{"kind":"session.close","reason":"done"}}\n',
    );
    expect(hash).toBe(createHash('sha256').update(text.slice(9, -1)).digest('hex'));
  });

  test('carries any text there and back', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (reason) => {
        const [line] = chainOf('s1', [close(reason)]);
        if (line === undefined) throw new Error('no line');
        const { bytes } = formatLine(line.entry);
        expect(bytes.indexOf(0x0a)).toBe(bytes.length - 1);
        expect(parseLine(bytes.subarray(0, -1))).toEqual(line);
      }),
    );
  });

  test('is refused with any one byte changed', () => {
    const [line] = chainOf('s1', [close('done')]);
    if (line === undefined) throw new Error('no line');
    const { bytes } = formatLine(line.entry);
    for (let at = 0; at < bytes.length - 1; at += 1) {
      const changed = Buffer.from(bytes.subarray(0, -1));
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      expect(() => parseLine(changed), `byte ${at}`).toThrow(expect.objectContaining({ code: 'record-damaged' }));
    }
  });

  test.each([
    ['', 'does not begin with a checksum'],
    ['00000000', 'does not begin with a checksum'],
    ['00000000 {}', 'checksum does not match'],
    [frameLine('{').bytes.toString().trimEnd(), 'not JSON'],
    [frameLine('{"v":2}').bytes.toString().trimEnd(), 'no entry that this version knows (at v)'],
  ])('is refused when it is %j', (text, words) => {
    expect(() => parseLine(Buffer.from(text))).toThrow(words);
  });

  test('may be as long as the limit and no longer', () => {
    const rest = frameLine('""').bytes.length;
    expect(frameLine(`"${'x'.repeat(lineBytesMax - rest)}"`).bytes.length).toBe(lineBytesMax);
    expect(() => frameLine(`"${'x'.repeat(lineBytesMax - rest + 1)}"`)).toThrow(
      expect.objectContaining({ code: 'too-large' }),
    );
  });
});

describe('checkChain', () => {
  test('passes sessions that are interleaved', () => {
    const one = chainOf('one', three);
    const two = chainOf('two', three);
    expect(checkChain(one.flatMap((line, index) => [line, ...two.slice(index, index + 1)]))).toBeUndefined();
  });

  test.each<[string, (lines: LogLine[]) => LogLine[], number, RegExp]>([
    ['an entry dropped', (lines) => pick(lines, 1, 3), 3, /missing, repeated or moved/],
    ['an entry repeated', (lines) => pick(lines, 1, 2, 2), 2, /missing, repeated or moved/],
    ['entries swapped', (lines) => pick(lines, 2, 1, 3), 2, /missing, repeated or moved/],
    ['the first entry dropped', (lines) => pick(lines, 2, 3), 2, /missing, repeated or moved/],
    [
      'an entry rewritten with a good checksum',
      (lines) => {
        const forged = pick(chainOf('s', [close('one'), close('something else')]), 2);
        return [...pick(lines, 1), ...forged, ...pick(lines, 3)];
      },
      3,
      /does not carry the hash/,
    ],
  ])('finds %s', (_name, change, seq, words) => {
    expect(checkChain(change(chainOf('s', three)))).toEqual({
      session: 's',
      seq,
      problem: expect.stringMatching(words),
    });
  });
});
