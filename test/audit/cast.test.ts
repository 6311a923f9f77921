import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { castStyle, formatCast, type CastOptions } from '../../src/audit/cast.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { formatTranscript } from '../../src/audit/transcript.ts';
import { entriesOf, evilSession, evilTexts, open, outcome, richSession, statement } from './events.ts';

async function castOf(entries: Iterable<AuditEntry>, options?: CastOptions): Promise<string[]> {
  const lines = [];
  for await (const line of formatCast(formatTranscript(entries, { style: castStyle }), options)) lines.push(line);
  return lines;
}

async function textOf(entries: Iterable<AuditEntry>): Promise<string> {
  let text = '';
  for await (const piece of formatTranscript(entries)) text += piece.text;
  return text;
}

/** Reads a cast as the format's page describes it, and is strict about it. */
function readCast(lines: readonly string[]) {
  expect(lines.every((line) => /^[^\n]+\n$/.test(line))).toBe(true);
  const [header, ...events] = lines.map((line) => JSON.parse(line) as unknown);
  let last = 0;
  for (const event of events) {
    expect(event).toEqual([expect.any(Number), expect.stringMatching(/^[om]$/), expect.any(String)]);
    const [at] = event as [number];
    expect(at).toBeGreaterThanOrEqual(last);
    last = at;
  }
  return { header: header as Record<string, unknown>, events: events as [at: number, code: 'o' | 'm', data: string][] };
}

describe('a cast', () => {
  test('of a session', async () => {
    await expect((await castOf(richSession())).join('')).toMatchFileSnapshot(join(import.meta.dirname, 'golden', 'session.cast'));
  });

  test('has one output event per piece, at its time, with the text of the transcript', async () => {
    const { header, events } = readCast(await castOf(richSession()));
    expect(header).toEqual({
      version: 2,
      width: 100,
      height: 30,
      timestamp: Date.parse('2026-11-02T10:00:00Z') / 1000,
      title: 'se_7f3a, Erin Engineer on prod-db: ticket 4711: order stuck in payment',
      env: { TERM: 'xterm-256color' },
    });
    const output = events.filter(([, code]) => code === 'o');
    expect(output.map(([at]) => at)).toEqual([0, 0.7, 1.4, 2.1, 2.8, 3.5, 63.5, 64.2, 64.9, 65.6, 66.3, 67]);
    const text = output.map(([, , data]) => data).join('');
    expect(text).not.toMatch(/(?<!\r)\n/);
    expect(stripVTControlCharacters(text.replaceAll('\r\n', '\n'))).toBe(await textOf(richSession()));
  });

  test('marks what was refused, held and failed', async () => {
    const { events } = readCast(await castOf(richSession()));
    expect(events.filter(([, code]) => code === 'm')).toEqual([[3.5, 'm', 'refused'], [63.5, 'm', 'held'], [64.9, 'm', 'failed']]);
  });

  test('cuts pauses where asked, and tells the player', async () => {
    const { header, events } = readCast(await castOf(richSession(), { pauseMsMax: 2000 }));
    expect(header).toMatchObject({ idle_time_limit: 2 });
    expect(events.map(([at]) => at)).toContain(5.5);
    expect(events.at(-1)?.[0]).toBe(9);
    expect(readCast(await castOf(richSession(), { pauseMsMax: 0 })).events.at(-1)?.[0]).toBe(0);
  });

  test('sends the terminal its own colours and nothing that was recorded', async () => {
    for (const evil of evilTexts) {
      const { events } = readCast(await castOf(evilSession(evil)));
      const text = events.map(([, , data]) => data).join('');
      // oxlint-disable-next-line no-control-regex -- they are what is looked for
      expect(text.replaceAll(/\u001b\[[0-9;]+m|\r\n|\t/g, '')).not.toMatch(/[\p{C}\u2028\u2029]/u);
    }
  });

  test('of a long text is one event', async () => {
    const sql = `SELECT '${'long '.repeat(100_000)}'`;
    const { events } = readCast(await castOf(entriesOf([open, statement(1, sql), outcome(1)])));
    expect(events).toHaveLength(4);
  });

  test('of nothing is a header', async () => {
    const { header, events } = readCast(await castOf([]));
    expect(header).toMatchObject({ version: 2, width: 100, height: 30 });
    expect(events).toEqual([]);
  });
});
