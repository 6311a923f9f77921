/** gate sessions list with filters, tail and kill on a whole stack: what they print, and how they end. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { runSessionsList } from '../../src/cli/commands/sessions/list.ts';
import { runSessionsTail } from '../../src/cli/commands/sessions/tail.ts';
import type { SessionQuery } from '../../src/api/session-query.ts';
import { openSession } from '../../src/client/session.ts';
import { startStage, type Stage } from './sessions-stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage?.stop());

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 20 });
const newSession = async () => (await openSession(stage.relayOf('engineer'), 'exec', { target: 'prod-db', reason: 'to be ended' })).id;

describe('gate sessions list', () => {
  test('by statements: how many of each session meet the query', async () => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'list', '--text', 'CUSTOMERS where', '--kind', 'read', '--since', '3d ago');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [head = '', row = '', ...rest] = stdout.trimEnd().split('\n').map((line) => line.split(/ {2,}/));
    expect(rest).toEqual([]);
    expect(head.slice(-2)).toEqual(['MATCHES', 'REASON']);
    expect([row[0], row.at(-2)]).toEqual([stage.worked, '1']);
  });

  test.each<[SessionQuery, () => string[]]>([
    [{ effect: 'deny' }, () => [stage.worked]],
    [{ sqlstate: '22012' }, () => [stage.worked]],
    [{ state: 'open' }, () => [stage.idle]],
    [{ user: 'engin' }, () => [stage.idle, stage.worked]],
    [{ human: 'operator' }, () => [stage.foreign]],
    [{ role: 'reader', target: 'prod-db' }, () => [stage.foreign]],
    [{ table: '*.customers' }, () => [stage.worked]],
  ])('%j', async (query, expected) => {
    const { context, out } = stage.openTerminal('operator', { json: true });
    await runSessionsList(context, { ...query, limit: 50, columns: undefined });
    const { sessions } = JSON.parse(out.join('')) as { sessions: { id: string }[] };
    expect(sessions.map(({ id }) => id)).toEqual(expected());
  });

  test('nothing found is said, and is no failure', async () => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'list', '--text', 'no such words');
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: 'No session that you may see meets all of that.\n' });
  });

  test('a search that was cut, or saw no literals, says so', async () => {
    const real = stage.relayOf('engineer');
    const relay = { ...real, findSessions: () => Promise.resolve({ sessions: [], isCut: true as const, isShapesOnly: true as const }) };
    const { context, out, err } = stage.openTerminal('engineer', { relay, json: true });
    await runSessionsList(context, { text: 'x', limit: 50, columns: undefined });
    expect(JSON.parse(out.join(''))).toEqual({ sessions: [], isCut: true, isShapesOnly: true });
    expect(err.join('')).toContain('its bounds');
    expect(err.join('')).toContain('literals of others are sealed');
  });

  test.each([['--since', 'yesterday'], ['--kind', 'delete'], ['--table', 'orders']])(
    '%s %s is refused',
    async (...flags) => {
      expect(await stage.gate('engineer', 'sessions', 'list', ...flags)).toMatchObject({ code: 2, stdout: '' });
    },
  );
});

describe('gate sessions tail', () => {
  test('of a session that has ended: a line per event, as wide as it takes', async () => {
    const { code, stdout, stderr } = await stage.gate('operator', 'sessions', 'tail', stage.worked);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const steady = stdout
      .replaceAll(stage.worked, '<worked>')
      .replaceAll(/\d\d:\d\d:\d\d\.\d{3}/g, '<time>')
      .replaceAll(/127\.0\.0\.1:\d+/g, '<address>')
      .replaceAll(/process \d+/g, 'process <pid>')
      .replaceAll(/[\d.]+ ms/g, '<duration>')
      .replaceAll(/[\d.]+ (?:bytes|kB) (in|out)/g, '<bytes> $1');
    await expect(steady).toMatchFileSnapshot('golden/sessions-tail.txt');
  });

  test('--json: the entries as NDJSON', async () => {
    const { stdout } = await stage.gate('engineer', 'sessions', 'tail', stage.worked, '--json');
    expect(stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as unknown)).toEqual(await stage.entriesOf(stage.worked));
  });

  test('of all sessions until Ctrl-C, which is exit code 130', async () => {
    const { child, ended } = stage.start('operator', ['sessions', 'tail']);
    const texts = { stdout: '', stderr: '' };
    child.stdout?.on('data', (chunk: string) => (texts.stdout += chunk));
    child.stderr?.on('data', (chunk: string) => (texts.stderr += chunk));
    await eventually(() => expect(texts.stderr).toContain('Ctrl-C ends it'));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const id = await newSession();
    await eventually(() => expect(texts.stdout).toMatch(new RegExp(`^${id} engineer  [\\d:.]+  session opened on prod-db as engineer, by gate exec: to be ended\n`, 'm')));
    child.kill('SIGINT');
    expect(await ended).toMatchObject({ code: 130 });
    await stage.relayOf('engineer').endSession(id);
  });

  test('a record with a gap, or without an end, is exit code 7', async () => {
    const real = stage.relayOf('engineer');
    const entries = await stage.entriesOf(stage.worked);
    for (const some of [entries.toSpliced(2, 1), entries.slice(0, -1)]) {
      async function* follow() {
        yield* some;
      }
      const { context } = stage.openTerminal('engineer', { relay: { ...real, follow } });
      await expect(runSessionsTail(context, [stage.worked])).rejects.toMatchObject({ code: 'record-damaged' });
    }
  });

  test('recorded text cannot drive the terminal', async () => {
    const real = stage.relayOf('engineer');
    const entries = await stage.entriesOf(stage.worked);
    async function* follow() {
      for (const entry of entries) {
        const { event } = entry;
        yield event.kind === 'statement' ? { ...entry, event: { ...event, sql: 'select \u001b[2J\n1', rule: '\u0007' } } : entry;
      }
    }
    const { context, out } = stage.openTerminal('engineer', { relay: { ...real, follow } });
    await runSessionsTail(context, [stage.worked]);
    for (const control of ['\u001b', '\u0007']) expect(out.join('')).not.toContain(control);
    expect(out.join('').trimEnd().split('\n')).toHaveLength(entries.length);
  });
});

describe('gate sessions kill', () => {
  test('exit 0 when it has ended, 3 when it had already', async () => {
    const id = await newSession();
    const { code, stdout, stderr } = await stage.gate('operator', 'sessions', 'kill', id, '--reason', 'maintenance');
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: `Session ${id} of engineer on prod-db has ended.\n` });
    const again = await stage.gate('engineer', 'sessions', 'kill', id);
    expect(again).toMatchObject({ code: 3, stdout: '' });
    expect(again.stderr).toContain(`session ${id} has ended: ended by operator: maintenance`);
    const replayed = await stage.gate('engineer', 'sessions', 'replay', id);
    expect(replayed.stdout).toContain('ended early by operator: maintenance');
  });

  test('--json, as the API gives it; a foreign session is not there', async () => {
    const id = await newSession();
    expect(await stage.gate('dba', 'sessions', 'kill', id)).toMatchObject({ code: 3, stdout: '' });
    const { stdout } = await stage.gate('engineer', 'sessions', 'kill', id, '--json');
    expect(JSON.parse(stdout)).toEqual(await stage.relayOf('engineer').session(id));
  });
});
