import { spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { appendFile, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Event } from '../../src/audit/entry.ts';
import { parseSegmentHeader } from '../../src/audit/segment.ts';
import { openLog, type Log, type LogOptions } from '../../src/store/log.ts';
import { FaultyFiles } from './faulty-files.ts';
import {
  collect,
  connectionOpen,
  outcome,
  sessionClose,
  sessionOpen,
  statement,
  statementsIn,
} from './recorded-events.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** Longer than any test takes, in milliseconds. */
const never = 1_000_000_000;

async function open(directory: string, options: LogOptions = {}): Promise<Log> {
  const log = await openLog(directory, options);
  onTestFinished(() => log.close());
  return log;
}

async function newLog(options: LogOptions = {}): Promise<{ log: Log; directory: string }> {
  const directory = join(await temporaryDirectory(), 'log');
  return { log: await open(directory, options), directory };
}

async function segments(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.ndl')).toSorted();
}

async function headerOf(directory: string, name: string | undefined) {
  const [line = ''] = (await readFile(join(directory, name ?? ''), 'utf8')).split('\n');
  return parseSegmentHeader(Buffer.from(line));
}

describe('recording', () => {
  test('gives back what was recorded, per session, in order, chained', async () => {
    const now = new Date('2026-11-02T10:00:00.123Z');
    const { log } = await newLog({ now: () => now });
    await log.record('one', [sessionOpen, connectionOpen()]);
    await Promise.all([
      log.record('one', [statement(1)]),
      log.record('two', [sessionOpen]),
      log.record('one', [outcome(1), statement(2, 'drop', 'deny')]),
    ]);
    const entries = await collect(log.entries('one'));
    expect(entries.map((entry) => entry.event)).toEqual([
      sessionOpen,
      connectionOpen(),
      statement(1),
      outcome(1),
      statement(2, 'drop', 'deny'),
    ]);
    expect(entries.map((entry) => entry.seq)).toEqual([1, 2, 3, 4, 5]);
    expect(entries.every((entry) => entry.time === '2026-11-02T10:00:00.123Z')).toBe(true);
    expect(new Set(entries.map((entry) => entry.prev)).size).toBe(5);
    expect(log.counts('one')).toEqual({ connections: 1, statements: 2, refused: 1 });
    expect(log.openSessions()).toEqual(['one', 'two']);
  });

  test('knows nothing of a session that never was', async () => {
    const { log } = await newLog();
    expect(await collect(log.entries('nobody'))).toEqual([]);
    expect(log.counts('nobody')).toEqual({ connections: 0, statements: 0, refused: 0 });
  });

  test('keeps others on this machine out', async () => {
    const { log, directory } = await newLog();
    await log.record('one', [sessionOpen]);
    await log.close();
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(dirname(directory), { recursive: true })) {
      const found = await stat(join(dirname(directory), name));
      expect(found.mode & 0o777, name).toBe(found.isDirectory() ? 0o700 : 0o600);
    }
  });

  test('shares one write and one sync among the calls of a tick, and among those that came during a sync', async () => {
    const files = new FaultyFiles(() => undefined);
    const { log } = await newLog({ files });
    await Promise.all(Array.from({ length: 100 }, (_, index) => log.keys.ensure(`s${index}`)));
    const before = files.calls.length;
    const first = Array.from({ length: 100 }, (_, index) => log.record(`s${index}`, [sessionOpen, connectionOpen()]));
    await Promise.all(first);
    expect(files.calls.slice(before)).toEqual(['write', 'fdatasync']);
  });

  test('resolves only after the sync', async () => {
    let isSynced = true;
    const files = new FaultyFiles(() => undefined);
    const sync = files.fdatasync.bind(files);
    const { log } = await newLog({ files, publishMs: never });
    files.fdatasync = async (descriptor) => {
      isSynced = false;
      await sync(descriptor);
      await new Promise((resolve) => setTimeout(resolve, 20));
      isSynced = true;
    };
    await log.record('one', [sessionOpen]);
    expect(isSynced).toBe(true);
  });

  test('lets readers see only what is durable', async () => {
    const files = new FaultyFiles(() => undefined);
    const sync = files.fdatasync.bind(files);
    const { log } = await newLog({ files, publishMs: never });
    await log.record('one', [sessionOpen]);
    const disk = new EventEmitter();
    const isWritten = once(disk, 'written');
    files.fdatasync = async (descriptor) => {
      disk.emit('written');
      await once(disk, 'go on');
      await sync(descriptor);
    };
    const recording = log.record('one', [statement(1)]);
    await isWritten;
    expect(await statementsIn(log.entries('one'))).toEqual([]);
    files.fdatasync = sync;
    disk.emit('go on');
    await recording;
    expect(await statementsIn(log.entries('one'))).toEqual([1]);
  });

  test('refuses past the bound on waiting bytes, at the limit and not below it, and goes on afterwards', async () => {
    const sizeOf = async (events: Event[]) => {
      const { log, directory } = await newLog();
      const [name = ''] = await segments(directory);
      const before = (await stat(join(directory, name))).size;
      await log.record('one', events);
      return (await stat(join(directory, name))).size - before;
    };
    const bytes = await sizeOf([sessionOpen, statement(1)]);
    const { log } = await newLog({ pendingBytesMax: bytes });
    const first = log.record('one', [sessionOpen, statement(1)]);
    const second = log.record('one', [statement(2)]);
    await expect(second).rejects.toMatchObject({ code: 'record-unavailable', message: /the disk does not keep up/ });
    await first;
    await log.record('one', [statement(3)]);
    expect(await statementsIn(log.entries('one'))).toEqual([1, 3]);
    const { log: smaller } = await newLog({ pendingBytesMax: bytes - 1 });
    await expect(smaller.record('one', [sessionOpen, statement(1)])).rejects.toMatchObject({
      code: 'record-unavailable',
    });
  });

  test('refuses an entry that is too large, and that alone', async () => {
    const { log } = await newLog();
    const large = log.record('one', [sessionOpen, statement(1, 'x'.repeat(17 * 1024 * 1024))]);
    const small = log.record('two', [sessionOpen, statement(1)]);
    await expect(large).rejects.toMatchObject({ code: 'too-large' });
    await small;
    expect(log.isAvailable).toBe(true);
    expect(log.openSessions()).toEqual(['two']);
  });

  test('ends a segment when it is full, and reads across', async () => {
    const { log, directory } = await newLog({ segmentBytesMax: 4096 });
    await log.record('one', [sessionOpen]);
    const numbers = Array.from({ length: 60 }, (_, index) => index + 1);
    for (const number of numbers) await log.record(number % 2 === 1 ? 'one' : 'two', [statement(number)]);
    const names = await segments(directory);
    expect(names.length).toBeGreaterThan(3);
    for (const name of names) expect((await stat(join(directory, name))).size).toBeLessThanOrEqual(4096);
    expect(await statementsIn(log.entries('one'))).toEqual(numbers.filter((number) => number % 2 === 1));
    expect(await headerOf(directory, names[1])).toMatchObject({ number: 2, previous: { number: 1, reason: 'full' } });
  });

  test('can be read while it is written', async () => {
    const { log } = await newLog({ segmentBytesMax: 16 * 1024 });
    await log.record('one', [sessionOpen]);
    const writing = (async () => {
      for (let number = 1; number <= 300; number += 1) await log.record('one', [statement(number), outcome(number)]);
    })();
    for (let durable = 0; durable < 300; durable = log.counts('one').statements) {
      const seen = await statementsIn(log.entries('one'));
      expect(seen).toEqual(seen.map((_, index) => index + 1));
      expect(seen.length).toBeGreaterThanOrEqual(durable);
    }
    await writing;
    expect(await statementsIn(log.entries('one'))).toHaveLength(300);
  });

  test('is over after close, which waits for what was recorded', async () => {
    const { log, directory } = await newLog();
    await log.keys.ensure('one');
    const last = log.record('one', [sessionOpen]);
    await log.close();
    await last;
    await expect(log.record('one', [statement(1)])).rejects.toMatchObject({ code: 'record-unavailable' });
    expect(log.isAvailable).toBe(false);
    expect(await collect((await open(directory)).entries('one'))).toHaveLength(1);
  });
});

async function damagedLog(): Promise<{ directory: string; path: string; lines: string[] }> {
  const { log, directory } = await newLog();
  await log.record('one', [sessionOpen]);
  for (let number = 1; number <= 5; number += 1) await log.record('one', [statement(number), outcome(number)]);
  await log.close();
  const path = join(directory, 'log-000001.ndl');
  return { directory, path, lines: (await readFile(path, 'utf8')).split('\n') };
}

describe('a start', () => {
  test('goes on where the last one stopped, in a new segment', async () => {
    const { log, directory } = await newLog();
    await log.record('open', [sessionOpen, connectionOpen(), statement(1), outcome(1), statement(2, 'x', 'deny')]);
    await log.record('closed', [sessionOpen, sessionClose]);
    await log.close();
    const again = await open(directory);
    expect(again.openSessions()).toEqual(['open']);
    expect(again.counts('open')).toEqual({ connections: 1, statements: 2, refused: 1 });
    await again.record('open', [statement(3), sessionClose]);
    await again.record('closed', [sessionClose]);
    expect(await segments(directory)).toHaveLength(2);
    await again.close();
    const third = await open(directory);
    expect((await collect(third.entries('open'))).map((entry) => entry.seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect((await collect(third.entries('closed'))).map((entry) => entry.seq)).toEqual([1, 2, 3]);
    expect(third.openSessions()).toEqual([]);
  });

  test('ends what a crash left open: outcomes unknown, connections closed, once', async () => {
    const { log, directory } = await newLog();
    const work = [statement(1), outcome(1), statement(2), statement(3, 'x', 'deny'), statement(4)];
    await log.record('one', [sessionOpen, connectionOpen(1), connectionOpen(2), ...work]);
    await log.record('one', [{ kind: 'connection.close', connection: 2, reason: 'left', bytesIn: 1, bytesOut: 1 }]);
    const again = await open(directory);
    const added = (await collect(again.entries('one'))).slice(9).map((entry) => entry.event);
    const nothing = { tags: [], rows: 0, bytesIn: 0, bytesOut: 0, durationMs: 0 };
    const unknown = { kind: 'outcome', connection: 1, state: 'unknown', ...nothing };
    const reason = 'the relay stopped without warning';
    expect(added).toEqual([
      { ...unknown, statement: 2 },
      { ...unknown, statement: 4 },
      { kind: 'connection.close', connection: 1, reason, bytesIn: 0, bytesOut: 0 },
    ]);
    await again.close();
    expect(await collect((await open(directory)).entries('one'))).toHaveLength(12);
  });

  test('passes over a torn end, which stays in place and is marked', async () => {
    const { log, directory } = await newLog();
    await log.record('one', [sessionOpen, statement(1), outcome(1)]);
    await log.close();
    const [name = ''] = await segments(directory);
    const whole = await readFile(join(directory, name));
    await appendFile(join(directory, name), whole.subarray(-300, -5));
    const again = await open(directory);
    await again.record('one', [statement(2)]);
    const [, second] = await segments(directory);
    const { previous } = await headerOf(directory, second);
    expect(previous).toMatchObject({ number: 1, bytes: whole.length, reason: 'torn' });
    expect((await stat(join(directory, name))).size).toBe(whole.length + 295);
    await again.close();
    expect(await statementsIn((await open(directory)).entries('one'))).toEqual([1, 2]);
  });

  test.each([
    ['empty', ''],
    ['half a header', '83cc55b5 {"v":1,"kind":"seg'],
    ['a header with a wrong checksum', '83cc55b5 {"v":1,"kind":"segment"}\n'],
  ])('passes over a segment whose making was cut short: %s', async (_name, content) => {
    const { log, directory } = await newLog();
    await log.record('one', [sessionOpen, statement(1), outcome(1)]);
    await log.close();
    await writeFile(join(directory, 'log-000002.ndl'), content);
    const again = await open(directory);
    await again.record('one', [statement(2), outcome(2)]);
    await again.close();
    expect(await segments(directory)).toEqual(['log-000001.ndl', 'log-000002.ndl', 'log-000003.ndl']);
    expect(await statementsIn((await open(directory)).entries('one'))).toEqual([1, 2]);
  });

  test.each([
    ['missing', (path: string) => rm(path)],
    ['garbage', (path: string) => writeFile(path, 'garbage')],
    ['of another segment', async (path: string) => writeFile(path, await readFile(path.replace('000001', '000002')))],
  ])('rebuilds an index that is %s', async (_name, change) => {
    const { log, directory } = await newLog({ segmentBytesMax: 4096 });
    for (let number = 1; number <= 30; number += 1) await log.record('one', [statement(number), outcome(number)]);
    await log.close();
    const path = join(`${directory}-index`, 'log-000001.idx');
    const original = await readFile(path);
    await change(path);
    const again = await open(directory);
    expect(await statementsIn(again.entries('one'))).toHaveLength(30);
    expect(await readFile(path)).toEqual(original);
  });

  test.each<[string, (lines: string[]) => string[], string]>([
    ['a byte of an entry changed', (lines) => lines.with(3, lines[3]?.replace('read', 'raed') ?? ''), 'line 4'],
    ['a byte of a sealed content changed', (lines) => lines.with(2, lines[2]?.replace('data":"', 'data":"x') ?? ''), 'line 3'],
    ['an outcome gone', (lines) => lines.toSpliced(4, 1), 'line 6'],
    ['a sealed content gone', (lines) => lines.toSpliced(5, 1), 'line 6'],
    ['a sealed content in place of another', (lines) => lines.with(5, lines[2] ?? ''), 'line 7'],
    ['lines swapped', (lines) => lines.toSpliced(3, 2, lines[4] ?? '', lines[3] ?? ''), 'line 4'],
    ['a line doubled', (lines) => lines.toSpliced(5, 0, lines[4] ?? ''), 'line 6'],
    ['garbage in the middle', (lines) => lines.toSpliced(2, 0, 'garbage'), 'line 3'],
    ['the header gone', (lines) => lines.slice(1), 'line 1'],
  ])('refuses %s, naming file and line', async (_name, change, place) => {
    const { directory, path, lines } = await damagedLog();
    await writeFile(path, change(lines).join('\n'));
    await expect(openLog(directory)).rejects.toMatchObject({
      code: 'record-damaged',
      message: expect.stringContaining(`log-000001.ndl, ${place}:`),
    });
  });

  test('refuses an older segment that is gone or cut short', async () => {
    const { directory, path } = await damagedLog();
    await (await open(directory)).close();
    const content = await readFile(path);
    await writeFile(path, content.subarray(0, -10));
    await expect(openLog(directory)).rejects.toMatchObject({ message: expect.stringContaining('cut short') });
    await rm(path);
    await expect(openLog(directory)).rejects.toMatchObject({ message: expect.stringContaining('file is missing') });
  });

  test('finds damage in an old segment when the session is read', async () => {
    const { directory, path, lines } = await damagedLog();
    await (await open(directory)).close();
    const again = await open(directory);
    await writeFile(path, lines.map((line) => line.replace('"statement":4', '"statement":9')).join('\n'));
    const reading = collect(again.entries('one'));
    await expect(reading).rejects.toMatchObject({ code: 'record-damaged', message: /log-000001\.ndl, byte \d+:/ });
  });
});

/** A file system of one MiB, where this user may mount one; undefined elsewhere. */
function mountSmallDisk(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined;
  const path = mkdtempSync(join(tmpdir(), 'gate-disk-'));
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'tmpfs', path]);
  if (mount.status === 0) return path;
  rmdirSync(path);
  return undefined;
}

describe('a full disk', () => {
  const disk = mountSmallDisk();
  afterAll(() => {
    if (disk === undefined) return;
    spawnSync('umount', [disk]);
    rmdirSync(disk);
  });

  test.skipIf(disk === undefined)(
    'refuses with the reason, loses nothing, and goes on once there is space (needs root, to mount a tmpfs)',
    async () => {
      const ballast = join(disk ?? '', 'ballast');
      await writeFile(ballast, Buffer.alloc(600 * 1024));
      const log = await open(join(disk ?? '', 'log'), { retryMs: 0 });
      await log.record('one', [sessionOpen]);
      const acknowledged: number[] = [];
      const fill = async () => {
        for (let number = 1; ; number += 1) {
          await log.record('one', [statement(number, 'x'.repeat(50_000)), outcome(number)]);
          acknowledged.push(number);
        }
      };
      await expect(fill()).rejects.toMatchObject({
        code: 'record-unavailable',
        message: 'the record cannot be written: no space left on device',
      });
      expect(log.isAvailable).toBe(false);
      const stillFull = log.record('one', [statement(100, 'y'.repeat(500_000))]);
      await expect(stillFull).rejects.toMatchObject({ code: 'record-unavailable' });
      await rm(ballast);
      await log.record('one', [statement(101), outcome(101)]);
      expect(log.isAvailable).toBe(true);
      expect(await statementsIn(log.entries('one'))).toEqual([...acknowledged, 101]);
      await log.close();
      const again = await open(join(disk ?? '', 'log'));
      expect(await statementsIn(again.entries('one'))).toEqual([...acknowledged, 101]);
      await again.close();
    },
  );
});
