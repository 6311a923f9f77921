import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { describe, expect, test } from 'vitest';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { formatReplayHtml, htmlStyle, type ReplayHtmlOptions } from '../../src/audit/replay-html.ts';
import { pageScript, pageStyle } from '../../src/audit/replay-page.ts';
import { formatTranscript } from '../../src/audit/transcript.ts';
import { entriesOf, evilSession, evilTexts, open, richSession } from './events.ts';
import { openPage } from './fake-page.ts';

async function partsOf(entries: Iterable<AuditEntry>, options?: ReplayHtmlOptions): Promise<string[]> {
  const parts = [];
  for await (const part of formatReplayHtml(formatTranscript(entries, { style: htmlStyle }), options)) parts.push(part);
  return parts;
}

async function htmlOf(entries: Iterable<AuditEntry>, options?: ReplayHtmlOptions): Promise<string> {
  return (await partsOf(entries, options)).join('');
}

async function textOf(entries: Iterable<AuditEntry>): Promise<string> {
  let text = '';
  for await (const piece of formatTranscript(entries)) text += piece.text;
  return text;
}

/** The page without what is constant in it. */
function recordedPartOf(html: string): string {
  const [head = '', rest = ''] = html.split(`<style>${pageStyle}</style>`);
  const [body = '', end = ''] = rest.split(`<script>${pageScript}</script>`);
  expect(end).toBe('\n</body>\n</html>\n');
  return head + body.replace(/<nav[^]*?<\/nav>\n/, '');
}

function unescape(text: string): string {
  const entities: Record<string, string> = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' };
  return text.replaceAll(/&[^;]+;/g, (entity) => entities[entity] ?? 'UNKNOWN');
}

/** The text of the transcript as a reader of the page has it. */
function transcriptOf(html: string): string {
  const main = /<main>\n([^]*)<\/main>/.exec(recordedPartOf(html))?.[1] ?? '';
  return unescape(main.replaceAll('</div>\n', '').replaceAll(/<[^>]*>/g, ''));
}

const tags =
  /^(?:<!DOCTYPE html>|<html lang="en" dir="ltr">|<\/?(?:head|body|header|main|h1|p|title|div|span)>|<meta [^<>]*>|<span class="(?:label|time|prompt|sql|ok|error|refused|unknown|note)">|<div data-ms="\d+"(?: data-mark="(?:refused|held|failed|alarm)")?(?: data-statement="\d+")?(?: class="result")?>)$/;

describe('a replay as HTML', () => {
  test('of a session', async () => {
    await expect(await htmlOf(richSession())).toMatchFileSnapshot(join(import.meta.dirname, 'golden', 'session.html'));
  });

  test('reads as the transcript does, without its script', async () => {
    const html = await htmlOf(richSession());
    expect(transcriptOf(html)).toBe(await textOf(richSession()));
    expect(html).toContain('<h1>Erin Engineer on prod-db as reader</h1>');
    expect(html).toContain('<p>Why: ticket 4711: order stuck in payment (OPS-4711)</p>');
    expect(html).toContain('<p>Session se_7f3a, 2026-11-02 10:00:00 UTC, by gate connect</p>');
    expect(html).toMatch(/<nav id="controls"[^>]* hidden>/);
  });

  test('allows its own style and script by their hashes, and nothing else', async () => {
    const html = await htmlOf(richSession());
    const hash = (text: string | undefined) => `'sha256-${createHash('sha256').update(text ?? '').digest('base64')}'`;
    const script = /<script>([^]*?)<\/script>/.exec(html)?.[1];
    const style = /<style>([^]*?)<\/style>/.exec(html)?.[1];
    const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html)?.[1]?.split('; ');
    expect(policy).toEqual([`default-src 'none'`, `script-src ${hash(script)}`, `style-src ${hash(style)}`, `base-uri 'none'`, `form-action 'none'`]);
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html).not.toMatch(/\b(?:src|href|style|on\w+)=|https?:\/\/(?!id\.example)|@import|url\(/);
    expect(pageScript).not.toMatch(/innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|fetch|XMLHttp|<\//);
  });

  test.each(evilTexts)('holds no markup of what was recorded: %j', async (evil) => {
    const html = await htmlOf(evilSession(evil));
    const recorded = recordedPartOf(html);
    for (const [tag] of recorded.matchAll(/<[^>]*>?/g)) expect(tag).toMatch(tags);
    expect(recorded.match(/<span/g)?.length).toBe(recorded.match(/<\/span>/g)?.length);
    expect(recorded.match(/<div/g)?.length).toBe(recorded.match(/<\/div>/g)?.length);
    expect(recorded.replaceAll(/<[^>]*>/g, '')).not.toMatch(/["'>]/);
    expect(recorded.replaceAll('\n', '')).not.toMatch(/[\p{C}\u2028\u2029]/u);
    expect(transcriptOf(html)).toBe(await textOf(evilSession(evil)));
  });

  test('comes piece by piece', async () => {
    let taken = 0;
    function* entries() {
      for (const entry of richSession()) {
        taken++;
        yield entry;
      }
    }
    const parts = formatReplayHtml(formatTranscript(entries(), { style: htmlStyle }));
    await parts.next();
    expect(taken).toBe(1);
    await parts.next();
    await parts.next();
    expect(taken).toBe(2);
    await parts.return(undefined);
  });

  test('of nothing, and of a record without its beginning, is a page', async () => {
    expect(await htmlOf([])).toContain('<title>Session</title>');
    expect(await htmlOf(richSession().slice(1))).toContain('<title>Session se_7f3a</title>');
    const { reason: _reason, ...rest } = open;
    expect(await htmlOf(entriesOf([rest]))).toContain('<p>No reason given</p>');
  });
});

describe('the player of the page', () => {
  test('is a script', () => {
    expect(() => new Script(pageScript)).not.toThrow();
  });

  test('shows everything and its controls until somebody plays', async () => {
    const page = openPage(await htmlOf(richSession()));
    expect(page.shown()).toHaveLength(12);
    expect(page.at('controls').hidden).toBe(false);
    expect(page.at('place').textContent).toBe('12 of 12');
    expect(page.at('cut').value).toBe('2');
    expect(openPage(await htmlOf(richSession(), { pauseMsMax: 500 })).at('cut').value).toBe('0.5');
  });

  test('plays at recorded speed, rests, goes on, and comes to an end', async () => {
    const page = openPage(await htmlOf(richSession()));
    page.press('play');
    expect(page.shown()).toEqual([0]);
    page.run(1000);
    expect(page.shown()).toEqual([0, 1]);
    page.press('play');
    expect(page.at('play').textContent).toBe('Go on');
    page.run(5000);
    expect(page.shown()).toHaveLength(2);
    page.press('play');
    page.run(700 * 4 + 50);
    expect(page.shown()).toHaveLength(6);
    page.run(1500);
    expect(page.shown()).toHaveLength(6);
    page.run(600);
    expect(page.shown()).toHaveLength(7);
    page.run(60_000);
    expect(page.shown()).toHaveLength(12);
    expect(page.at('play').textContent).toBe('Play');
    page.press('play');
    expect(page.shown()).toEqual([0]);
    page.press('all');
    expect(page.shown()).toHaveLength(12);
  });

  test('plays faster, and with every pause where asked', async () => {
    const page = openPage(await htmlOf(richSession()));
    page.at('speed').value = '16';
    page.at('skip').checked = false;
    page.press('play');
    page.run(3600 / 16 + 20);
    expect(page.shown()).toHaveLength(6);
    page.run(50_000 / 16);
    expect(page.shown()).toHaveLength(6);
    page.run(10_000 / 16);
    expect(page.shown()).toHaveLength(7);
  });

  test('jumps to what was refused, held or failed, and around', async () => {
    const page = openPage(await htmlOf(richSession()));
    const places = [];
    for (let press = 0; press < 4; press++) {
      page.press('next');
      places.push(page.here());
    }
    expect(places).toEqual([5, 6, 8, 5]);
    expect(page.shown()).toHaveLength(12);
    page.press('play');
    page.press('next');
    expect(page.shown()).toHaveLength(6);
  });

  test('filters by statement: one with its rows and its outcome', async () => {
    const page = openPage(await htmlOf(richSession()));
    page.at('filter').value = '<B>BOLD';
    page.fire('filter', 'input');
    expect(page.shown()).toEqual([2, 3, 4]);
    page.at('filter').value = '';
    page.fire('filter', 'input');
    expect(page.shown()).toHaveLength(12);
  });
});
