/** gate sessions replay on a whole stack: the transcript, its pace, its ends, and records that are not whole. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Chalk } from 'chalk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { runSessionsReplay, type ReplayOptions } from '../../src/cli/commands/sessions/replay.ts';
import type { RelayClient } from '../../src/client/relay-client.ts';
import { longReason, startStage, type Stage } from './sessions-stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage?.stop());

/** All of a replay in this process, and the sleeps that it asked for. */
async function replay(id: string, options: Partial<ReplayOptions> & { relay?: RelayClient } = {}) {
  const { relay, ...flags } = options;
  const { context, out, err } = stage.openTerminal('engineer', { ...(relay && { relay }) });
  const sleeps: number[] = [];
  const sleep = (ms: number) => Promise.resolve(void sleeps.push(ms));
  const failure: unknown = await runSessionsReplay(context, id, { isTerminal: false, sleep, ...flags }).catch(
    (error: unknown) => error,
  );
  return { text: out.join(''), words: err.join(''), sleeps, failure };
}

describe('gate sessions replay', () => {
  test('who, why, each statement and what came of it', async () => {
    const { code, stdout, stderr } = await stage.gate('operator', 'sessions', 'replay', stage.worked);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Session {2}${stage.worked}\n`));
    expect(stdout).toContain(`Why      ${longReason}\n`);
    expect(stdout).toContain('prod-db=> select name from customers where id = $1 and name <> $2\n');
    expect(stdout).toMatch(/\$1 = '7'\n +\$2 = 'O''Hara'\n/);
    expect(stdout).toMatch(/create table nope \(id int\)\n +REFUSED, .* schema .*\(rule prod-db\/engineer.*\)\n/);
    expect(stdout).toMatch(/select 1 \/ 0\n +ERROR 22012/);
    expect(stdout).toMatch(/1 connection, 4 statements, 1 refused, 1 failed, /);
  });

  test('of an open session, as far as it goes', async () => {
    const { text, failure } = await replay(stage.idle);
    expect(failure).toBeUndefined();
    expect(text).toContain('the session has not ended');
  });

  test('--format json and --json: the entries as NDJSON', async () => {
    const entries = await stage.entriesOf(stage.worked);
    for (const argv of [['--format', 'json'], ['--json']]) {
      const { code, stdout } = await stage.gate('engineer', 'sessions', 'replay', stage.worked, ...argv);
      expect(code).toBe(0);
      expect(stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as unknown)).toEqual(entries);
    }
  });

  test.each([
    [['--speed', '0']],
    [['--speed', 'fast']],
    [['--skip-idle', '-1']],
    [['--format', 'xml']],
    [['--format', 'json', '--speed', '2']],
    [['--json', '--format', 'text']],
    [['--json', '--format', 'html']],
    [['--format', 'cast', '--speed', '2']],
    [['--format', 'html', '--speed', 'max']],
  ])('%j is refused', async (argv) => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'replay', stage.worked, ...argv);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).not.toBe('');
  });

  test('colours are added to the text and change nothing in it', async () => {
    const { context, out } = stage.openTerminal('engineer');
    const colored = { ...context, io: { ...context.io, colors: () => Promise.resolve(new Chalk({ level: 1 })) } };
    await runSessionsReplay(colored, stage.worked, { isTerminal: false, sleep: () => Promise.resolve() });
    const text = out.join('');
    expect(text).toContain('\u001b[1m\u001b[31mREFUSED');
    expect(stripVTControlCharacters(text)).toBe((await replay(stage.worked)).text);
  });

  test('a pipe that closes ends it quietly', async () => {
    const { child, ended } = stage.start('engineer', ['sessions', 'replay', stage.worked]);
    child.stdout?.destroy();
    expect(await ended).toMatchObject({ code: 141, stderr: '' });
  });
});

describe('the pace of a replay', () => {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
  /** The recorded pauses, each at most so long, in milliseconds. */
  const pausesOf = async (id: string, msMax: number) => {
    const times = (await stage.entriesOf(id)).map(({ time }) => Date.parse(time));
    return sum(times.map((time, index) => Math.min(Math.max(0, time - (times[index - 1] ?? time)), msMax)));
  };

  test('no pauses where nobody watches', async () => {
    const { sleeps, words } = await replay(stage.worked);
    expect({ sleeps, words }).toEqual({ sleeps: [], words: '' });
  });

  test('recorded speed on a terminal, long pauses cut to two seconds', async () => {
    const { sleeps, words, text } = await replay(stage.worked, { isTerminal: true });
    const expected = await pausesOf(stage.worked, 2000);
    expect(expected).toBeGreaterThan(40);
    // Pauses under 10 ms add up to the next sleep; those after the last one are not made.
    expect(expected - sum(sleeps)).toBeGreaterThanOrEqual(0);
    expect(expected - sum(sleeps)).toBeLessThan(10);
    expect(words).toContain('--speed max');
    expect(text).toBe((await replay(stage.worked)).text);
  });

  test('--speed and --skip-idle hold also where nobody watches', async () => {
    const expected = await pausesOf(stage.worked, Infinity);
    const slow = await replay(stage.worked, { speed: 0.01 });
    expect(100 * expected - sum(slow.sleeps)).toBeLessThan(10);
    const cut = await replay(stage.worked, { speed: 0.01, skipIdle: 0.5 });
    expect(Math.max(...cut.sleeps)).toBe(500);
    expect((await replay(stage.worked, { isTerminal: true, speed: Infinity })).sleeps).toEqual([]);
  });

  test('Ctrl-C ends it at once with 130, whatever it waits for', async () => {
    const stop = new AbortController();
    const { context, out } = stage.openTerminal('engineer', { stop: stop.signal });
    const sleep = () => {
      stop.abort('SIGINT');
      return new Promise(() => undefined);
    };
    const played = runSessionsReplay(context, stage.worked, { isTerminal: true, sleep });
    await expect(played).rejects.toMatchObject({ exitCode: 130 });
    expect(out.join('')).not.toContain('session ended');
  });

  test('Ctrl-C ends the program at once with 130', async () => {
    const { child, ended } = stage.start('engineer', ['sessions', 'replay', stage.worked, '--speed', '0.0001']);
    child.stdout?.once('data', () => child.kill('SIGINT'));
    const { code, stdout, stderr } = await ended;
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' });
    expect(stdout).toContain(stage.worked);
    expect(stdout).not.toContain('session ended');
  });
});

describe('replays to play elsewhere', () => {
  let scratch: string;
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'gate-replay-test-'));
  });
  afterAll(() => rm(scratch, { recursive: true, force: true }));

  test('--format cast: the transcript as an asciicast, pauses cut where asked', async () => {
    const { text, sleeps, failure } = await replay(stage.worked, { format: 'cast', skipIdle: 0.01 });
    expect({ sleeps, failure }).toEqual({ sleeps: [], failure: undefined });
    const [header, ...events] = text.trimEnd().split('\n').map((line) => JSON.parse(line) as unknown);
    expect(header).toMatchObject({ version: 2, idle_time_limit: 0.01, title: expect.stringContaining(stage.worked) });
    const output = events.filter((event): event is [number, 'o', string] => Array.isArray(event) && event[1] === 'o');
    expect(output.at(-1)?.[0]).toBeLessThanOrEqual(0.01 * output.length);
    const shown = stripVTControlCharacters(output.map(([, , data]) => data).join('')).replaceAll('\r\n', '\n');
    expect(shown).toBe((await replay(stage.worked)).text);
    expect(events).toContainEqual([expect.any(Number), 'm', 'refused']);
  });

  test('--format html: one page, with the longest pause as its default', async () => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'replay', stage.worked, '--format', 'html', '--skip-idle', '7');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^<!DOCTYPE html>\n[^]*id="cut" type="number"[^>]* value="7"[^]*<\/html>\n$/);
    expect(stdout).toContain('create table nope (id int)');
  });

  test.each(['cast', 'html'] as const)('%s does not go to a terminal', async (format) => {
    const { text, failure } = await replay(stage.worked, { format, isTerminal: true });
    expect(text).toBe('');
    expect(failure).toMatchObject({ code: 'usage', message: expect.stringContaining('--output') });
  });

  test.each(['text', 'json', 'cast', 'html'] as const)('--output writes %s to a new file of its owner, at once', async (format) => {
    const output = join(scratch, `replay.${format}`);
    const { text, words, sleeps, failure } = await replay(stage.worked, { format, output, isTerminal: true });
    expect({ text, words, sleeps, failure }).toEqual({ text: '', words: '', sleeps: [], failure: undefined });
    expect(await readFile(output, 'utf8')).toBe((await replay(stage.worked, { format })).text);
    expect((await stat(output)).mode & 0o777).toBe(0o600);
  });

  test('a file gets no colours from the terminal that asked for it', async () => {
    const output = join(scratch, 'colours.txt');
    const { context } = stage.openTerminal('engineer');
    const colored = { ...context, io: { ...context.io, colors: () => Promise.resolve(new Chalk({ level: 1 })) } };
    await runSessionsReplay(colored, stage.worked, { isTerminal: true, output, sleep: () => Promise.resolve() });
    expect(await readFile(output, 'utf8')).toBe((await replay(stage.worked)).text);
  });

  test('a file that exists stays as it is, and a directory that does not is named', async () => {
    const output = join(scratch, 'taken');
    await writeFile(output, 'mine');
    const { code, stderr } = await stage.gate('engineer', 'sessions', 'replay', stage.worked, '--output', output);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(`${output} exists already`) });
    expect(await readFile(output, 'utf8')).toBe('mine');
    const { failure } = await replay(stage.worked, { output: join(scratch, 'no', 'where') });
    expect(failure).toMatchObject({ code: 'usage', message: expect.stringMatching(/no\/where cannot be written \(ENOENT\)/) });
  });

  test.each(['text', 'json', 'cast', 'html'] as const)('a %s file is removed when the record is not whole', async (format) => {
    const real = stage.relayOf('engineer');
    const output = join(scratch, `half.${format}`);
    async function* entries(): AsyncGenerator<AuditEntry> {
      yield* (await stage.entriesOf(stage.worked)).slice(0, 3);
      expect((await stat(output)).mode & 0o777).toBe(0o600);
    }
    const { failure } = await replay(stage.worked, { format, output, relay: { ...real, entries } });
    expect(failure).toMatchObject({ code: 'record-damaged' });
    await expect(stat(output)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('no file is left of a session that is not there, and none after Ctrl-C', async () => {
    const output = join(scratch, 'gone');
    expect((await replay('s_nope', { output })).failure).toMatchObject({ code: 'not-found' });
    await expect(stat(output)).rejects.toMatchObject({ code: 'ENOENT' });
    const stop = new AbortController();
    const { context } = stage.openTerminal('engineer', { stop: stop.signal });
    const sleep = () => {
      stop.abort('SIGINT');
      return new Promise(() => undefined);
    };
    const played = runSessionsReplay(context, stage.worked, { isTerminal: false, speed: 0.01, output, sleep });
    await expect(played).rejects.toMatchObject({ exitCode: 130 });
    await expect(stat(output)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('a record that is not whole', () => {
  type Change = (entries: readonly AuditEntry[]) => AuditEntry[];
  const beforeTheEnd: Change = (entries) =>
    entries.slice(0, entries.findIndex(({ event }) => event.kind === 'session.close'));
  const withForeignThird: Change = (entries) =>
    entries.map((entry) => (entry.seq === 3 ? { ...entry, session: stage.idle } : entry));
  const withLateStart: Change = (entries) =>
    entries.map((entry) => (entry.seq === 1 ? { ...entry, prev: 'ab' } : entry));

  test.each<[string, Change, RegExp]>([
    ['an entry is missing', (entries) => entries.toSpliced(2, 1), /entry 4 .* follows entry 2/],
    ['an entry is repeated', (entries) => entries.flatMap((entry) => [entry, entry]), /entry 1 .* follows entry 1/],
    ['the first entry is missing', (entries) => entries.slice(1), /entry 2 .* follows entry 0/],
    ['the first entry had another before it', withLateStart, /entry 1 .* does not carry the hash/],
    ['an entry is of another session', withForeignThird, /entry 3 of session s_/],
    ['the end is missing', beforeTheEnd, /without the end/],
    ['statements are missing at the end', (entries) => entries.slice(0, 3), /with 1 of 4 statements/],
    ['nothing is left', () => [], /after entry 0/],
  ])('%s', async (_, change, problem) => {
    const real = stage.relayOf('engineer');
    const changed = change(await stage.entriesOf(stage.worked));
    async function* entries(): AsyncGenerator<AuditEntry> {
      yield* changed;
    }
    const { failure } = await replay(stage.worked, { relay: { ...real, entries } });
    expect(failure).toMatchObject({ code: 'record-damaged', message: expect.stringMatching(problem) });
    expect(failure).toMatchObject({ message: expect.stringContaining(stage.worked) });
  });

  test('a log that was changed on the disk: what is sound is shown, and the end is exit code 7', async () => {
    const names = await readdir(stage.stack.stateDirectory, { recursive: true });
    for (const name of names.filter((path) => path.endsWith('.ndl'))) {
      const file = join(stage.stack.stateDirectory, name);
      const text = await readFile(file, 'utf8');
      const isOfForeign = (line: string) => line.includes(`"session":"${stage.foreign}"`) && line.includes('"kind":"statement"');
      await writeFile(file, text.split('\n').map((line) => (isOfForeign(line) ? line.replace('"simple"', '"simpel"') : line)).join('\n'));
    }
    const { code, stdout, stderr } = await stage.gate('operator', 'sessions', 'replay', stage.foreign);
    expect(stdout).toContain('Why      looking around');
    expect(stdout).not.toContain('in the record');
    expect(stderr).toContain('the record is damaged at log-');
    expect(code).toBe(7);
  });
});
