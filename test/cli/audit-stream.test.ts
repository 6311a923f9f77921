/** gate audit export --format on a real relay: streams into files and to URLs, which lose nothing when either end fails. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseCheckpoint, parseNote } from '../../src/audit/checkpoint.ts';
import { eventually } from '../relay/fixture.ts';
import { startAuditStage, type AuditStage } from './audit-stage.ts';

let stage: AuditStage;
let scratch: string;
let session: string;

beforeAll(async () => {
  [stage, scratch] = await Promise.all([startAuditStage(), mkdtemp(join(tmpdir(), 'gate-audit-export-'))]);
  session = await stage.work(Array.from({ length: 20 }, (_, index) => `select ${index}, 'needle-${index}'`));
});
afterAll(async () => {
  await stage?.fixture[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

const audit = (...argv: string[]) => stage.run('operator', ['audit', ...argv]);
const place = (name: string) => join(scratch, name);
const onDisk = (name: string) => readFile(join(stage.fixture.directory, 'state/log', name));

function indexesOf(text: string): number[] {
  return text.trimEnd().split('\n').map((line) => (JSON.parse(line) as { index: number }).index);
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

describe('a stream of entries', () => {
  test.each(['ndjson', 'ocsf', 'ecs', 'gcp', 'cef'])('as %s has a line for each entry, and nothing that is sealed', async (format) => {
    const { code, out } = await audit('export', '--format', format);
    expect(code).toBe(0);
    const { size } = parseCheckpoint(parseNote((await onDisk('checkpoint')).toString()).text);
    expect(size - out.trimEnd().split('\n').length).toBeLessThanOrEqual(1);
    expect(out).not.toContain('needle-7');
    expect(out).toContain(session);
  });

  test('into a file goes on where it was killed, each entry once', async () => {
    const [file, cursor] = [place('stream.ndjson'), place('stream.cursor')];
    const argv = ['audit', 'export', '--format', 'ndjson', '--follow', '--output', file, '--cursor', cursor];
    const killed = await stage.start('operator', argv);
    await eventually('something is exported', async () => (await stat(file).catch(() => ({ size: 0 }))).size > 1000 && (await readFile(cursor, 'utf8')).length > 0);
    killed.kill('SIGKILL');
    expect(await killed.ended).toMatchObject({ code: 'SIGKILL' });
    // As a crash between the file and the cursor leaves it.
    await appendFile(file, '{"index":9999,"torn');
    const last = await stage.work([`select 'after the kill'`]);
    const running = await stage.start('operator', argv);
    await eventually('the rest has come', async () => new RegExp(`${last}.*session.close`).test(await readFile(file, 'utf8')));
    running.kill('SIGTERM');
    expect(await running.ended).toMatchObject({ code: 143 });
    const indexes = indexesOf(await readFile(file, 'utf8'));
    expect(indexes).toEqual(upTo(indexes.length));
    expect(JSON.parse(await readFile(cursor, 'utf8'))).toMatchObject({ next: indexes.length });
    expect(((await stat(file)).mode & 0o777).toString(8)).toBe('600');
  });

  test('knows after a restart what its sessions were opened for', async () => {
    const [file, cursor] = [place('ecs.ndjson'), place('ecs.cursor')];
    const run = () => audit('export', '--format', 'ecs', '--output', file, '--cursor', cursor);
    const { session: open, port } = await stage.fixture.connect('engineer');
    expect(await run()).toMatchObject({ code: 0 });
    const before = (await readFile(file, 'utf8')).length;
    await port.close();
    await (await stage.fixture.clientFor('engineer')).endSession(open.id);
    expect(await run()).toMatchObject({ code: 0 });
    const close = (await readFile(file, 'utf8')).slice(before).split('\n').find((line) => line.includes(open.id)) ?? '';
    expect(close).toContain('engineer');
  });

  test('outlives a restart of the relay', async () => {
    const stop = new AbortController();
    const file = place('restart.ndjson');
    const following = stage.run('operator', ['audit', 'export', '--format', 'ndjson', '--follow', '--output', file], stop.signal);
    await eventually('it follows', async () => (await stat(file).catch(() => ({ size: 0 }))).size > 1000);
    await stage.fixture.stopRelay();
    await stage.fixture.startRelay();
    const last = await stage.work(['select 1']);
    await eventually('the rest has come', async () => (await readFile(file, 'utf8')).includes(last));
    stop.abort('SIGINT');
    expect(await following).toMatchObject({ code: 130 });
    const indexes = indexesOf(await readFile(file, 'utf8'));
    expect(indexes).toEqual(upTo(indexes.length));
  });

  test.each<[string, object, string]>([
    ['of another log', { origin: 'elsewhere' }, 'one of the log elsewhere'],
    ['of another format', { format: 'cef' }, 'format cef'],
    ['beyond the end', { next: 1_000_000 }, 'entry 1000000'],
  ])('refuses a cursor %s', async (_what, change, message) => {
    const { origin } = parseCheckpoint(parseNote((await onDisk('checkpoint')).toString()).text);
    await writeFile(place('bad.cursor'), JSON.stringify({ v: 1, origin, format: 'ndjson', next: 3, ...change }));
    expect(await audit('export', '--format', 'ndjson', '--cursor', place('bad.cursor'))).toMatchObject({ code: 'usage', err: expect.stringContaining(message) });
  });

  test('never writes into a file that it does not know', async () => {
    await writeFile(place('letter.txt'), 'hello');
    expect(await audit('export', '--format', 'ndjson', '--output', place('letter.txt'))).toMatchObject({ code: 'usage', err: expect.stringContaining('exists already') });
    expect(await readFile(place('letter.txt'), 'utf8')).toBe('hello');
    await truncate(place('stream.ndjson'), 10);
    const argv = ['export', '--format', 'ndjson', '--output', place('stream.ndjson'), '--cursor', place('stream.cursor')];
    expect(await audit(...argv)).toMatchObject({ code: 'usage', err: expect.stringContaining('shorter') });
  });
});

describe('a stream to a URL', () => {
  const answers: (number | 'hang up')[] = [];
  const taken: number[] = [];
  const headers: (string | undefined)[] = [];
  let server: Server;
  let url: string;
  beforeAll(async () => {
    server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      request.on('end', () => {
        const answer = answers.shift() ?? 204;
        headers.push(request.headers.authorization);
        if (answer === 'hang up') return request.socket.destroy();
        if (answer < 300) taken.push(...indexesOf(body));
        return response.writeHead(answer).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/ingest`;
  });
  afterAll(() => void server?.close());

  test('is sent again until it is taken, in order, and goes on with the cursor after a refusal', async () => {
    const argv = ['export', '--format', 'ndjson', '--output', url, '--cursor', place('http.cursor')];
    answers.push(503, 'hang up', 200, 400);
    await writeFile(place('headers'), 'Authorization: Splunk abc\n', { mode: 0o600 });
    // The first batch is taken at the third try; then there is more.
    expect(await audit(...argv, '--header-file', place('headers'))).toMatchObject({ code: 0, err: expect.stringContaining('sent again') });
    expect(new Set(headers)).toEqual(new Set(['Splunk abc']));
    const count = taken.length;
    expect(taken).toEqual(upTo(count));
    await stage.work(['select 2']);
    expect(await audit(...argv)).toMatchObject({ code: 'usage', err: expect.stringContaining('status 400') });
    expect(taken).toHaveLength(count);
    expect(await audit(...argv)).toMatchObject({ code: 0 });
    expect(taken.length).toBeGreaterThan(count);
    expect(taken).toEqual(upTo(taken.length));
  });

  test('is never in the clear, nor with headers that others can read', async () => {
    expect(await audit('export', '--format', 'ndjson', '--output', 'http://192.0.2.1/x')).toMatchObject({ code: 'usage', err: expect.stringContaining('in the clear') });
    await writeFile(place('loose'), 'A: b\n', { mode: 0o644 });
    expect(await audit('export', '--format', 'ndjson', '--output', url, '--header-file', place('loose'))).toMatchObject({ code: 'usage', err: expect.stringContaining('other users') });
  });
});
